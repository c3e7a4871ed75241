"""The page's tab for teaching a concept: some images get a name that works like a word."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

import clipkit
from clipkit.demo.download import File, binary_file, download
from clipkit.demo.image_store import ImageStore, small
from clipkit.demo.image_tray import image_tray, open_source, read_tray
from clipkit.demo.messages import refuse, short_path, translate
from clipkit.demo.model_queue import ModelQueue
from clipkit.demo.web_component import QUIET, web_component

MAX_TAUGHT = 20  # images that show it, and as many that do not
MAX_KIND = 100  # characters
MATCHES = 18
FOUND = 0.4  # the relevance from which on an image counts as found
SHOWS, SHOWS_NOT = "shows", "shows-not"  # the trays
ABOUT = (
    "Give some images a name, and the name works like a word: your dog, a logo, a kind of picture."
)
ELSEWHERE = (
    "Concepts are kept on the machine that serves the page, so only it can keep and remove them: "
    "open the page there, as clipkit demo serves it without --host and --allow-host. What you "
    "teach can be downloaded, and used with clipkit concepts import."
)


@dataclass(frozen=True)
class TeachState:
    """What a visitor has taught last; it stays on the server."""

    concept: clipkit.Concept | None = None


class TeachTab:
    """What the tab's events do.

    Args:
        library: An indexed folder.
        encoder: The model of its index.
        images: What may be shown and taught with.
        queue: The queue for the model.
    """

    def __init__(
        self,
        library: clipkit.PhotoLibrary,
        encoder: clipkit.Encoder,
        images: ImageStore,
        queue: ModelQueue,
    ) -> None:
        self._library = library
        self._encoder = encoder
        self._images = images
        self._queue = queue

    async def teach(
        self, name: str, kind: str, shown: str, hidden: str, request: gr.Request
    ) -> AsyncIterator[tuple[Any, TeachState]]:
        """Teach a concept, and show what it matches in the library."""
        positives = read_tray(shown, self._images, most=MAX_TAUGHT)
        negatives = read_tray(hidden, self._images, most=MAX_TAUGHT)
        if not (name or "").strip():
            raise refuse("Give it a name first, such as Rex")
        if not positives:
            raise refuse("Give an image that shows it first: some five say much more than one")
        kind = (kind or "").strip()
        if len(kind) > MAX_KIND:
            raise refuse(f"The kind of thing is a few words, up to {MAX_KIND} characters")
        if kind and self._encoder.unknown_texts([kind]):
            raise refuse(f"The model knows no word of {kind}: say it in other words, or leave it")

        def work(tell: Callable[[str], None]) -> tuple[Any, TeachState]:
            return self._teach(name, kind or None, positives, negatives, tell)

        job = self._queue.start(request.session_hash, work, kind="teach")
        try:
            async for told in job:
                yield _grid(told, []), TeachState()
        except clipkit.ClipkitError as error:
            raise translate(error) from error
        if not job.is_replaced:
            yield job.result

    def download(self, state: TeachState) -> File:
        """Return the concept as a file."""
        concept = _taught(state)
        return binary_file(f"{concept.name}.safetensors", concept.to_bytes())

    def _teach(
        self,
        name: str,
        kind: str | None,
        positives: Sequence[str],
        negatives: Sequence[str],
        tell: Callable[[str], None],
    ) -> tuple[Any, TeachState]:
        library = self._library if self._library.is_indexed else None
        report = clipkit.teach(
            self._encoder,
            name,
            [open_source(self._images, key) for key in positives],
            negatives=[open_source(self._images, key) for key in negatives],
            kind=kind,
            library=library,
            progress=lambda done, total: tell(f"Reading images: {done} of {total}"),
        )
        tell("Looking through the library")
        concept = report.concept
        told = f"{concept.name}, taught from {_count(concept.num_images)}"
        if concept.num_negatives:
            told += f" and {concept.num_negatives} that are not it"
        for error in report.skipped:
            told += f"; {short_path(Path(error.path), Path())} was not read"
        if library is None:
            return _grid(f"{told}.", []), TeachState(concept)
        part = clipkit.QueryPart(concept.embedding, name=concept.name)
        hits = library.search(clipkit.Query((part,)), k=MATCHES)
        matches = [hit for hit in hits if self._images.is_shown(hit.path)]
        told += f". {_verdict(hits)}"
        items = [self._item(hit, {*positives}, {*negatives}) for hit in matches]
        return _grid(told, items), TeachState(concept)

    def _item(self, hit: clipkit.SearchHit, shown: set[str], hidden: set[str]) -> dict[str, Any]:
        key = self._images.admit(hit.path)
        return {
            "image": small(key),
            "file": short_path(hit.path, self._library.folder),
            "note": f"{int(100 * hit.relevance)} % relevant",
            "is_found": hit.relevance >= FOUND,
            "picked": SHOWS if key in shown else SHOWS_NOT if key in hidden else None,
        }


class ConceptKeeper:
    """What the tab's events do with the concepts that are kept on this machine.

    Args:
        space_id: Of the model; concepts of others are not shown.
    """

    def __init__(self, space_id: str) -> None:
        self._space_id = space_id

    def save(self, state: TeachState) -> tuple[str, gr.Row]:
        """Keep the concept; if its name is taken, ask first."""
        concept = _taught(state)
        if clipkit.ConceptStore().path(concept.name, self._space_id).exists():
            return f"There is a concept {concept.name} already.", gr.Row(visible=True)
        return self._keep(concept, replace=False)

    def replace(self, state: TeachState) -> tuple[str, gr.Row]:
        """Keep the concept in the place of the one of its name."""
        return self._keep(_taught(state), replace=True)

    def leave(self) -> tuple[str, gr.Row]:
        """Leave the concept of that name as it is."""
        return "Nothing was changed: give it another name, and teach again.", gr.Row(visible=False)

    def listing(self) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
        """Return the concepts of this model for the list in the browser, and their names."""
        concepts = self._concepts()
        items = [
            {"name": concept.name, "images": _count(concept.num_images), "kind": concept.kind}
            for concept in concepts
        ]
        return items, tuple(concept.name for concept in concepts)

    def remove(self, listed: tuple[str, ...], event: gr.SelectData) -> str:
        """Remove a concept of the list."""
        name = listed[event.index] if event.index in range(len(listed)) else None
        concept = next((each for each in self._concepts() if each.name == name), None)
        if concept is None:
            raise refuse("This concept is not here any more")
        try:
            clipkit.ConceptStore().remove(concept)
        except clipkit.ClipkitError as error:
            raise translate(error) from error
        return f"{concept.name} was removed."

    def _keep(self, concept: clipkit.Concept, *, replace: bool) -> tuple[str, gr.Row]:
        try:
            clipkit.ConceptStore().save(concept, replace=replace)
        except clipkit.ClipkitError as error:
            raise translate(error) from error
        told = f"Kept: {concept.name} is now a word in Search and a label in Classify."
        return told, gr.Row(visible=False)

    def _concepts(self) -> list[clipkit.Concept]:
        stored = clipkit.ConceptStore().load().concepts
        return [concept for concept in stored if concept.space_id == self._space_id]


def build(
    page: gr.Blocks,
    library: clipkit.PhotoLibrary,
    encoder: clipkit.Encoder,
    images: ImageStore,
    queue: ModelQueue,
    *,
    may_keep: bool,
) -> None:
    """Add the tab's parts to the page that is being built.

    Args:
        page: The page.
        library: An indexed folder.
        encoder: The model of its index.
        images: What may be shown and taught with.
        queue: The queue for the model.
        may_keep: Whether visitors are those of this machine, who may keep and remove concepts.
    """
    tab = TeachTab(library, encoder, images, queue)
    state = gr.State(TeachState())
    gr.Markdown(ABOUT)
    with gr.Row():
        with gr.Column(min_width=280):
            name = gr.Textbox(
                label="Name", info="What to call it, such as Rex", max_lines=1, elem_id="name"
            )
            kind = gr.Textbox(
                label="Kind of thing", max_lines=1, elem_id="kind",
                info='In words, such as "a dog": it makes up for few images; may be empty',
            )  # fmt: skip
        with gr.Column(min_width=280):
            shown = image_tray("Images that show it", most=MAX_TAUGHT, elem_id=SHOWS)
        with gr.Column(min_width=280):
            hidden = image_tray("Images that are not it", most=MAX_TAUGHT, elem_id=SHOWS_NOT)
    button = gr.Button("Teach, and look what it finds", variant="primary", elem_id="teach")
    fetch, file = gr.Button("Download it", size="sm", elem_id="fetch-concept"), download("concept")
    if may_keep:
        _add_keeping(page, ConceptKeeper(encoder.space_id), state)
    else:
        gr.Markdown(ELSEWHERE, elem_id="elsewhere")
    matches = web_component("pick_grid", elem_id="matches")
    button.click(tab.teach, [name, kind, shown, hidden], [matches, state], **QUIET)
    fetch.click(tab.download, state, file, **QUIET)


def _add_keeping(page: gr.Blocks, keeper: ConceptKeeper, state: gr.State) -> None:
    """Add what keeps concepts on this machine, and lists and removes them."""
    keep = gr.Button("Keep it, for Search and Classify", size="sm", elem_id="keep")
    told = web_component("status_line", "", elem_id="kept")
    with gr.Row(visible=False, elem_id="sure") as sure:
        replace = gr.Button("Replace it", size="sm", variant="stop", elem_id="replace")
        leave = gr.Button("Leave it", size="sm", elem_id="leave")
    with gr.Accordion("Concepts that are kept", open=False, elem_id="keeping"):
        kept, listed = web_component("concept_list", [], elem_id="concepts"), gr.State(())
    for act in (
        keep.click(keeper.save, state, [told, sure], **QUIET),
        replace.click(keeper.replace, state, [told, sure], **QUIET),
        kept.remove(keeper.remove, listed, told, **QUIET),
    ):
        act.success(keeper.listing, None, [kept, listed], **QUIET)
    leave.click(keeper.leave, None, [told, sure], **QUIET)
    state.change(lambda: ("", gr.Row(visible=False)), None, [told, sure], **QUIET)
    page.load(keeper.listing, None, [kept, listed], **QUIET)


def _taught(state: TeachState) -> clipkit.Concept:
    if state.concept is None:
        raise refuse("Teach something first")
    return state.concept


def _count(number: int) -> str:
    return "1 image" if number == 1 else f"{number} images"


def _verdict(hits: clipkit.SearchHits) -> str:
    if hits.verdict == "found":
        return f"It finds {_count(hits.num_found)} of the library."
    if hits.verdict == "not sure":
        return "It is not sure that any image of the library shows it."
    return "Probably no image of the library shows it; the closest are shown."


def _grid(told: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"told": told, "items": items, "trays": [("It is", SHOWS), ("It is not", SHOWS_NOT)]}
