"""clipkit.make_model_card: names without folders, and where the facts come from."""

import shutil
from pathlib import Path

import pytest

import clipkit
from clipkit.evaluation.card import card
from clipkit.evaluation.card.measure import battery
from tests.fakes import FakeEncoder


@pytest.fixture(autouse=True)
def short_battery(monkeypatch: pytest.MonkeyPatch) -> None:
    short = [probe for probe in battery() if probe.name == "synonyms"]
    monkeypatch.setattr(card, "battery", lambda: short)


def test_a_model_of_ones_own_keeps_its_folder_to_itself(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "ann" / "birds"
    shutil.copytree(tiny_checkpoint, folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    encoder = clipkit.load(folder, engine="torch")
    found = clipkit.make_model_card(encoder)
    assert (found.model, found.space_id) == ("birds", encoder.space_id)
    assert found.origin.license == "mit"
    assert found.facts["images"].startswith("32 x 32 pixels")
    assert str(tmp_path) not in clipkit.model_card_text(found) + str(found.to_dict())


def test_an_encoder_that_load_did_not_make_has_no_known_origin() -> None:
    found = clipkit.make_model_card(FakeEncoder(name="local-dir:/home/ann/birds"))
    assert (found.model, found.origin) == ("birds", clipkit.ModelOrigin())
    assert [probe.verdict for probe in found.probes] == ["at chance"]


def test_changed_weights_get_no_card(tiny_checkpoint: Path) -> None:
    encoder = clipkit.load(tiny_checkpoint, engine="torch")
    next(iter(encoder.towers.image_encoder.parameters())).data.add_(1)
    with pytest.raises(clipkit.InputError, match="were changed"):
        clipkit.make_model_card(encoder)
