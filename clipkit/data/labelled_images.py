"""Images whose classes are known: class folders, tables, shards and CLIP_benchmark's sets."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import quoted
from clipkit.data.benchmark_layout import BenchmarkSet
from clipkit.data.class_names import ClassNames, odd_names, read_class_names
from clipkit.data.pair import PairDataset, PairLayout
from clipkit.data.shard_samples import ShardCaptions
from clipkit.data.sources import open_pairs, open_source
from clipkit.data.table_rows import MissingColumnError
from clipkit.data.webdataset import is_shards, open_shards
from clipkit.errors import InputError
from clipkit.models.standard_names import imagenet_class_names
from clipkit.paths import expand_home
from clipkit.progress import Callbacks

IMAGENET = "imagenet"  # for open_clip's list of class names


@dataclass(frozen=True)
class LabelledImages:
    """A dataset whose images each have one class."""

    dataset: PairDataset
    labels: NDArray[np.intp]  # the class of each row, shape (N,), in 0..C-1
    class_names: tuple[str, ...]  # C; equal ones are classes of their own
    templates: tuple[str, ...] = ()  # that come with the dataset

    @property
    def counts(self) -> NDArray[np.intp]:
        """How many images each class has, shape (C,)."""
        return np.bincount(self.labels, minlength=len(self.class_names))


def open_labelled(
    path: str,
    layout: PairLayout,
    *,
    benchmark: BenchmarkSet | None,
    label_column: str = "",
    callbacks: Callbacks,
) -> LabelledImages:
    """Open images with their classes.

    Args:
        path: Class folders, a table or shards with .cls.
        layout: Of them; its class_names may be "imagenet".
        benchmark: What path was found to be, if it has CLIP_benchmark's layout.
        label_column: Of a table, with the names of the classes.
        callbacks: For messages on how the dataset was understood.

    Returns:
        The images.

    Raises:
        InputError: If the images have no classes, or as :func:`clipkit.data.sources.open_pairs`.
    """
    names = _names(layout.class_names)
    if benchmark is not None:
        found = _from_shards(benchmark.shards, benchmark.class_names, callbacks)
        return replace(found, templates=benchmark.templates)
    if names is not None and names.in_order and is_shards(path):
        return _from_shards(path, names.in_order, callbacks)
    if label_column:
        table = replace(layout, caption_column=label_column, class_names="")
        found = _by_caption(path, _open_table(path, table, callbacks))
        for line in odd_names(found.class_names, "Write their names into the column"):
            callbacks.warn(line)
        return found
    if names is not None:
        layout = replace(layout, class_names="")
    with _naming_class_column():
        dataset = open_pairs(path, layout, are_named_later=names is not None, callbacks=callbacks)
    found = by_class(path, dataset)
    if names is None:
        return found
    folders = [""] * len(found.class_names)
    for row, label in enumerate(found.labels):
        folders[label] = folders[label] or found.dataset.local_name(row).partition("/")[0]
    return replace(found, class_names=names.of_folders(folders))


def _names(text: str) -> ClassNames | None:
    if text == IMAGENET:
        return ClassNames(Path(IMAGENET), {}, imagenet_class_names())
    return read_class_names(expand_home(text)) if text else None


def _from_shards(shards: str, names: Sequence[str], callbacks: Callbacks) -> LabelledImages:
    """Return shards by the numbers in their .cls, so that equal names stay two classes."""
    numbers = ClassNames(Path("classes"), {}, tuple(map(str, range(len(names)))))
    dataset = open_shards(shards, ShardCaptions((), numbers, ("{}",)), say=callbacks.warn)
    if not len(dataset):
        why = f": {dataset.skipped[0]}" if dataset.skipped else ""
        raise InputError(f"{shards} hold no image with the number of a class in a .cls{why}")
    labels = [int(dataset.class_name(row) or 0) for row in range(len(dataset))]
    return LabelledImages(dataset, np.array(labels, dtype=np.intp), tuple(names))


def by_class(path: str, dataset: PairDataset) -> LabelledImages:
    """Return a dataset that is open by the classes it has itself.

    Args:
        path: What it was opened from, for messages.
        dataset: The pairs.

    Returns:
        The images.

    Raises:
        InputError: If they have no classes.
    """
    if not dataset.class_names:
        raise InputError(
            f"the images of {path} have captions and no classes: sort them into one folder a "
            "class, name the column of a table that holds the class (--label-column), or evaluate "
            "retrieval (--task retrieval)"
        )
    labels = [dataset.label(row) or 0 for row in range(len(dataset))]
    return LabelledImages(dataset, np.array(labels, dtype=np.intp), dataset.class_names)


@contextmanager
def _naming_class_column() -> Iterator[None]:
    """Say of a table without a column of captions that one of classes is needed."""
    try:
        yield
    except MissingColumnError as error:
        if error.key != "caption_column":
            raise
        raise InputError(
            f"{error.lack}: name the column with the class (--label-column)"
        ) from error


def _open_table(path: str, layout: PairLayout, callbacks: Callbacks) -> PairDataset:
    """Return the pairs of a table whose column of captions is one of labels."""
    with _naming_class_column():
        opened = open_source(path, layout, callbacks=callbacks)
    if opened.kind not in ("table", "metadata"):
        raise InputError(
            f"a column of labels is one of a table, and {path} is none: leave --label-column out, "
            "or give a table (.csv, .tsv, .jsonl, .parquet)"
        )
    return opened.dataset


def _by_caption(path: str, dataset: PairDataset) -> LabelledImages:
    """Return a table by what its column of labels says."""
    said = [dataset[row].captions for row in range(len(dataset))]
    several = [row for row, labels in enumerate(said) if len(labels) > 1]
    if several:
        raise InputError(
            f"{len(several)} of {len(said)} images of {path} have more than one label, such as "
            f"{dataset.local_name(several[0])} with {quoted(said[several[0]])}: classification "
            "needs images of one class each; leave the others out, or evaluate retrieval with the "
            "labels as captions (--caption-column)"
        )
    names = tuple(sorted({label for (label,) in said}))
    number = {name: place for place, name in enumerate(names)}
    labels = np.array([number[label] for (label,) in said], dtype=np.intp)
    return LabelledImages(dataset, labels, names)


def same_classes(train: Sequence[str], test: Sequence[str]) -> NDArray[np.intp]:
    """Return the number that each class of one dataset has in another.

    Args:
        train: The classes of the one, by number.
        test: Those of the other.

    Returns:
        Shape (C,).

    Raises:
        InputError: If they do not have the same classes, no two of one name.
    """
    if list(train) == list(test):
        return np.arange(len(train))  # names may repeat
    place = {name: number for number, name in enumerate(test)}
    unknown, missing = sorted({*train} - {*test}), sorted({*test} - {*train})
    if unknown or missing or len(place) < len(test):
        raise InputError(
            "training and test data must have the same classes, no two of one name; "
            f"{_number_of(unknown)} only in training, {_number_of(missing)} only in the test"
        )
    return np.array([place[name] for name in train])


def _number_of(names: Sequence[str]) -> str:
    return f"{len(names)} ({quoted(names)})" if names else "none"
