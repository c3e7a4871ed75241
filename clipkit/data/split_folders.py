"""Finding the splits of a dataset folder, and its folders of images and of captions."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clipkit.data.caption_files import CAPTION_SUFFIXES
from clipkit.data.pair import Say, Split
from clipkit.errors import InputError
from clipkit.inputs.extensions import IMAGE_EXTENSIONS
from clipkit.inputs.folders import find_images

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


def find_parts(root: Path, split: Split, *, say: Say) -> Parts:
    """Return the folders with the images and the captions of a split.

    Args:
        root: ``root/train/cat/1.jpg``, ``root/images/1.jpg`` beside ``root/captions/1.txt``,
            both of these in either order, or neither.
        split: Which one to choose, where there are several.
        say: Called with a line on which folders are read.

    Returns:
        The parts; the folder itself, if it is not divided.

    Raises:
        InputError: If it is divided into splits of which none can be chosen.
    """
    splits = find_splits(root)
    name = _choose_split(root, splits, split, say)
    images, captions = _images_and_captions(root / name)
    if images != root / name:
        where = "" if captions == images else f", and captions to them in {captions.name}"
        say(f"{root / name}: images are read from the folder {images.name}{where}")
    if not name and images != root:
        splits = find_splits(images)
        name = _choose_split(images, splits, split, say)
        if (captions / name).is_dir():
            captions = captions / name if captions != images else images / name
        images = images / name
    return Parts(images, captions, name, splits)


def find_splits(root: Path) -> dict[Split, str]:
    """Return the folders of a dataset's splits, none if it is not divided into splits.

    It is divided if it has no images beside its folders, and folders of several splits, or of one
    while no other folder holds images: a folder "train" beside "car" and "bus" is a class.
    """
    folders = list(_folders(root))
    found: dict[Split, str] = {}
    for name in folders:
        split = split_of(name)
        if split is None:
            continue
        if split in found:
            raise InputError(
                f"{root} has two folders that can be its split for {split}, {found[split]} and "
                f"{name}: name one of them, as in {root / name}"
            )
        found[split] = name
    others = [name for name in folders if name not in found.values()]
    if not found or _has_images_on_top(root):
        return {}
    if len(found) == 1 and any(_holds_images(root / name) for name in others):
        return {}
    return found


def find_tables(root: Path) -> dict[Split, list[Path]]:
    """Return the Parquet files of a folder, or of the folder data in it, by their splits.

    Hugging Face's datasets come as ``data/train-00000-of-00002.parquet``. If no file's name means a
    split, all of them are to train on.
    """
    for folder in (root, root / "data"):
        files = sorted(folder.glob("*.parquet"))
        found: dict[Split, list[Path]] = {}
        for file in files:
            split = split_of(re.split(r"[-_.]", file.name)[0])
            if split is not None:
                found.setdefault(split, []).append(file)
        if files:
            return found or {"train": files}
    return {}


def _choose_split(root: Path, splits: dict[Split, str], wanted: Split, say: Say) -> str:
    """Return the folder of the wanted split, or of the only one; empty if there are no splits."""
    if not splits:
        return ""
    if wanted not in splits and len(splits) > 1:
        named = " or ".join(str(root / name) for name in splits.values())
        raise InputError(f"{root} is divided, but has no split for {wanted}: name {named}")
    name = splits.get(wanted) or next(iter(splits.values()))
    others = [other for other in _folders(root) if other != name]
    rest = f", not {', '.join(others)}; to read another, name it" if others else ""
    say(f"{root} is divided into splits: {root / name} is read{rest}")
    return name


def _images_and_captions(root: Path) -> tuple[Path, Path]:
    folders = list(_folders(root))
    images = [name for name in folders if name.casefold() in _IMAGES]
    if len(images) != 1 or _has_images_on_top(root):
        return root, root
    captions = [
        name
        for kind in _CAPTIONS
        for name in folders
        if name.casefold() == kind and _holds_captions(root / name)
    ]
    others = [name for name in folders if name not in (*images, *captions)]
    if any(_holds_images(root / name) for name in others):
        return root, root
    return root / images[0], root / (captions or images)[0]


def _folders(root: Path) -> Iterator[str]:
    """Yield the names of the folders in a folder, sorted, without hidden ones."""
    try:
        with os.scandir(root) as children:
            names = sorted(child.name for child in children if _is_folder(child))
    except OSError:
        return  # find_images reports what is wrong with the folder
    yield from (name for name in names if not name.startswith((".", "__")))


def _is_folder(child: "os.DirEntry[str]") -> bool:
    # A link that leads to itself raises OSError in is_dir.
    if child.is_symlink():
        return os.path.isdir(child.path)  # noqa: PTH112
    return child.is_dir()


def _has_images_on_top(root: Path) -> bool:
    with os.scandir(root) as children:
        return any(
            os.path.splitext(child.name)[1].lower() in IMAGE_EXTENSIONS  # noqa: PTH122 - a million
            and child.name[0] != "."
            and os.path.isfile(child.path)  # noqa: PTH113
            for child in children
        )


def _holds_images(root: Path) -> bool:
    return bool(find_images(root).entries)


def _holds_captions(root: Path) -> bool:
    return any(
        name.lower().endswith(CAPTION_SUFFIXES) for _, _, names in os.walk(root) for name in names
    )
