"""clipkit.diagnose: what kind of thing is meant."""

from pathlib import Path

import pytest

import clipkit
from clipkit.doctor.diagnose import diagnose
from clipkit.errors import CheckpointError, InputError
from tests.adaptation.test_concept import make_concept
from tests.adaptation.test_head import make_head
from tests.doctor.test_calibration import calibration
from tests.fakes import FakeEncoder, save_image


def test_each_kind_is_told_by_what_lies_there(
    starter: clipkit.Encoder, samples: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.jpg").write_bytes(samples[5].read_bytes())
    clipkit.PhotoLibrary.open(folder, starter).sync()
    made = calibration(model="starter", space_id=starter.space_id, scoring=starter.scoring)
    made.save(tmp_path / "calibration.json")
    assert diagnose(folder).kind == "index"
    assert diagnose(str(tmp_path / "calibration.json")).kind == "calibration"
    assert diagnose(folder, model="starter").is_healthy


def test_heads_and_concepts_are_told_whatever_their_files_are_called(tmp_path: Path) -> None:
    for name, kind, content in (
        ("a.safetensors", "head", make_head().to_bytes()),
        ("b.json", "concept", make_concept().to_bytes()),
        ("c", "concept", make_concept().to_bytes()[:300]),  # cut short in what it says of itself
    ):
        (tmp_path / name).write_bytes(content)
        diagnosis = diagnose(tmp_path / name, model="starter")
        assert diagnosis.kind == kind
        assert len(diagnosis.problems) == 1  # of another model, or cut short


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").touch()
    with pytest.raises(InputError, match="is empty"):
        diagnose(tmp_path / "a.safetensors")


@pytest.mark.parametrize("content", ["words", "{", "[1]", '{"of": "another kind"}'])
def test_other_files_are_refused_in_a_sentence(content: str, tmp_path: Path) -> None:
    path = tmp_path / "a file.txt"
    path.write_text(content)
    with pytest.raises(InputError, match="it is no calibration"):
        diagnose(path)


def test_other_folders_and_names_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nor is there an index of it, in it or in"):
        diagnose(tmp_path)
    with pytest.raises(CheckpointError, match="no model is called"):
        diagnose("no-such-model")
    with pytest.raises(InputError, match="leave it out"):
        diagnose("starter", model="starter")


def test_a_file_of_json_is_not_taken_for_weights(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text('{"of": "another kind"}')
    with pytest.raises(InputError, match=r"calibration.json is no calibration \(clipkit"):
        diagnose(path)
    path.write_text('{"clipkit_calibration": 1, "model": "star')
    with pytest.raises(InputError, match=r"calibration.json cannot be read: .* got no JSON"):
        diagnose(path)


def test_what_to_run_on_a_folder_can_be_pasted(tmp_path: Path) -> None:
    folder = tmp_path / "my photos"
    folder.mkdir()
    with pytest.raises(InputError, match=f"clipkit index '{folder}'"):
        diagnose(folder)


def test_a_part_of_an_indexed_folder_is_said_to_be_one(tmp_path: Path) -> None:
    part = tmp_path / "photos" / "2020"
    save_image(part / "0.png", (1, 2, 3))
    clipkit.PhotoLibrary.open(tmp_path / "photos", FakeEncoder()).sync()
    with pytest.raises(InputError, match=f"clipkit doctor {tmp_path / 'photos'}"):
        diagnose(part)
