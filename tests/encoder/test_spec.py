"""An encoder in another process, and its spec as JSON: the same model, or an error."""

import dataclasses
import json
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clipkit
from clipkit.encoder.engines import Engine
from clipkit.errors import InputError, SpaceMismatchError
from tests.fakes import FakeEncoder

TEXTS = ["a cat", "a red boat on a lake"]


def embeddings_and_scores(
    classifier: clipkit.ZeroShotClassifier, path: Path
) -> tuple[clipkit.EmbeddingArray, list[list[clipkit.LabelScore]], int]:
    encoder = classifier._encoder
    return encoder.encode_images([path]), classifier.classify([path]), os.getpid()


@pytest.mark.slow
def test_an_encoder_and_a_classifier_work_in_another_process(samples: list[Path]) -> None:
    encoder = clipkit.load(cache_texts=False)
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


def test_an_encoder_keeps_its_limits_when_it_is_pickled() -> None:
    encoder = clipkit.load(cache_texts=False)
    encoder.max_pixels, encoder.batch_size = 1234, 5
    again = pickle.loads(pickle.dumps(encoder))
    assert (again.max_pixels, again.batch_size) == (1234, 5)
    assert again.spec == encoder.spec


IN_ANOTHER_PROCESS = """
import json, sys
import clipkit
spec = clipkit.EncoderSpec.from_dict(json.load(sys.stdin))
encoder = spec.load()
assert encoder.spec == spec
rows = encoder.encode_texts(["a cat", "a red boat on a lake"])
print(json.dumps([repr(encoder), rows.tobytes().hex()]))
"""


@pytest.mark.parametrize("engine", ["onnx", pytest.param("torch", marks=pytest.mark.slow)])
def test_a_spec_as_json_makes_the_same_encoder_in_another_process(engine: Engine) -> None:
    encoder = clipkit.load("starter", engine=engine, device="cpu", cache_texts=False)
    spec = encoder.spec
    assert spec is not None
    done = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS],
        input=json.dumps(spec.to_dict()),
        capture_output=True,
        text=True,
        check=True,
    )
    described, rows = json.loads(done.stdout)
    assert described == repr(encoder)
    assert bytes.fromhex(rows) == encoder.encode_texts(TEXTS).tobytes()


def test_a_spec_says_what_load_was_told_and_what_it_chose(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    encoder = clipkit.load(tiny_checkpoint, device="cpu", cache_dir=tmp_path, cache_texts=False)
    spec = encoder.spec
    assert isinstance(spec, clipkit.EncoderSpec)
    fields = {
        "name": f"local-dir:{tiny_checkpoint}",
        "engine": "torch",
        "precision": "fp32",
        "device": "cpu",
        "space_id": encoder.space_id,
        "cache_dir": str(tmp_path),
        "cache_texts": False,
        "truncate_dim": None,
    }
    assert spec.to_dict() == fields
    assert clipkit.EncoderSpec.from_dict(fields) == spec == pickle.loads(pickle.dumps(spec))
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "starter"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": None}, "name must not be None"),
        ({"cache_texts": "no"}, "cache_texts must not be 'no'"),
        ({"colour": "red"}, "colour is unknown"),
    ],
)
def test_what_describes_no_encoder_is_told(changes: dict[str, Any], message: str) -> None:
    fields = dict.fromkeys(["name", "engine", "precision", "device", "space_id"], "x")
    assert clipkit.EncoderSpec.from_dict(fields).cache_texts
    with pytest.raises(InputError, match=message):
        clipkit.EncoderSpec.from_dict({**fields, **changes})
    del fields["space_id"]
    with pytest.raises(InputError, match=r"to_dict\(\) makes it: space_id is missing"):
        clipkit.EncoderSpec.from_dict(fields)


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


def test_a_truncated_encoder_comes_back_truncated() -> None:
    encoder = clipkit.load(cache_texts=False, truncate_dim=64)
    again = pickle.loads(pickle.dumps(encoder))
    assert repr(again) == repr(encoder)
    assert clipkit.EncoderSpec.from_dict(encoder.spec.to_dict()) == encoder.spec
    np.testing.assert_array_equal(again.encode_texts(TEXTS), encoder.encode_texts(TEXTS))
    older = {name: value for name, value in encoder.spec.to_dict().items() if "trunc" not in name}
    assert clipkit.EncoderSpec.from_dict(older).truncate_dim is None
