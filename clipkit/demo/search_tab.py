"""The page's tab for search: the library itself, and what words and images find in it."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

import clipkit
from clipkit.demo.duplicates import DuplicateFinder
from clipkit.demo.folder_indexer import FolderIndexer
from clipkit.demo.image_grid import Page, image_grid
from clipkit.demo.image_store import ImageStore, StoredImage
from clipkit.demo.messages import refuse, translate
from clipkit.demo.search_filters import (
    ANY_CAMERA,
    ANY_FOLDER,
    SHAPES,
    SIDES,
    SORTS,
    Choice,
    read_filters,
)
from clipkit.demo.search_query import SearchRequest, read_typed
from clipkit.demo.search_session import Searcher, SearchSession, SearchState
from clipkit.demo.selection import (
    EXPORTS,
    MAX_LISTED,
    MAX_ON_SHEET,
    SelectedImage,
    export_dialog,
    selected,
    sheet_of,
    text_of,
)

QUERIES = ("a cat", "sailing boats", "sunset", "a tall tower", "musical instrument", "wild animal")
PAGE = 24  # images that are sent at a time
STEP = 20  # images of a selection that are looked at in one step of the queue
_UNSET = ("best", "", "", "", "", 0, "", 0)  # order, filters and diversity, as on the page


class SearchTab:
    """What the tab's events do, one step of the queue each.

    Args:
        library: An indexed folder.
        space_id: Of the model of its index.
        images: What may be shown, and searched with.
        indexer: Indexes the folder meanwhile.
    """

    def __init__(
        self,
        library: clipkit.PhotoLibrary,
        space_id: str,
        images: ImageStore,
        indexer: FolderIndexer,
    ) -> None:
        self._duplicates = DuplicateFinder(library, indexer.queue, lambda: indexer.version)
        self._searcher = Searcher(library, space_id, images)
        self._images = images
        self._queue = indexer.queue

    # Callers of the API may leave out what has a default; Gradio fills in the session and request.
    async def search(  # noqa: PLR0913 - Gradio gives each part of the page as an argument
        self,
        query: str,
        count: float,
        session: SearchSession,
        image: str | None = None,
        diversity: float = 0,
        sort: str = "best",
        date_from: str = "",
        date_to: str = "",
        folder: str = "",
        camera: str = "",
        size: float = 0,
        shape: str = "",
        request: gr.Request | None = None,
    ) -> Page:
        """Find images of the folder that fit words, an image or both; without either, list it.

        Args:
            query: Words that say what is on the images; empty for the whole folder.
            count: How many images to return, 1 to 24.
            session: What the visitor has asked before.
            image: An image like what is sought.
            diversity: How much the images should differ from each other, 0 to 1.
            sort: best, newest, oldest, name or largest.
            date_from: Taken on this day, month or year or later, as in 2024-06-01, 2024-06 or 2024.
            date_to: Taken on this day, month or year or earlier.
            folder: Only in this folder, by its path inside the whole.
            camera: Only with a camera whose name contains this.
            size: The least width and height, pixels.
            shape: landscape, portrait or square.
            request: Of the visitor.

        Returns:
            The images with their paths and relevances in percent, and a line on what was found.

        Raises:
            gr.Error: If the visitor can mend what is wrong.
        """
        if count is None:
            raise refuse(f"How many images at a time, 1 to {PAGE}?")
        filters = read_filters((date_from, date_to), folder, camera, size, shape)
        wanted = SearchRequest(read_typed(query), image, diversity, sort or "best", filters)

        def ask(before: SearchState) -> SearchState:
            return replace(
                before if wanted.asks_as(before.request) else SearchState(), request=wanted
            )

        return await self._find(session, request, ask, int(count))

    async def open(self, session: SearchSession, request: gr.Request) -> tuple[Any, ...]:
        """List the library, as the page opens, and say what its filters offer.

        Who was faster than this, and has searched already, is shown what was found.
        """
        page = await self.find_again(session, request)
        folders, cameras = await self._queue.run(request.session_hash, self._searcher.places)
        return (
            page,
            gr.Dropdown(choices=[ANY_FOLDER, *folders]),
            gr.Dropdown(choices=[ANY_CAMERA, *cameras]),
        )

    async def find_example(
        self, sample: tuple[int, list[str]], session: SearchSession, request: gr.Request
    ) -> tuple[object, ...]:
        """Search for an example that a visitor clicked, and put it where words are typed."""
        (words,) = sample[1]

        def ask(before: SearchState) -> SearchState:
            return SearchState(replace(before.request, words=words, image=None))

        return words, None, await self._find(session, request, ask)

    async def find_unfiltered(
        self, session: SearchSession, request: gr.Request
    ) -> tuple[object, ...]:
        """Search for the same without filters, best matches first."""

        def ask(before: SearchState) -> SearchState:
            wanted = SearchRequest(before.request.words, before.request.image)
            return replace(before, request=wanted)

        return *_UNSET, await self._find(session, request, ask)

    async def find_again(self, session: SearchSession, request: gr.Request) -> Page:
        """Search for the same once more: there may be new images."""
        return await self._find(session, request, lambda before: before)

    async def find_unmarked(self, session: SearchSession, request: gr.Request) -> Page:
        """Search again without the marks."""
        return await self._find(session, request, lambda before: SearchState(before.request))

    async def find_more(
        self, session: SearchSession, event: gr.SelectData, request: gr.Request
    ) -> Page:
        """Refit the search to one more image that is like what is sought."""
        return await self._find_marked("more", session, event, request)

    async def find_less(
        self, session: SearchSession, event: gr.SelectData, request: gr.Request
    ) -> Page:
        """Refit the search to one more image that is unlike what is sought."""
        return await self._find_marked("less", session, event, request)

    async def find_duplicates(self, session: SearchSession, request: gr.Request) -> Page:
        """Show the images that the library has more than once."""
        try:
            images, told = await self._duplicates.find()
        except clipkit.ClipkitError as error:
            raise translate(error) from error
        state = SearchState(images=images, told=told, whole=" spare copies")
        return await self._queue.run(
            request.session_hash, self._searcher.show, session, state, PAGE
        )

    async def take(
        self, session: SearchSession, event: gr.SelectData, request: gr.Request
    ) -> AsyncIterator[Any]:
        """Return a list, a command or a contact sheet of the images that are selected."""
        kind, visitor, state = event.value, request.session_hash, session.state
        if kind not in EXPORTS or not isinstance(event.index, list):
            raise refuse("Select images first")
        chosen = await self._queue.run(
            visitor, selected, state.images, set(event.index), self._images, is_all=event.selected
        )
        most = MAX_ON_SHEET if kind == "sheet" else MAX_LISTED
        if len(chosen) > most:
            raise refuse(f"Up to {most:,} images at a time, {len(chosen):,} are selected")
        images: list[SelectedImage] = []
        pictures: dict[Path, bytes] = {}
        for start in range(0, len(chosen), STEP):  # so that others wait for no longer
            step = chosen[start : start + STEP]
            kept = await self._queue.run(visitor, self._searcher.keep_shown, step)
            images += kept
            if kind == "sheet":
                pictures |= await self._queue.run(visitor, self._searcher.thumbnails, kept)
            yield gr.skip()
        if kind == "sheet":
            title = state.request.words or "Images"
            yield sheet_of([image for image in images if image.path in pictures], title, pictures)
        else:
            yield text_of(kind, images)

    async def read_on(
        self, session: SearchSession, event: gr.SelectData, request: gr.Request
    ) -> Page | Any:
        """Return the next page of what was found."""

        def read() -> Page | Any:
            asked = event.value, event.index
            if asked != (str(session.state.number), session.state.shown):
                return gr.skip()  # of an answer that another one has taken the place of
            return self._searcher.read_on(session, PAGE)

        return await self._queue.run(request.session_hash, read)

    async def _find_marked(
        self, kind: str, session: SearchSession, event: gr.SelectData, request: gr.Request
    ) -> Page:
        source = self._images.source(event.value) if isinstance(event.value, str) else None
        if not isinstance(source, Path):
            raise refuse("Pick an image of the results first")
        return await self._find(session, request, lambda before: before.with_mark(kind, source))

    async def _find(
        self,
        session: SearchSession,
        request: gr.Request | None,
        change: Callable[[SearchState], SearchState],
        count: int = PAGE,
    ) -> Page:
        visitor = request.session_hash if request else None
        try:
            return await self._queue.run(visitor, self._searcher.find, session, change, count)
        except clipkit.ClipkitError as error:
            raise translate(error) from error


def build(
    page: gr.Blocks,
    library: clipkit.PhotoLibrary,
    encoder: clipkit.Encoder,
    images: ImageStore,
    indexer: FolderIndexer,
) -> None:
    """Add the tab's parts to the page that is being built.

    Args:
        page: The page; the library is listed as it opens.
        library: An indexed folder.
        encoder: The model of its index.
        images: What may be shown, and searched with.
        indexer: Indexes the folder meanwhile.
    """
    tab = SearchTab(library, encoder.space_id, images, indexer)
    session = gr.State(SearchSession())
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
    options = build_options()
    count = gr.Slider(1, PAGE, value=PAGE, step=1, visible=False)
    grid, taken = image_grid(), export_dialog()
    sort, first, last, place, camera, size, shape, diversity, unset, copies = options
    chosen = [sort, first, last, place, camera, size, shape]
    asked = [query.submit, button.click, image.upload, image.clear, diversity.release]
    asked += [part.submit for part in (first, last)]
    asked += [part.input for part in (sort, place, camera, size, shape)]
    # Each is one call. Who asks again while an answer is under way is answered to the last that was
    # asked, after it: of two answers that come at once, the grid would be told of one, perhaps the
    # earlier. Steps of one visitor run in turn, and what they start from stays on the server.
    gr.on(
        asked, tab.search, [query, count, session, image, diversity, *chosen], grid,
        api_name="search", trigger_mode="always_last",
    )  # fmt: skip
    private: dict[str, Any] = {"api_visibility": "private", "trigger_mode": "multiple"}
    page.load(tab.open, session, [grid, place, camera], **private)
    examples.click(tab.find_example, [examples, session], [query, image, grid], **private)
    unset.click(tab.find_unfiltered, session, [*chosen, diversity, grid], **private)
    grid.alike(tab.find_more, session, grid, api_name="more", **private)
    grid.unlike(tab.find_less, session, grid, api_name="less", **private)
    grid.forget(tab.find_unmarked, session, grid, **private)
    grid.take(tab.take, session, taken, api_name="take", **private)
    copies.click(tab.find_duplicates, session, grid, **private)
    grid.again(tab.find_again, session, grid, show_progress="hidden", **private)
    grid.reach(tab.read_on, session, grid, show_progress="hidden", **private)


def build_options() -> tuple[Any, ...]:
    """Add the order, filters and diversity of a search and two buttons; return them in order."""
    with gr.Accordion("Filters and order", open=False, elem_id="options"):
        with gr.Row():
            sort = gr.Dropdown(SORTS, value="best", label="Order", min_width=150, elem_id="sort")
            place = Choice(
                [ANY_FOLDER], value="", label="Folder", allow_custom_value=True, min_width=150,
                elem_id="place",
            )  # fmt: skip
            camera = Choice(
                [ANY_CAMERA], value="", label="Camera", allow_custom_value=True, min_width=150,
                elem_id="camera",
            )  # fmt: skip
            shape = gr.Dropdown(SHAPES, value="", label="Shape", min_width=150, elem_id="shape")
            size = Choice(
                SIDES, value=0, label="Size", allow_custom_value=True, min_width=150,
                elem_id="size",
            )  # fmt: skip
            first, last = (
                gr.Textbox(
                    "",
                    label=label,
                    placeholder=example,
                    max_lines=1,
                    max_length=10,
                    min_width=150,
                    elem_id=name,
                )
                for label, example, name in (
                    ("Taken from", "2023-06", "from"),
                    ("Taken until", "2024", "until"),
                )
            )
        with gr.Row():
            diversity = gr.Slider(
                0, 1, label="Different from each other", elem_id="diversity", scale=3,
                info="0 shows the best matches, however alike; 1 the most varied ones",
            )  # fmt: skip
            with gr.Column(min_width=150):
                unset = gr.Button("Clear filters", size="sm", elem_id="unset")
                copies = gr.Button("Show duplicates", size="sm", elem_id="copies")
    return sort, first, last, place, camera, size, shape, diversity, unset, copies
