"""Which images of datasets have equal bytes."""

import pytest

from clipkit.data import equal_images as module
from clipkit.data.equal_images import equal_images
from clipkit.data.mixing import ConcatenatedPairs, PairSubset
from clipkit.data.pair import Pair, image_digest
from clipkit.errors import ImageReadError
from clipkit.inputs.image_input import ImageInput
from tests.fake_pairs import ListSource


def test_each_pair_has_the_first_with_its_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only 2 to 5 are read: those whose sizes and ends are equal."""
    read: list[ImageInput] = []

    def digest(image: ImageInput) -> bytes:
        read.append(image)
        return image_digest(image)

    monkeypatch.setattr(module, "image_digest", digest)
    middle = bytes(4000)
    images = [b"own size", middle + b"1", middle + b"2", middle + b"2"]
    images += [bytes(2500) + b"x" + bytes(1499) + b"2", middle + b"2"]
    pairs: list[Pair | ImageReadError] = [Pair(each, ("a",), "name") for each in images]
    bad = ImageReadError("bad", "is cut")

    source = ListSource([*pairs, bad, bad])

    assert equal_images(source).tolist() == [0, 1, 2, 2, 4, 2, 6, 7]
    assert read == images[2:]


def test_rows_are_those_of_the_dataset_however_it_is_made_up() -> None:
    parts = [
        ListSource([Pair(content, ("a",), "name") for content in contents])
        for contents in ([b"1", b"2", b"3"], [b"2"], [b"3", b"2"])
    ]
    joined = ConcatenatedPairs(parts)
    assert equal_images(joined).tolist() == [0, 1, 2, 1, 2, 1]
    assert equal_images(PairSubset(joined, equal_images(joined)[[5, 2, 3]])).tolist() == [0, 1, 0]
