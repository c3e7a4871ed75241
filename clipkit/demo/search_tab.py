"""The page's tab for search, by words, by an image, and by images that a visitor marks."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import gradio as gr

import clipkit
from clipkit.demo.image_store import ImageStore, StoredGallery, StoredImage, Upload, small
from clipkit.demo.messages import refuse, short_stem, translate
from clipkit.demo.model_queue import ModelQueue

QUERIES = ("a cat", "sailing boats", "sunset", "a tall tower", "musical instrument", "wild animal")
MAX_QUERY = 500  # characters; the model reads about 70 words
MAX_MARKS = 50  # of each kind


@dataclass(frozen=True)
class SearchRequest:
    """A visitor's query: words, an image, or both."""

    words: str = ""
    image: str | None = None  # the id of an image


@dataclass(frozen=True)
class SearchState:
    """A visitor's last request, marks and hits; it stays on the server."""

    request: SearchRequest = SearchRequest()
    more: tuple[Path, ...] = ()  # marked by the visitor
    less: tuple[Path, ...] = ()
    hits: clipkit.SearchHits = field(default_factory=clipkit.SearchHits)


Shown = tuple[list[tuple[str, str]], SearchState]  # the gallery, and the state behind it


def build(library: clipkit.PhotoLibrary, images: ImageStore, queue: ModelQueue) -> None:
    """Add the tab's parts to the page that is being built.

    Args:
        library: An indexed folder.
        images: What may be shown, and searched with.
        queue: The queue for the model.
    """

    def find(state: SearchState, count: float, diversity: float) -> Shown:
        try:
            found = library.search(
                read_query(state.request, images), k=int(count), diversity=diversity,
                more_like=state.more, less_like=state.less,
            )  # fmt: skip
        except clipkit.ClipkitError as error:
            raise translate(error) from error
        hits = clipkit.SearchHits(
            (hit for hit in found if images.is_shown(hit.path)),
            verdict=found.verdict, num_found=found.num_found,
        )  # fmt: skip
        shown = [(small(images.admit(hit.path)), caption(hit)) for hit in hits]
        return shown, replace(state, hits=hits)

    # Callers of the API may leave out what has a default; Gradio fills in the state and request.
    async def search(
        query: str,
        count: float,
        state: SearchState,
        image: str | None = None,
        diversity: float = 0,
        request: gr.Request | None = None,
    ) -> Shown:
        wanted = read_request(query, image)
        state = state if wanted == state.request else SearchState(wanted)
        return await queue.run(session(request), find, state, count, diversity)

    async def find_more(
        picked: Path | None, state: SearchState, count: float, diversity: float, request: gr.Request
    ) -> Shown:
        marked = replace(state, more=add_mark(state.more, picked))
        return await queue.run(session(request), find, marked, count, diversity)

    async def find_less(
        picked: Path | None, state: SearchState, count: float, diversity: float, request: gr.Request
    ) -> Shown:
        marked = replace(state, less=add_mark(state.less, picked))
        return await queue.run(session(request), find, marked, count, diversity)

    async def find_unmarked(
        state: SearchState, count: float, diversity: float, request: gr.Request
    ) -> Shown:
        return await queue.run(session(request), find, SearchState(state.request), count, diversity)

    def show_status(state: SearchState) -> tuple[str, gr.Gallery, gr.Button, gr.Button, gr.Button]:
        more = gr.Button("More like this", interactive=False)  # nothing is picked yet
        less = gr.Button("Less like this", interactive=False)
        forget = gr.Button(interactive=bool(state.more or state.less))
        return describe(state, len(library)), gr.Gallery(selected_index=None), more, less, forget

    state, picked = gr.State(SearchState()), gr.State()
    with gr.Row():
        with gr.Column(scale=3):
            query = gr.Textbox(label="What are you looking for?", elem_id="query")
            with gr.Row():
                count = gr.Slider(1, 24, value=8, step=1, label="How many", elem_id="count")
                diversity = gr.Slider(0, 1, label="Different from each other", elem_id="diversity")
            button = gr.Button("Search", variant="primary", elem_id="search")
        image = StoredImage(
            sources=["upload"], label="Or an image of your own",
            height=220, scale=1, elem_id="sought",
        )  # fmt: skip
    # The template escapes what it shows: names of files are not ours.
    status = gr.HTML("", html_template='<p role="status">{{value}}</p>', elem_id="told")
    gallery = StoredGallery(
        label="How relevant, and the cosine", columns=4, allow_preview=False, elem_id="found"
    )
    with gr.Row():
        more = gr.Button("More like this", interactive=False, elem_id="more")
        less = gr.Button("Less like this", interactive=False, elem_id="less")
        forget = gr.Button("Forget marks", interactive=False, elem_id="forget")
    gr.Examples([[words] for words in QUERIES], inputs=[query], label="Try")
    shown, status_parts = [gallery, state], [status, gallery, more, less, forget]
    inputs = [query, count, state, image, diversity]
    gallery.select(pick, state, [picked, more, less], api_visibility="private")
    for event in (
        gr.on([query.submit, button.click], search, inputs, shown, api_name="search"),
        more.click(find_more, [picked, state, count, diversity], shown, api_visibility="private"),
        less.click(find_less, [picked, state, count, diversity], shown, api_visibility="private"),
        forget.click(find_unmarked, [state, count, diversity], shown, api_visibility="private"),
    ):
        event.success(
            show_status, state, status_parts, show_progress="hidden", api_visibility="private"
        )


def pick(state: SearchState, event: gr.SelectData) -> tuple[Path, gr.Button, gr.Button]:
    """Return the image a visitor clicked, and what the buttons now say."""
    if event.index not in range(len(state.hits)):
        raise refuse("Pick an image of the results first")
    path = state.hits[event.index].path
    name = short_stem(path)
    more = gr.Button(f"More like {name}", interactive=True)
    return path, more, gr.Button(f"Less like {name}", interactive=True)


def session(request: gr.Request | None) -> str | None:
    """Return the visitor's session."""
    return request.session_hash if request else None


def read_request(words: str, image: str | None) -> SearchRequest:
    """Return a visitor's request, within bounds; words are never read as the path of a file."""
    words = (words or "").strip()
    if len(words) > MAX_QUERY:
        raise refuse(f"A query may have up to {MAX_QUERY} characters")
    if not words and image is None:
        raise refuse("Type what you are looking for, such as: a cat")
    return SearchRequest(words, image)


def read_query(request: SearchRequest, images: ImageStore) -> clipkit.Query:
    """Return a visitor's request as a query of the library."""
    parts = [clipkit.QueryPart(request.words)] if request.words else []
    if request.image is not None:
        source = images.source(request.image)
        content = source.rendering if isinstance(source, Upload) else source
        parts.append(clipkit.QueryPart(content))
    return clipkit.Query(tuple(parts))


def add_mark(marked: tuple[Path, ...], picked: Path | None) -> tuple[Path, ...]:
    """Return the marked images with one more."""
    if picked is None:
        raise refuse("Pick an image of the results first")
    if len(marked) >= MAX_MARKS:
        raise refuse(f"Up to {MAX_MARKS} images can be marked: forget the marks")
    return (*marked, picked)


def caption(hit: clipkit.SearchHit) -> str:
    """Return an image's name, relevance (rounded down: 40 % is found) and cosine."""
    return f"{short_stem(hit.path)}  {int(100 * hit.relevance)} %  ({hit.similarity:.2f})"


def describe(state: SearchState, total: int) -> str:
    """Return a line on what was found, among how many images, and which are marked."""
    if state.hits.verdict == "found":
        text = f"Found {state.hits.num_found} among {total} images."
    elif state.hits.verdict == "not sure":
        text = f"Not sure that any of these fits, among {total} images."
    else:
        text = f"Probably nothing among {total} images; the closest are shown."
    for kind, marked in (("More", state.more), ("Less", state.less)):
        if marked:
            text += f" {kind} like: {', '.join(map(short_stem, marked))}."
    return text
