"""clipkit.load and clipkit.compile_model: which engine and precision a name becomes."""

import dataclasses
import shutil
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

import clipkit
from clipkit.encoder import loading
from clipkit.errors import CheckpointError
from clipkit.models.sources import resolve_source
from clipkit.runtime import compiled_autotune
from clipkit.runtime.autotune import Trial
from clipkit.runtime.bundle import MANIFEST, Bundle
from clipkit.runtime.cache import compiled_directory, find_compiled

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
    assert steps[-1] == "measuring what is fastest here"
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
    original = clipkit.load(tiny_checkpoint, engine="torch", device="cpu", cache_texts=False)
    for precision, least in (("fp32", 1 - 1e-6), ("int8", 0.99)):
        encoder = clipkit.load(tiny_checkpoint, precision=precision, cache_texts=False)
        assert (encoder.engine, encoder.precision) == ("onnx", precision)
        assert encoder.space_id == original.space_id
        for mine, theirs in (
            (encoder.encode_texts(TEXTS), original.encode_texts(TEXTS)),
            (encoder.encode_images(samples[:4]), original.encode_images(samples[:4])),
        ):
            assert (mine * theirs).sum(1).min() >= least
            assert not np.array_equal(mine, theirs)


@pytest.mark.usefixtures("compiled")
@pytest.mark.slow
def test_auto_takes_what_the_trial_chose_among_what_is_close(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.read(find_compiled(resolve_source(tiny_checkpoint)) or Path())
    assert bundle.precisions["int8"].is_close
    for chosen in ("fp32", "int8"):
        trial = loading_trial(bundle, chosen)
        monkeypatch.setattr(compiled_autotune, "compiled_trial", lambda *_, trial=trial: trial)
        assert clipkit.load(tiny_checkpoint).precision == chosen


def loading_trial(bundle: Bundle, chosen: str) -> Trial:
    remembered = compiled_autotune.compiled_trial(bundle)
    assert remembered is not None  # compiling measured it
    assert set(remembered.seconds) == {"fp32 on onnx", "int8 on onnx"}
    return Trial(f"{chosen} on onnx", {"fp32 on onnx": 1.0, "int8 on onnx": 1.0})


@pytest.mark.usefixtures("compiled")
@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
def test_texts_are_cached_unless_that_is_switched_off(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def calls(*, cache_texts: bool = True) -> int:
        encoder = clipkit.load(tiny_checkpoint, cache_texts=cache_texts)
        with patch.object(
            encoder._runtime, "text_features", wraps=encoder._runtime.text_features
        ) as text_features:
            encoder.encode_texts(TEXTS)
        return text_features.call_count

    assert [calls(cache_texts=False), calls(cache_texts=False)] == [1, 1]
    assert [calls(), calls()] == [1, 0]
    monkeypatch.setenv("CLIPKIT_NO_CACHE", "1")
    assert calls() == 1


def test_embeddings_of_texts_can_be_kept_in_memory_alone(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path))
    encoder = clipkit.load(tiny_checkpoint, cache_texts="memory")
    first = encoder.encode_texts(TEXTS)
    with patch.object(encoder._runtime, "text_features") as text_features:
        assert np.array_equal(encoder.encode_texts(TEXTS), first)
    assert not text_features.called
    assert not list(tmp_path.rglob("texts.sqlite"))
    assert not encoder.spec.cache_texts


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
    encoder = clipkit.load(tiny_checkpoint, precision="int8", cache_texts=False)
    texts = [*TEXTS, "a very old stone bridge over a river", "!"]
    for together, alone in (
        (encoder.encode_images(samples[:5]), [encoder.encode_images([s]) for s in samples[:5]]),
        (encoder.encode_texts(texts), [encoder.encode_texts([text]) for text in texts]),
    ):
        np.testing.assert_array_equal(together, np.concatenate(alone))
