"""Opening a path as a dataset of image-text pairs, whatever its layout."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from clipkit.data.caption_files import (
    CAPTION_SUFFIXES,
    CaptionLocation,
    caption_endings,
    caption_suffixes,
    has_captions,
    open_captions_folder,
)
from clipkit.data.class_folders import check_templates, open_class_folders
from clipkit.data.class_names import ClassNames, read_class_names
from clipkit.data.epoch_draws import EpochDraws
from clipkit.data.mixing import ConcatenatedPairs
from clipkit.data.pair import Format, PairDataset, PairLayout, Say, Split, any_of, list_some
from clipkit.data.shard_files import is_remote, local_path
from clipkit.data.shard_samples import ShardCaptions
from clipkit.data.shard_stream import ShardStream
from clipkit.data.source_kind import SourceKind, unused_settings
from clipkit.data.split_folders import Parts, find_parts, find_tables
from clipkit.data.table import TABLE_SUFFIXES, open_metadata, open_table
from clipkit.data.table_rows import Columns
from clipkit.data.webdataset import expand_shards, is_shards, open_shards
from clipkit.errors import InputError
from clipkit.inputs.folders import FolderScan, find_images
from clipkit.paths import expand_home
from clipkit.progress import Callbacks

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


class OpenedPairs(NamedTuple):
    """A dataset, and what it was found to be."""

    dataset: PairDataset
    kind: SourceKind


def open_pairs(
    path: str | Path,
    layout: PairLayout | None = None,
    *,
    are_named_later: bool = False,
    callbacks: Callbacks | None = None,
) -> PairDataset:
    """Open a dataset of image-text pairs.

    Args:
        path: A folder of images with caption files or a table of metadata, a folder of class
            folders, a table, or shards ("data-{000..099}.tar").
        layout: Its layout; None: it is detected. Where a folder fits several layouts, a table of
            metadata comes before caption files, and these before class folders.
        are_named_later: As :func:`open_source` takes it.
        callbacks: Told how the dataset was understood, and what is odd about it.

    Returns:
        The dataset, with at least one pair; no image has been decoded.

    Raises:
        InputError: If the path is none of these or holds no pairs, or the format is unknown.
        PromptError: If a template for class folders has not exactly one {}.
        MissingExtraError: If the reader of shards or Parquet is not installed.
    """
    layout, callbacks = layout or PairLayout(), callbacks or Callbacks()
    opened = open_source(path, layout, are_named_later=are_named_later, callbacks=callbacks)
    for line in unused_settings(layout, {str(path): opened.kind}):
        callbacks.warn(line)
    return opened.dataset


def open_source(
    path: str | Path,
    layout: PairLayout,
    *,
    are_named_later: bool = False,
    callbacks: Callbacks,
) -> OpenedPairs:
    """Open one of several datasets that share a layout: it need not use each of its settings.

    Args:
        path: As :func:`open_pairs` takes it.
        layout: Of all of the datasets.
        are_named_later: Whether classes get other names than those of their folders, which are
            then kept as they are.
        callbacks: Told how the dataset was understood, and what is odd about it.

    Returns:
        The dataset and what it is.

    Raises:
        InputError: If the path is no dataset or holds no pairs, or the format is unknown.
        PromptError: If a template for class folders has not exactly one {}.
        MissingExtraError: If the reader of shards or Parquet is not installed.
    """
    if not str(path) or "\0" in str(path):
        raise InputError(f"a dataset of pairs needs a path, got {str(path)!r}")
    if layout.format not in get_args(Format):
        known = ", ".join(get_args(Format))
        raise InputError(f'the format of pairs must be one of {known}, got "{layout.format}"')
    location = expand_home(path)
    is_auto = layout.format == "auto"
    opened: OpenedPairs
    if layout.format == "shards" or (is_auto and is_shards(str(path))):
        captions = _shard_captions(layout)
        opened = OpenedPairs(open_shards(str(path), captions, say=callbacks.warn), "shards")
    elif layout.format == "table" or (is_auto and _is_table(location)):
        opened = OpenedPairs(open_table(location, _columns(layout), say=callbacks.say), "table")
    else:
        opened = _open_folder(location, layout, callbacks, are_named_later=are_named_later)
    if not len(opened.dataset):
        raise InputError(_no_pairs(location, opened.dataset))
    return opened


def open_stream(
    paths: Sequence[str], layout: PairLayout, weights: Sequence[float] = ()
) -> ShardStream:
    """Open shards to be read as a stream; nothing is read yet.

    Args:
        paths: Each as :func:`open_shards` takes it.
        layout: Where captions are.
        weights: How often the shards of each path are read in a turn, see
            :func:`.epoch_draws.epoch_order`; empty: once.

    Returns:
        The stream of all of them.

    Raises:
        InputError: If a path names no shards, or shards of this machine that are not there.
        PromptError: If a template for class names has not exactly one {}.
        MissingExtraError: If webdataset is not installed.
    """
    check_templates(layout.templates)
    shards: list[str] = []
    sizes: list[int] = []
    for path in paths:
        if layout.format != "shards" and not is_shards(path):
            raise InputError(
                f"data.stream is for webdataset shards (.tar), got {path}: leave it out, or pack "
                "the pairs into shards"
            )
        names = expand_shards(path)
        shards += [name if is_remote(name) else str(local_path(name)) for name in names]
        sizes.append(len(names))
    # os.path, for Path.is_file raises for a name too long.
    missing = [
        shard
        for shard in shards
        if not is_remote(shard) and not os.path.isfile(shard)  # noqa: PTH113
    ]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(shards)} shards are not there: {list_some(missing)}"
        )
    draws = None
    if any(weight != 1 for weight in weights):
        draws = EpochDraws(tuple(sizes), tuple(weights))
    return ShardStream(tuple(shards), _shard_captions(layout), draws)


def has_split(path: str | Path, split: Split) -> bool:
    """Return whether a path is a folder that is divided and has a certain split."""
    location = expand_home(path)
    if not os.path.isdir(location):  # noqa: PTH112 - Path.is_dir raises for a name too long
        return False
    try:
        splits = find_parts(location, split, say=lambda line: None).splits
    except InputError:  # it is divided, but into others
        return False
    return split in splits or split in find_tables(location)


def _open_folder(
    location: Path, layout: PairLayout, callbacks: Callbacks, *, are_named_later: bool
) -> OpenedPairs:
    parts = find_parts(location, layout.split, say=callbacks.say)
    scan = find_images(parts.images)
    if layout.format == "auto" and not scan.entries and (tables := find_tables(parts.images)):
        return OpenedPairs(_from_tables(parts.images, tables, layout, callbacks.say), "metadata")
    if layout.format != "classes":
        dataset = _from_metadata(location, parts, scan, layout, callbacks)
        if dataset is not None:
            return OpenedPairs(dataset, "metadata")
    suffixes = caption_suffixes(layout.caption_ending)
    captions = CaptionLocation(parts.images, suffixes)
    if not has_captions(scan, captions):
        captions = CaptionLocation(parts.captions, suffixes)
    if layout.format == "classes" or (
        layout.format == "auto" and _is_classes(parts, scan, captions, layout.caption_ending)
    ):
        classes = open_class_folders(
            parts.images,
            scan,
            templates=layout.templates,
            names=_class_names(layout),
            are_named_later=are_named_later,
            callbacks=callbacks,
        )
        return OpenedPairs(classes, "classes")
    if layout.caption_ending and scan.entries and not has_captions(scan, captions):
        raise InputError(_no_such_ending(parts, scan, layout.caption_ending))
    return OpenedPairs(
        open_captions_folder(parts.images, scan, captions, callbacks=callbacks), "folder"
    )


def _from_metadata(
    location: Path, parts: Parts, scan: FolderScan, layout: PairLayout, callbacks: Callbacks
) -> PairDataset | None:
    """Return the pairs of a folder that has a table of metadata, None if there is none."""
    folders = dict.fromkeys((location, location / parts.split, parts.images))
    for file in (folder / name for folder in folders for name in _METADATA):
        if not file.is_file():
            continue
        below = parts.images.relative_to(file.parent).as_posix()
        images = [f"{below}/{entry.path}" for entry in scan.entries]
        # A table may have rows of other splits; without splits all of its rows are taken.
        within = below if parts.split and below != "." else ""
        try:
            dataset = open_metadata(
                file, _columns(layout), images, within=within, say=callbacks.say
            )
        except InputError as error:
            callbacks.warn(f"{file} is not read as captions: {error}")
            continue
        if not len(dataset):
            why = list_some(dataset.skipped)
            callbacks.warn(f"{file} is not read as captions, no row of it is a pair: {why}")
            continue
        callbacks.say(f"{parts.images}: captions are those of {file}")
        return dataset
    return None


def _from_tables(
    location: Path, tables: dict[Split, list[Path]], layout: PairLayout, say: Say
) -> PairDataset:
    """Return the pairs in the tables of a split."""
    if layout.split not in tables:
        named = ", ".join(path.name for paths in tables.values() for path in paths)
        raise InputError(f"{location} has no table for the split {layout.split}, but {named}")
    files = tables[layout.split]
    others = [split for split in tables if split != layout.split]
    rest = f", not those for {' and '.join(others)}" if others else ""
    say(f"{location}: {len(files)} tables of the split {layout.split} are read{rest}")
    said: list[str] = []
    datasets = [open_table(file, _columns(layout), say=said.append) for file in files]
    if said:
        say(list_some(said))  # of thousands of tables, a few
    return ConcatenatedPairs(datasets)


def _columns(layout: PairLayout) -> Columns:
    return Columns(layout.image_column, layout.caption_column)


def _class_names(layout: PairLayout) -> ClassNames | None:
    return read_class_names(expand_home(layout.class_names)) if layout.class_names else None


def _shard_captions(layout: PairLayout) -> ShardCaptions:
    return ShardCaptions(
        caption_suffixes(layout.caption_ending), _class_names(layout), layout.templates
    )


def _is_table(location: Path) -> bool:
    if location.suffix.lower() in TABLE_SUFFIXES:
        return not os.path.isdir(location)  # noqa: PTH112 - as below
    if os.path.isfile(location):  # noqa: PTH113 - Path.is_file raises for a name too long
        known = ", ".join(sorted(TABLE_SUFFIXES))
        raise InputError(
            f"{location} is no dataset of pairs: give a folder, a table ({known}) or shards (.tar)"
        )
    return False


def _is_classes(parts: Parts, scan: FolderScan, captions: CaptionLocation, ending: str) -> bool:
    location = parts.images
    if has_captions(scan, captions):
        return False
    if any("/" in entry.path for entry in scan.entries):
        return True
    if scan.entries and ending:
        raise InputError(_no_such_ending(parts, scan, ending))
    if scan.entries:
        raise InputError(
            f"{location} has {len(scan.entries)} images and no captions: put a text file of the "
            "same name beside each (boat.jpg, boat.txt), or sort them into one folder a class"
        )
    shards = sorted(path.name for path in location.glob("*.tar"))
    if shards:
        raise InputError(f"{location} holds shards: name them, as in {location}/{{{shards[0]},…}}")
    raise InputError(f"{location} holds no images")


def _no_such_ending(parts: Parts, scan: FolderScan, ending: str) -> str:
    """Return that no image has a caption file of the ending asked for, and what there is."""
    (wanted,) = caption_suffixes(ending)
    lead = (
        f"{parts.images} has {len(scan.entries)} images, none with a caption file that ends in "
        f"{wanted}, as data.caption_ending in RUN.toml or --caption-ending asks"
    )
    found = Counter(
        suffix
        for folder in dict.fromkeys((parts.images, parts.captions))
        for suffix in caption_endings(scan, CaptionLocation(folder))
    )
    if found:
        there = ", ".join([f"{count} in {suffix}" for suffix, count in found.items()])
        return f"{lead}; the caption files there end in others, {there}: leave the setting out"
    others = any_of([end for end in CAPTION_SUFFIXES if end != wanted])
    return f"{lead}, nor in {others}: put such a file beside each (boat.jpg, boat{wanted})"


def _no_pairs(location: Path, dataset: PairDataset) -> str:
    why = f": {list_some(dataset.skipped)}" if dataset.skipped else ""
    return f"{location} holds no pairs{why}"
