import hashlib
from pathlib import Path

import pytest

from clipkit.data.pair import file_identity, image_digest
from clipkit.errors import ImageReadError


def test_files_and_their_bytes_have_one_digest(samples: list[Path]) -> None:
    content = samples[0].read_bytes()
    expected = hashlib.sha256(content).digest()
    assert image_digest(content) == image_digest(str(samples[0])) == expected


def test_a_file_seen_through_two_folders_is_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    (tmp_path / "b").symlink_to("a")
    paths = [tmp_path / "a" / "file", tmp_path / "b" / "file"]
    assert len({file_identity(path) for path in paths}) == 1
    gone = [tmp_path / "a" / "gone", tmp_path / "b" / "gone", Path("null\0")]
    assert len({file_identity(path) for path in gone}) == 3


@pytest.mark.parametrize(("name", "reason"), [("gone.png", "no such file"), ("", "is a folder")])
def test_what_cannot_be_read_is_told(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ImageReadError, match=reason):
        image_digest(tmp_path / name)
