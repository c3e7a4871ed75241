"""The grid of images with the line above it and its large view, as a Gradio component."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

import clipkit
from clipkit.demo.duplicates import DuplicateImage
from clipkit.demo.image_store import ImageStore, small
from clipkit.demo.messages import short_name, short_path, short_stem
from clipkit.demo.web_component import web_component

FOUND = 0.4  # the relevance from which on an image counts as found

Page = dict[str, Any]
"""The grid's value: some images, the place of the first, how many follow, what is told of all."""
ShownImage = clipkit.SearchHit | clipkit.LibraryImage | DuplicateImage
"""One image that a search has found, that the library lists, or that it has more than once."""


def image_grid() -> gr.HTML:
    """Return an empty grid.

    Its events: "reach" when its end comes into sight, whose index is how many images it shows,
    and whose value is the number of their search;
    "alike" and "unlike" when a visitor wants more or less like an image, whose id is the value;
    "forget" when the marks are to be forgotten; "again" when the index has changed; "take" when
    something is to be made of the selected images. Its value is what, and its index the ids of
    those that were selected one by one, or if all were selected, as `selected` then says, of those
    that were taken out.
    """
    return web_component("image_grid", elem_id="found", more=["image_selection"])


def belongs(image: ShownImage) -> bool:
    """Return whether an image is of those that "select all" selects.

    All that a library lists, what counts as found of a search, the spare ones of duplicates.
    """
    if isinstance(image, clipkit.SearchHit):
        return image.relevance >= FOUND
    return image.is_spare if isinstance(image, DuplicateImage) else True


def grid_items(
    shown: Sequence[ShownImage], images: ImageStore, folder: Path
) -> list[dict[str, Any]]:
    """Return images as the grid takes them.

    Args:
        shown: Images that may be shown.
        images: Gives out their ids.
        folder: Paths are shown relative to it.

    Returns:
        One item an image.
    """
    return [_item(image, images, folder) for image in shown]


def _item(image: ShownImage, images: ImageStore, folder: Path) -> dict[str, Any]:
    path = image.path
    item: dict[str, Any] = {
        "image": {"path": small(images.admit(path))},
        "caption": short_stem(path),
        "name": short_stem(path),
        "file": short_path(path, folder),
        "date": image.taken_at,
        "width": image.width,
        "height": image.height,
        "camera": short_name(image.camera) if image.camera else None,
        "relevance": None,
        "similarity": None,
        "is_found": False,
        "belongs": belongs(image),
        "group": None,
    }
    if isinstance(image, DuplicateImage):
        item |= {"group": image.group, "heading": image.heading, "is_spare": image.is_spare}
    if isinstance(image, clipkit.SearchHit):
        percent = int(100 * image.relevance)  # rounded down: 40 % is found
        item |= {
            "caption": f"{item['name']}  {percent} %  ({image.similarity:.2f})",
            "relevance": percent,
            "similarity": round(image.similarity, 4),
            "is_found": image.relevance >= FOUND,
        }
    return item
