"""The page's tab for adapting: labelled images in, what each way is worth, and a head out."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

import clipkit
from clipkit.demo.adapt_data import (
    MAX_CLASSES,
    MAX_EACH,
    LabelledSources,
    class_folders,
    contents,
    dropped_classes,
    embed_labelled,
    folder_classes,
    read_classes,
)
from clipkit.demo.classify_images import library_images
from clipkit.demo.download import File, binary_file, download
from clipkit.demo.image_store import ImageStore, small
from clipkit.demo.image_tray import image_tray
from clipkit.demo.messages import refuse, short_path, translate
from clipkit.demo.model_queue import ModelQueue
from clipkit.demo.web_component import QUIET, web_component

DROPPED = "Classes that I name, below"
FIRST_CLASSES = 3  # that are seen at first
TO_LABEL = 12  # images that are shown at a time
OPTIONS = clipkit.AdaptationOptions(retention_set="")  # a head leaves the model as it is
ABOUT = (
    "Give two classes or more some images each, and see what adapting the model to them is worth: "
    "how often each way is right on images that it was not shown."
)
LIMIT = (
    "Figures are of images that look like these. A head gives every image one of its own classes."
)


@dataclass(frozen=True)
class LadderStep:
    """What is known of a ladder while it is climbed."""

    told: str
    done: int = 0
    total: int | None = None
    measured: tuple[tuple[str, float], ...] = ()  # ways of adapting, and their accuracy so far


class AdaptTab:
    """What the tab's events do.

    Args:
        library: An indexed folder.
        encoder: The model of its index.
        images: What may be shown and adapted to.
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
        self.folders = class_folders(library)

    # Gradio puts the request and the event where they are declared, so before all fields.
    async def adapt(
        self, request: gr.Request, where: str, *fields: str
    ) -> AsyncIterator[tuple[Any, Any]]:
        """Measure the ladder; show each rung as it has been measured, and return the head."""
        place = self.folders.get(where)
        classes = {} if place is not None else self._classes(fields)
        if place is None and sum(bool(keys) for keys in classes.values()) < 2:
            raise refuse("Name two classes or more, and give each some images first")

        def work(tell: Callable[[LadderStep], None]) -> clipkit.AdaptationReport:
            if place is not None:
                data = folder_classes(self._library, self._images, place)
            else:
                data = dropped_classes(classes, self._images)
            return self._climb(data, tell)

        job = self._queue.start(request.session_hash, work, kind="adapt")
        try:
            async for step in job:
                yield _climbing(step), gr.skip()
        except clipkit.ClipkitError as error:
            yield None, gr.skip()
            raise translate(error) from error
        if not job.is_replaced:
            yield _climbed(job.result), job.result.head

    async def suggest(self, request: gr.Request, *fields: str) -> AsyncIterator[Any]:
        """Show images of the library whose labels would tell most."""
        classes = self._classes(fields)
        numbers = {(name or "").strip(): n for n, name in enumerate(fields[::2], start=1)}
        trays = [(name, f"images-{numbers[name]}") for name in classes]

        def work(tell: Callable[[str], None]) -> list[dict[str, Any]]:
            return self._suggest(classes, tell)

        job = self._queue.start(request.session_hash, work, kind="suggest")
        try:
            async for told in job:
                yield {"told": told, "items": [], "trays": trays}
        except clipkit.ClipkitError as error:
            raise translate(error) from error
        if not job.is_replaced:
            told = "What do these show? A click puts an image to its class."
            yield {"told": told, "items": job.result, "trays": trays}

    def save(self, head: clipkit.Head | None) -> File:
        """Return the head as a file."""
        if head is None:
            raise refuse("Measure what adapting is worth first: that makes a head")
        return binary_file("head.safetensors", head.to_bytes())

    def _classes(self, fields: Sequence[str]) -> dict[str, list[str]]:
        return read_classes(fields[::2], fields[1::2], self._images)

    def _climb(
        self, data: LabelledSources, tell: Callable[[LadderStep], None]
    ) -> clipkit.AdaptationReport:
        read, rows = embed_labelled(
            self._encoder, self._library, self._images, data,
            lambda done, total: tell(LadderStep("Reading images", done, total)),
        )  # fmt: skip
        measured: list[tuple[str, float]] = []

        return clipkit.adapt_images(
            self._encoder,
            contents(read, self._images),
            read.labels,
            embeddings=rows,
            options=OPTIONS,
            callbacks=_callbacks(
                lambda told, done, total: tell(LadderStep(told, done, total, tuple(measured)))
            ),
            on_rung=lambda title, accuracy: measured.append((title, accuracy)),
        )

    def _suggest(
        self, classes: dict[str, list[str]], tell: Callable[[str], None]
    ) -> list[dict[str, Any]]:
        def reading(done: int, total: int) -> None:
            tell(f"Reading images: {done} of {total}")

        labelled, known = embed_labelled(
            self._encoder, self._library, self._images,
            dropped_classes(classes, self._images), reading,
        )  # fmt: skip
        sources = library_images(self._library, self._images, Path())
        listed = LabelledSources(tuple(sources), ("",) * len(sources))
        found, rows = embed_labelled(self._encoder, self._library, self._images, listed, reading)
        report = clipkit.next_in_list(
            self._encoder, [str(source.content) for source in found.sources], rows,
            labelled=known, labels=labelled.labels, class_names=list(classes), count=TO_LABEL,
            callbacks=_callbacks(lambda told, done, total: tell(told)),
        )  # fmt: skip
        paths = [Path(image.path) for image in report.images]
        return [
            {
                "image": small(self._images.admit(path)),
                "file": short_path(path, self._library.folder),
                "note": image.reason,
            }
            for path, image in zip(paths, report.images, strict=True)
        ]


def _callbacks(tell: Callable[[str, int, int | None], None]) -> clipkit.Callbacks:
    """Return callbacks that tell what is done and how far it is; warnings are in the report."""

    @contextmanager
    def progress_for(label: str) -> Iterator[clipkit.Progress]:
        yield lambda done, total: tell(label[:1].upper() + label[1:], done, total)

    return clipkit.Callbacks(warn=lambda line: None, progress_for=progress_for)


def _climbing(step: LadderStep) -> dict[str, Any]:
    rungs = [{"title": title, "share": share} for title, share in step.measured]
    told = f"{step.told} …"
    return {
        "told": told, "done": step.done, "total": step.total, "is_done": False, "rungs": rungs,
        "said": [],
    }  # fmt: skip


def _climbed(report: clipkit.AdaptationReport) -> dict[str, Any]:
    """Return a report as the table in the browser takes it."""
    rungs = [_row(rung, report) for rung in report.rungs]
    if report.baseline is not None:
        rungs.append({**_row(report.baseline, report), "is_apart": True})
    needs = ", ".join(f"{need.name} ({need.count})" for need in report.needs)
    said = [
        f"{report.num_classes} classes, {report.num_images} images, of which "
        f"{report.num_test_images} are measured on at a time; mean of {len(report.seeds)} splits.",
        *report.warnings,
        *([f"Label more of these first: {needs}."] if needs else []),
        *([f"{len(report.skipped)} images could not be read."] if report.skipped else []),
        LIMIT,
    ]
    if report.head is not None:
        title = next(rung.title for rung in report.rungs if rung.name == report.head.method)
        said.insert(0, f"The head is ready: {title}, fitted on all images. It is in Classify, too.")
    return {"told": report.recommendation, "is_done": True, "rungs": rungs, "said": said}


def _row(rung: clipkit.RungReport, report: clipkit.AdaptationReport) -> dict[str, Any]:
    worst = "" if rung.worst_accuracy is None else f"{rung.worst_class}, {rung.worst_accuracy:.0%}"
    return {
        "step": rung.step,
        "title": rung.title,
        "lack": rung.lack,
        "share": rung.accuracy,
        "spread": rung.spread,
        "worst": worst,
        "is_best": rung.name == report.recommended,
    }


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
        encoder: The model of its index.
        images: What may be shown and adapted to.
        queue: The queue for the model.
        head: Gets the head that is fitted.
    """
    tab = AdaptTab(library, encoder, images, queue)
    gr.Markdown(ABOUT)
    where = gr.Dropdown(
        [DROPPED, *tab.folders], value=DROPPED, label="Where the classes are", elem_id="classes",
        info="Classes of your own, or a folder of the library whose folders are classes",
        visible=bool(tab.folders),
    )  # fmt: skip
    fields: list[gr.Textbox | gr.HTML] = []
    columns = []
    with gr.Row(elem_id="slots") as slots:
        for number in range(1, MAX_CLASSES + 1):
            with gr.Column(min_width=240, visible=number <= FIRST_CLASSES) as column:
                fields.append(
                    gr.Textbox(label=f"Class {number}", max_lines=1, elem_id=f"class-{number}")
                )
                title = f"Images of class {number}"
                fields.append(image_tray(title, most=MAX_EACH, elem_id=f"images-{number}"))
                columns.append(column)
    with gr.Row(elem_id="more") as more:
        add = gr.Button("Add a class", size="sm", elem_id="add-class")
        suggest = gr.Button(
            "Which images of the library to label next?", size="sm", elem_id="suggest"
        )
    to_label = web_component("pick_grid", elem_id="to-label")
    shown = gr.State(FIRST_CLASSES)
    button = gr.Button("Measure what adapting is worth", variant="primary", elem_id="adapt")
    ladder = web_component("ladder_table", elem_id="ladder")
    save = gr.Button("Download the head", size="sm", elem_id="fetch-head", visible=False)
    file = download("head")
    measured = button.click(tab.adapt, [where, *fields], [ladder, head], **QUIET)
    measured.then(lambda fitted: gr.Button(visible=fitted is not None), head, save, **QUIET)
    suggest.click(tab.suggest, fields, to_label, **QUIET)
    save.click(tab.save, head, file, **QUIET)
    add.click(_show_one_more, shown, [shown, add, *columns], **QUIET)
    where.change(
        lambda chosen: [gr.Row(visible=chosen == DROPPED)] * 2, where, [slots, more], **QUIET
    )


def _show_one_more(count: int) -> list[Any]:
    """Show one more class."""
    count = min(count + 1, MAX_CLASSES)
    columns = [gr.Column(visible=number < count) for number in range(MAX_CLASSES)]
    return [count, gr.Button(visible=count < MAX_CLASSES), *columns]
