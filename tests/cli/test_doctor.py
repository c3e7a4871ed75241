"""clipkit doctor: what it prints, its exit status, and what it refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome

Run = Callable[..., Outcome]


def test_alone_it_checks_the_starter_and_this_machine(run: Run) -> None:
    outcome = run("doctor")
    assert outcome.status == 0, outcome.out
    for label in ("weights file", "golden vectors, fp32 on onnx", "processor", "packages"):
        assert any(line.startswith(label) for line in outcome.out.splitlines())
    assert outcome.out.splitlines()[-1].startswith("verdict")
    report = json.loads(run("doctor", "--json").out)
    assert report["kind"] == "model"
    assert report["is_healthy"]
    assert report["machine"]["kind"] == "machine"
    assert {"name", "looked_at", "figure", "verdict", "advice"} == set(report["checks"][0])


def test_an_indexed_folder_is_checked(run: Run, samples: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in samples[:2]:
        shutil.copy(path, folder)
    refused = run("doctor", folder)
    assert refused.status == 2
    assert "nor is there an index of it" in refused.err
    run("index", folder)
    outcome = run("doctor", folder)
    assert outcome.status == 0, outcome.out
    assert "images embedded again" in outcome.out


def test_what_cannot_be_checked_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a note")
    (tmp_path / "empty").mkdir()
    for what, words in (
        ("no-such-model", "no model is called"),
        (tmp_path / "gone", "there is no file or directory"),
        (tmp_path / "empty", "is not a checkpoint"),
        (tmp_path / "notes.txt", "it is no calibration"),
    ):
        outcome = run("doctor", what)
        assert outcome.status == 2, what
        assert words in outcome.err
        assert len(outcome.err.strip().splitlines()) == 1
        assert outcome.out == ""


def test_a_model_goes_with_an_index_only(run: Run) -> None:
    outcome = run("doctor", "starter", "--model", "starter")
    assert outcome.status == 2
    assert "leave it out" in outcome.err


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x09\x00\x00\x00\x00\x00\x00\x00{"])
def test_damaged_weights_are_a_report(
    run: Run, tiny_checkpoint: Path, tmp_path: Path, content: bytes
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_checkpoint, copy)
    (copy / "open_clip_model.safetensors").write_bytes(content)
    outcome = run("doctor", copy)
    assert outcome.status == 1
    assert "PROBLEM" in outcome.out
    assert outcome.out.splitlines()[-1].split(maxsplit=1)[0] == "verdict"
    assert outcome.out.splitlines()[-1].split()[1:3] == ["1", "wrong;"]
