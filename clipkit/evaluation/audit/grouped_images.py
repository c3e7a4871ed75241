"""Images whose groups a table says, and with them their classes where these are known.

Shapes: N images, G groups of a column.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clipkit.data.labelled_images import open_labelled
from clipkit.data.pair import PairDataset, PairLayout, list_some
from clipkit.data.table import TABLE_SUFFIXES
from clipkit.data.table_columns import TableColumns, join_columns, open_table_columns
from clipkit.errors import InputError
from clipkit.evaluation.audit.report import GroupSize
from clipkit.paths import expand_home
from clipkit.progress import Callbacks

LEAST_IMAGES = 20  # of a group whose figures are shown
MOST_GROUPS = 100  # more are names or numbers of single things, and no groups


@dataclass(frozen=True)
class GroupedImages:
    """A dataset with what its user says of each image."""

    dataset: PairDataset
    groups: dict[str, list[str | None]]  # by column, one a row; None: not known
    notes: tuple[str, ...]  # on what is missing
    labels: NDArray[np.intp]  # the class of each row, -1: not known, shape (N,)
    class_names: tuple[str, ...] = ()  # none, or two at least


@dataclass(frozen=True)
class ColumnGroups:
    """The images of one column that are measured, by group."""

    names: tuple[str, ...]  # of the groups that are large enough, G
    images: NDArray[np.intp]  # of these groups, ascending: positions among those asked about
    groups: NDArray[np.intp]  # the group of each, in 0..G-1
    sizes: tuple[GroupSize, ...]  # of all groups, largest first
    num_missing: int  # images without a group


def open_grouped(
    data: str,
    columns: Sequence[str],
    *,
    groups_table: str,
    label_column: str,
    layout: PairLayout,
    callbacks: Callbacks,
) -> GroupedImages:
    """Open images with their groups.

    Args:
        data: A table, or class folders.
        columns: With the groups, at least one.
        groups_table: For class folders: the table with the columns.
        label_column: Of a table: with the class of each image; empty: there are no classes.
        layout: Of the data: the column with the images, and names of class folders.
        callbacks: For messages on how the data were understood.

    Returns:
        The images.

    Raises:
        InputError: If a column is not there, or the data have no images.
        MissingExtraError: If a table is Parquet and pyarrow is not installed.
    """
    if expand_home(data).suffix.lower() in TABLE_SUFFIXES:
        if groups_table:
            raise InputError(
                f"{data} is a table: its own columns have the groups, leave out the other"
            )
        if layout.class_names:
            raise InputError(
                f"{data} is a table: the names of classes are what its own column says "
                "(--label-column); class names are for class folders, leave them out"
            )
        return _from_table(data, columns, label_column, layout.image_column, callbacks)
    if not groups_table:
        raise InputError(
            f"{data} is no table ({', '.join(sorted(TABLE_SUFFIXES))}), so it has no column "
            f"{columns[0]}: give the table that says the group of each image (--groups FILE)"
        )
    if label_column:
        raise InputError(
            f"{data} is no table, so it has no column {label_column}: its folders are the classes"
        )
    folders = replace(layout, format="classes", image_column="", split="test")
    labelled = open_labelled(data, folders, benchmark=None, callbacks=callbacks)
    table = open_table_columns(
        expand_home(groups_table), layout.image_column, columns, say=callbacks.say
    )
    groups = join_columns(table, labelled.dataset)
    if not any(cell for cells in groups.values() for cell in cells):
        raise InputError(
            f"{groups_table} says nothing of the images in {data}: its paths must lead to them, "
            "from the folder of the table or from the current one"
        )
    return _grouped(
        labelled.dataset, groups, _contradictions(table), labelled.labels, labelled.class_names
    )


def _from_table(
    data: str, columns: Sequence[str], label_column: str, image_column: str, callbacks: Callbacks
) -> GroupedImages:
    wanted = [*columns, label_column] if label_column else list(columns)
    table = open_table_columns(expand_home(data), image_column, wanted, say=callbacks.say)
    groups = {column: table.cells[column] for column in columns}
    notes = _contradictions(table)
    if not label_column:
        unknown = np.full(len(table.dataset), -1, dtype=np.intp)
        return GroupedImages(table.dataset, groups, notes, unknown)
    said = table.cells[label_column]
    names = tuple(sorted({name for name in said if name}))
    if not names:
        raise InputError(f"{data} has nothing in the column {label_column}")
    number = {name: place for place, name in enumerate(names)}
    labels = np.array([-1 if name is None else number[name] for name in said], dtype=np.intp)
    if num_gaps := int(np.count_nonzero(labels < 0)):
        notes += (
            f"images with nothing in the column {label_column}: {num_gaps:,} of {len(labels):,}; "
            "they are in the rankings and associations, and not in the accuracies",
        )
    return _grouped(table.dataset, groups, notes, labels, names)


def _grouped(
    dataset: PairDataset,
    groups: dict[str, list[str | None]],
    notes: tuple[str, ...],
    labels: NDArray[np.intp],
    names: tuple[str, ...],
) -> GroupedImages:
    """Return images with their classes, or without if there is one class only."""
    if len(names) > 1:
        return GroupedImages(dataset, groups, notes, labels, names)
    alone = f"there is one class only, {names[0]}: every answer would be right, so no accuracies"
    return GroupedImages(dataset, groups, (*notes, alone), np.full_like(labels, -1))


def _contradictions(table: TableColumns) -> tuple[str, ...]:
    for column, count in table.contradictions.items():
        if count and not any(table.cells[column]):
            raise InputError(
                f"the rows of one image say different things in the column {column}, for "
                f"{count:,} of {len(table.dataset):,} images, and nothing for the others: a group "
                "needs one value an image"
            )
    return tuple(
        f"images of which rows say different things in the column {column}: {count:,}; they count "
        "as not known"
        for column, count in table.contradictions.items()
        if count
    )


def column_groups(column: str, cells: Sequence[str | None]) -> ColumnGroups:
    """Return the groups of a column that have enough images to be compared.

    Args:
        column: Its name, for messages.
        cells: What it says of each image; None: nothing.

    Returns:
        The groups, those of fewer than 20 images as sizes only.

    Raises:
        InputError: If there are fewer than two groups of 20 images or more, or more than 100.
    """
    counts = Counter(cell for cell in cells if cell is not None)
    names = tuple(sorted(name for name, count in counts.items() if count >= LEAST_IMAGES))
    known = counts.total()
    if len(names) < 2:
        raise InputError(_too_few(column, counts, names))
    if len(names) > MOST_GROUPS:
        raise InputError(
            f"the column {column} has {len(names):,} groups of {LEAST_IMAGES} images or more, and "
            f"at most {MOST_GROUPS} can be compared: name a column with fewer values"
        )
    number = {name: place for place, name in enumerate(names)}
    groups = np.array([number.get(cell, -1) if cell else -1 for cell in cells], dtype=np.intp)
    images = np.flatnonzero(groups >= 0)
    sizes = tuple(
        GroupSize(name, count, count >= LEAST_IMAGES) for name, count in counts.most_common()
    )
    return ColumnGroups(names, images, groups[images], sizes, len(cells) - known)


def _too_few(column: str, counts: Counter[str], names: Sequence[str]) -> str:
    known = counts.total()
    if not known:
        return f"the column {column} has nothing for any image: fill in the groups, or name another"
    if len(counts) > MOST_GROUPS and not names:
        return (
            f"the column {column} has {len(counts):,} different values for {known:,} images, none "
            f"of {LEAST_IMAGES} images or more: it holds names or numbers of single things, and no "
            "groups; name a column whose values many images share"
        )
    shown = list_some([f"{name} ({count})" for name, count in counts.most_common()])
    have = f"the group {names[0]} only" if names else "no group"
    return (
        f"the column {column} has {have} with {LEAST_IMAGES} images or more ({shown}): figures of "
        "fewer say nothing, and a comparison needs two such groups"
    )
