"""Paths that are one file, and files that are no longer what was indexed, on a real disk."""

import os
import shutil
from pathlib import Path

import pytest

from clipkit.search.duplicates.file_checks import (
    files_as_indexed,
    still_as_indexed,
    with_same_bytes,
)
from clipkit.search.duplicates.groups import DuplicateGroup
from clipkit.search.ingest import hash_file
from clipkit.search.store.records import ImageFile
from tests.fakes import save_image


def _indexed(folder: Path, *paths: str) -> list[ImageFile]:
    """Return files as an index made just now has them."""
    found = []
    for path in paths:
        status = (folder / path).stat()
        found.append(ImageFile(path, b"1", status.st_size, 8, 8, mtime_ns=status.st_mtime_ns))
    return found


def _times(status: os.stat_result) -> dict[str, int]:
    names = ("st_mtime_ns", "st_atime_ns", "st_ctime_ns")
    return {name: getattr(status, name) for name in names}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_image(tmp_path / "real" / "a.png", (1, 2, 3))
    shutil.copy2(tmp_path / "real" / "a.png", tmp_path / "copy.png")
    return tmp_path


def _kept(folder: Path, *paths: str) -> list[str]:
    positions, files, missing = files_as_indexed(_indexed(folder, *paths), folder)
    assert missing == []
    assert [paths[position] for position in positions] == [file.path for file in files]
    return [file.path for file in files]


def test_a_link_to_a_file_is_that_file_under_the_name_that_is_no_link(folder: Path) -> None:
    (folder / "a link.png").symlink_to("real/a.png")
    assert _kept(folder, "a link.png", "copy.png", "real/a.png") == ["copy.png", "real/a.png"]


def test_a_file_seen_through_two_folders_is_one(folder: Path) -> None:
    (folder / "album").symlink_to("real")
    assert _kept(folder, "album/a.png", "real/a.png") == ["real/a.png"]


def test_hard_links_are_one_file_under_the_first_name(folder: Path) -> None:
    (folder / "second.png").hardlink_to(folder / "real" / "a.png")
    assert _kept(folder, "second.png", "real/a.png", "copy.png") == ["real/a.png", "copy.png"]
    _, (copy, original), _ = files_as_indexed(_indexed(folder, "copy.png", "real/a.png"), folder)
    assert (copy.num_bytes_to_gain, original.num_bytes_to_gain) == (copy.num_bytes, 0)


def test_a_link_out_of_the_folder_gains_nothing(folder: Path) -> None:
    part = folder / "part"
    part.mkdir()
    (part / "a.png").symlink_to("../real/a.png")
    shutil.copy2(folder / "copy.png", part / "b.png")
    _, (link, copy), _ = files_as_indexed(_indexed(part, "a.png", "b.png"), part)
    assert (link.is_link, link.num_bytes_to_gain) == (True, 0)
    assert (copy.is_link, copy.num_bytes_to_gain) == (False, copy.num_bytes)


def test_a_folder_that_is_itself_reached_by_a_link_holds_no_links(folder: Path) -> None:
    (folder / "album").symlink_to("real")
    _, (file,), _ = files_as_indexed(_indexed(folder / "album", "a.png"), folder / "album")
    assert not file.is_link


def test_without_inode_numbers_files_differ_and_links_do_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a link.png").symlink_to("real/a.png")
    files = _indexed(folder, "a link.png", "copy.png", "real/a.png")
    stat = Path.stat

    def without_inode(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = stat(self, follow_symlinks=follow_symlinks)
        return os.stat_result([found[0], 0, *found[2:10]], _times(found))

    monkeypatch.setattr(Path, "stat", without_inode)
    assert [file.path for file in files_as_indexed(files, folder)[1]] == ["copy.png", "real/a.png"]


def _on_another_disk(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let what lies in a folder seem to be on another disk than the rest."""
    stat = Path.stat

    def with_device(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = stat(self, follow_symlinks=follow_symlinks)
        if not self.is_relative_to(folder):
            return found
        return os.stat_result([*found[:2], found.st_dev + 1, *found[3:10]], _times(found))

    monkeypatch.setattr(Path, "stat", with_device)


def test_a_disk_that_is_seen_twice_under_two_numbers_has_each_file_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "merged").mkdir()
    (folder / "merged" / "a.png").hardlink_to(folder / "real" / "a.png")
    files = _indexed(folder, "merged/a.png", "real/a.png")
    _on_another_disk(monkeypatch, folder / "merged")
    assert [file.path for file in files_as_indexed(files, folder)[1]] == ["merged/a.png"]


def test_a_copy_on_another_disk_is_another_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "stick").mkdir()
    shutil.copy2(folder / "copy.png", folder / "stick")
    copies = folder / "copy.png", folder / "stick" / "copy.png"
    while copies[0].stat().st_ctime_ns == copies[1].stat().st_ctime_ns:
        copies[1].chmod(0o600)  # until the clock has ticked: its entry is another
    files = _indexed(folder, "copy.png", "stick/copy.png")
    _on_another_disk(monkeypatch, folder / "stick")
    assert len(files_as_indexed(files, folder)[1]) == 2


def test_what_is_gone_or_changed_is_left_out_with_the_reason(folder: Path) -> None:
    files = _indexed(folder, "copy.png", "real/a.png")
    (folder / "copy.png").unlink()
    save_image(folder / "real" / "a.png", (3, 2, 1), size=9)
    _, kept, missing = files_as_indexed(files, folder)
    assert kept == []
    assert [error.reason for error in missing] == [
        "is gone since it was indexed",
        "has changed since it was indexed",
    ]


def test_a_group_is_confirmed_by_the_bytes_of_its_files(folder: Path) -> None:
    files = [
        file._replace(digest=hash_file(folder / file.path))
        for file in _indexed(folder, "copy.png", "real/a.png")
    ]
    group = DuplicateGroup("exact", tuple(files), 1.0)
    assert with_same_bytes(group, folder) is not None
    path = folder / "copy.png"
    times = path.stat()
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert still_as_indexed(group, folder) is not None
    assert with_same_bytes(group, folder) is None


def test_a_group_that_is_down_to_one_file_is_none(folder: Path) -> None:
    shutil.copy2(folder / "copy.png", folder / "third.png")
    files = tuple(_indexed(folder, "copy.png", "real/a.png", "third.png"))
    group = DuplicateGroup("near", files, 0.9)
    (folder / "copy.png").unlink()
    now = still_as_indexed(group, folder)
    assert now is not None
    assert [file.path for file in now.images] == ["real/a.png", "third.png"]
    (folder / "third.png").unlink()
    (folder / "third.png").symlink_to("real/a.png")
    assert still_as_indexed(group, folder) is None
