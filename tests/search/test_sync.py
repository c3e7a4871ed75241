"""Syncs after disks were away and files deleted: what is kept, removed, and comes back."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from clipkit.search import folder_state
from clipkit.search.library import PhotoLibrary, SyncReport
from clipkit.search.store.local import writer
from tests.fakes import FakeEncoder, age_files, change_time, save_image


def _counts(report: SyncReport) -> tuple[int, int, int, int, int]:
    """Return added, moved, removed, unchanged, missing; nothing may have changed."""
    assert report.changed == 0
    return report.added, report.moved, report.removed, report.unchanged, report.missing


def _fill(folder: Path, number: int, *, blue: int = 0) -> None:
    for red in range(number):
        save_image(folder / f"{red}.png", (red, 1, blue))
    age_files(folder)


# Disks that come and go


def test_an_unmounted_disk_empties_no_index(
    library: PhotoLibrary, photos: Path, encoder: FakeEncoder
) -> None:
    library.sync()
    disk = photos.rename(photos.parent / "disk")
    photos.mkdir()  # the mount point that is left
    for is_first in (True, False):
        report = library.sync()
        assert _counts(report) == (0, 0, 0, 0, 4)
        assert report.has_news == is_first
        assert (len(library), library.num_missing) == (0, 4)
        assert library.search("red") == []
    photos.rmdir()
    disk.rename(photos)
    report = library.sync()
    assert _counts(report) == (0, 0, 0, 4, 0)
    assert report.has_news
    assert len(library.search("red")) == 4
    assert len(encoder.encoded_images) == 4


def test_what_is_gone_for_good_is_pruned(library: PhotoLibrary, photos: Path) -> None:
    library.sync()
    shutil.rmtree(photos)
    photos.mkdir()
    library.sync()
    assert _counts(library.sync(prune=True)) == (0, 0, 4, 0, 0)
    assert library.num_missing == 0
    assert _counts(library.sync()) == (0, 0, 0, 0, 0)


def test_what_is_missing_stays_so_while_other_images_come(
    library: PhotoLibrary, photos: Path, encoder: FakeEncoder
) -> None:
    """Somebody copies images to the mount point: that says nothing of the disk."""
    library.sync()
    disk = photos.rename(photos.parent / "disk")
    photos.mkdir()
    library.sync()
    _fill(photos, 30, blue=9)
    assert _counts(library.sync()) == (30, 0, 0, 0, 4)
    assert {hit.path.name for hit in library.search("red", k=99)} == {
        f"{red}.png" for red in range(30)
    }
    shutil.copytree(disk, photos, dirs_exist_ok=True)
    assert _counts(library.sync()) == (0, 0, 0, 34, 0)
    assert len(encoder.encoded_images) == 34


def test_a_disk_that_comes_back_with_other_times_is_unchanged(
    library: PhotoLibrary, photos: Path, encoder: FakeEncoder
) -> None:
    """As those of cameras do, whose clock is that of the place, when summer time ends."""
    library.sync()
    disk = photos.rename(photos.parent / "disk")
    photos.mkdir()
    library.sync()
    photos.rmdir()
    disk.rename(photos)
    for path in photos.rglob("*.png"):
        change_time(path, 3600 * 10**9)
    assert _counts(library.sync()) == (0, 0, 0, 4, 0)
    assert len(encoder.encoded_images) == 4


def test_a_part_that_is_missing_is_still_that_librarys(
    library: PhotoLibrary, photos: Path, encoder: FakeEncoder
) -> None:
    library.sync()
    disk = (photos / "trip").rename(photos.parent / "disk")
    (photos / "trip").mkdir()
    part = PhotoLibrary.open_nearest(photos / "trip", encoder)
    assert _counts(part.sync()) == (0, 0, 0, 0, 2)
    part = PhotoLibrary.open_nearest(photos / "trip", encoder)
    assert part.indexed_folder == photos
    assert (len(part), part.num_missing, len(library), library.num_missing) == (0, 2, 2, 2)
    (photos / "trip").rmdir()
    disk.rename(photos / "trip")
    assert _counts(part.sync()) == (0, 0, 0, 2, 0)
    assert _counts(library.sync()) == (0, 0, 0, 4, 0)
    assert len(encoder.encoded_images) == 4


def test_two_disks_in_turn_at_one_place_keep_their_embeddings(
    tmp_path: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where their files have the same names, as those of cameras have."""
    place, away = tmp_path / "usb", tmp_path / "away"
    for stick, blue in (("one", 100), ("two", 200)):
        _fill(tmp_path / stick / "DCIM", 12, blue=blue)
        for number in range(12):
            save_image(tmp_path / stick / f"{stick}{number}.png", (99, number, blue))
    age_files(tmp_path)
    (tmp_path / "two").rename(away)
    (tmp_path / "one").rename(place)
    library = PhotoLibrary.open(place, encoder)
    assert library.sync().added == 24
    device = 1000
    for turn in range(4):
        swap = tmp_path / "swap"
        place.rename(swap)
        away.rename(place)
        swap.rename(away)
        device += 1
        monkeypatch.setattr(folder_state, "device_of", lambda folder, device=device: device)
        report = library.sync()
        assert (report.removed, report.missing) == (0, 12)
        assert (report.changed, report.added) == (12, 12 if turn == 0 else 0)
        assert len(library.search("red", k=99)) == 24
        assert len(encoder.encoded_images) == 48
        monkeypatch.undo()


def test_a_disk_under_another_number_is_still_that_disk(
    library: PhotoLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.sync()
    monkeypatch.setattr(folder_state, "device_of", lambda folder: 1000)
    (photos / "red.png").unlink()
    assert _counts(library.sync()) == (0, 0, 1, 3, 0)
    monkeypatch.setattr(folder_state, "device_of", lambda folder: 1001)
    save_image(photos / "orange.png", (1, 1, 1))
    (photos / "trip" / "green.png").unlink()
    assert library.sync().missing == 1  # of three only one is as it was: another disk


def test_a_disk_inside_the_library_is_known_by_its_number(
    photos: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = photos.parent / "index"
    library = PhotoLibrary.open(photos, encoder, location=home)
    with monkeypatch.context() as patch:
        patch.setattr(folder_state, "device_of", lambda folder: 1 + (folder.name == "trip"))
        library.sync()
        (photos / "trip").rename(photos.parent / "aside")
        (photos / "trip").mkdir()
        (photos / "trip" / "readme.txt").touch()
        patch.setattr(folder_state, "device_of", lambda folder: 1)
        assert _counts(library.sync()) == (0, 0, 0, 2, 2)
        shutil.rmtree(photos / "trip")
        (photos.parent / "aside").rename(photos / "trip")
        assert _counts(library.sync()) == (0, 0, 0, 4, 0)
    assert len(encoder.encoded_images) == 4


def test_another_disk_in_the_place_of_one_inside_the_library_removes_nothing(
    photos: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system gives the number of one stick to the next."""
    monkeypatch.setattr(folder_state, "device_of", lambda folder: 1 + (folder.name == "trip"))
    library = PhotoLibrary.open(photos, encoder)
    library.sync()
    away = (photos / "trip").rename(photos.parent / "aside")
    _fill(photos / "trip", 3, blue=9)
    assert _counts(library.sync()) == (3, 0, 0, 2, 2)
    shutil.rmtree(photos / "trip")
    away.rename(photos / "trip")
    assert _counts(library.sync()) == (0, 0, 0, 4, 3)
    assert len(encoder.encoded_images) == 7


def test_a_disk_in_a_disk_inside_the_library_is_one_of_its_own(
    photos: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(photos / "trip" / "inner", 3, blue=9)
    age_files(photos)
    numbers = {"trip": 2, "inner": 3}
    monkeypatch.setattr(folder_state, "device_of", lambda folder: numbers.get(folder.name, 1))
    library = PhotoLibrary.open(photos, encoder)
    library.sync()
    shutil.rmtree(photos / "trip" / "inner")
    (photos / "trip" / "inner").mkdir()
    numbers["inner"] = 2
    assert _counts(library.sync()) == (0, 0, 0, 4, 3)


def test_a_folder_that_was_moved_to_a_disk_of_its_own_is_known_to_be_on_one(
    photos: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the times of its files, so that none of them is looked at again."""
    library = PhotoLibrary.open(photos, encoder)
    with monkeypatch.context() as patch:
        patch.setattr(folder_state, "device_of", lambda folder: 1)
        library.sync()
        patch.setattr(folder_state, "device_of", lambda folder: 1 + (folder.name == "trip"))
        assert _counts(library.sync()) == (0, 0, 0, 4, 0)
        shutil.rmtree(photos / "trip")
        (photos / "trip").mkdir()
        patch.setattr(folder_state, "device_of", lambda folder: 1)
        assert _counts(library.sync()) == (0, 0, 0, 2, 2)


def test_a_disks_images_that_were_copied_to_the_librarys_can_be_deleted(
    photos: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = PhotoLibrary.open(photos, encoder, location=photos.parent / "index")
    monkeypatch.setattr(folder_state, "device_of", lambda folder: 1 + (folder.name == "trip"))
    library.sync()
    monkeypatch.setattr(folder_state, "device_of", lambda folder: 1)
    (photos / "trip" / "green.png").unlink()
    assert _counts(library.sync()) == (0, 0, 1, 3, 0)


def test_links_to_a_disk_that_is_away_are_kept(
    photos: Path, encoder: FakeEncoder, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    _fill(disk / "deep", 2, blue=7)
    save_image(disk / "one.png", (9, 8, 7))
    (photos / "linked").symlink_to(disk / "deep")
    (photos / "one.png").symlink_to(disk / "one.png")
    age_files(tmp_path)
    library = PhotoLibrary.open(photos, encoder)
    assert library.sync().added == 7
    disk.rename(tmp_path / "unplugged")
    assert _counts(library.sync()) == (0, 0, 0, 4, 3)
    (tmp_path / "unplugged").rename(disk)
    assert _counts(library.sync()) == (0, 0, 0, 7, 0)
    assert len(encoder.encoded_images) == 7


# What a person does is no reason to ask


def test_a_few_files_and_a_small_folder_are_removed_at_once(
    photos: Path, encoder: FakeEncoder
) -> None:
    _fill(photos / "small", 30)
    library = PhotoLibrary.open(photos, encoder)
    library.sync()
    (photos / "red.png").unlink()
    assert _counts(library.sync()) == (0, 0, 1, 33, 0)
    shutil.rmtree(photos / "trip")
    assert _counts(library.sync()) == (0, 0, 2, 31, 0)


def test_what_was_excluded_is_removed_however_much_it_is(
    photos: Path, encoder: FakeEncoder
) -> None:
    _fill(photos / "trip", 150)
    library = PhotoLibrary.open(photos, encoder)
    library.sync()
    assert _counts(library.sync(exclude=["trip"])) == (0, 0, 152, 2, 0)
    assert _counts(library.sync(exclude=["*.png"])) == (0, 0, 2, 0, 0)


def test_a_library_that_was_rearranged_is_moved_not_missing(
    photos: Path, encoder: FakeEncoder
) -> None:
    library = PhotoLibrary.open(photos, encoder)
    _fill(photos / "trip", 120)
    library.sync()
    aside = photos.rename(photos.parent / "aside")
    photos.mkdir()
    aside.rename(photos / "all")
    assert _counts(library.sync()) == (0, 124, 0, 0, 0)
    assert len(encoder.encoded_images) == 124


def test_missing_images_that_turn_up_elsewhere_are_moved(
    library: PhotoLibrary, photos: Path, encoder: FakeEncoder
) -> None:
    library.sync()
    disk = photos.rename(photos.parent / "disk")
    photos.mkdir()
    library.sync()
    shutil.copytree(disk, photos / "backup")
    assert _counts(library.sync()) == (0, 4, 0, 0, 0)
    shutil.copytree(disk, photos, dirs_exist_ok=True)
    assert _counts(library.sync()) == (4, 0, 0, 4, 0)
    assert len(encoder.encoded_images) == 4


# Embeddings of what was removed


def test_what_comes_back_after_its_removal_is_not_encoded_again(
    library: PhotoLibrary, photos: Path, encoder: FakeEncoder
) -> None:
    library.sync()
    outside = photos.parent / "outside"
    (photos / "trip").rename(outside)
    (photos / "red.png").rename(photos.parent / "red.png")
    (photos / "left.png").write_bytes((photos / "orange.png").read_bytes())
    assert _counts(library.sync()) == (1, 0, 3, 1, 0)
    outside.rename(photos / "trip")
    (photos.parent / "red.png").rename(photos / "other name.png")
    assert _counts(library.sync()) == (3, 0, 0, 2, 0)
    # As often as somebody does it; and two files of that content cost nothing either.
    save_image(photos / "trip" / "new.png", (9, 9, 9))
    for _ in range(3):
        (photos / "trip" / "blue.png").rename(outside)
        assert _counts(library.sync())[2] == 1
        shutil.copy(outside, photos / "trip" / "twin.png")
        outside.rename(photos / "trip" / "blue.png")
        assert _counts(library.sync())[0] == 2
        (photos / "trip" / "twin.png").unlink()
        assert _counts(library.sync())[2] == 1
    assert len(encoder.encoded_images) == 5
    fresh = PhotoLibrary.open(photos, FakeEncoder(), location=photos.parent / "fresh")
    fresh.sync()
    assert library.search("red") == fresh.search("red")


def test_an_edit_that_is_undone_is_not_encoded_again(
    library: PhotoLibrary, photos: Path, encoder: FakeEncoder
) -> None:
    library.sync()
    before = (photos / "red.png").read_bytes()
    save_image(photos / "red.png", (200, 0, 0))
    assert library.sync().changed == 1
    (photos / "red.png").write_bytes(before)
    assert library.sync().changed == 1
    (photos / "red.png").write_bytes(b"cut off by a full disk")
    assert len(library.sync().skipped) == 1
    (photos / "red.png").write_bytes(before)
    assert library.sync().added == 1
    assert encoder.encoded_images.count("red.png") == 3  # the third is what could not be read


def _set_back(location: Path, seconds: int) -> None:
    """Let what is not there have left so much earlier."""
    connection = sqlite3.connect(location / "catalog.sqlite")
    with connection:
        connection.execute("UPDATE absent SET left_at = left_at - ?", (seconds,))
    connection.close()


def test_embeddings_of_removed_images_are_let_go_after_a_month(
    library: PhotoLibrary, photos: Path, encoder: FakeEncoder
) -> None:
    library.sync()
    kept = (photos / "red.png").rename(photos.parent / "red.png")
    day = 24 * 3600
    for days, num_encoded in [(29, 0), (31, 1)]:
        encoder.encoded_images.clear()
        library.sync()
        _set_back(library.location, days * day)
        library.sync()
        kept.rename(photos / "red.png")
        assert library.sync().added == 1
        assert len(encoder.encoded_images) == num_encoded
        kept = (photos / "red.png").rename(kept)
    size = sum(path.stat().st_size for path in library.location.glob("vectors*"))
    assert size <= (3 + 2) * 4 * 2  # what was let go does not pile up


def test_missing_images_are_never_too_old(
    library: PhotoLibrary, photos: Path, encoder: FakeEncoder
) -> None:
    library.sync()
    disk = photos.rename(photos.parent / "disk")
    photos.mkdir()
    library.sync()
    _set_back(library.location, 10**9)
    library.sync()
    shutil.copytree(disk, photos, dirs_exist_ok=True)
    assert _counts(library.sync()) == (0, 0, 0, 4, 0)
    assert len(encoder.encoded_images) == 4


def test_no_more_embeddings_of_removed_images_are_kept_than_of_those_there(
    photos: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_REMOVED_ROWS", 2)
    _fill(photos, 12)
    library = PhotoLibrary.open(photos, encoder)
    library.sync()
    outside = photos.parent / "outside"
    outside.mkdir()
    for number in range(11):
        (photos / f"{number}.png").rename(outside / f"{number}.png")
    assert library.sync(prune=True).removed == 11
    assert sum(path.stat().st_size for path in library.location.glob("vectors*")) == 10 * 4 * 2
    for path in outside.iterdir():
        path.rename(photos / path.name)
    encoder.encoded_images.clear()
    library.sync()
    assert len(encoder.encoded_images) == 11 - 5  # as many as had stayed


# What a report says


def test_a_report_as_json_has_what_became_of_every_file(
    library: PhotoLibrary, photos: Path
) -> None:
    (photos / "bad.jpg").write_bytes(b"no image")
    (photos / ".hidden.png").write_bytes(b"")
    report = library.sync()
    values = report.to_dict()
    assert json.loads(json.dumps(values)) == values
    assert values == {
        "folder": str(photos),
        "added": 4,
        "changed": 0,
        "moved": 0,
        "removed": 0,
        "unchanged": 0,
        "missing": 0,
        "skipped": [{"path": str(photos / "bad.jpg"), "reason": report.skipped[0].reason}],
        "left_out": [
            {
                "path": str(photos / ".hidden.png"),
                "reason": "is hidden: its name starts with a dot",
                "same_as": "",
            }
        ],
    }
