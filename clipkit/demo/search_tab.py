"""The page's tab for search: the library itself, and what words and images find in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ParamSpec

import gradio as gr

import clipkit
from clipkit.demo.image_grid import Item, ShownImage, grid_items, image_grid, status_line
from clipkit.demo.image_store import ImageStore, StoredImage
from clipkit.demo.messages import refuse, short_stem, translate
from clipkit.demo.model_queue import ModelQueue
from clipkit.demo.search_query import SearchRequest, read_query, read_request

QUERIES = ("a cat", "sailing boats", "sunset", "a tall tower", "musical instrument", "wild animal")
PAGE = 24  # images that are sent at a time
MAX_FOUND = 480  # images of one search: 500 visitors' are some 100 MB
MAX_MARKS = 50  # of each kind

P = ParamSpec("P")


@dataclass(frozen=True)
class SearchState:
    """A visitor's last request, marks, and what was found; it stays on the server."""

    request: SearchRequest = field(default_factory=SearchRequest)
    more: tuple[Path, ...] = ()  # marked by the visitor
    less: tuple[Path, ...] = ()
    concepts: tuple[str, ...] = ()  # names in the words that are taught concepts
    hits: clipkit.SearchHits | None = None  # None: the library is listed
    images: Sequence[ShownImage] = field(default_factory=tuple)  # all there is to show
    seen: tuple[ShownImage, ...] = ()  # what the grid shows, in its order
    read: int = 0  # how many of the images were looked at for that


Shown = tuple[list[Item], SearchState]  # a page of the grid, and the state behind it
Told = tuple[list[Item], SearchState, str, gr.Button]  # with `SearchTab.describe`


class SearchTab:
    """What the tab's events do.

    Args:
        library: An indexed folder.
        space_id: Of the model of its index.
        images: What may be shown, and searched with.
        queue: The queue for the model.
    """

    def __init__(
        self, library: clipkit.PhotoLibrary, space_id: str, images: ImageStore, queue: ModelQueue
    ) -> None:
        self._library = library
        self._space_id = space_id
        self._images = images
        self._queue = queue

    # Callers of the API may leave out what has a default; Gradio fills in the state and request.
    async def search(
        self,
        query: str,
        count: float,
        state: SearchState,
        image: str | None = None,
        diversity: float = 0,
        request: gr.Request | None = None,
    ) -> Shown:
        """Return the images that fit words, an image, or both; without either, the newest."""
        if count is None:
            raise refuse(f"How many images at a time, 1 to {PAGE}?")
        wanted = read_request(query, image)
        state = state if wanted == state.request else SearchState(wanted)
        return await self._run(request, self._find, state, int(count), diversity)

    async def open(self, request: gr.Request) -> Told:
        """List the library, as the page opens."""
        return await self._run_told(request, SearchState(), 0)

    async def find_example(
        self, sample: tuple[int, list[str]], diversity: float, request: gr.Request
    ) -> tuple[object, ...]:
        """Search for an example that a visitor clicked, and put it where words are typed."""
        (words,) = sample[1]
        told = await self._run_told(request, SearchState(SearchRequest(words)), diversity)
        return words, None, *told

    async def find_more(
        self,
        picked: Path | None,
        state: SearchState,
        count: float,
        diversity: float,
        request: gr.Request,
    ) -> Told:
        """Refit the search to one more image that is like what is sought."""
        marked = replace(state, more=add_mark(state.more, picked))
        return await self._run_told(request, marked, diversity, count)

    async def find_less(
        self,
        picked: Path | None,
        state: SearchState,
        count: float,
        diversity: float,
        request: gr.Request,
    ) -> Told:
        """Refit the search to one more image that is unlike what is sought."""
        marked = replace(state, less=add_mark(state.less, picked))
        return await self._run_told(request, marked, diversity, count)

    async def find_unmarked(
        self, state: SearchState, diversity: float, request: gr.Request
    ) -> Told:
        """Search again without the marks."""
        return await self._run_told(request, SearchState(state.request), diversity)

    async def read_on(self, state: SearchState, request: gr.Request) -> Shown:
        """Return the next page of what was found."""
        return await self._run(request, self._page, state, PAGE)

    def describe(self, state: SearchState) -> tuple[str, gr.Button]:
        """Return the line on what was found, and whether there are marks to forget."""
        has_marks = bool(state.more or state.less)
        return describe(state, len(self._library)), gr.Button(visible=has_marks)

    async def _run_told(
        self, request: gr.Request, state: SearchState, diversity: float, count: float = PAGE
    ) -> Told:
        items, state = await self._run(request, self._find, state, int(count), diversity)
        return items, state, *self.describe(state)

    async def _run(
        self,
        request: gr.Request | None,
        step: Callable[P, Shown],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Shown:
        visitor = request.session_hash if request else None
        try:
            return await self._queue.run(visitor, step, *args, **kwargs)
        except clipkit.ClipkitError as error:
            raise translate(error) from error

    def _find(self, state: SearchState, count: int, diversity: float) -> Shown:
        """Search, or list the library, and return the first page."""
        query, names = read_query(state.request, self._images, self._space_id)
        if query is None and not state.more and not state.less:
            found = replace(state, hits=None, images=self._library.images())
            return self._page(replace(found, concepts=(), seen=(), read=0), count)
        hits = self._library.search(
            query, k=MAX_FOUND, diversity=diversity, more_like=state.more, less_like=state.less
        )
        found = replace(state, hits=hits, images=hits, concepts=tuple(names), seen=(), read=0)
        return self._page(found, count)

    def _page(self, state: SearchState, count: int) -> Shown:
        """Return the next images that may be shown."""
        shown: list[ShownImage] = []
        read = state.read
        while len(shown) < count and read < len(state.images):
            if self._images.is_shown(state.images[read].path):
                shown.append(state.images[read])
            read += 1
        items = grid_items(
            shown, self._images, self._library.folder,
            start=len(state.seen), left=len(state.images) - read,
        )  # fmt: skip
        return items, replace(state, seen=(*state.seen, *shown), read=read)


def build(
    page: gr.Blocks,
    library: clipkit.PhotoLibrary,
    encoder: clipkit.Encoder,
    images: ImageStore,
    queue: ModelQueue,
) -> None:
    """Add the tab's parts to the page that is being built.

    Args:
        page: The page; the library is listed as it opens.
        library: An indexed folder.
        encoder: The model of its index.
        images: What may be shown, and searched with.
        queue: The queue for the model.
    """
    tab = SearchTab(library, encoder.space_id, images, queue)
    state, picked = gr.State(SearchState()), gr.State()
    with gr.Row(elem_id="asking"):
        with gr.Column(scale=5, min_width=260):
            with gr.Row(elem_id="bar"):
                query = gr.Textbox(
                    placeholder="What are you looking for?  Press / to type", lines=1, max_lines=1,
                    label="What are you looking for?", show_label=False, container=False, scale=5,
                    min_width=160, elem_id="query",
                )  # fmt: skip
                button = gr.Button(
                    "Search", variant="primary", scale=0, min_width=96, elem_id="search"
                )
            examples = gr.Dataset(
                components=[query], samples=[[words] for words in QUERIES], label="Try",
                elem_id="try", type="tuple",
            )  # fmt: skip
        image = StoredImage(
            sources=["upload"], label="An image to search with", show_label=False, height=110,
            scale=1, min_width=220, buttons=[], elem_id="sought", placeholder="Or drop an image",
        )  # fmt: skip
    with gr.Accordion("Options", open=False, elem_id="options"):
        diversity = gr.Slider(
            0, 1, label="Different from each other", elem_id="diversity",
            info="0 shows the best matches, however alike; 1 the most varied ones",
        )  # fmt: skip
    count = gr.Slider(1, PAGE, value=PAGE, step=1, visible=False)
    with gr.Row(elem_id="verdict"):
        status = status_line()
        forget = gr.Button(
            "Forget marks", size="sm", scale=0, min_width=120, visible=False, elem_id="forget"
        )
    grid = image_grid()
    shown, inputs = [grid, state], [query, count, state, image, diversity]
    asked = [query.submit, button.click, image.upload, image.clear]
    told = [status, forget]
    # Who asks again while a search runs is answered, and told so: Gradio drops a second call of
    # either function while a first one runs.
    gr.on(asked, tab.search, inputs, shown, api_name="search", trigger_mode="multiple").success(
        tab.describe, state, told, show_progress="hidden", trigger_mode="multiple",
        api_visibility="private",
    )  # fmt: skip
    page.load(tab.open, None, [*shown, *told], api_visibility="private")
    examples.click(
        tab.find_example, [examples, diversity], [query, image, *shown, *told],
        api_visibility="private",
    )  # fmt: skip
    for event, find, name in (
        (grid.alike, tab.find_more, "more"),
        (grid.unlike, tab.find_less, "less"),
    ):
        event(pick, state, picked, show_progress="hidden", api_visibility="private").success(
            find, [picked, state, count, diversity], [*shown, *told], api_name=name,
            api_visibility="private",
        )  # fmt: skip
    forget.click(tab.find_unmarked, [state, diversity], [*shown, *told], api_visibility="private")
    grid.reach(tab.read_on, state, shown, show_progress="hidden", api_visibility="private")


def pick(state: SearchState, event: gr.SelectData) -> Path:
    """Return the image that a visitor wants more or less of."""
    if event.index not in range(len(state.seen)):
        raise refuse("Pick an image of the results first")
    path: Path = state.seen[event.index].path
    return path


def add_mark(marked: tuple[Path, ...], picked: Path | None) -> tuple[Path, ...]:
    """Return the marked images with one more."""
    if picked is None:
        raise refuse("Pick an image of the results first")
    if len(marked) >= MAX_MARKS:
        raise refuse(f"Up to {MAX_MARKS} images can be marked: forget the marks")
    return (*marked, picked)


def describe(state: SearchState, total: int) -> str:
    """Return a line on what was found, among how many images, and which are marked."""
    if state.hits is None:
        return f"The whole library, newest first: {total}." if total else "Nothing is indexed yet."
    hits = state.hits
    if hits.verdict == "found":
        text = f"Found {hits.num_found}{' or more' * hits.may_be_more} among {total} images."
    elif hits.verdict == "not sure":
        text = f"Not sure that any of these fits, among {total} images."
    else:
        text = f"Probably nothing among {total} images; the closest are shown."
    for name in state.concepts:
        text += f" {name} is taken for the taught concept."
    for kind, marked in (("More", state.more), ("Less", state.less)):
        if marked:
            text += f" {kind} like: {', '.join(map(short_stem, marked))}."
    return text
