"""Which images a visitor wants to see, in which order, and what there is to choose from."""

import glob
import re
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

import clipkit
from clipkit.demo.image_store import PlainMeta
from clipkit.demo.messages import is_text, refuse

MAX_TEXT = 500  # characters of a folder, a camera or a day
MAX_CHOICES = 500  # folders, and cameras, that are offered; others can be typed
SORTS = [
    ("Best match", "best"),
    ("Newest first", "newest"),
    ("Oldest first", "oldest"),
    ("By name", "name"),
    ("Largest first", "largest"),
]
SIDES = [
    ("Any size", 0),
    *((f"{side:,} pixels and more", side) for side in (640, 1280, 2000, 4000)),
]
ANY_FOLDER, ANY_CAMERA = ("Any folder", ""), ("Any camera", "")
SHAPES = [
    ("Any shape", ""),
    ("Landscape", "landscape"),
    ("Portrait", "portrait"),
    ("Square", "square"),
]

_DAYS = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)


class Places(NamedTuple):
    """Where a library's images lie, and what they were taken with, to choose from."""

    folders: list[str]
    cameras: list[str]


class Choice(gr.Dropdown, metaclass=PlainMeta):
    """A list to choose from, or to type something else; callers of the API may give anything."""

    is_template = True  # drawn in the browser by the parent's code

    def api_info(self) -> dict[str, Any]:
        """Return which kind of value a caller gives."""
        return {"type": "number" if isinstance(self.value, int) else "string"}


def read_filters(
    days: tuple[str | None, str | None],
    place: str | None,
    camera: str | None,
    side: float | None,
    shape: str | None,
) -> clipkit.FilterOptions:
    """Return what a visitor has chosen as filters of the library.

    Args:
        days: The first and the last day, month or year, as in 2024-06-01, 2024-06 or 2024.
        place: A folder of the library; its own folders count too.
        camera: A part of the camera's name.
        side: The least width and height, pixels.
        shape: "landscape", "portrait" or "square".

    Returns:
        Only those that were set.

    Raises:
        gr.Error: If one makes no sense.
    """
    filters = clipkit.FilterOptions()
    first, last = (_text(day, "A day") for day in days)
    if first:
        filters["after"] = _read_days(first)[0]
    if last:
        filters["before"] = _read_days(last)[1]
    if folder := _text(place, "A folder").strip("/"):
        filters["path"] = f"/{glob.escape(folder)}"
    if name := _text(camera, "A camera"):
        filters["camera"] = name
    if side:
        if not isinstance(side, int | float) or not 0 <= side < 2**31:
            raise refuse(f"The least size must be a number of pixels, got {str(side)[:MAX_TEXT]}")
        filters["min_width"] = filters["min_height"] = int(side)
    if shape:
        filters["orientation"] = shape  # type: ignore[typeddict-item] # the library refuses others
    return filters


def places_of(images: Iterable[clipkit.LibraryImage], folder: Path) -> Places:
    """Return the folders and cameras of images, as far as they can be shown, in order."""
    folders: set[str] = set()
    cameras: set[str] = set()
    for image in images:
        inner = image.path.relative_to(folder).parent
        folders.update(part.as_posix() for part in (inner, *inner.parents) if part.name)
        cameras.add(image.camera or "")
    return Places(
        *([*filter(_is_shown, sorted(names))][:MAX_CHOICES] for names in (folders, cameras))
    )


def _is_shown(name: str) -> bool:
    return 0 < len(name) <= MAX_TEXT and is_text(name)


def _text(given: str | None, what: str) -> str:
    text = (given or "").strip()
    if len(text) > MAX_TEXT:
        raise refuse(f"{what} may have up to {MAX_TEXT} characters")
    return text


def _read_days(text: str) -> tuple[date, date]:
    """Return the first day of a year, month or day, and the first one after it."""
    try:
        year, month, day = (int(part) if part else 0 for part in _DAYS.fullmatch(text).groups())  # type: ignore[union-attr]
        first = date(year, month or 1, day or 1)
        if day:
            return first, first + timedelta(days=1)
        return first, date(year + (month in (0, 12)), (month % 12 + 1) if month else 1, 1)
    except (AttributeError, ValueError, OverflowError) as error:
        raise refuse(
            f"A day must be a day, a month or a year, as in 2024-06-01, 2024-06 or 2024, got {text}"
        ) from error
