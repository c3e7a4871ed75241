"""``clipkit duplicates`` on real files: what it names can be removed without loss."""

import json
import os
import shutil
from pathlib import Path

import pytest

from clipkit.cli import duplicates
from clipkit.cli.main import main
from clipkit.search.duplicates import search
from clipkit.search.duplicates.groups import exact_groups
from clipkit.search.library import PhotoLibrary
from clipkit.search.store.records import ImageFile
from tests.fakes import FakeEncoder, save_image

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake = FakeEncoder()
    monkeypatch.setattr(duplicates, "load_encoder", lambda arguments: fake)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    save_image(folder / "originals" / "red.png", (255, 0, 0))
    (folder / "favourites").mkdir()
    return folder


def _spares(capsys: Captured, *words: str) -> list[str]:
    main(["duplicates", "photos", "--exact", "-0", *words])
    captured = capsys.readouterr()
    return captured.out.split("\0")[:-1]


def test_a_link_is_no_copy_and_removing_the_spares_loses_nothing(
    photos: Path, capsys: Captured
) -> None:
    (photos / "favourites" / "red.png").symlink_to("../originals/red.png")
    assert _spares(capsys) == []
    assert main(["duplicates", "photos", "--exact"]) == 1


def test_an_index_that_lists_a_link_as_a_file_is_no_danger(
    photos: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Made while there were two files; one has become a link since, without a new time or size.
    copy = photos / "favourites" / "red.png"
    shutil.copy2(photos / "originals" / "red.png", copy)
    assert len(_spares(capsys)) == 1
    copy.unlink()
    copy.symlink_to("../originals/red.png")
    assert _spares(capsys, "-n") == []


def test_three_names_of_which_two_are_hard_links_are_two_files(
    photos: Path, capsys: Captured
) -> None:
    original = photos / "originals" / "red.png"
    (photos / "favourites" / "red.png").hardlink_to(original)
    assert _spares(capsys) == []
    shutil.copy2(original, photos / "a copy.png")
    assert main(["duplicates", "photos", "--exact", "--json"]) == 0
    (group,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert len(group["images"]) == 2
    # Only the copy's bytes are free once it is removed, so it is the spare one.
    assert [image["path"] for image in group["images"]][1:] == ["photos/a copy.png"]
    assert main(["duplicates", "photos", "--exact"]) == 0
    size = original.stat().st_size
    assert f"together {size / 1e6:.1f} MB" in capsys.readouterr().err


def test_no_path_looks_like_an_option(photos: Path, capsys: Captured) -> None:
    shutil.copy2(photos / "originals" / "red.png", photos)
    photos.rename(photos.parent / "-rf")
    for folder in ("./-rf", "."):
        main(["duplicates", folder, "--exact", "-0"])
        assert capsys.readouterr().out == "./-rf/red.png\0"


def test_a_best_copy_that_is_gone_is_not_relied_on(photos: Path, capsys: Captured) -> None:
    for name in ("a.png", "b.png"):
        shutil.copy2(photos / "originals" / "red.png", photos / name)
    assert _spares(capsys) == ["photos/b.png", "photos/originals/red.png"]
    (photos / "a.png").unlink()
    assert _spares(capsys, "-n") == ["photos/originals/red.png"]
    (photos / "b.png").unlink()
    assert _spares(capsys, "-n") == []
    assert main(["duplicates", "photos", "--exact", "-n"]) == 1
    errors = capsys.readouterr().err
    assert "a.png: is gone since it was indexed" in errors
    assert "no duplicates found" in errors


def test_a_best_copy_that_was_overwritten_is_not_relied_on(photos: Path, capsys: Captured) -> None:
    copy = photos / "a.png"
    shutil.copy2(photos / "originals" / "red.png", copy)
    assert _spares(capsys) == ["photos/originals/red.png"]
    save_image(copy, (0, 0, 255))
    assert _spares(capsys, "-n") == []
    assert main(["duplicates", "photos", "--exact", "-n"]) == 1
    assert "a.png: has changed since it was indexed" in capsys.readouterr().err


def test_what_changes_within_a_tick_of_the_clock_is_seen_by_its_bytes(
    photos: Path, capsys: Captured
) -> None:
    copy = photos / "a.png"
    shutil.copy2(photos / "originals" / "red.png", copy)
    times = copy.stat()
    assert _spares(capsys) == ["photos/originals/red.png"]
    data = copy.read_bytes()
    copy.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert _spares(capsys, "-n") == []


def test_a_file_that_took_the_name_of_another_of_its_size_and_time_is_no_copy(
    photos: Path, capsys: Captured
) -> None:
    """As scans without compression are, that were unpacked with one time."""
    save_image(photos / "page1.bmp", (1, 2, 3))
    save_image(photos / "page2.bmp", (4, 5, 6))
    shutil.copy2(photos / "page2.bmp", photos / "page3.bmp")
    for path in photos.glob("*.bmp"):
        os.utime(path, (1e9, 1e9))
    assert _spares(capsys) == ["photos/page3.bmp"]
    (photos / "page1.bmp").replace(photos / "page2.bmp")
    assert _spares(capsys) == []


def test_files_are_looked_at_again_when_they_are_printed(
    photos: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy2(photos / "originals" / "red.png", photos / "a.png")
    find = PhotoLibrary.duplicates

    def find_and_lose(self: PhotoLibrary, **options: object) -> object:
        report = find(self, **options)  # type: ignore[arg-type]
        assert report.groups
        (photos / "a.png").unlink()
        return report

    monkeypatch.setattr(PhotoLibrary, "duplicates", find_and_lose)
    assert _spares(capsys) == []


def test_what_goes_while_images_are_compared_is_not_named(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy2(photos / "originals" / "red.png", photos / "a.png")
    library = PhotoLibrary.open(photos, FakeEncoder())
    library.sync()
    group = exact_groups

    def group_and_lose(files: list[ImageFile]) -> object:
        (photos / "a.png").unlink(missing_ok=True)
        return group(files)

    monkeypatch.setattr(search, "exact_groups", group_and_lose)
    assert library.duplicates(find_near=False).groups == []


def test_where_the_disk_is_away_no_command_says_that_there_is_nothing(
    photos: Path, tmp_path: Path, capsys: Captured
) -> None:
    assert main(["duplicates", "photos"]) == 1
    assert main(["export", "photos", "-o", "export"]) == 0
    exported = {file.name: file.read_bytes() for file in (tmp_path / "export").iterdir()}
    photos.rename(tmp_path / "away")
    photos.mkdir()
    away = "none of the 1 images indexed in photos is there: connect their disk and run the same "
    capsys.readouterr()
    assert main(["duplicates", "photos", "-0"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith(away)
    # The export may be all that is left of what was there.
    assert main(["export", "photos", "-o", "export"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"clipkit: {away}command again; nothing was written\n"
    assert {file.name: file.read_bytes() for file in (tmp_path / "export").iterdir()} == exported
