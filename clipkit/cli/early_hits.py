"""The best images so far, on the terminal while the rest of a folder is being indexed."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from clipkit.cli.search_results import has_found_nothing, hit_rows, print_hits
from clipkit.cli.terminal import LiveLines, can_replace_lines, note
from clipkit.search.filters import FilterOptions, IndexFilter, read_filter
from clipkit.search.search import SearchHits
from clipkit.search.sync_progress import SyncProgress

if TYPE_CHECKING:
    from clipkit.cli.preview import Preview

_SHARE = 10  # an answer is looked for again when there is a tenth more to search


class EarlyHits:
    """Shows what a search finds so far, and again when there is more to search.

    Used in a ``with`` block, at whose end it is gone from the terminal.

    Args:
        find: Searches what is indexed.
        folder: As the user wrote it.
        filters: Those of the search: only what passes them can be shown.
    """

    def __init__(
        self, find: Callable[[], SearchHits], folder: str, filters: FilterOptions | None = None
    ) -> None:
        self.filters = filters or FilterOptions()
        self.shown: SyncProgress | None = None  # what the last answer was from
        self._find = find
        self._folder = folder
        self._is_filtered = read_filter(self.filters) != IndexFilter()
        self._lines = LiveLines()
        self._enough = 1  # images, for the next answer

    def show(self, so_far: SyncProgress) -> None:
        """Search, and show what is found, unless there is hardly more to search than before."""
        number = so_far.num_indexed
        if number < self._enough:
            return
        self._enough = number + max(1, number // _SHARE)
        hits = self._find()
        told = found_so_far(hits, so_far, is_filtered=self._is_filtered)
        self._lines.show([told, *hit_rows(hits, self._folder)])
        self.shown = so_far

    def print_last(
        self, num_indexed: int, arguments: argparse.Namespace, preview: "Preview | None"
    ) -> None:
        """Print, after Ctrl-C, what is found so far as the answer.

        Args:
            num_indexed: How many images are indexed now.
            arguments: As parsed.
            preview: Shows each image.
        """
        assert self.shown is not None
        hits = self._find()
        note("interrupted: what is indexed is kept; run the same command again to resume")
        so_far = replace(self.shown, num_indexed=num_indexed)
        note(found_so_far(hits, so_far, is_filtered=self._is_filtered))
        if not (arguments.filepath_only and has_found_nothing(hits, arguments)):
            print_hits(hits, arguments, preview)

    def __enter__(self) -> Self:
        """Return it, with nothing shown."""
        self._lines.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the answer off the terminal."""
        self._lines.__exit__()


def are_early_hits_wanted(arguments: argparse.Namespace) -> bool:
    """Return whether a person looks on, and does not want to wait for the whole answer."""
    is_for_programs = arguments.json or arguments.print0
    return not (arguments.wait or is_for_programs) and can_replace_lines()


def found_so_far(hits: SearchHits, so_far: SyncProgress, *, is_filtered: bool) -> str:
    """Return the sentence about an answer from a part of the images: it says nothing of the others.

    Args:
        hits: What was found.
        so_far: How many images there are to search, and how many in all.
        is_filtered: Whether only some of them were looked at.

    Returns:
        The sentence, without a full stop.
    """
    told = f"from {so_far} so far"
    if is_filtered:
        number = f"{hits.num_searched:,}".replace(",", " ")
        told += f", of which {number} pass{'es' * (hits.num_searched == 1)} the filters"
    if not hits:
        return f"{told}: nothing yet"
    if hits.verdict == "found":
        return f"{told}: found {hits.num_found}{' or more' if hits.may_be_more else ''}"
    if hits.verdict == "not sure":
        return f"{told}: not sure that any of these fits"
    return f"{told}: probably nothing yet; these are the closest"
