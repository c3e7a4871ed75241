"""The map of the library that all visitors see: made once, drawn by the page or by a viewer."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import clipkit
from clipkit.demo.image_store import ImageStore, small
from clipkit.demo.messages import short_path

MAX_MAPPED = 20_000  # images, the newest ones: what a browser draws at once, and 3 MB to send
MAX_COLORS = 9  # groups that have a colour of their own; the others share one
OPTIONS = clipkit.MapOptions(has_thumbnails=False, newest=MAX_MAPPED, in_own_process=True)


@dataclass(frozen=True)
class DrawnMap:
    """A map that was made, and the images on it."""

    shown: clipkit.ImageMap
    paths: tuple[Path, ...]  # of its rows
    keys: tuple[str, ...]  # the ids of their thumbnails
    number: int  # grows from one map to the next


class SharedMap:
    """Makes the map of a library, and tells what of it can still be shown.

    Args:
        library: An indexed folder.
        encoder: The model of its index.
        images: What may be shown; images of the map are, as long as they are there.
    """

    def __init__(
        self, library: clipkit.PhotoLibrary, encoder: clipkit.Encoder, images: ImageStore
    ) -> None:
        self._library = library
        self._encoder = encoder
        self._images = images
        self._lock = threading.Lock()
        self._drawn: DrawnMap | None = None
        self._table: tuple[tuple[int, int, str], bytes] | None = None  # made last, and of what

    @property
    def is_made(self) -> bool:
        """Whether there is a map."""
        return self._drawn is not None

    def is_laid_out(self) -> bool:
        """Return whether a map of the library as it is now can be made in a moment."""
        try:
            return clipkit.is_map_laid_out(self._library, OPTIONS)
        except clipkit.NotIndexedError:
            return False

    def make(self, labels: Sequence[str], callbacks: clipkit.Callbacks) -> None:
        """Make the map, in the place of an earlier one.

        Args:
            labels: Words; each image gets the one that fits best.
            callbacks: For progress; what they raise ends it, and the earlier map stays.

        Raises:
            ClipkitError: If it cannot be made.
        """
        options = replace(OPTIONS, labels=tuple(labels))
        shown = clipkit.make_map(self._library, self._encoder, options, callbacks)
        paths = tuple(self._library.folder / path for path in shown.table["path"])
        with self._lock:
            number = 1 if self._drawn is None else self._drawn.number + 1
            self._drawn = DrawnMap(shown, paths, self._images.admit_map(paths), number)

    def current(self) -> tuple[DrawnMap, int] | None:
        """Return the map without the images that are not indexed any more.

        Returns:
            The map, and how many images have been indexed since; None if there is no map.
        """
        drawn = self._drawn
        if drawn is None:
            return None
        there = {image.path for image in self._library.images()[:MAX_MAPPED]}
        kept = [row for row, path in enumerate(drawn.paths) if path in there]
        num_new = len(there) - len(kept)
        if len(kept) == len(drawn.paths):
            return drawn, num_new
        return DrawnMap(
            replace(drawn.shown, table=drawn.shown.table.iloc[kept]),
            tuple(drawn.paths[row] for row in kept),
            tuple(drawn.keys[row] for row in kept),
            drawn.number,
        ), num_new

    def plot(self) -> dict[str, Any] | None:
        """Return the map as the page's own plot takes it; None if there is none."""
        current = self.current()
        if current is None:
            return None
        drawn, num_new = current
        table = drawn.shown.table
        x, y = _unit_square(table["x"].to_numpy(), table["y"].to_numpy())
        return {
            "number": drawn.number,
            "num_new": num_new,
            "x": x,
            "y": y,
            "ids": [small(key) for key in drawn.keys],
            "files": [short_path(path, self._library.folder) for path in drawn.paths],
            "colors": _colorings(table),
        }

    def viewer(self) -> clipkit.MapViewer | None:
        """Return what Embedding Atlas shows the map with; None if there is none."""
        drawn = self._drawn
        return None if drawn is None else clipkit.make_map_viewer(drawn.shown)

    def table(self, address: str) -> bytes | None:
        """Return the table that Embedding Atlas shows; None if there is no map.

        Args:
            address: What comes before an image's id in its address.

        Returns:
            A Parquet file. The images themselves are asked for one by one, by their ids.
        """
        current = self.current()
        if current is None:
            return None
        drawn, _ = current
        key = (drawn.number, len(drawn.keys), address)
        if self._table is None or self._table[0] != key:
            addresses = [address + small(key) for key in drawn.keys]
            self._table = key, clipkit.make_map_viewer(drawn.shown).make_table(addresses)
        return self._table[1]


def _unit_square(x: Any, y: Any) -> tuple[list[float], list[float]]:
    """Return places moved and scaled into 0..1, both axes by the same factor."""
    if not len(x):
        return [], []
    side = max(float(np.ptp(x)), float(np.ptp(y))) or 1.0
    first, second = (
        np.round((axis - (axis.max() + axis.min()) / 2) / side + 0.5, 4).tolist()
        for axis in (x.astype(np.float64), y.astype(np.float64))
    )
    return first, second


def _colorings(table: Any) -> list[dict[str, Any]]:
    """Return by what the points can be coloured: for each row the number of its group."""
    found = []
    for title, name in (
        ("Label", "label"), ("Folder", "folder"), ("Year", "taken"), ("Camera", "camera"),
    ):  # fmt: skip
        if name not in table:
            continue
        column = table[name].dt.year if name == "taken" else table[name]
        values = [
            "" if missing else str(int(value)) if name == "taken" else str(value)
            for value, missing in zip(column, column.isna(), strict=True)
        ]
        groups = Counter(value for value in values if value)
        if len(groups) > 1 or name == "label":
            found.append(_coloring(title, values, groups, is_ordered=name == "taken"))
    return found


def _coloring(
    title: str, values: list[str], groups: Counter[str], *, is_ordered: bool
) -> dict[str, Any]:
    """Return one way to colour the points; of many groups the smaller ones are put together."""
    names = sorted(groups) if is_ordered else [name for name, _ in groups.most_common(MAX_COLORS)]
    numbers = {name: number for number, name in enumerate(names)}
    last = len(names)  # of those without a value, and of small groups
    of = [numbers.get(value, last) for value in values]
    shown = ["the folder itself" if name == "." else name[-80:] for name in names]
    rest = ["others"] if len(names) < len(groups) else ["not known"]
    return {
        "title": title,
        "names": [*shown, *rest] if last in of else shown,
        "of": of,
        "is_ordered": is_ordered,
        "num_named": last,
    }
