"""The page's tab for zero-shot classification of an image."""

import io
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr

import clipkit
from clipkit.demo.image_store import ImageStore, StoredGallery, StoredImage, Upload, small
from clipkit.demo.messages import refuse, translate
from clipkit.demo.model_queue import ModelQueue

LABELS = "cat, dog, bird, boat, castle, cup of coffee, flower, mountain"
EXAMPLES = 8
MAX_LABELS = 200  # a few seconds of work
MAX_LABEL = 100  # characters; the model reads about 70 words
_CELL = re.compile(r'[^\S\n\t]*"([^"]+)"[^\S\n\t]*(?=[,;|\t\n]|$)|([^,;|\t\r\n]+)')
_RULE = re.compile(r":?-+:?")  # below the head of a table in Markdown


def build(encoder: clipkit.Encoder, images: ImageStore, queue: ModelQueue, folder: Path) -> None:
    """Add the tab's parts to the page that is being built.

    Args:
        encoder: The model.
        images: What may be classified.
        queue: The queue for the model.
        folder: Where example images come from.
    """
    # Computes the embeddings of the background words now, so that no visitor waits for them.
    warm = clipkit.ZeroShotClassifier(encoder, ["image"], multi_label=True)
    warm.scores(warm.class_embeddings)

    # A generator, so that Gradio can end it between two steps if its visitor has gone.
    async def classify(
        image: str | None,
        labels: str,
        is_independent: bool,  # noqa: FBT001 - Gradio calls by position
        request: gr.Request,
    ) -> AsyncIterator[Any]:
        if image is None:
            raise refuse("Give an image first: upload one, or take an example")
        names = read_labels(labels)
        visitor = request.session_hash
        try:
            for name in names:  # one a step, so that others wait for no longer than for a search
                await queue.run(visitor, clipkit.ZeroShotClassifier, encoder, [name])
                yield gr.skip()
            classifier = await queue.run(  # from the embeddings cached in the steps above
                visitor, clipkit.ZeroShotClassifier, encoder, names, multi_label=is_independent
            )
            source = open_source(images, image)  # only now: it may have been dropped meanwhile
            (ranked,) = await queue.run(visitor, classifier.classify, [source])
        except clipkit.ClipkitError as error:
            raise translate(error) from error
        yield {item["label"]: item["score"] for item in ranked}

    with gr.Row():
        with gr.Column(min_width=280):
            image = StoredImage(
                sources=["upload"], label="Image", height=340, buttons=[], elem_id="image",
                placeholder="Drop an image, or click to choose one",
            )  # fmt: skip
            paths = find_examples(images, folder)
            examples = example_gallery(images, paths)
        with gr.Column(min_width=280):
            labels = gr.Textbox(
                LABELS, label="Labels", info="One a line, by commas, or pasted from a table",
                lines=4, max_lines=12, elem_id="labels",
            )  # fmt: skip
            is_independent = gr.Checkbox(label="Several may apply, or none")
            button = gr.Button("Classify", variant="primary", elem_id="classify")
            scores = gr.Label(label="Which fits", num_top_classes=8, elem_id="scores")
    inputs = [image, labels, is_independent]

    def take(event: gr.SelectData) -> str:
        return images.admit(paths[event.index % len(paths)])

    running = []
    if paths:
        taken = examples.select(take, None, image, api_visibility="private")
        running = [taken.success(classify, inputs, scores, api_visibility="private")]
    # An answer to what was asked before must not come after this one, and take its place.
    button.click(classify, inputs, scores, api_name="classify", cancels=running)


def example_gallery(images: ImageStore, paths: list[Path]) -> StoredGallery:
    """Return thumbnails of example images that a visitor can choose."""
    return StoredGallery(
        [(small(images.admit(path)), None) for path in paths], label="Try", show_label=False,
        columns=4, height="auto", object_fit="cover", allow_preview=False, interactive=False,
        buttons=[], visible=bool(paths), elem_id="examples",
    )  # fmt: skip


def find_examples(images: ImageStore, folder: Path) -> list[Path]:
    """Return a few images of the folder itself that are indexed."""
    found: list[Path] = []
    for path in sorted(folder.glob("*.jpg")):
        if len(found) < EXAMPLES and images.is_shown(path):
            found.append(path)
    return found


def open_source(images: ImageStore, key: str) -> Path | io.BytesIO:
    """Return the image behind an id, for the model to read."""
    source = images.source(key)
    return io.BytesIO(source.rendering) if isinstance(source, Upload) else source


def read_labels(text: str) -> list[str]:
    """Return the labels a visitor typed or pasted, each once, within bounds.

    Args:
        text: Labels on lines, between commas or semicolons, or in the cells of a table whose
            columns are tabs or bars; quotes around one keep what would part it.

    Returns:
        In the order given.
    """
    cells = [quoted or plain for quoted, plain in _CELL.findall(text)]
    names = [name for cell in cells if (name := cell.strip()) and not _RULE.fullmatch(name)]
    names = list(dict.fromkeys(names))
    if len(names) > MAX_LABELS:
        raise refuse(f"{MAX_LABELS} labels at most can be compared here, got {len(names)}")
    if any(len(name) > MAX_LABEL for name in names):
        raise refuse(f"A label may have up to {MAX_LABEL} characters")
    return names
