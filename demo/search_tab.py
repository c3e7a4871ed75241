"""The tab that finds images by words, by an image, and by what a visitor marks."""

from dataclasses import dataclass, replace
from pathlib import Path

import gradio as gr

import clipkit
from demo.images import ImageStore, StoredGallery, StoredImage, Upload, small
from demo.messages import refuse, short_stem, translate
from demo.turns import Turns

QUERIES = ("a cat", "sailing boats", "sunset", "a tall tower", "musical instrument", "wild animal")
MAX_QUERY = 500  # characters; the model reads about 70 words
MAX_MARKS = 50  # of each kind
RELEVANT = 0.5  # from here on, an image more likely than not fits: PhotoLibrary.search says so


@dataclass(frozen=True)
class Asked:
    """What a visitor looks for."""

    words: str = ""
    image: str | None = None  # the id of an image


@dataclass(frozen=True)
class Answer:
    """What was asked, marked and found last; it stays on the server."""

    asked: Asked = Asked()
    more: tuple[Path, ...] = ()  # marked by the visitor
    less: tuple[Path, ...] = ()
    hits: tuple[clipkit.SearchHit, ...] = ()


Shown = tuple[list[tuple[str, str]], Answer]  # the gallery, and the answer it shows


def build(library: clipkit.PhotoLibrary, images: ImageStore, turns: Turns) -> None:
    """Add the tab's parts to the page that is being built.

    Args:
        library: An indexed folder.
        images: What may be shown, and searched with.
        turns: Whose turn it is to use the model.
    """

    def find(answer: Answer, count: float, diversity: float) -> Shown:
        try:
            hits = library.search(
                read_query(answer.asked, images), k=int(count), diversity=diversity,
                more_like=answer.more, less_like=answer.less,
            )  # fmt: skip
        except clipkit.ClipkitError as error:
            raise translate(error) from error
        hits = [hit for hit in hits if images.is_shown(hit.path)]
        shown = [(small(images.admit(hit.path)), caption(hit)) for hit in hits]
        return shown, replace(answer, hits=tuple(hits))

    # Callers of the API may leave out what has a default; Gradio fills in the answer and request.
    async def search(
        query: str,
        count: float,
        answer: Answer,
        image: str | None = None,
        diversity: float = 0,
        request: gr.Request | None = None,
    ) -> Shown:
        asked = read_asked(query, image)
        answer = answer if asked == answer.asked else Answer(asked)
        return await turns.take(session(request), find, answer, count, diversity)

    async def find_more(
        picked: Path | None, answer: Answer, count: float, diversity: float, request: gr.Request
    ) -> Shown:
        marked = replace(answer, more=add_mark(answer.more, picked))
        return await turns.take(session(request), find, marked, count, diversity)

    async def find_less(
        picked: Path | None, answer: Answer, count: float, diversity: float, request: gr.Request
    ) -> Shown:
        marked = replace(answer, less=add_mark(answer.less, picked))
        return await turns.take(session(request), find, marked, count, diversity)

    async def find_unmarked(
        answer: Answer, count: float, diversity: float, request: gr.Request
    ) -> Shown:
        return await turns.take(session(request), find, Answer(answer.asked), count, diversity)

    def tell(answer: Answer) -> tuple[str, gr.Gallery, gr.Button, gr.Button, gr.Button]:
        more = gr.Button("More like this", interactive=False)  # nothing is picked yet
        less = gr.Button("Less like this", interactive=False)
        forget = gr.Button(interactive=bool(answer.more or answer.less))
        return describe(answer, len(library)), gr.Gallery(selected_index=None), more, less, forget

    answer, picked = gr.State(Answer()), gr.State()
    with gr.Row():
        with gr.Column(scale=3):
            query = gr.Textbox(label="What are you looking for?", elem_id="query")
            with gr.Row():
                count = gr.Slider(1, 24, value=8, step=1, label="How many", elem_id="count")
                diversity = gr.Slider(0, 1, label="Different from each other", elem_id="diversity")
            button = gr.Button("Search", variant="primary", elem_id="search")
        image = StoredImage(
            sources=["upload"], label="Or a picture of your own",
            height=220, scale=1, elem_id="sought",
        )  # fmt: skip
    # The template escapes what it shows: names of files are not ours.
    told = gr.HTML("", html_template='<p role="status">{{value}}</p>', elem_id="told")
    gallery = StoredGallery(
        label="How relevant, and the cosine", columns=4, allow_preview=False, elem_id="found"
    )
    with gr.Row():
        more = gr.Button("More like this", interactive=False, elem_id="more")
        less = gr.Button("Less like this", interactive=False, elem_id="less")
        forget = gr.Button("Forget marks", interactive=False, elem_id="forget")
    gr.Examples([[words] for words in QUERIES], inputs=[query], label="Try")
    shown, telling = [gallery, answer], [told, gallery, more, less, forget]
    inputs = [query, count, answer, image, diversity]
    gallery.select(pick, answer, [picked, more, less], api_visibility="private")
    for asking in (
        gr.on([query.submit, button.click], search, inputs, shown, api_name="search"),
        more.click(find_more, [picked, answer, count, diversity], shown, api_visibility="private"),
        less.click(find_less, [picked, answer, count, diversity], shown, api_visibility="private"),
        forget.click(find_unmarked, [answer, count, diversity], shown, api_visibility="private"),
    ):
        asking.success(tell, answer, telling, show_progress="hidden", api_visibility="private")


def pick(answer: Answer, event: gr.SelectData) -> tuple[Path, gr.Button, gr.Button]:
    """Return the image a visitor clicked, and what the buttons now say."""
    if event.index not in range(len(answer.hits)):
        raise refuse("Pick a picture of the results first")
    path = answer.hits[event.index].path
    name = short_stem(path)
    more = gr.Button(f"More like {name}", interactive=True)
    return path, more, gr.Button(f"Less like {name}", interactive=True)


def session(request: gr.Request | None) -> str | None:
    """Return which visitor asks."""
    return request.session_hash if request else None


def read_asked(words: str, image: str | None) -> Asked:
    """Return what a visitor asks for, within bounds; words are never read as the path of a file."""
    words = (words or "").strip()
    if len(words) > MAX_QUERY:
        raise refuse(f"A query may have up to {MAX_QUERY} characters")
    if not words and image is None:
        raise refuse("Type what you are looking for, such as: a cat")
    return Asked(words, image)


def read_query(asked: Asked, images: ImageStore) -> clipkit.Query:
    """Return what a visitor asks for as the library understands it."""
    parts = [clipkit.QueryPart(asked.words)] if asked.words else []
    if asked.image is not None:
        source = images.source(asked.image)
        content = source.rendering if isinstance(source, Upload) else source
        parts.append(clipkit.QueryPart(content))
    return clipkit.Query(tuple(parts))


def add_mark(marked: tuple[Path, ...], picked: Path | None) -> tuple[Path, ...]:
    """Return the marked images with one more."""
    if picked is None:
        raise refuse("Pick a picture of the results first")
    if len(marked) >= MAX_MARKS:
        raise refuse(f"Up to {MAX_MARKS} images can be marked: forget the marks")
    return (*marked, picked)


def caption(hit: clipkit.SearchHit) -> str:
    """Return an image's name, relevance (rounded down: 50 % is relevant) and cosine."""
    return f"{short_stem(hit.path)}  {int(100 * hit.relevance)} %  ({hit.similarity:.2f})"


def describe(answer: Answer, total: int) -> str:
    """Return how good an answer is, out of how many images, and what is marked."""
    relevant = sum(hit.relevance >= RELEVANT for hit in answer.hits)
    if relevant:
        told = f"Relevant: {relevant} of the {len(answer.hits)} shown, among {total} images."
    else:
        told = f"None of the {total} images is likely what you asked for; the closest are shown."
    for kind, marked in (("More", answer.more), ("Less", answer.less)):
        if marked:
            told += f" {kind} like: {', '.join(map(short_stem, marked))}."
    return told
