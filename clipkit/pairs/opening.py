"""A path, as a person writes it, to the pairs that lie there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from clipkit.errors import InputError
from clipkit.inputs.folders import find_images
from clipkit.pairs.captions_folder import has_captions, open_captions_folder
from clipkit.pairs.class_folders import open_class_folders
from clipkit.pairs.pair import PairSource
from clipkit.pairs.shards import is_shards, open_shards
from clipkit.pairs.table import TABLE_SUFFIXES, open_table

Format = Literal["auto", "folder", "classes", "table", "shards"]
DEFAULT_TEMPLATES = ("a photo of a {}.",)


def open_pairs(
    path: str | Path,
    *,
    format: Format = "auto",
    image_column: str = "filepath",
    caption_column: str = "title",
    templates: Sequence[str] = DEFAULT_TEMPLATES,
) -> PairSource:
    """Return the pairs of a place.

    Args:
        path: A folder of pictures with caption files, a folder of class folders, a table, or
            shards ("data-{000..099}.tar").
        format: Which of these it is; "auto" looks.
        image_column: The column of a table with the pictures' paths.
        caption_column: That with the captions.
        templates: Texts with one {}, which make captions of class names.

    Returns:
        The pairs, at least one; no picture has been decoded.

    Raises:
        InputError: If there is nothing, or it is none of these, or holds no pairs.
        MissingExtraError: If the table is Parquet and its reader is not installed.
    """
    place = Path(path).expanduser()
    kind = _find_kind(str(path), place) if format == "auto" else format
    source: PairSource
    if kind == "shards":
        source = open_shards(str(path))
    elif kind == "table":
        source = open_table(place, image_column=image_column, caption_column=caption_column)
    elif kind == "classes":
        source = open_class_folders(place, templates=templates)
    else:
        source = open_captions_folder(place)
    if not len(source):
        reasons = "; ".join(str(error) for error in source.skipped[:3])
        raise InputError(f"{path} holds no pairs{f': {reasons}' if reasons else ''}")
    return source


def split_places(text: str) -> list[str]:
    """Return the places that a text names: "a::b" are two."""
    return [place for place in text.split("::") if place]


def _find_kind(text: str, place: Path) -> Format:
    if is_shards(text):
        return "shards"
    if not place.exists():
        raise InputError(f"there is no file or folder {place}")
    if place.is_file():
        if place.suffix.lower() in TABLE_SUFFIXES:
            return "table"
        known = ", ".join(sorted(TABLE_SUFFIXES))
        raise InputError(
            f"{place} is no source of pairs: give a folder, a table ({known}) or shards (.tar)"
        )
    if has_captions(place):
        return "folder"
    pictures = find_images(place).entries
    if any("/" in entry.path for entry in pictures):
        return "classes"
    if pictures:
        raise InputError(
            f"{place} has {len(pictures)} pictures and no captions: put a text file with the same "
            "name beside each (boat.jpg, boat.txt), or sort the pictures into one folder a class"
        )
    raise InputError(f"{place} holds no pictures")
