"""A path, as a person writes it, to the pairs that lie there."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from clipkit.errors import InputError
from clipkit.inputs.folders import FolderScan, find_images
from clipkit.pairs.captions_folder import has_captions, open_captions_folder
from clipkit.pairs.class_folders import open_class_folders
from clipkit.pairs.pair import PairSource
from clipkit.pairs.shards import is_shards, open_shards
from clipkit.pairs.table import TABLE_SUFFIXES, open_table
from clipkit.places import expand_home

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
        format: Which of these it is; "auto" looks. A folder with both class folders and captions
            is taken for its captions.
        image_column: The column of a table with the pictures' paths.
        caption_column: That with the captions.
        templates: Texts with one {}, which make captions of class names.

    Returns:
        The pairs, at least one; no picture has been decoded.

    Raises:
        InputError: If there is nothing, or it is none of these, or holds no pairs; or if no such
            format is known.
        PromptError: If a template has not one {}, for class folders.
        MissingExtraError: If the reader of shards or Parquet is not installed.
    """
    if not str(path) or "\0" in str(path):
        raise InputError(f"a place with pairs needs a path, got {str(path)!r}")
    if format not in get_args(Format):
        known = ", ".join(get_args(Format))
        raise InputError(f'the format of pairs must be one of {known}, got "{format}"')
    place = expand_home(path)
    source: PairSource
    if format == "shards" or (format == "auto" and is_shards(str(path))):
        source = open_shards(str(path))
    elif format == "table" or (format == "auto" and _is_table(place)):
        source = open_table(place, image_column=image_column, caption_column=caption_column)
    else:
        scan = find_images(place)
        if format == "classes" or (format == "auto" and _is_classes(place, scan)):
            source = open_class_folders(place, scan, templates=templates)
        else:
            source = open_captions_folder(place, scan)
    if not len(source):
        raise InputError(_no_pairs(place, source))
    return source


def _is_table(place: Path) -> bool:
    if place.suffix.lower() in TABLE_SUFFIXES:
        return not os.path.isdir(place)  # noqa: PTH112 - as below
    if os.path.isfile(place):  # noqa: PTH113 - Path.is_file raises for a name too long
        known = ", ".join(sorted(TABLE_SUFFIXES))
        raise InputError(
            f"{place} is no source of pairs: give a folder, a table ({known}) or shards (.tar)"
        )
    return False


def _is_classes(place: Path, scan: FolderScan) -> bool:
    if has_captions(place, scan):
        return False
    if any("/" in entry.path for entry in scan.entries):
        return True
    if scan.entries:
        raise InputError(
            f"{place} has {len(scan.entries)} pictures and no captions: put a text file of the "
            "same name beside each (boat.jpg, boat.txt), or sort them into one folder a class"
        )
    shards = sorted(path.name for path in place.glob("*.tar"))
    if shards:
        raise InputError(f"{place} holds shards: name them, as in {place}/{{{shards[0]},…}}")
    raise InputError(f"{place} holds no pictures")


def _no_pairs(place: Path, source: PairSource) -> str:
    reasons = "; ".join(map(str, source.skipped[:3]))
    more = f"; and {len(source.skipped) - 3} more" if len(source.skipped) > 3 else ""
    return f"{place} holds no pairs{f': {reasons}{more}' if reasons else ''}"
