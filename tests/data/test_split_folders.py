from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from clipkit.data.split_folders import find_parts, find_splits, split_of
from clipkit.errors import InputError
from tests.data.conftest import image

Write = Callable[[Mapping[str, bytes | str]], Path]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("train2017", "train"),
        ("VAL", "validation"),
        ("dev", "validation"),
        ("validation_set_1", None),
        ("test_1", "test"),
        ("trains", None),
        ("test tube", None),
        ("2017", None),
    ],
)
def test_splits_are_known_by_their_names(name: str, split: str | None) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (["train/cat", "val/cat"], {"train": "train", "validation": "val"}),
        (["train/cat", "test/cat", "extra/cat"], {"train": "train", "test": "test"}),
        (["Training"], {"train": "Training"}),
        (["train", "bus", "car"], {}),  # vehicles
        (["cat", "dog"], {}),
        ([".", "train", "val"], {}),  # images beside the folders
    ],
)
def test_a_folder_is_divided_if_its_folders_are_splits(
    write: Write, folders: list[str], splits: dict[str, str]
) -> None:
    folder = write({f"ds/{name}/{at}.png": image(at) for at, name in enumerate(folders)})
    assert find_splits(folder / "ds") == splits


def test_annotations_beside_a_split_are_no_class(write: Write) -> None:
    folder = write({"train/cat/a.png": image(1), "annotations/a.xml": "<a/>"})
    assert find_splits(folder) == {"train": "train"}


@pytest.mark.parametrize(
    ("files", "images", "captions"),
    [
        ("images/a.png captions/a.txt", "images", "captions"),
        ("pictures/a.png captions/a.txt", "pictures", "captions"),
        ("train/images/a.png train/text/a.txt val/images/b.png", "train/images", "train/text"),
        ("images/train/a.png images/val/b.png label/train/a.txt", "images/train", "label/train"),
        ("images/train/a.png images/val/b.png captions/a.txt", "images/train", "captions"),
        ("Images/a.png labels/a.txt captions/a.txt", "Images", "captions"),
        ("images/cat/a.png images/dog/b.png readme.txt", "images", "images"),
        ("images/a.png captions/a.png", ".", "."),
        ("images/a.png masks/a.png", ".", "."),
        ("photos/a.png drawings/a.png", ".", "."),
        ("a.png images/b.png captions/b.txt", ".", "."),
    ],
)
def test_images_and_captions_may_have_a_folder_each(
    write: Write, files: str, images: str, captions: str
) -> None:
    folder = write({name: image(1) if ".png" in name else "a caption" for name in files.split()})
    said: list[str] = []
    parts = find_parts(folder, "train", say=said.append)
    assert (parts.images, parts.captions) == (folder / images, folder / captions)
    assert bool(said) == (images != ".")


def test_links_that_lead_nowhere_are_not_in_the_way(write: Write) -> None:
    folder = write({"train/a.png": image(1), "elsewhere/b.png": image(2)})
    (folder / "val").symlink_to("elsewhere")
    for name in ("loop", "loop.png"):
        (folder / name).symlink_to(name)
    (folder / "gone").symlink_to("nowhere")
    assert find_splits(folder) == {"train": "train", "validation": "val"}


def test_a_split_that_is_not_there_is_told(write: Write) -> None:
    folder = write({"test/a.png": image(1), "val/b.png": image(2)})
    said: list[str] = []
    with pytest.raises(InputError, match=r"no split for train: name .*/test or .*/val$"):
        find_parts(folder, "train", say=said.append)
    assert find_parts(folder, "validation", say=said.append).images == folder / "val"
    assert said == [
        f"{folder} is divided into splits: {folder}/val is read, not test; to read another, name it"
    ]


def test_two_folders_of_one_split_are_told(write: Write) -> None:
    folder = write({"train2014/a.png": image(1), "train2017/b.png": image(2)})
    with pytest.raises(InputError, match="its split for train, train2014 and train2017: name"):
        find_splits(folder)
