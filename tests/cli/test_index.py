"""``clipkit index``, with a fake encoder in the place of a model."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clipkit.cli import index
from clipkit.cli.main import main
from clipkit.search.library import PhotoLibrary
from tests.fakes import FakeEncoder, save_picture


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> FakeEncoder:
    fake = FakeEncoder()
    monkeypatch.setattr(index, "load_encoder", lambda arguments: fake)
    return fake


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    save_picture(tmp_path / "my photos" / "red.png", (255, 0, 0))
    save_picture(tmp_path / "my photos" / "raw" / "blue.png", (0, 0, 255))
    return tmp_path / "my photos"


def test_index_reports_what_it_did(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.png").write_bytes(b"no picture")
    assert main(["index", "my photos"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ("my photos: 2 added, 0 changed, 0 removed, 0 unchanged, 1 skipped\n")
    assert captured.err == "1 picture skipped:\n  my photos/broken.png: is not a picture\n"
    (photos / "red.png").unlink()
    (photos / "broken.png").unlink()
    assert main(["index", "my photos"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ("my photos: 0 added, 0 changed, 1 removed, 1 unchanged, 0 skipped\n")
    assert captured.err == ""


def test_index_prints_the_report_as_json(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.png").write_bytes(b"no picture")
    assert main(["index", "my photos", "--json", "--strict"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "folder": "my photos",
        "added": 2,
        "changed": 0,
        "removed": 0,
        "unchanged": 0,
        "skipped": [{"path": "my photos/broken.png", "reason": "is not a picture"}],
    }
    assert captured.err == ""


def test_strict_without_skipped_pictures_is_success(photos: Path, encoder: FakeEncoder) -> None:
    assert main(["index", "my photos", "--strict"]) == 0


def test_exclude_and_hidden_are_kept_for_next_time(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    save_picture(photos / ".hidden.png", (9, 9, 9))
    for words, added in [
        (["--exclude", "raw", "--exclude", "x*"], 1),
        ([], 0),
        (["--include-hidden"], 1),
        ([], 0),
        (["--exclude", ""], 1),
    ]:
        assert main(["index", "my photos", *words]) == 0
        assert f": {added} added, 0 changed, 0 removed," in capsys.readouterr().out
    assert main(["index", "my photos", "--no-include-hidden"]) == 0
    assert ": 0 added, 0 changed, 1 removed," in capsys.readouterr().out


def test_rebuild_starts_anew_also_from_damage_and_from_another_model(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", "my photos"]) == 0
    encoder.space_id = "other-space"
    capsys.readouterr()
    assert main(["index", "my photos"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("clipkit: the index of my photos was built with fake")
    assert "clipkit index --rebuild 'my photos'" in error
    assert main(["index", "my photos", "--rebuild"]) == 0
    assert "2 added" in capsys.readouterr().out
    library = PhotoLibrary.open(photos)
    (library.location / "catalog.sqlite").write_bytes(b"no database" * 500)
    assert main(["index", "my photos"]) == 2
    assert "is damaged" in capsys.readouterr().err
    assert main(["index", "my photos", "--rebuild"]) == 0
    assert len(library) == 2


def test_a_model_that_cannot_be_loaded_costs_no_index(
    photos: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["index", "my photos"]) == 0
    monkeypatch.undo()
    monkeypatch.setenv("CLIPKIT_HOME", str(photos.parent / "home"))
    assert main(["index", str(photos), "--rebuild", "--model", "no-such-model"]) == 2
    assert len(PhotoLibrary.open(photos)) == 2


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder.batch_size = 1
    encoder.before_image = _interrupt_at(1)
    assert main(["index", "my photos"]) == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "interrupted: what is indexed so far is kept (pictures: 1) and can be searched with"
        "  clipkit search QUERY 'my photos' --no-indexing ; to go on, run"
        "  clipkit index 'my photos'\n"
    )


def test_a_missing_folder_is_one_line(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", "absent"]) == 2
    assert capsys.readouterr().err == "clipkit: absent: there is no such folder\n"


def _interrupt_at(count: int) -> Callable[[int], None]:
    def interrupt(number: int) -> None:
        if number == count:
            raise KeyboardInterrupt

    return interrupt
