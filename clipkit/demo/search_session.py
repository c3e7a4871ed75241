"""One visitor's search: what was asked for, what was found, and how far it has been shown."""

import contextlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import clipkit
from clipkit.demo.image_grid import FOUND, Page, ShownImage, belongs, grid_items
from clipkit.demo.image_store import ImageStore
from clipkit.demo.messages import refuse, short_stem
from clipkit.demo.search_filters import Places, places_of
from clipkit.demo.search_query import SearchRequest, read_query
from clipkit.demo.selection import SelectedImage, described

MAX_FOUND = 480  # images of one search: 500 visitors' are some 100 MB
MAX_MARKS = 50  # of each kind
_ORDERS = {
    "newest": "newest first",
    "oldest": "oldest first",
    "name": "by name",
    "largest": "largest first",
}


@dataclass(frozen=True)
class SearchState:
    """A visitor's last request, marks, and what was found; it stays on the server."""

    request: SearchRequest = field(default_factory=SearchRequest)
    more: tuple[Path, ...] = ()  # marked by the visitor
    less: tuple[Path, ...] = ()
    images: Sequence[ShownImage] = ()  # all there is to show
    number: int = 0  # grows from one search to the next: the last one is shown, whatever comes last
    read: int = 0  # how many of them were looked at for what is shown
    shown: int = 0  # how many are: those that may not be shown are left out
    told: str = ""  # the line above them
    whole: str = ""  # what of them "select all" selects

    def with_mark(self, kind: str, path: Path) -> "SearchState":
        """Return the state with one more image marked.

        Args:
            kind: "more" or "less", of what is like it.
            path: The image.

        Returns:
            The state, to search again with.

        Raises:
            gr.Error: If too many are marked.
        """
        marked: tuple[Path, ...] = getattr(self, kind)
        if len(marked) >= MAX_MARKS:
            raise refuse(f"Up to {MAX_MARKS} images can be marked: forget the marks")
        return replace(self, **{kind: (*marked, path)})  # type: ignore[arg-type] # one of the two


@dataclass
class SearchSession:
    """The state that a visitor's next call starts from; steps of the queue change it, in turn."""

    state: SearchState = field(default_factory=SearchState)


class Searcher:
    """Searches and lists a library for visitors.

    Args:
        library: An indexed folder.
        space_id: Of the model of its index.
        images: What may be shown, and searched with.
    """

    def __init__(self, library: clipkit.PhotoLibrary, space_id: str, images: ImageStore) -> None:
        self._library = library
        self._space_id = space_id
        self._images = images
        self._numbers = itertools.count(1)

    def find(
        self, session: SearchSession, change: Callable[[SearchState], SearchState], count: int
    ) -> Page:
        """Search, or list the library, and return the first page.

        Args:
            session: The visitor's; as it was if this fails.
            change: From the visitor's last state to the one to search for.
            count: The most images of the page.

        Returns:
            The page.

        Raises:
            gr.Error: If the visitor can mend it.
            ClipkitError: If the library cannot be searched.
        """
        state = change(session.state)
        wanted = state.request
        query, concepts = read_query(wanted, self._images, self._space_id)
        if query is None and not state.more and not state.less:
            images = self._list(wanted)
            told = describe_listing(wanted, len(images), len(self._library))
            state = replace(state, images=images, told=told, whole="")
        else:
            hits = self._search(query, state)
            told = describe_hits(state, hits, len(self._library), concepts)
            state = replace(state, images=hits, told=told, whole=" found")
        return self.show(session, state, count)

    def show(self, session: SearchSession, state: SearchState, count: int) -> Page:
        """Make a state the visitor's, and return its first page, of at most so many images."""
        session.state = replace(state, number=next(self._numbers), read=0, shown=0)
        return self.read_on(session, count)

    def read_on(self, session: SearchSession, count: int) -> Page:
        """Return the next images that may be shown, at most so many."""
        state = session.state
        page: list[ShownImage] = []
        read = state.read
        while len(page) < count and read < len(state.images):
            if self._images.is_shown(state.images[read].path):
                page.append(state.images[read])
            read += 1
        session.state = replace(state, read=read, shown=state.shown + len(page))
        return {
            "images": grid_items(page, self._images, self._library.folder),
            "number": state.number,
            "start": state.shown,  # at 0 they take the place of those before
            "left": len(state.images) - read,
            "told": state.told,
            "has_marks": bool(state.more or state.less),
            "whole": {"count": sum(map(belongs, state.images)), "name": state.whole},
        }

    def places(self) -> Places:
        """Return where the images of the library lie, and what they were taken with."""
        return places_of(self._list(SearchRequest()), self._library.folder)

    def keep_shown(self, images: Sequence[ShownImage]) -> list[SelectedImage]:
        """Return those of some images that may be shown, as they are listed."""
        folder = self._library.folder
        return [described(image, folder) for image in images if self._images.is_shown(image.path)]

    def thumbnails(self, images: Sequence[SelectedImage]) -> dict[Path, bytes]:
        """Return small renderings of images, by path, as far as they can still be shown."""
        found = {}
        for image in images:
            with contextlib.suppress(clipkit.ClipkitError):
                found[image.path] = self._images.thumbnail(self._library.folder / image.path)
        return found

    def _list(self, wanted: SearchRequest) -> list[clipkit.LibraryImage]:
        sort = "newest" if wanted.sort == "best" else wanted.sort
        try:
            return self._library.images(sort=sort, **wanted.filters)  # type: ignore[arg-type]
        except clipkit.NotIndexedError:
            return []

    def _search(self, query: clipkit.Query | None, state: SearchState) -> clipkit.SearchHits:
        """Return the best images; in another order than by what fits, only those that are found."""
        wanted = state.request

        def search(**options: object) -> clipkit.SearchHits:
            return self._library.search(
                query, k=MAX_FOUND, diversity=wanted.diversity, more_like=state.more,
                less_like=state.less, **wanted.filters, **options,  # type: ignore[arg-type]
            )  # fmt: skip

        if wanted.sort != "best" and (hits := search(sort=wanted.sort, min_relevance=FOUND)):
            return hits
        return search()


def describe_listing(wanted: SearchRequest, count: int, total: int) -> str:
    """Return a line on a library that is listed.

    Args:
        wanted: Its filters and order.
        count: How many images pass the filters.
        total: How many there are.

    Returns:
        A sentence.
    """
    order = _ORDERS.get(wanted.sort, "newest first")
    if not total:
        return "Nothing is indexed yet."
    if not wanted.filters:
        return f"The whole library, {order}: {total}."
    return f"{_among(wanted, count, total)}, {order}." if count else _nothing_passes(total)


def describe_hits(
    state: SearchState, hits: clipkit.SearchHits, total: int, concepts: Sequence[str]
) -> str:
    """Return a line on what was found, among how many images, and which are marked.

    Args:
        state: What was asked for.
        hits: What was found.
        total: How many images there are.
        concepts: Names in the words that are taught concepts.

    Returns:
        Sentences.
    """
    wanted = state.request
    among = _among(wanted, hits.num_searched, total)
    if wanted.filters and not hits.num_searched:
        text = _nothing_passes(total)
    elif hits.verdict == "found":
        order = f", {_ORDERS[wanted.sort]}" if wanted.sort in _ORDERS else ""
        text = f"Found {hits.num_found}{' or more' * hits.may_be_more} among {among}{order}."
    elif hits.verdict == "not sure":
        text = f"Not sure that any of these fits, among {among}."
    else:
        text = f"Probably nothing among {among}; the closest are shown."
    for name in concepts:
        text += f" {name} is taken for the taught concept."
    for kind, marked in (("More", state.more), ("Less", state.less)):
        if marked:
            text += f" {kind} like: {', '.join(map(short_stem, marked))}."
    return text


def _among(wanted: SearchRequest, count: int, total: int) -> str:
    return f"{count} of {total} images" if wanted.filters else f"{total} images"


def _nothing_passes(total: int) -> str:
    return f"None of {total} images passes the filters."
