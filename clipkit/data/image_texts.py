"""What is known in words of single images: captions from files or a table, labels from folders."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from clipkit.data.caption_files import CaptionLocation, captions_of_image
from clipkit.data.class_names import is_no_class, words_of
from clipkit.data.listed_pairs import ListedPairs
from clipkit.data.pair import PairDataset, list_some
from clipkit.data.table import image_identity, open_table
from clipkit.data.table_columns import TableColumns, join_columns, open_table_columns
from clipkit.data.table_rows import Columns, MissingColumnError
from clipkit.errors import InputError
from clipkit.paths import expand_home
from clipkit.progress import Callbacks


@dataclass(frozen=True)
class TextSources:
    """Where the captions and labels of images are; by default in caption files beside them."""

    # A table of images, or a folder with caption files under the same paths; empty: beside them.
    captions: str | Path = ""
    image_column: str = ""  # of the table; empty: the first with a usual name, also of captions
    caption_column: str = ""
    label_column: str = ""  # of the table; empty: no label of it
    is_by_class: bool = False  # whether the folders in the images' folder are classes: the labels


class KnownTexts(NamedTuple):
    """What is known of one image in words."""

    captions: tuple[str, ...] = ()
    label: str | None = None


class ImageTexts:
    """Looks up what is known in words of the images of a folder.

    A table is read at once, so that what is wrong with it is said before any other work.

    Args:
        folder: The images' folder.
        sources: Where captions and labels are.
        callbacks: Told which rows and caption files are not used.

    Raises:
        InputError: If the table cannot be read, lacks a column or names no image that is there, or
            the sources contradict each other.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
    """

    def __init__(
        self,
        folder: Path,
        sources: TextSources | None = None,
        *,
        callbacks: Callbacks | None = None,
    ) -> None:
        self._folder = folder
        self._sources = sources or TextSources()
        self._callbacks = callbacks or Callbacks()
        self._beside: CaptionLocation | None = CaptionLocation(folder)
        self._captions: PairDataset | None = None
        self._labels: TableColumns | None = None
        _check_sources(self._sources)
        if self._sources.captions:
            self._open(expand_home(self._sources.captions))

    def look_up(self, paths: Sequence[str]) -> list[KnownTexts]:
        """Return what is known of images.

        Args:
            paths: N images, relative to the folder, with / between their parts.

        Returns:
            One each, in that order; empty where nothing is known.
        """
        captions = [self._beside_image(path) for path in paths]
        if self._captions is not None:
            captions = self._in_table(self._captions, paths)
        labels: Sequence[str | None] = [None] * len(paths)
        if self._labels is not None:
            images = ListedPairs(self._folder, ((path, ()) for path in paths))
            labels = join_columns(self._labels, images)[self._sources.label_column]
        elif self._sources.is_by_class:
            labels = [self._classes.get(path.partition("/")[0]) for path in paths]
        if paths and self._beside is None and not any(captions) and not any(labels):
            self._callbacks.warn(
                f"{self._sources.captions} says nothing of the images that were found: its paths "
                "count from its own folder, or else from the current one"
            )
        return [KnownTexts(*known) for known in zip(captions, labels, strict=True)]

    def _open(self, path: Path) -> None:
        """Open what `TextSources.captions` names."""
        if path.is_dir():
            self._beside = CaptionLocation(path)
            return
        sources, say = self._sources, self._callbacks.say
        self._beside = None
        if sources.label_column:
            self._labels = open_table_columns(
                path, sources.image_column, [sources.label_column], say=say
            )
        try:
            columns = Columns(sources.image_column, sources.caption_column)
            self._captions = open_table(path, columns, say=say)
        except MissingColumnError as error:  # a table of labels alone will do
            if not sources.label_column or sources.caption_column:
                raise InputError(
                    f"{error.lack}: name it (--{error.key.replace('_', '-')})"
                ) from error
            return
        if skipped := self._captions.skipped:
            say(f"{path}: {len(skipped)} rows give no caption: {list_some(skipped)}")

    def _beside_image(self, path: str) -> tuple[str, ...]:
        if self._beside is None:
            return ()
        captions, reasons = captions_of_image(self._beside, path)
        if reasons:
            self._callbacks.say(f"no caption of {path} from {list_some(reasons)}")
        return captions

    def _in_table(self, table: PairDataset, paths: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the captions that a table has of images, by the files themselves."""
        wanted: dict[Hashable, str] = {image_identity(self._folder / path): path for path in paths}
        found: dict[str, tuple[str, ...]] = {}
        for row in range(len(table)):
            image, captions, _ = table[row]
            known = wanted.get(image_identity(image)) if isinstance(image, Path) else None
            if known is not None:
                found[known] = captions
        return [found.get(path, ()) for path in paths]

    @cached_property
    def _classes(self) -> dict[str, str]:
        """The class of each folder in the images' folder; other than classes are left out."""
        folders = sorted(
            entry.name
            for entry in self._folder.iterdir()
            if entry.is_dir() and not entry.name.startswith(".") and not is_no_class(entry.name)
        )
        return dict(zip(folders, words_of(folders), strict=True))


def _check_sources(sources: TextSources) -> None:
    """Refuse columns without a table, and labels from two places."""
    path = expand_home(sources.captions) if sources.captions else None
    if path is not None and not path.exists():
        raise InputError(
            f"{path}: there is no such table of captions, nor such a folder of caption files"
        )
    columns = (sources.image_column, sources.caption_column, sources.label_column)
    if any(columns) and (path is None or path.is_dir()):
        named = next(name for name in columns if name)
        raise InputError(
            f"{named!r} would be a column of a table, and the captions are in none: name a table "
            "(--captions TABLE)"
        )
    if sources.label_column and sources.is_by_class:
        raise InputError(
            f"labels are in the column {sources.label_column!r} or the names of folders: leave one "
            "out"
        )
