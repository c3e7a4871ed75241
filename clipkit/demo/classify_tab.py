"""The page's tab for zero-shot classification: one image, several, or those of the library."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

import clipkit
from clipkit.demo.classify_images import (
    MAX_LISTED,
    MAX_OWN,
    OWN,
    ImageSource,
    embed_sources,
    library_images,
    own_images,
    places,
)
from clipkit.demo.classify_request import (
    ANSWERS,
    BEST,
    HEAD,
    OR_NONE,
    SEVERAL,
    ClassifyRequest,
    make_classifier,
    read_classify_request,
    remarks,
)
from clipkit.demo.classify_results import (
    FEW,
    IN_DETAIL,
    OF_MANY,
    ClassifiedImage,
    ClassifyState,
    classified,
    csv_of,
    detail_of,
    table_row,
)
from clipkit.demo.download import File, download, text_file
from clipkit.demo.heat_map import find_heat
from clipkit.demo.image_store import ImageStore, StoredGallery, StoredImage, small
from clipkit.demo.image_tray import image_tray, open_source, read_tray
from clipkit.demo.messages import refuse, translate
from clipkit.demo.model_queue import ModelQueue
from clipkit.demo.web_component import QUIET, web_component

LABELS = "cat\ndog\nbird\nboat\ncastle\ncup of coffee\nflower\nmountain"
EXAMPLES = 8

Shown = tuple[Any, Any, ClassifyState]  # the table, the image in detail, and what is behind them


@dataclass(frozen=True)
class _Found:
    """What a step of a classification has found: words, and images once there are any."""

    told: str
    total: int = 0
    images: tuple[ClassifiedImage, ...] = ()


class ClassifyTab:
    """What the tab's events do.

    Args:
        library: An indexed folder.
        encoder: The model of its index; it keeps embeddings of texts.
        images: What may be shown and classified.
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
        self.places = places(library)

    # Generators, so that Gradio can end them between two steps if their visitor has gone.
    async def classify(  # noqa: PLR0913 - Gradio calls by position
        self,
        where: str,
        tray: str,
        labels: str,
        answer: str,
        templates: str,
        domain: str,
        head: clipkit.Head | None,
        request: gr.Request,
    ) -> AsyncIterator[Shown]:
        """Classify images, and show them as they come."""
        wanted = read_classify_request(labels, answer, templates, domain)
        keys = read_tray(tray, self._images, most=MAX_OWN)
        place = self.places.get(where)
        if place is None and not keys:
            raise refuse("Give an image first: drop one, or choose a folder of the library")
        if wanted.answer == HEAD and head is None:
            raise refuse("There are no classes of yours yet: adapt to some first, in the tab Adapt")

        def work(tell: Callable[[_Found], None]) -> _Found:
            return self._classify(wanted, keys, place, tell, head)

        state = ClassifyState()
        job = self._queue.start(request.session_hash, work, kind="classify")
        try:
            async for found in job:
                state = ClassifyState(found.images)
                yield self._show(state, found, is_done=False)
        except clipkit.ClipkitError as error:
            raise translate(error) from error
        if job.is_replaced:  # the answer to what was asked later comes, or has come
            return
        yield self._show(ClassifyState(job.result.images), job.result, is_done=True)

    async def classify_image(
        self,
        image: str | None,
        labels: str,
        is_independent: bool = False,  # noqa: FBT001, FBT002 - Gradio calls by position
        request: gr.Request | None = None,
    ) -> AsyncIterator[Any]:
        """Return how well each label fits an image, in 0..1."""
        if image is None:
            raise refuse("Give an image first")
        wanted = read_classify_request(labels, SEVERAL if is_independent else BEST, None, None)

        def work(tell: Callable[[_Found], None]) -> _Found:
            return self._classify(wanted, [image], None, tell)

        job = self._queue.start(request.session_hash if request else None, work)
        try:
            async for _ in job:
                yield gr.skip()
        except clipkit.ClipkitError as error:
            raise translate(error) from error
        (found,) = job.result.images
        if found.lack:
            raise refuse(f"{found.source.name}: {found.lack}")
        yield dict(found.ranked)

    def pick(self, state: ClassifyState, event: gr.SelectData) -> tuple[Any, ClassifyState]:
        """Show one image of the table in detail."""
        if event.index not in range(len(state.images)):
            raise refuse("Pick an image of the table first")
        state = state.show(event.index)
        return {**detail_of(state.images[event.index], self._images), "is_picked": True}, state

    async def explain(
        self, state: ClassifyState, event: gr.SelectData, request: gr.Request
    ) -> AsyncIterator[Any]:
        """Show where in the image a label fits."""
        image = state.detail
        if image is None or event.index not in range(len(image.ranked)):
            raise refuse("Pick a label of an image first")
        label = image.ranked[event.index][0]
        shown = detail_of(image, self._images)

        def work(tell: Callable[[float], None]) -> dict[str, Any]:
            content = image.source.content
            key = self._images.admit(content) if isinstance(content, Path) else content
            source = open_source(self._images, key)
            return find_heat(self._encoder, source, label, tell)

        job = self._queue.start(request.session_hash, work, kind="explain")
        try:
            async for share in job:
                yield {**shown, "map": {"label": label, "share": round(share, 2)}}
        except clipkit.ClipkitError as error:
            yield shown
            raise translate(error) from error
        if not job.is_replaced:
            yield {**shown, "map": job.result}

    def save(self, state: ClassifyState) -> File:
        """Return the table as a file."""
        if not state.images:
            raise refuse("Classify some images first")
        return text_file("labels.csv", "text/csv", csv_of(state))

    def find_examples(self) -> list[Path]:
        """Return a few images of the folder itself that are indexed."""
        found: list[Path] = []
        for path in sorted(self._library.folder.glob("*.jpg")):
            if len(found) < EXAMPLES and self._images.is_shown(path):
                found.append(path)
        return found

    def _classify(
        self,
        wanted: ClassifyRequest,
        keys: Sequence[str],
        place: Path | None,
        tell: Callable[[_Found], None],
        head: clipkit.Head | None = None,
    ) -> _Found:
        classifier: clipkit.ZeroShotClassifier | clipkit.HeadClassifier
        if wanted.answer == HEAD and head is not None:
            classifier, note = clipkit.HeadClassifier(self._encoder, head), ""
        else:
            classifier = make_classifier(self._encoder, wanted, lambda words: tell(_Found(words)))
            note = remarks(self._encoder, classifier, wanted)
        # Only now: what was there may have been dropped or replaced meanwhile.
        if place is None:
            sources: Sequence[ImageSource] = own_images(keys, self._images)
        else:
            sources = library_images(self._library, self._images, place)
        if not sources:
            raise refuse("There is no image that can be shown")
        kept = IN_DETAIL if len(sources) <= FEW else OF_MANY
        if place is None and len(sources) == 1:
            kept = len(classifier.labels) + 1
        found: dict[int, ClassifiedImage] = {}
        for batch in embed_sources(self._encoder, self._library, self._images, sources):
            scores = classifier.rank(batch.embeddings, k=kept)
            for at, labels in zip(batch.positions, scores, strict=True):
                found[at] = classified(sources[at], labels, are_independent=classifier.multi_label)
            for at, lack in batch.skipped:
                found[at] = ClassifiedImage(sources[at], lack=lack)
            done = tuple(found[at] for at in sorted(found))
            tell(_Found(f"{len(done)} of {len(sources)} images", len(sources), done))
        if place is not None and len(sources) == MAX_LISTED:
            note = f"The newest {MAX_LISTED:,} images of it; clipkit classify takes all. {note}"
        return _Found(note, len(sources), tuple(found[at] for at in sorted(found)))

    def _show(self, state: ClassifyState, found: _Found, *, is_done: bool) -> Shown:
        table = {
            "told": found.told,
            "done": len(found.images),
            "total": found.total,
            "is_done": is_done,
            "rows": [table_row(image, self._images) for image in found.images],
        }
        return table, self._detail(state), state

    def _detail(self, state: ClassifyState) -> dict[str, Any] | None:
        return None if state.detail is None else detail_of(state.detail, self._images)


def build(
    library: clipkit.PhotoLibrary,
    encoder: clipkit.Encoder,
    images: ImageStore,
    queue: ModelQueue,
    head: gr.State,
) -> None:
    """Add the tab's parts to the page that is being built.

    Args:
        library: An indexed folder.
        encoder: The model of its index; it keeps embeddings of texts.
        images: What may be shown and classified.
        queue: The queue for the model.
        head: Of the classes that the visitor has adapted to, if any.
    """
    # Embeds the words that labels are compared with now, so that no visitor waits for it.
    clipkit.ZeroShotClassifier(encoder, ["image"]).prepare()
    tab = ClassifyTab(library, encoder, images, queue)
    state = gr.State(ClassifyState())
    with gr.Row():
        with gr.Column(min_width=280):
            tray = image_tray("Images to classify", most=MAX_OWN, elem_id="image")
            paths = tab.find_examples()
            examples = example_gallery(images, paths)
            where = gr.Dropdown(
                [OWN, *tab.places], value=OWN, label="What to classify", elem_id="where",
                info="Your own images, or those of a folder of the library",
            )  # fmt: skip
        with gr.Column(min_width=280):
            labels = gr.Textbox(
                LABELS, label="Labels", info="One a line, by commas, or pasted from a table",
                lines=4, max_lines=10, elem_id="labels",
            )  # fmt: skip
            answer = gr.Radio(
                [SEVERAL, HEAD] if encoder.scoring.is_sigmoid else [*ANSWERS],
                value=SEVERAL if encoder.scoring.is_sigmoid else OR_NONE,
                label="What fits", elem_id="answer",
            )  # fmt: skip
            button = gr.Button("Classify", variant="primary", elem_id="classify-images")
            with gr.Accordion("How labels are read: templates", open=True, elem_id="prompts"):
                chosen = gr.Dropdown(
                    [*clipkit.TEMPLATE_SETS], value="default", label="Set of templates",
                    elem_id="sets",
                )  # fmt: skip
                templates = gr.Textbox(
                    _lines("default"), label="Templates", lines=4, max_lines=10,
                    info="One a line; {} stands for the label", elem_id="templates",
                )  # fmt: skip
                domain = gr.Textbox(
                    label="Kind of things", info='Such as "food" or "bird"; may be empty',
                    max_lines=1, elem_id="domain",
                )  # fmt: skip
    table = web_component("label_table", elem_id="table")
    detail = web_component("label_bars", elem_id="scores")
    file = download("file")
    inputs = [where, tray, labels, answer, templates, domain, head]
    outputs = [table, detail, state]
    chosen.change(_lines, chosen, templates, **QUIET)
    tray.change(lambda: OWN, None, where, **QUIET)

    def take(event: gr.SelectData) -> tuple[str, str]:
        return images.admit(paths[event.index % len(paths)]), OWN

    if paths:
        examples.select(take, None, [tray, where], api_visibility="private").success(
            tab.classify, inputs, outputs, api_name="classify_images", **QUIET
        )
    # Who asks again while an answer comes gets the later one: the earlier call ends.
    button.click(tab.classify, inputs, outputs, api_name="classify_images", **QUIET)
    table.pick(tab.pick, state, [detail, state], **QUIET)
    detail.explain(tab.explain, state, detail, **QUIET)
    table.save(tab.save, state, file, **QUIET)
    _add_endpoint(tab)


def _add_endpoint(tab: ClassifyTab) -> None:
    """Add what programs call for one image, with parts that nobody sees."""
    with gr.Row(visible=False):
        image = StoredImage(label="image")
        labels = gr.Textbox(label="labels")
        is_independent = gr.Checkbox(label="several may apply")
        scores = gr.Label(label="scores")
        gr.Button().click(
            tab.classify_image, [image, labels, is_independent], scores, api_name="classify"
        )


def _lines(name: str) -> str:
    """Return the templates of a set, one a line."""
    return "\n".join(clipkit.TEMPLATE_SETS.get(name, ()))


def example_gallery(images: ImageStore, paths: list[Path]) -> StoredGallery:
    """Return thumbnails of example images that a visitor can choose."""
    return StoredGallery(
        [(small(images.admit(path)), None) for path in paths], label="Try", show_label=False,
        columns=4, height="auto", object_fit="cover", allow_preview=False, interactive=False,
        buttons=[], visible=bool(paths), elem_id="examples",
    )  # fmt: skip
