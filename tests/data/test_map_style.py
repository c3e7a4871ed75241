"""Map-style datasets in memory as pairs: whatever one gives, it is a pair or a reason."""

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipkit.data.equal_images import equal_images
from clipkit.data.map_style import MapStylePairs
from clipkit.data.mixing import ConcatenatedPairs, PairSubset
from clipkit.data.validation_split import split_pairs
from clipkit.errors import ImageReadError, InputError


def image(number: int = 0) -> Image.Image:
    return Image.new("RGB", (8, 8), (number, 0, 0))


def encoded(number: int = 0) -> bytes:
    file = io.BytesIO()
    image(number).save(file, "PNG")
    return file.getvalue()


class Numbered:
    """So many images with captions, with what a test sets besides."""

    def __init__(self, length: Any, **attributes: Any) -> None:
        self._length = length
        self.__dict__ |= attributes

    def __len__(self) -> int:
        length: int = self._length
        return length

    def __getitem__(self, index: int) -> tuple[Image.Image, str]:
        return image(index), f"number {index}"


def test_an_item_is_a_pair_with_its_number_as_its_name() -> None:
    array = np.zeros((4, 4, 3), dtype=np.uint8)
    picture = image()
    pairs = MapStylePairs(
        [
            (picture, " a cat "),
            (Path("a.png"), ["a dog", "", "a dog", "the dog"]),
            ("b.png", ("one", "two")),
            (b"bytes", "of a file"),
            [array, "levels"],  # type: ignore[list-item]  # a list, not a tuple
        ],
        "validation",
    )
    assert [tuple(pairs[row]) for row in range(len(pairs))] == [
        (picture, ("a cat",), "validation[0]"),
        (Path("a.png"), ("a dog", "the dog"), "validation[1] (a.png)"),
        ("b.png", ("one", "two"), "validation[2] (b.png)"),
        (b"bytes", ("of a file",), "validation[3]"),
        (array, ("levels",), "validation[4]"),
    ]


class _Tensor:
    """As torch's, which has the same name in messages."""


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (None, r"is no \(image, caption\), but a NoneType"),
        ((image(),), r"but a tuple of 1"),
        ((image(), "a", "b"), r"but a tuple of 3"),
        ({"image": image(), "caption": "a"}, r"but a dict"),
        ("ab", r"but a str"),
        ((None, "a"), r"its image is a NoneType: give a PIL image"),
        ((_Tensor(), "a"), r"its image is a _Tensor: give a PIL image"),
        ((open, "a"), r"its image is a builtin_function_or_method"),
        ((io.BytesIO(b""), "a"), r"its image is a BytesIO"),
        ((np.zeros((4, 4, 3)), "a"), r"must be uint8 .* got float64"),
        ((np.zeros((3, 4, 4, 4), np.uint8), "a"), r"must have shape"),
        (
            ("https://example.org/a.png", "a"),
            r"is the URL .*, and nothing is fetched: download it, and give its path or bytes$",
        ),
        ((image(), None), r"its caption is a NoneType"),
        ((image(), 3), r"its caption is a int"),
        ((image(), b"a"), r"its caption is a bytes"),
        ((image(), {"en": "a"}), r"its caption is a dict"),
        ((image(), ["a", 3]), r"holds no text or list of texts"),
        ((image(), ""), r"has no caption"),
        ((image(), "  "), r"has no caption"),
        ((image(), []), r"has no caption"),
        ((image(), "\ud800"), r"not Unicode"),
    ],
)
def test_what_is_no_pair_is_a_reason(item: Any, reason: str) -> None:
    with pytest.raises(ImageReadError, match=rf"^dataset\[1\]: .*{reason}"):
        MapStylePairs([(image(), "a"), item])[1]


@pytest.mark.parametrize(
    "error", [OSError("gone"), KeyError("x"), MemoryError(), ZeroDivisionError()]
)
def test_an_item_that_raises_is_a_reason(error: Exception) -> None:
    class Failing(Numbered):
        def __getitem__(self, index: int) -> tuple[Image.Image, str]:
            raise error

    with pytest.raises(ImageReadError, match=rf"the dataset raised {type(error).__name__}"):
        MapStylePairs(Failing(3))[2]


def test_an_image_that_is_a_path_is_named_by_it_too(tmp_path: Path) -> None:
    path = tmp_path / "gone.png"
    names = [MapStylePairs([(form, "a")])[0].name for form in (str(path), path)]
    assert names == [f"dataset[0] ({path})"] * 2


def test_an_interruption_is_no_bad_pair() -> None:
    class Interrupted(Numbered):
        def __getitem__(self, index: int) -> tuple[Image.Image, str]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        MapStylePairs(Interrupted(3))[2]


@pytest.mark.parametrize(
    ("dataset", "problem"),
    [
        ([], "dataset is empty"),
        (None, "must be a map-style dataset.* got NoneType"),
        (7, "must be a map-style dataset.* got int"),
        (iter([(image(), "a")]), "must be a map-style dataset.* got list_iterator"),
        (Numbered(-1), r"len\(\) of dataset raised ValueError"),
        (Numbered(2.5), r"len\(\) of dataset raised TypeError"),
        (Numbered(2, fingerprint=3), "fingerprint of dataset must be a text .* got int"),
        (Numbered(2, image_keys=3), "image_keys of dataset must be a sequence"),
        (Numbered(2, image_keys=[[1], [2]]), "image_keys of dataset must be a sequence"),
        (Numbered(2, image_keys=[1, 2, 3]), "one for each of its 2 items, got 3"),
    ],
)
def test_what_is_no_dataset_is_refused(dataset: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        MapStylePairs(dataset)


def test_a_dataset_without_any_pair_is_refused_before_a_run() -> None:
    wrong: Any = [image(), image()]
    with pytest.raises(InputError, match=r"none of the 2 that were tried: dataset\[0\]: is no"):
        MapStylePairs(wrong).check_items()
    with pytest.raises(InputError, match=r"none of the 4 that were tried: dataset\[0\]"):
        MapStylePairs([("a.png", "")] * 100).check_items()


def test_a_bad_item_or_a_length_that_lies_is_left_to_the_run() -> None:
    MapStylePairs([(encoded(), ""), *((encoded(n), "a") for n in range(9))]).check_items()

    class Lying(Numbered):
        def __getitem__(self, index: int) -> tuple[Image.Image, str]:
            if index > 5:
                raise IndexError(index)
            return super().__getitem__(index)

    pairs = MapStylePairs(Lying(12))
    pairs.check_items()
    with pytest.raises(ImageReadError, match=r"dataset\[11\]: the dataset raised IndexError: 11"):
        pairs[11]


def _other_image(time: int) -> tuple[Any, Any]:
    return image(time), "a"


def _other_levels(time: int) -> tuple[Any, Any]:
    return np.full((4, 4, 3), time, dtype=np.uint8), "a"


def _other_caption(time: int) -> tuple[Any, Any]:
    return encoded(), f"the {time}. caption"


@pytest.mark.parametrize("item", [_other_image, _other_levels, _other_caption])
def test_items_that_differ_from_time_to_time_are_refused(item: Any) -> None:
    times: list[int] = []

    class Changing(Numbered):
        def __getitem__(self, index: int) -> tuple[Any, Any]:
            times.append(index)
            found: tuple[Any, Any] = item(len(times))
            return found

    with pytest.raises(InputError, match=r"dataset\[0\] is another pair the second time"):
        MapStylePairs(Changing(3)).check_items()


def test_an_image_file_that_stays_open_is_refused(tmp_path: Path) -> None:
    image().save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as opened:
        with pytest.raises(InputError, match=r"dataset\[0\] is one open file, .* give the path"):
            MapStylePairs([(opened, "a")]).check_items()
        opened.load()
        MapStylePairs([(opened, "a")]).check_items()


def test_a_damaged_pillow_image_is_no_reason_to_refuse_a_dataset(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])

    class Damaged(Numbered):
        def __getitem__(self, index: int) -> tuple[Image.Image, str]:
            return (Image.open(io.BytesIO((tmp_path / "a.png").read_bytes())), "a")

    MapStylePairs(Damaged(2)).check_items()


def test_all_images_are_different_unless_the_dataset_has_keys() -> None:
    plain = MapStylePairs(Numbered(5))
    keyed = MapStylePairs(Numbered(5, image_keys=["a", "b", "a", "c", "b"]))
    assert equal_images(plain).tolist() == [0, 1, 2, 3, 4]
    assert equal_images(keyed).tolist() == [0, 1, 0, 3, 1]
    assert MapStylePairs(Numbered(3, image_keys=np.array([7, 8, 7]))).first_rows().tolist() == [
        0,
        1,
        0,
    ]
    joined = ConcatenatedPairs([plain, keyed])
    assert equal_images(joined).tolist() == [0, 1, 2, 3, 4, 5, 6, 5, 8, 6]
    part = PairSubset(joined, np.array([9, 7, 6, 5, 0]))
    assert equal_images(part).tolist() == [0, 1, 0, 1, 4]


def test_a_split_keeps_equal_images_together_and_reads_nothing() -> None:
    class Unread(Numbered):
        def __getitem__(self, index: int) -> tuple[Image.Image, str]:
            raise AssertionError

    keys = [number // 3 for number in range(60)]  # three captions an image
    trained, held = split_pairs([MapStylePairs(Unread(60, image_keys=keys))], 0.25, seed=1)

    def numbers(parts: Sequence[PairSubset]) -> list[int]:
        return [int(parts[0].local_name(row)[8:-1]) for row in range(len(parts[0]))]

    assert len(held[0]) == 15
    assert {number // 3 for number in numbers(held)}.isdisjoint(n // 3 for n in numbers(trained))
    assert sorted(numbers(held) + numbers(trained)) == list(range(60))


def test_the_fingerprint_is_of_length_and_what_the_dataset_says() -> None:
    first = MapStylePairs(Numbered(3, fingerprint="a")).fingerprint
    assert MapStylePairs(Numbered(3, fingerprint="a")).fingerprint == first
    others = [
        Numbered(4, fingerprint="a"),
        Numbered(3, fingerprint="b"),
        Numbered(3),
        Numbered(3, fingerprint="a", image_keys=[0, 0, 1]),
    ]
    assert len({first, *(MapStylePairs(other).fingerprint for other in others)}) == 5


def test_pairs_can_be_sent_to_another_process() -> None:
    pairs = pickle.loads(pickle.dumps(MapStylePairs([(encoded(), "a")])))
    assert pairs[0].captions == ("a",)
