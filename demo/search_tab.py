"""The tab that finds pictures by words, by a picture, and by what a visitor marks."""

from dataclasses import dataclass, replace
from pathlib import Path

import gradio as gr

import clipkit

QUERIES = ("a cat", "sailing boats", "sunset", "a tall tower", "musical instrument", "wild animal")
RELEVANT = 0.5  # from here on, a picture more likely than not fits: PhotoLibrary.search says so


@dataclass(frozen=True)
class Answer:
    """What was asked, marked and found last."""

    query: clipkit.Query | None = None
    more: tuple[Path, ...] = ()  # marked by the visitor
    less: tuple[Path, ...] = ()
    hits: tuple[clipkit.SearchHit, ...] = ()


Shown = tuple[list[tuple[str, str]], Answer]  # the gallery, and the answer it shows


def build(library: clipkit.PhotoLibrary) -> None:
    """Add the tab's parts to the page that is being built.

    Args:
        library: An indexed folder.
    """

    def find(asked: Answer, count: float, diversity: float) -> Shown:
        try:
            hits = library.search(
                asked.query, k=int(count), diversity=diversity,
                more_like=asked.more, less_like=asked.less,
            )  # fmt: skip
        except clipkit.ClipkitError as error:
            raise gr.Error(str(error)) from error
        return [(str(hit.path), caption(hit)) for hit in hits], replace(asked, hits=tuple(hits))

    # Callers of the API may leave out what has a default; Gradio fills in the answer.
    def search(
        query: str, count: float, answer: Answer, picture: str | None = None, diversity: float = 0
    ) -> Shown:
        asked = read_query(query, picture)
        return find(answer if asked == answer.query else Answer(asked), count, diversity)

    def find_more(picked: Path, answer: Answer, count: float, diversity: float) -> Shown:
        return find(replace(answer, more=(*answer.more, picked)), count, diversity)

    def find_less(picked: Path, answer: Answer, count: float, diversity: float) -> Shown:
        return find(replace(answer, less=(*answer.less, picked)), count, diversity)

    def find_unmarked(answer: Answer, count: float, diversity: float) -> Shown:
        return find(Answer(answer.query), count, diversity)

    def pick(answer: Answer, event: gr.SelectData) -> tuple[Path, gr.Button, gr.Button]:
        path = answer.hits[event.index].path
        more = gr.Button(f"More like {path.stem}", interactive=True)
        return path, more, gr.Button(f"Less like {path.stem}", interactive=True)

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
        picture = gr.Image(
            type="filepath", sources=["upload"], label="Or a picture of your own",
            height=220, scale=1, elem_id="sought",
        )  # fmt: skip
    # The template escapes what it shows: names of files are not ours.
    told = gr.HTML("", html_template='<p role="status">{{value}}</p>', elem_id="told")
    gallery = gr.Gallery(
        label="How relevant, and the cosine", columns=4, allow_preview=False, elem_id="found"
    )
    with gr.Row():
        more = gr.Button("More like this", interactive=False, elem_id="more")
        less = gr.Button("Less like this", interactive=False, elem_id="less")
        forget = gr.Button("Forget marks", interactive=False, elem_id="forget")
    gr.Examples([[words] for words in QUERIES], inputs=[query], label="Try")
    shown, telling = [gallery, answer], [told, gallery, more, less, forget]
    inputs = [query, count, answer, picture, diversity]
    gallery.select(pick, answer, [picked, more, less], api_visibility="private")
    for asking in (
        gr.on([query.submit, button.click], search, inputs, shown, api_name="search"),
        more.click(find_more, [picked, answer, count, diversity], shown, api_visibility="private"),
        less.click(find_less, [picked, answer, count, diversity], shown, api_visibility="private"),
        forget.click(find_unmarked, [answer, count, diversity], shown, api_visibility="private"),
    ):
        asking.success(tell, answer, telling, show_progress="hidden", api_visibility="private")


def read_query(words: str, picture: str | None) -> clipkit.Query:
    """Return what a visitor asks for; words are never read as the path of a file."""
    parts = [clipkit.QueryPart(words.strip())] if words.strip() else []
    if picture is not None:
        parts.append(clipkit.QueryPart(picture, is_picture=True))
    if not parts:
        raise gr.Error("Type what you are looking for, such as: a cat", duration=6)
    return clipkit.Query(tuple(parts))


def caption(hit: clipkit.SearchHit) -> str:
    """Return a picture's name, relevance (rounded down: 50 % is relevant) and cosine."""
    return f"{hit.path.stem}  {int(100 * hit.relevance)} %  ({hit.similarity:.2f})"


def describe(answer: Answer, total: int) -> str:
    """Return how good an answer is, out of how many pictures, and what is marked."""
    relevant = sum(hit.relevance >= RELEVANT for hit in answer.hits)
    if relevant:
        told = f"Relevant: {relevant} of the {len(answer.hits)} shown, among {total} pictures."
    else:
        told = f"None of the {total} pictures is likely what you asked for; the closest are shown."
    for kind, marked in (("More", answer.more), ("Less", answer.less)):
        if marked:
            told += f" {kind} like: {', '.join(path.stem for path in marked)}."
    return told
