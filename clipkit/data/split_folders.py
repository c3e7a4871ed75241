"""Finding the splits of a dataset folder, and its folders of images and of captions."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clipkit.data.caption_files import CAPTION_SUFFIXES
from clipkit.data.pair import Say, Split
from clipkit.errors import InputError
from clipkit.inputs.folders import IMAGE_EXTENSIONS, find_images

# Names of splits, those of Hugging Face's datasets among them; a year may follow, as in train2017.
_SPLITS: dict[Split, frozenset[str]] = {
    "train": frozenset({"train", "training"}),
    "validation": frozenset({"validation", "valid", "dev", "val"}),
    "test": frozenset({"test", "testing", "eval", "evaluation"}),
}
_IMAGES = frozenset({"images", "image", "imgs", "img", "jpegimages", "photos", "pictures"})
_CAPTIONS = ("captions", "caption", "texts", "text", "txt", "prompts", "labels", "label")


class Parts(NamedTuple):
    """Where in a dataset folder the images and the captions of a split are."""

    images: Path
    captions: Path  # the same folder, unless images and captions have one each
    split: str  # the folder of the chosen split, relative to the dataset's; empty: no splits
    splits: dict[Split, str]  # folders of all splits


def split_of(name: str) -> Split | None:
    """Return which split a name means, as in "train", "Val", "train2017" or "test_1"."""
    word = re.sub(r"[\W_]*\d*$", "", name.casefold())
    return next((split for split, names in _SPLITS.items() if word in names), None)


def find_parts(place: Path, split: Split, *, say: Say) -> Parts:
    """Return where in a folder the images of a split are, and where their captions.

    Args:
        place: ``place/train/cat/1.jpg``, ``place/images/1.jpg`` beside ``place/captions/1.txt``,
            both of these in either order, or neither.
        split: Which one to choose, where there are several.
        say: Is told what was understood.

    Returns:
        The parts; the folder itself, if it is not divided.

    Raises:
        InputError: If it is divided into splits of which none can be chosen.
    """
    splits = find_splits(place)
    name = _choose_split(place, splits, split, say)
    images, captions = _images_and_captions(place / name)
    if images != place / name:
        where = "" if captions == images else f", and captions to them in {captions.name}"
        say(f"{place / name}: images are read from the folder {images.name}{where}")
    if not name and images != place:
        splits = find_splits(images)
        name = _choose_split(images, splits, split, say)
        if (captions / name).is_dir():
            captions = captions / name if captions != images else images / name
        images = images / name
    return Parts(images, captions, name, splits)


def find_splits(place: Path) -> dict[Split, str]:
    """Return the folders of a dataset's splits, none if it is not divided into splits.

    It is divided if it has no images beside its folders, and folders of several splits, or of one
    while no other folder holds images: a folder "train" beside "car" and "bus" is a class.
    """
    folders = list(_folders(place))
    found: dict[Split, str] = {}
    for name in folders:
        split = split_of(name)
        if split is None:
            continue
        if split in found:
            raise InputError(
                f"{place} has two folders that can be its split for {split}, {found[split]} and "
                f"{name}: name one of them, as in {place / name}"
            )
        found[split] = name
    others = [name for name in folders if name not in found.values()]
    if not found or _has_images_on_top(place):
        return {}
    if len(found) == 1 and any(_holds_images(place / name) for name in others):
        return {}
    return found


def find_tables(place: Path) -> dict[Split, list[Path]]:
    """Return the Parquet files of a folder, or of the folder data in it, by their splits.

    Hugging Face's datasets come as ``data/train-00000-of-00002.parquet``. If no file's name means a
    split, all of them are to train on.
    """
    for folder in (place, place / "data"):
        files = sorted(folder.glob("*.parquet"))
        found: dict[Split, list[Path]] = {}
        for file in files:
            split = split_of(re.split(r"[-_.]", file.name)[0])
            if split is not None:
                found.setdefault(split, []).append(file)
        if files:
            return found or {"train": files}
    return {}


def _choose_split(place: Path, splits: dict[Split, str], wanted: Split, say: Say) -> str:
    """Return the folder of the wanted split, or of the only one; empty if there are no splits."""
    if not splits:
        return ""
    if wanted not in splits and len(splits) > 1:
        named = " or ".join(str(place / name) for name in splits.values())
        raise InputError(f"{place} is divided, but has no split for {wanted}: name {named}")
    name = splits.get(wanted) or next(iter(splits.values()))
    others = [other for other in _folders(place) if other != name]
    rest = f", not {', '.join(others)}; to read another, name it" if others else ""
    say(f"{place} is divided into splits: {place / name} is read{rest}")
    return name


def _images_and_captions(place: Path) -> tuple[Path, Path]:
    folders = list(_folders(place))
    images = [name for name in folders if name.casefold() in _IMAGES]
    if len(images) != 1 or _has_images_on_top(place):
        return place, place
    captions = [
        name
        for kind in _CAPTIONS
        for name in folders
        if name.casefold() == kind and _holds_captions(place / name)
    ]
    others = [name for name in folders if name not in (*images, *captions)]
    if any(_holds_images(place / name) for name in others):
        return place, place
    return place / images[0], place / (captions or images)[0]


def _folders(place: Path) -> Iterator[str]:
    """Yield the names of the folders in a folder, sorted, without hidden ones."""
    try:
        with os.scandir(place) as children:
            names = sorted(child.name for child in children if _is_folder(child))
    except OSError:
        return  # find_images reports what is wrong with the folder
    yield from (name for name in names if not name.startswith((".", "__")))


def _is_folder(child: "os.DirEntry[str]") -> bool:
    # A link that leads to itself raises OSError in is_dir.
    if child.is_symlink():
        return os.path.isdir(child.path)  # noqa: PTH112
    return child.is_dir()


def _has_images_on_top(place: Path) -> bool:
    with os.scandir(place) as children:
        return any(
            os.path.splitext(child.name)[1].lower() in IMAGE_EXTENSIONS  # noqa: PTH122 - a million
            and child.name[0] != "."
            and os.path.isfile(child.path)  # noqa: PTH113
            for child in children
        )


def _holds_images(place: Path) -> bool:
    return bool(find_images(place).entries)


def _holds_captions(place: Path) -> bool:
    return any(
        name.lower().endswith(CAPTION_SUFFIXES) for _, _, names in os.walk(place) for name in names
    )
