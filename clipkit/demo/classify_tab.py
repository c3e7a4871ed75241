"""The page's tab for zero-shot classification of an image."""

import io
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
        with gr.Column():
            image = StoredImage(sources=["upload"], label="Image", elem_id="image", height=320)
            labels = gr.Textbox(LABELS, label="Labels, separated by commas", elem_id="labels")
            is_independent = gr.Checkbox(label="Several may apply, or none")
            button = gr.Button("Classify", variant="primary", elem_id="classify")
        scores = gr.Label(label="Which fits", num_top_classes=8, elem_id="scores")
    add_examples(images, find_examples(images, folder), image)
    inputs = [image, labels, is_independent]
    gr.on(
        [button.click, labels.submit], classify, inputs, scores,
        api_name="classify",
    )  # fmt: skip


def add_examples(images: ImageStore, paths: list[Path], image: gr.Image) -> None:
    """Add thumbnails of example images that a visitor can choose."""
    keys = [images.admit(path) for path in paths]
    if not keys:
        return

    def take(event: gr.SelectData) -> str:
        return images.admit(paths[event.index % len(paths)])

    gallery = StoredGallery(
        [(small(key), None) for key in keys], label="Try", columns=EXAMPLES, rows=1, height=160,
        allow_preview=False, interactive=False, buttons=[], elem_id="examples",
    )  # fmt: skip
    gallery.select(take, None, image, api_visibility="private")


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
    """Return the labels a visitor typed, within bounds."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if len(names) > MAX_LABELS:
        raise refuse(f"{MAX_LABELS} labels at most can be compared here, got {len(names)}")
    if any(len(name) > MAX_LABEL for name in names):
        raise refuse(f"A label may have up to {MAX_LABEL} characters")
    return names
