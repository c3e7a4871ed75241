"""Hashes and identities of files on a real disk."""

import hashlib
import os
from pathlib import Path

import pytest

from clipkit.files import file_identity, file_sha256, sha256_of


def test_a_path_and_an_open_file_have_one_hash(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 100_000)
    expected = hashlib.sha256(b"abc" * 100_000)
    assert file_sha256(path) == expected.hexdigest()
    with path.open("rb") as file:
        assert sha256_of(file) == expected.digest()


def _without_inode(path: Path) -> os.stat_result:
    """Return the status of a file as file systems without inode numbers give it."""
    found = path.stat()
    return os.stat_result([found[0], 0, *found[2:10]])


def test_all_paths_of_a_file_have_one_identity(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    (tmp_path / "a" / "other").touch()
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "hard").hardlink_to(tmp_path / "a" / "file")
    paths = [tmp_path / "a" / "file", tmp_path / "b" / "file", tmp_path / "hard"]
    assert len({file_identity(path) for path in paths}) == 1
    assert len({file_identity(path, path.stat()) for path in paths}) == 1
    assert file_identity(tmp_path / "a") == file_identity(tmp_path / "b")
    assert file_identity(tmp_path / "a" / "other") != file_identity(paths[0])


def test_without_inode_numbers_links_have_one_identity_and_two_files_never(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "other").touch()
    (tmp_path / "link").symlink_to("file")
    file, other, link = (
        file_identity(tmp_path / name, _without_inode(tmp_path / name))
        for name in ("file", "other", "link")
    )
    assert file == link != other


def test_what_is_not_there_has_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_identity(tmp_path / "gone")
