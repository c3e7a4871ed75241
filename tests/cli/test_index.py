"""``clipkit index``, with a fake encoder in the place of a model."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import clipkit
from clipkit.bulk_embedding.embed import embed_source
from clipkit.cli import index, values
from clipkit.cli.main import main
from clipkit.search import watch as watching
from clipkit.search.library import PhotoLibrary
from tests.fakes import FakeEncoder, save_image

NO_FOLDER = (
    "no folder is indexed in your data directory; one with --here tells of itself:  "
    "clipkit index FOLDER --status\n"
)


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> FakeEncoder:
    fake = FakeEncoder()
    monkeypatch.setattr(index, "load_encoder", lambda arguments: fake)
    return fake


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    save_image(tmp_path / "my photos" / "red.png", (255, 0, 0))
    save_image(tmp_path / "my photos" / "raw" / "blue.png", (0, 0, 255))
    return tmp_path / "my photos"


def test_index_reports_what_it_did(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    assert main(["index", "my photos"]) == 0
    captured = capsys.readouterr()
    assert captured.out == (
        "my photos: 2 added, 0 changed, 0 moved, 0 removed, 0 unchanged, 1 skipped\n"
    )
    assert captured.err == "1 image skipped:\n  my photos/broken.png: is not an image\n"
    (photos / "red.png").unlink()
    (photos / "broken.png").unlink()
    assert main(["index", "my photos"]) == 0
    captured = capsys.readouterr()
    assert captured.out == (
        "my photos: 0 added, 0 changed, 0 moved, 1 removed, 1 unchanged, 0 skipped\n"
    )
    assert captured.err == ""


@pytest.fixture
def told_estimate(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve images, of which the first few are enough to tell how long all take."""
    for number in range(10):
        save_image(photos / f"{number}.png", (number, 9, 9))
    monkeypatch.setattr("clipkit.search.sync_progress.LEAST", 12)
    monkeypatch.setattr("clipkit.search.indexing_estimate._LEAST_SECONDS", 0)


def test_how_long_it_takes_is_said_by_the_first_images(
    told_estimate: None, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", "my photos"]) == 0
    line = capsys.readouterr().err
    assert line.startswith("12 images to index take about 1 s on this machine, at ")
    assert line.endswith(" s an image; Ctrl-C keeps what is done\n")


def test_index_prints_the_report_as_json(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    assert main(["index", "my photos", "--json", "--strict"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "folder": "my photos",
        "added": 2,
        "changed": 0,
        "moved": 0,
        "removed": 0,
        "unchanged": 0,
        "missing": 0,
        "skipped": [{"path": "my photos/broken.png", "reason": "is not an image"}],
        "left_out": [],
    }
    assert captured.err == ""


def test_strict_without_skipped_images_is_success(photos: Path, encoder: FakeEncoder) -> None:
    assert main(["index", "my photos", "--strict"]) == 0


def test_exclude_and_hidden_are_kept_for_next_time(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    save_image(photos / ".hidden.png", (9, 9, 9))
    for words, added in [
        (["--exclude", "raw", "--exclude", "x*"], 1),
        ([], 0),
        (["--include-hidden"], 1),
        ([], 0),
        (["--exclude", ""], 1),
    ]:
        assert main(["index", "my photos", *words]) == 0
        assert f": {added} added, 0 changed, 0 moved, 0 removed," in capsys.readouterr().out
    assert main(["index", "my photos", "--no-include-hidden"]) == 0
    assert ": 0 added, 0 changed, 0 moved, 1 removed," in capsys.readouterr().out


def test_rebuild_starts_anew_also_from_damage(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", "my photos"]) == 0
    capsys.readouterr()
    assert main(["index", "my photos", "--rebuild"]) == 0
    assert "2 added" in capsys.readouterr().out
    library = PhotoLibrary.open(photos)
    (library.location / "catalog.sqlite").write_bytes(b"no database" * 500)
    assert main(["index", "my photos"]) == 2
    assert "is damaged" in capsys.readouterr().err
    assert main(["index", "my photos", "--rebuild"]) == 0
    assert len(library) == 2


def test_other_weights_of_a_model_are_said_and_its_old_index_goes_with_rebuild(
    photos: Path,
    encoder: FakeEncoder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    models = [encoder, FakeEncoder(space_id="new-space", name=encoder.name)]
    monkeypatch.setattr(values, "model_name", str)  # takes the names that models have here
    monkeypatch.setattr(index, "load_encoder", lambda arguments: models[0])
    assert main(["index", "my photos", "--exclude", "blue*"]) == 0
    del models[0]
    capsys.readouterr()
    assert main(["index", "my photos"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("my photos: 1 added,")  # what was left out still is
    assert captured.err.startswith(
        "my photos was indexed with other weights or dimensions of fake, so its images are "
        "embedded again; the old index stays until you run  clipkit index "
        '"my photos" --model fake --rebuild\n'
    )
    assert len(PhotoLibrary.open_all("my photos")) == 2
    assert main(["index", "my photos", "--rebuild"]) == 0
    (left,) = PhotoLibrary.open_all("my photos")
    assert left.status().space_id == "new-space"
    assert left.kept_options == {"exclude": ("blue*",)}


def test_each_model_has_an_index_of_its_own(
    photos: Path,
    encoder: FakeEncoder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    models = {"starter": encoder, "other": FakeEncoder(space_id="other-space", name="other")}
    encoder.name = "starter"
    monkeypatch.setattr(values, "model_name", str)  # takes the names that models have here
    monkeypatch.setattr(index, "load_encoder", lambda arguments: models[arguments.model])
    assert main(["index", "my photos"]) == 0
    capsys.readouterr()
    assert main(["index", "my photos", "--model", "other"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("my photos: 2 added,")
    assert captured.err == (
        "my photos is indexed with starter; other makes an index of its own beside that\n"
    )
    for words, names in [([], ["starter", "other"]), (["--model", "other"], ["other"])]:
        assert main(["index", "my photos", "--status", "--json", *words]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [json.loads(line)["model"] for line in lines] == names
    assert main(["index", "my photos", "--status", "--model", "third"]) == 2
    assert "is not indexed with third: it is with starter, other" in capsys.readouterr().err
    # Only the model that is asked for is made anew, or forgotten.
    for name, number in [("starter", 4), ("other", 2)]:
        assert main(["index", "my photos", "--rebuild", "--model", "starter"]) == 0
        assert len(models[name].encoded_images) == number
    assert main(["index", "my photos", "--forget", "--model", "starter"]) == 0
    assert [library.model for library in PhotoLibrary.open_all(photos)] == ["other"]
    assert main(["index", "my photos", "--model", "other"]) == 0
    assert main(["index", "my photos"]) == 0
    assert len(models["other"].encoded_images) == 2
    capsys.readouterr()
    assert main(["index", "my photos", "--forget"]) == 0
    assert "forgot the 2 indexes of my photos" in capsys.readouterr().err
    assert PhotoLibrary.open_all(photos) == []
    assert list((photos.parent / "home" / "libraries").iterdir()) == []


def test_an_index_whose_folder_is_gone_is_named_and_can_be_forgotten(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["index", "my photos"])
    photos.rename(photos.parent / "disk")
    command = "clipkit index 'my photos' --forget"
    assert main(["index", "my photos"]) == 2
    assert "its index is kept: connect its disk, or, " in (error := capsys.readouterr().err)
    assert command in error
    assert main(["index", "--status"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{photos}\n"
    assert captured.err.endswith(f"run  clipkit index '{photos}' --forget\n")
    assert main(["index", "my photos", "--forget"]) == 0
    capsys.readouterr()
    assert main(["index", "--status"]) == 0
    assert capsys.readouterr() == ("", NO_FOLDER)
    assert main(["index", "my photos"]) == 2
    assert "there is no such folder\n" in capsys.readouterr().err


def test_a_model_that_cannot_be_loaded_costs_no_index(
    photos: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["index", "my photos"]) == 0
    monkeypatch.undo()
    monkeypatch.setenv("CLIPKIT_HOME", str(photos.parent / "home"))
    assert main(["index", str(photos), "--rebuild", "--model", "no-such-model"]) == 2
    assert len(PhotoLibrary.open(photos)) == 2


def test_ctrl_c_says_what_is_kept_and_how_to_resume(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder.batch_size = 1
    encoder.before_image = _interrupt_at(1)
    assert main(["index", "my photos"]) == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "interrupted: what is indexed so far is kept (images: 1) and can be searched with"
        "  clipkit search QUERY 'my photos' --no-indexing ; to resume, run"
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


def test_status_says_what_a_sync_would_see_and_changes_nothing(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    main(["index", "my photos"])
    save_image(photos / "new.png", (1, 2, 3))
    (photos / "red.png").unlink()
    capsys.readouterr()
    assert main(["index", "my photos", "--status", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    expected = {
        "folder": "my photos",
        "num_images": 2,
        "num_skipped": 1,
        "num_new": 1,
        "num_removed": 1,
        "num_missing": 0,
        "model": "fake",
        "space_id": "fake-space",
        "exclude": [],
    }
    assert {name: status[name] for name in expected} == expected
    assert len(encoder.encoded_images) == 3
    assert main(["index", "my photos", "--status"]) == 0
    assert "num_new         1\n" in capsys.readouterr().out


_REPORTED = {
    "num_new": "added",
    "num_changed": "changed",
    "num_removed": "removed",
    "num_unchanged": "unchanged",
    "num_missing": "missing",
}


def test_the_counts_of_status_are_those_of_index(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5):
        save_image(photos / "old" / f"{number}.png", (number, 1, 9))
    for name in ("broken", "broken too"):
        (photos / f"{name}.png").write_bytes(b"no image")
    (photos / "leads nowhere.png").symlink_to(photos / "absent.png")
    (photos / "linked").symlink_to(photos / "old")
    save_image(photos / ".hidden.png", (9, 9, 9))
    main(["index", "my photos"])
    (photos / "old" / "0.png").unlink()
    (photos / "broken too.png").unlink()
    save_image(photos / "old" / "1.png", (7, 7, 7), size=3)
    save_image(photos / "new.png", (1, 2, 3))
    for has_disk in (True, False):
        if not has_disk:
            photos.rename(photos.parent / "disk")
            photos.mkdir()
        capsys.readouterr()
        main(["index", "my photos", "--status", "--json"])
        status = json.loads(capsys.readouterr().out)
        assert main(["index", "my photos", "--json"]) == (0 if has_disk else 1)
        report = json.loads(capsys.readouterr().out)
        counts = {name: report[other] for name, other in _REPORTED.items()}
        counts["num_skipped"] = len(report["skipped"])
        counts["num_left_out"] = len(report["left_out"])
        assert {name: status[name] for name in counts} == counts
        expected = [1, 1, 1, 5, 0, 2, 2] if has_disk else [0, 0, 0, 0, 7, 0, 0]
        assert list(counts.values()) == expected


def test_an_unmounted_disk_is_told_and_pruned_only_when_asked_to(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", "my photos"]) == 0
    disk = photos.rename(photos.parent / "disk")
    photos.mkdir()
    for _ in range(2):
        capsys.readouterr()
        assert main(["index", "my photos"]) == 1
        captured = capsys.readouterr()
        assert captured.out == (
            "my photos: 0 added, 0 changed, 0 moved, 0 removed, 0 unchanged, 0 skipped, 2 missing\n"
        )
        assert captured.err.startswith("2 indexed images are not there, as when a disk is not")
        assert captured.err.endswith('if gone for good, run  clipkit index "my photos" --prune\n')
    photos.rmdir()
    disk.rename(photos)
    assert main(["index", "my photos"]) == 0
    assert "2 unchanged, 0 skipped\n" in capsys.readouterr().out
    (photos / "red.png").unlink()
    (photos / "raw" / "blue.png").unlink()
    assert main(["index", "my photos", "--prune"]) == 0
    assert "2 removed, 0 unchanged, 0 skipped\n" in capsys.readouterr().out
    assert len(encoder.encoded_images) == 2


def test_status_lists_the_folders_that_are_indexed(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", "--status"]) == 0
    assert capsys.readouterr() == ("", NO_FOLDER)
    main(["index", "my photos"])
    main(["index", "my photos/raw"])
    capsys.readouterr()
    assert main(["index", "--status", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"folder": str(photos), "is_there": True},
        {"folder": str(photos / "raw"), "is_there": True},
    ]


def test_a_folder_is_needed_for_all_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index"]) == 2
    assert "which folder? Give one, as in  clipkit index" in capsys.readouterr().err


def test_forget_deletes_the_index_and_nothing_else(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["index", "my photos"])
    location = PhotoLibrary.open(photos).location
    images = sorted(photos.rglob("*.png"))
    assert main(["index", "my photos", "--forget"]) == 0
    assert not location.exists()
    assert sorted(photos.rglob("*.png")) == images
    assert "forgot the index of my photos" in capsys.readouterr().err
    assert main(["index", "my photos", "--forget"]) == 0
    assert "nothing to forget" in capsys.readouterr().err


def test_an_index_kept_here_moves_with_its_folder(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["index", "my photos"])
    assert main(["index", "my photos", "--here"]) == 0
    assert "0 added, 0 changed, 0 moved, 0 removed, 2 unchanged" in capsys.readouterr().out
    photos.rename(photos.with_name("elsewhere"))
    assert main(["index", "elsewhere"]) == 0
    assert "0 added, 0 changed, 0 moved, 0 removed, 2 unchanged" in capsys.readouterr().out
    assert len(encoder.encoded_images) == 2


def test_what_is_left_out_on_purpose_is_counted_by_reason(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (".a.png", ".b.png", "c.png"):
        save_image(photos / name, (1, 1, 1))
    assert main(["index", "my photos", "--exclude", "c.*"]) == 0
    captured = capsys.readouterr()
    assert "2 added" in captured.out
    assert captured.err == (
        "left out: 2 x is hidden: its name starts with a dot\n"
        "left out: 1 x matches the exclude pattern c.*\n"
    )


def test_watch_goes_on_until_it_is_interrupted(
    photos: Path,
    encoder: FakeEncoder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def watch(folder: Path, stop: object) -> Iterator[bool]:
        yield False  # the watch has begun
        save_image(folder / "new.png", (1, 2, 3))
        yield True
        yield True  # nothing new for an image
        raise KeyboardInterrupt

    monkeypatch.setattr(watching, "watch_folder", watch)
    assert main(["index", "my photos", "--watch"]) == 130
    captured = capsys.readouterr()
    assert [line.split(",")[0] for line in captured.out.splitlines()] == [
        "my photos: 2 added",
        "my photos: 1 added",
    ]
    assert captured.err.startswith("watching my photos; Ctrl-C ends it\n")
    assert captured.err.endswith("\nstopped watching (images: 3)\n")


def test_crops_are_kept_for_next_time_and_leave_out_nothing_else(
    photos: Path,
    encoder: FakeEncoder,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["index", "my photos"]) == 0
    assert main(["index", "my photos", "--crops", "5"]) == 0
    assert capsys.readouterr().out.endswith(
        "my photos: 0 added, 0 changed, 0 moved, 0 removed, 2 unchanged, 0 skipped, 2 given crops\n"
    )
    save_image(photos / "new.png", (1, 2, 3))
    assert main(["index", "my photos"]) == 0
    assert main(["index", "my photos", "--status", "--json"]) == 0
    status = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (status["num_images"], status["crops"], status["num_uncropped"]) == (3, 5, 0)
    assert encoder.encoded_parts[-1] == ("new.png", 5)
    assert main(["index", "my photos", "--rebuild"]) == 0
    assert PhotoLibrary.open(photos).crops == 5
    assert main(["index", "my photos", "--crops", "1"]) == 0
    assert PhotoLibrary.open(photos).crops == 1


def test_a_rebuilt_index_keeps_what_it_was_told(photos: Path, encoder: FakeEncoder) -> None:
    save_image(photos / ".hidden.png", (9, 9, 9))
    told = ["--exclude", "raw", "--include-hidden", "--crops", "5"]
    assert main(["index", "my photos", *told]) == 0
    (crops,) = PhotoLibrary.open(photos).location.glob("crops-*")
    crops.unlink()  # what is damaged tells it all the same
    for words, found in [([], {".hidden.png", "red.png"}), (["--exclude", "red*"], None)]:
        assert main(["index", "my photos", "--rebuild", *words]) == 0
        library = PhotoLibrary.open(photos)
        exclude = tuple(words[1:]) or ("raw",)
        kept = {"exclude": exclude, "include_hidden": True, "crops": 5}
        assert library.kept_options == kept
        assert found in (None, {image.path.name for image in library.images()})
    told = ["--exclude", "", "--no-include-hidden", "--crops", "1"]
    assert main(["index", "my photos", "--rebuild", *told]) == 0
    assert PhotoLibrary.open(photos).kept_options == {}


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_rebuilding_here_is_of_the_index_that_is_elsewhere(
    photos: Path, encoder: FakeEncoder, is_damaged: bool
) -> None:
    assert main(["index", "my photos"]) == 0
    before = PhotoLibrary.open(photos).location
    if is_damaged:
        (before / "catalog.sqlite").write_bytes(b"no database" * 500)
    encoder.encoded_images.clear()
    assert main(["index", "my photos", "--rebuild", "--here"]) == 0
    assert sorted(encoder.encoded_images) == ["blue.png", "red.png"]
    assert PhotoLibrary.open(photos).location == photos / ".clipkit"
    assert not before.exists()


def test_a_rebuilding_where_nothing_can_be_written_deletes_nothing(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", "my photos"]) == 0
    (photos / ".clipkit").write_text("a file where the directory would be")
    assert main(["index", "my photos", "--rebuild", "--here"]) == 2
    assert f"cannot be written at {photos / '.clipkit'} (File exists)" in capsys.readouterr().err
    assert len(PhotoLibrary.open(photos)) == 2


@pytest.mark.parametrize(
    ("is_same_space", "told", "words"),
    [
        (True, ["--crops", "5"], "drop the crops (--crops 1)"),
        (False, [], "holds embeddings of starter"),
    ],
)
def test_a_rebuilding_that_is_refused_deletes_nothing(
    photos: Path,
    encoder: FakeEncoder,
    starter: clipkit.Encoder,
    capsys: pytest.CaptureFixture[str],
    is_same_space: bool,
    told: list[str],
    words: str,
) -> None:
    embed_source(photos, photos.parent / "out", starter)
    if is_same_space:
        encoder.space_id = starter.space_id
    assert main(["index", "my photos", *told]) == 0
    encoder.encoded_images.clear()
    assert main(["index", "my photos", "--rebuild", "--from", "out"]) == 2
    assert words in capsys.readouterr().err
    assert main(["index", "my photos"]) == 0
    assert "2 unchanged" in capsys.readouterr().out
    assert encoder.encoded_images == []


def test_ctrl_c_before_anything_is_kept_names_all_that_was_asked_for(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder.before_image = _interrupt_at(0)
    told = ["--exclude", "a b", "--no-include-hidden", "--here", "--crops", "5"]
    assert main(["index", "my photos", "--rebuild", *told, "--model", "ViT-B-32/openai"]) == 130
    assert capsys.readouterr().err == (
        "interrupted: what is indexed so far is kept (images: 0) and can be searched with"
        "  clipkit search QUERY 'my photos' --model ViT-B-32/openai --no-indexing ; to resume, run"
        "  clipkit index 'my photos' --model ViT-B-32/openai --exclude 'a b' --no-include-hidden"
        " --here --crops 5\n"
    )


def test_crops_go_with_a_folder_of_ones_own_index(
    photos: Path, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["index", "my photos", "--crops", "4"])
    assert "invalid choice: 4 (choose from 1, 5)" in capsys.readouterr().err
    for words in (
        ["--status", "--crops", "5"],
        ["my photos", "--status", "--crops", "1"],
        ["my photos", "--forget", "--crops", "1"],
    ):
        assert main(["index", *words]) == 2
        assert "--crops is about indexing a folder" in capsys.readouterr().err


def test_the_room_that_crops_take_is_said_with_the_time(
    told_estimate: None, encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", "my photos", "--crops", "5"]) == 0
    assert " s an image, and 0 MB on the disk, with 5 rows an image; Ctrl-C" in (
        capsys.readouterr().err
    )
