"""The tray that a visitor drops images into, as a Gradio component, and reading what is in it.

Its value is a text: ids of images that the store gave out, with spaces between them.
"""

import io
from pathlib import Path

import gradio as gr

from clipkit.demo.image_store import ID, ImageStore, Upload
from clipkit.demo.messages import refuse
from clipkit.demo.request_filter import MAX_UPLOAD
from clipkit.demo.web_component import web_component


def image_tray(title: str, *, most: int, elem_id: str) -> gr.HTML:
    """Return an empty tray.

    Its event "change" comes when a visitor has put images in or taken some out. A "pick_grid" puts
    images of the library in, by the id of the tray's element.

    Args:
        title: What the images are for.
        most: How many it takes.
        elem_id: The id of its element.

    Returns:
        The component.
    """
    return web_component(
        "image_tray",
        "",
        elem_id=elem_id,
        tray=elem_id,
        title=title,
        most=most,
        max_bytes=MAX_UPLOAD,
    )


def read_tray(value: str | None, images: ImageStore, *, most: int) -> list[str]:
    """Return the ids of the images in a tray, each once.

    Args:
        value: As a browser sent it.
        images: Knows which ids were given out.
        most: How many there may be.

    Returns:
        The ids, without a size.

    Raises:
        gr.Error: If there are too many, or one was not given out or is forgotten.
    """
    keys = list(dict.fromkeys((value or "").split()))
    if len(keys) > most:
        raise refuse(f"Up to {most} images can be taken here, got {len(keys)}")
    for key in keys:
        if not ID.fullmatch(key) or key not in images:
            raise refuse("An image is not here any more: remove it and choose it again")
    return [key[:32] for key in keys]


def open_source(images: ImageStore, key: str) -> Path | io.BytesIO:
    """Return the image behind an id, for the model to read.

    Args:
        images: Knows it.
        key: The id, without a size.

    Returns:
        The file of an image of the library; or the rendering of an upload, with its name.
    """
    source = images.source(key)
    if isinstance(source, Upload):
        file = io.BytesIO(source.rendering)
        file.name = source.name  # for messages
        return file
    return source
