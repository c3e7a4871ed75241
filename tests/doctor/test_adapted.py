"""The diagnoses of heads and concepts."""

from pathlib import Path

import pytest

from clipkit.doctor.adapted import diagnose_concept, diagnose_head
from clipkit.doctor.health import Diagnosis
from clipkit.encoder.encoder import Encoder
from clipkit.errors import CheckpointError
from tests.adaptation.test_concept import make_concept
from tests.adaptation.test_head import make_head
from tests.fakes import FakeEncoder


class WideEncoder(FakeEncoder):
    embed_dim = 8


def diagnosed(
    content: bytes, directory: Path, encoder: Encoder | None = None, *, is_head: bool = True
) -> Diagnosis:
    (directory / "one").write_bytes(content)
    check = diagnose_head if is_head else diagnose_concept
    return check(directory / "one", lambda name: encoder or FakeEncoder(name=name))


def test_a_head_of_its_model_passes_and_is_described(tmp_path: Path) -> None:
    diagnosis = diagnosed(make_head().to_bytes(), tmp_path)
    assert (diagnosis.kind, diagnosis.is_healthy) == ("head", True)
    assert [(check.name, check.verdict) for check in diagnosis.checks] == [
        ("head file", "ok"),
        ("model of the head", "ok"),
        ("dimensions", "ok"),
    ]
    assert diagnosis.checks[0].figure == "whole: 2 classes by gda"
    assert diagnosis.checks[1].figure == "space fake-space of fake"
    assert diagnosis.checks[2].figure == "4, and the embeddings of fake have 4"


def test_a_concept_of_its_model_passes_and_is_described(tmp_path: Path) -> None:
    diagnosis = diagnosed(make_concept().to_bytes(), tmp_path, is_head=False)
    assert (diagnosis.kind, diagnosis.is_healthy) == ("concept", True)
    assert diagnosis.checks[0].figure == (
        'whole: Rex, "a dog", taught from 5 images and 2 of other things on 2026-01-31'
    )
    assert [check.verdict for check in diagnosis.checks] == ["ok"] * 3


@pytest.mark.parametrize("is_head", [True, False], ids=["head", "concept"])
def test_what_is_wrong_is_a_problem(is_head: bool, tmp_path: Path) -> None:
    content = make_head().to_bytes() if is_head else make_concept().to_bytes()
    noun = "head" if is_head else "concept"
    (cut,) = diagnosed(content[:-1], tmp_path, is_head=is_head).problems
    assert f"is a damaged {noun}" in cut
    other = FakeEncoder(space_id="other-space", name="big")
    (of_another,) = diagnosed(content, tmp_path, other, is_head=is_head).problems
    assert "space fake-space of fake, and big is of space other-space" in of_another
    assert ("clipkit adapt" if is_head else "clipkit teach") in of_another
    (too_wide,) = diagnosed(content, tmp_path, WideEncoder(), is_head=is_head).problems
    assert "4, and the embeddings of fake have 8" in too_wide


def test_a_model_that_cannot_be_loaded_is_a_remark(tmp_path: Path) -> None:
    def load_named(name: str) -> Encoder:
        raise CheckpointError(f"no model is called {name}")

    path = tmp_path / "one"
    path.write_bytes(make_head().to_bytes())
    diagnosis = diagnose_head(path, load_named)
    assert diagnosis.is_healthy
    assert "no model is called fake" in diagnosis.remarks[0]
