import hashlib
from pathlib import Path

import pytest

from clipkit.errors import ImageReadError
from clipkit.pairs.picture_digest import picture_digest


def test_files_and_their_bytes_have_one_digest(samples: list[Path]) -> None:
    content = samples[0].read_bytes()
    expected = hashlib.sha256(content).digest()
    assert picture_digest(content) == picture_digest(str(samples[0])) == expected


@pytest.mark.parametrize(("name", "reason"), [("gone.png", "no such file"), ("", "is a folder")])
def test_what_cannot_be_read_is_told(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ImageReadError, match=reason):
        picture_digest(tmp_path / name)
