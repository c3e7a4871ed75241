"""clipkit.diagnose: what kind of thing is meant."""

from pathlib import Path

import pytest

import clipkit
from clipkit.doctor.diagnose import diagnose
from clipkit.errors import CheckpointError, InputError
from tests.doctor.test_calibration import calibration


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


@pytest.mark.parametrize("content", ["", "words", "{", "[1]", '{"of": "another kind"}'])
def test_other_files_are_refused_in_a_sentence(content: str, tmp_path: Path) -> None:
    path = tmp_path / "a file.txt"
    path.write_text(content)
    with pytest.raises(InputError, match="it is no calibration either"):
        diagnose(path)


def test_other_folders_and_names_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has not been indexed either"):
        diagnose(tmp_path)
    with pytest.raises(CheckpointError, match="no model is called"):
        diagnose("no-such-model")
    with pytest.raises(InputError, match="leave it out"):
        diagnose("starter", model="starter")
