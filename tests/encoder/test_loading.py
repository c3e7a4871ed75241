"""clipkit.load and clipkit.compile_model: which engine and precision a name becomes."""

import dataclasses
import json
import os
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

import clipkit
from clipkit.encoder import loading
from clipkit.errors import CheckpointError, InputError, SpaceMismatchError
from clipkit.models.sources import resolve_source
from clipkit.runtime import autotune as precision_module
from clipkit.runtime.autotune import Trial
from clipkit.runtime.bundle import MANIFEST, Bundle
from clipkit.runtime.cache import compiled_directory, find_compiled
from tests.fakes import FakeEncoder

TEXTS = ["a cat", "a red boat on a lake"]


@pytest.fixture(scope="module")
def home(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the model is compiled."""
    home = tmp_path_factory.mktemp("compiled-home")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("CLIPKIT_HOME", str(home))
        steps: list[str] = []
        place = clipkit.compile_model(tiny_checkpoint, progress=steps.append)
        assert place == compiled_directory(resolve_source(tiny_checkpoint))
    assert steps[0] == "loading the model"
    assert steps[-1] == "measuring which precision is fastest here"
    return home


@pytest.fixture
def compiled(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", str(home))


def test_a_model_runs_on_torch_until_it_is_compiled(tiny_checkpoint: Path) -> None:
    encoder = clipkit.load(tiny_checkpoint, device="cpu")
    assert (encoder.engine, encoder.precision) == ("torch", "fp32")


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
def test_a_compiled_model_is_found_by_the_name_it_was_compiled_by(
    tiny_checkpoint: Path, samples: list[Path]
) -> None:
    original = clipkit.load(tiny_checkpoint, engine="torch", device="cpu", is_caching_texts=False)
    for precision, least in (("fp32", 1 - 1e-6), ("int8", 0.99)):
        encoder = clipkit.load(tiny_checkpoint, precision=precision, is_caching_texts=False)
        assert (encoder.engine, encoder.precision) == ("onnx", precision)
        assert encoder.space_id == original.space_id
        for mine, theirs in (
            (encoder.encode_texts(TEXTS), original.encode_texts(TEXTS)),
            (encoder.encode_images(samples[:4]), original.encode_images(samples[:4])),
        ):
            assert (mine * theirs).sum(1).min() >= least
            assert not np.array_equal(mine, theirs)


@pytest.mark.usefixtures("compiled")
def test_auto_takes_what_the_trial_chose_among_what_is_close(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.read(find_compiled(resolve_source(tiny_checkpoint)) or Path())
    assert bundle.precisions["int8"].is_close
    for chosen in ("fp32", "int8"):
        trial = loading_trial(bundle, chosen)
        monkeypatch.setattr(precision_module, "compiled_trial", lambda _, trial=trial: trial)
        assert clipkit.load(tiny_checkpoint).precision == chosen


def loading_trial(bundle: Bundle, chosen: str) -> Trial:
    remembered = precision_module.compiled_trial(bundle)
    assert remembered is not None  # compiling measured it
    assert set(remembered.seconds) == {"fp32", "int8"}
    return Trial(chosen, {"fp32": 1.0, "int8": 1.0})


@pytest.mark.usefixtures("compiled")
def test_a_precision_that_is_only_good_enough_must_be_asked_for(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(find_compiled(resolve_source(tiny_checkpoint)) or Path(), copy)
    bundle = Bundle.read(copy)
    poor = dataclasses.replace(bundle.precisions["int8"], mean_image_cosine=0.9985)
    changed = dataclasses.replace(bundle, precisions={**bundle.precisions, "int8": poor})
    (copy / MANIFEST).write_text(changed.to_json())
    assert clipkit.load(copy).precision == "fp32"
    assert clipkit.load(copy, precision="int8").precision == "int8"


def test_what_does_not_fit_together_is_refused_with_what_would(tiny_checkpoint: Path) -> None:
    with pytest.raises(InputError, match='must be "auto", "onnx" or "torch", got \'tensorrt\''):
        clipkit.load(engine="tensorrt")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="runs on the CPU in fp32 or int8, got device 'cuda'"):
        clipkit.load(engine="onnx", device="cuda")
    with pytest.raises(InputError, match="is not compiled, which engine onnx needs: run  clipkit"):
        clipkit.load(tiny_checkpoint, engine="onnx")
    with pytest.raises(InputError, match="is not compiled, which int8 needs: run  clipkit compile"):
        clipkit.load(tiny_checkpoint, precision="int8")
    with pytest.raises(InputError, match="starter is not compiled for int8, only for fp32: most"):
        clipkit.load("starter", precision="int8")


@pytest.mark.usefixtures("compiled")
def test_texts_are_cached_unless_that_is_switched_off(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def calls(*, is_caching_texts: bool = True) -> int:
        encoder = clipkit.load(tiny_checkpoint, is_caching_texts=is_caching_texts)
        with patch.object(
            encoder._runtime, "text_features", wraps=encoder._runtime.text_features
        ) as text_features:
            encoder.encode_texts(TEXTS)
        return text_features.call_count

    assert [calls(is_caching_texts=False), calls(is_caching_texts=False)] == [1, 1]
    assert [calls(), calls()] == [1, 0]
    monkeypatch.setenv("CLIPKIT_NO_CACHE", "1")
    assert calls() == 1


def test_a_model_that_cannot_be_loaded_is_not_compiled_and_leaves_nothing(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_checkpoint, broken)
    (broken / "open_clip_model.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError):
        clipkit.compile_model(broken)
    directory = compiled_directory(resolve_source(broken))
    assert not directory.exists()
    assert not directory.parent.exists() or not list(directory.parent.iterdir())
    assert loading.load is clipkit.load


@pytest.mark.usefixtures("compiled")
def test_8_bit_embeddings_do_not_depend_on_their_neighbours(
    tiny_checkpoint: Path, samples: list[Path]
) -> None:
    """All that a call computes shares one range of numbers, so each is computed alone."""
    encoder = clipkit.load(tiny_checkpoint, precision="int8", is_caching_texts=False)
    texts = [*TEXTS, "a very old stone bridge over a river", "!"]
    for together, alone in (
        (encoder.encode_images(samples[:5]), [encoder.encode_images([s]) for s in samples[:5]]),
        (encoder.encode_texts(texts), [encoder.encode_texts([text]) for text in texts]),
    ):
        np.testing.assert_array_equal(together, np.concatenate(alone))


# --- to another process and back ------------------------------------------------------------------


def embeddings_and_scores(
    classifier: clipkit.ZeroShotClassifier, path: Path
) -> tuple[clipkit.EmbeddingArray, list[list[clipkit.LabelScore]], int]:
    encoder = classifier._encoder
    return encoder.encode_images([path]), classifier.classify([path]), os.getpid()


@pytest.mark.slow
def test_an_encoder_and_a_classifier_work_in_another_process(samples: list[Path]) -> None:
    encoder = clipkit.load(is_caching_texts=False)
    encoder.max_pixels = 10**7
    classifier = clipkit.ZeroShotClassifier(encoder, ["cat", "dog"])
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        rows, labels, process = pool.submit(embeddings_and_scores, classifier, samples[0]).result()
    expected, expected_labels, here = embeddings_and_scores(classifier, samples[0])
    assert process != here
    assert rows.space_id == encoder.space_id
    np.testing.assert_array_equal(rows, expected)
    assert labels == expected_labels


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_encoder_comes_back_as_it_was(
    tiny_checkpoint: Path, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_checkpoint.parent)
    encoder = clipkit.load(Path(tiny_checkpoint.name), engine="torch", precision=precision)
    encoder.max_pixels = 1234
    monkeypatch.chdir(tmp_path)  # a path that was relative means the same elsewhere
    again = pickle.loads(pickle.dumps(encoder))
    assert repr(again) == repr(encoder)
    assert again.max_pixels == 1234
    np.testing.assert_array_equal(again.encode_texts(TEXTS), encoder.encode_texts(TEXTS))


def test_a_pickled_encoder_does_not_become_another_one(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    place = shutil.copytree(tiny_checkpoint, tmp_path / "model")
    pickled = pickle.dumps(clipkit.load(place, engine="torch"))
    config = place / "open_clip_config.json"
    changed = json.loads(config.read_text())
    changed["preprocess_cfg"]["mean"] = [0.1, 0.2, 0.3]
    config.write_text(json.dumps(changed))
    with pytest.raises(SpaceMismatchError, match="what lies there now is of space"):
        pickle.loads(pickled)


def test_an_encoder_that_was_not_loaded_says_how_to_share_it() -> None:
    with pytest.raises(InputError, match=r"'fake' was not made by load.*save\(DIRECTORY\)"):
        clipkit.Encoder.__reduce__(FakeEncoder())  # the fake's own makes another fake


class Images:
    """A dataset of torch's whose items an encoder prepares."""

    def __init__(self, encoder: clipkit.Encoder, paths: list[Path]) -> None:
        self.encoder, self.paths = encoder, paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> np.ndarray:
        with Image.open(self.paths[place]) as image:
            return self.encoder.preprocess(image)


@pytest.mark.slow
def test_a_data_loader_takes_what_an_encoder_prepares(
    starter: clipkit.Encoder, samples: list[Path]
) -> None:
    import torch
    from torch.utils.data import DataLoader

    loader: DataLoader[np.ndarray] = DataLoader(
        Images(starter, samples[:3]),  # type: ignore[arg-type]
        batch_size=3,
        num_workers=1,
        multiprocessing_context="spawn",
    )
    (batch,) = loader
    assert isinstance(batch, torch.Tensor)
    height, width = starter.preprocess.size
    assert (batch.shape, batch.dtype) == ((3, 3, height, width), torch.float32)
    features = starter._runtime.image_features(batch.numpy())
    expected = starter.encode_images(samples[:3])
    cosines = (clipkit.normalize_rows(features) * expected).sum(axis=1)
    assert cosines.min() > 0.999  # which decodes large JPEGs at a smaller scale
