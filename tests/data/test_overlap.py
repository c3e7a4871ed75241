"""Images of a held-out set that are trained on too, found by content and with few files read."""

from pathlib import Path

import pytest

from clipkit.data import equal_images
from clipkit.data.overlap import shared_images
from clipkit.data.pair import Pair, image_digest
from clipkit.errors import ImageReadError
from clipkit.inputs.image_input import ImageInput
from tests.fake_pairs import ListSource


def pairs(**images: bytes) -> ListSource:
    return ListSource([Pair(content, ("a",), name) for name, content in images.items()])


def test_equal_bytes_are_the_same_image_under_any_name() -> None:
    train = pairs(first=b"one", second=b"two", third=b"three")
    held = pairs(other=b"two", own=b"six", last=b"three")
    assert shared_images(train, held) == ["other", "last"]


def test_an_image_is_named_once_however_often_it_is_trained_on() -> None:
    assert shared_images(pairs(a=b"one", b=b"one"), pairs(c=b"one", d=b"one")) == ["c", "d"]


def test_only_files_of_equal_size_and_equal_ends_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of b, c and e, which are of one size, c ends otherwise and e differs in the middle."""
    read: list[ImageInput] = []

    def digest(image: ImageInput) -> bytes:
        read.append(image)
        return image_digest(image)

    monkeypatch.setattr(equal_images, "image_digest", digest)
    middle = bytes(9000)
    contents = {
        "a": b"one",
        "b": middle + b"1",
        "c": middle + b"2",
        "d": b"none!!",
        "e": bytes(5000) + b"x" + bytes(3999) + b"1",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    files = [Pair(tmp_path / name, ("a",), name) for name in contents]
    assert shared_images(ListSource(files[:2]), ListSource(files[2:])) == []
    assert sorted(read, key=str) == [tmp_path / "b", tmp_path / "e"]


def test_images_that_cannot_be_read_are_no_ones(tmp_path: Path) -> None:
    gone = Pair(tmp_path / "gone", ("a",), "gone")
    bad = ImageReadError("bad", "is cut")
    train = ListSource([gone, bad, Pair(b"one", ("a",), "one")])
    assert shared_images(train, ListSource([gone, bad, Pair(b"one", ("a",), "1")])) == ["1"]
