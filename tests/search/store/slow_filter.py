"""Search filters one image and one condition at a time: the reference for every store."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from clipkit.inputs.globs import matches_glob
from clipkit.search.filters import Selection
from clipkit.search.store.records import ImageRow


def passes(image: ImageRow, where: Selection) -> bool:
    """Return whether a selection has an image."""
    if not image.path.startswith(where.prefix) or image.path in where.hidden:
        return False
    wanted = {name: value for name, value in vars(where.accepted).items() if value is not None}
    return meets(image._replace(path=image.path.removeprefix(where.prefix)), wanted)


def meets(image: ImageRow, wanted: dict[str, Any]) -> bool:
    """Return whether an image is as each filter has it."""
    answers: dict[str, Callable[[Any], bool]] = {
        "path": lambda glob: matches_glob(image.path, glob),
        "after": lambda start: moment(image) >= datetime.fromisoformat(start),
        "before": lambda end: moment(image) < datetime.fromisoformat(end),
        "min_width": lambda pixels: (image.width or 0) >= pixels,
        "min_height": lambda pixels: (image.height or 0) >= pixels,
        "camera": lambda part: part.lower() in (image.camera or "").lower(),
        "orientation": lambda side: _side(image) == side,
        "not_path": lambda globs: not any(matches_glob(image.path, glob) for glob in globs),
        "not_camera": lambda parts: (
            not any(part.lower() in (image.camera or "").lower() for part in parts)
        ),
    }
    return all(answers[name](value) for name, value in wanted.items())


def moment(image: ImageRow) -> datetime:
    """Return when an image was taken, or else when its file was last changed: local time."""
    if image.taken_at is not None:
        return datetime.fromisoformat(image.taken_at)
    return datetime.fromtimestamp(image.mtime_ns // 10**9)


def _side(image: ImageRow) -> str | None:
    if image.width is None or image.height is None:
        return None
    sign = (image.width > image.height) - (image.width < image.height)
    return {-1: "portrait", 0: "square", 1: "landscape"}[sign]
