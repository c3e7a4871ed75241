"""Checkpoints and compiled models that an earlier clipkit has written: same space, same rows."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clipkit
from tests.compatibility.conftest import FILES, Clipkit

pytestmark = pytest.mark.slow

EXPECTED: dict[str, Any] = json.loads((FILES / "training" / "embeddings.json").read_text())
IMAGES = [FILES / "training" / "pairs" / f"{number:02}.png" for number in range(6)]
PLACES = {"final": Path("ended") / "final", "saved": Path("saved"), "compiled": Path("compiled")}
ENGINES = [("final", "torch"), ("saved", "torch"), ("compiled", "torch"), ("compiled", "onnx")]
TOLERANCE = 1e-5  # between engines and processors


def check_embeddings(encoder: clipkit.Encoder, name: str) -> None:
    expected = EXPECTED[name]
    assert encoder.space_id == expected["space_id"]
    for rows, values in (
        (encoder.encode_images(IMAGES), expected["images"]),
        (encoder.encode_texts(EXPECTED["captions"]), expected["texts"]),
    ):
        np.testing.assert_allclose(rows, values, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("name", "engine"), ENGINES)
def test_checkpoint_gives_the_same_space_and_embeddings(
    training: Path, name: str, engine: Any
) -> None:
    encoder = clipkit.load(training / PLACES[name], engine=engine, precision="fp32")

    assert encoder.engine == engine
    check_embeddings(encoder, name)


def test_compiled_model_is_chosen_by_itself(training: Path) -> None:
    encoder = clipkit.load(training / "compiled")

    assert encoder.engine == "onnx"
    assert encoder.space_id == EXPECTED["final"]["space_id"]


def test_compiled_model_that_was_changed_is_refused(training: Path) -> None:
    graph = training / "compiled" / "image_tower.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")

    with pytest.raises(clipkit.CheckpointError, match=r"image_tower\.onnx"):
        clipkit.load(training / "compiled", engine="onnx")


@pytest.mark.parametrize("step", ["step-00000003", "step-00000005"])
def test_checkpoint_of_a_running_training_is_a_model(training: Path, step: str) -> None:
    encoder = clipkit.load(training / "fine_tuning" / "checkpoints" / step, engine="torch")

    assert encoder.encode_images(IMAGES).shape == (6, 16)


def test_saving_again_writes_the_same_model(training: Path, tmp_path: Path) -> None:
    encoder = clipkit.load(training / "saved", engine="torch")

    encoder.save(tmp_path / "again")
    shutil.rmtree(training / "saved")

    again = clipkit.load(tmp_path / "again", engine="torch")
    check_embeddings(again, "saved")
    names = ("open_clip_model.safetensors", "open_clip_config.json", "tokenizer.json")
    for name in names:
        before = (FILES / "training" / "saved" / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == before


# The tiny vocabulary knows few words of the texts that models are examined by.
@pytest.mark.filterwarnings("always::clipkit.ClipkitWarning")
def test_doctor_finds_nothing_wrong(training: Path, clipkit_command: Clipkit) -> None:
    outcome = clipkit_command("doctor", training / "compiled", "--precision", "fp32", "--json")

    found = json.loads(outcome.out)
    expected = EXPECTED["compiled"]
    assert (outcome.status, found["is_healthy"]) == (0, True)
    assert found["space_id"] == expected["space_id"]
    assert f"{math.exp(expected['logit_scale']):.2f}" in found["scoring"]


def test_starter_is_the_space_that_indexes_were_made_in() -> None:
    encoder = clipkit.load("starter")

    assert (encoder.space_id, encoder.embed_dim) == ("99e77e9679ba13d0", 384)
