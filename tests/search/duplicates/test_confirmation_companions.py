"""Which files belong together as two halves of one shot."""

import pytest

from clipkit.search.duplicates.confirmation import are_companions
from clipkit.search.store.records import ImageFile

NOON = "2024-06-01T12:00:00"


def _file(path: str, taken_at: str | None) -> ImageFile:
    return ImageFile(path, None, 1, 1, 1, taken_at=taken_at)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("IMG_1.CR2", "IMG_1.JPG"),
        ("img_1.cr2", "IMG_1.JPG"),
        ("raw/DSC01.ARW", "jpg/DSC01.jpg"),
        ("IMG_1.HEIC", "IMG_1.JPG"),
        ("IMG_1.CR2", "IMG_1.CR2.jpg"),
        ("IMG_1.CR2", "IMG_1-edited.jpg"),
        ("IMG_1.NEF", "exported/IMG_1_01.tif"),
        ("IMG_1.CR2", "IMG_1.DNG"),
    ],
)
def test_of_one_name_and_time_they_belong_together(first: str, second: str) -> None:
    assert are_companions(_file(first, NOON), _file(second, NOON))
    assert are_companions(_file(second, NOON), _file(first, NOON))
    assert not are_companions(_file(first, NOON), _file(second, "2024-06-01T12:00:01"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("IMG_1.CR2", "IMG_10.JPG"),
        ("IMG_1.CR2", "beach.jpg"),
        ("IMG_1.JPG", "IMG_1.PNG"),  # neither has what the other lacks
        ("IMG_1.JPG", "copy/IMG_1.JPG"),
        ("a/IMG_1.CR2", "b/IMG_1.CR2"),
    ],
)
def test_others_do_not(first: str, second: str) -> None:
    assert not are_companions(_file(first, NOON), _file(second, NOON))


def test_where_the_time_is_not_known_one_folder_will_do() -> None:
    assert are_companions(_file("a/IMG_1.CR2", None), _file("a/IMG_1.JPG", NOON))
    assert not are_companions(_file("a/IMG_1.CR2", None), _file("b/IMG_1.JPG", NOON))
