import hashlib
from pathlib import Path

import pytest

from clipkit.data.pair import image_digest
from clipkit.errors import ImageReadError


def test_files_and_their_bytes_have_one_digest(samples: list[Path]) -> None:
    content = samples[0].read_bytes()
    expected = hashlib.sha256(content).digest()
    assert image_digest(content) == image_digest(str(samples[0])) == expected


@pytest.mark.parametrize(("name", "reason"), [("gone.png", "no such file"), ("", "is a folder")])
def test_what_cannot_be_read_is_told(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ImageReadError, match=reason):
        image_digest(tmp_path / name)
