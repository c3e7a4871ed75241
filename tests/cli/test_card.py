"""``clipkit card``: where the card goes, and what is refused before any work."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import clipkit
from clipkit.cli import card as command
from clipkit.evaluation.card import card
from clipkit.evaluation.card.measure import battery
from tests.cli.conftest import Outcome
from tests.fakes import FakeEncoder

Run = Callable[..., Outcome]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeEncoder:
    """A model that is loaded at once, and asked by one probe."""
    encoder = FakeEncoder()
    short = [probe for probe in battery() if probe.name == "synonyms"]
    monkeypatch.setattr(card, "battery", lambda: short)
    monkeypatch.setattr(command, "load_encoder", lambda arguments: encoder)
    return encoder


@pytest.mark.usefixtures("fake")
def test_the_card_is_printed_or_written_and_never_over_what_is_there(
    run: Run, tmp_path: Path
) -> None:
    printed = run("card")
    assert printed.status == 0 and printed.out.startswith("---\n"), printed.err
    readme = tmp_path / "README.md"
    written = run("card", "-o", readme)
    assert written.out.startswith("synonyms: cannot name things by less usual words (")
    assert written.err.endswith(f"wrote {readme}\n")
    assert readme.read_text() == printed.out.removesuffix("\n")
    readme.write_text("mine")
    refused = run("card", "-o", readme)
    assert refused.status == 2 and "is there already" in refused.err and not refused.out
    assert readme.read_text() == "mine"
    assert run("card", "-o", readme, "--force").status == 0
    assert readme.read_text() == printed.out.removesuffix("\n")
    assert run("card", "-o", readme).status == 2  # a person may have edited it


def test_json_is_what_the_api_returns(run: Run, fake: FakeEncoder) -> None:
    outcome = run("card", "--json")
    expected = clipkit.make_model_card(fake).to_dict()
    assert json.loads(outcome.out) == json.loads(json.dumps(expected))


def test_an_output_that_cannot_be_written_is_refused_before_loading(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "load_encoder", pytest.fail)
    for path in (tmp_path, tmp_path / "none" / "README.md"):
        outcome = run("card", "-o", path)
        assert outcome.status == 2 and "cannot be written" in outcome.err
        assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("damage", ["weights", "config", "text", "unknown"])
def test_a_model_that_cannot_be_loaded_is_one_sentence(
    run: Run, tmp_path: Path, tiny_checkpoint: Path, damage: str
) -> None:
    for file in tiny_checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = tmp_path / "open_clip_config.json"
    if damage == "weights":
        weights = tmp_path / "open_clip_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif damage == "config":
        config.write_text("{")
    elif damage == "text":
        content = json.loads(config.read_text())
        del content["model_cfg"]["text_cfg"]
        config.write_text(json.dumps(content))
    name = "nosuchmodel" if damage == "unknown" else tmp_path
    outcome = run("card", name, "--engine", "torch")
    assert outcome.status == 2 and outcome.out == ""
    assert outcome.err.count("\n") == 1 and "Traceback" not in outcome.err
