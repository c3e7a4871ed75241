"""Where in an image a label fits, as numbers that the browser draws over the image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import clipkit

DIGITS = 4  # of a cosine


def find_heat(
    encoder: clipkit.Encoder,
    image: Path | BinaryIO,
    label: str,
    tell: Callable[[float], None],
) -> dict[str, Any]:
    """Return the heat map of a label, as the browser takes it.

    Args:
        encoder: The model.
        image: The image.
        label: A text.
        tell: Called after every step with the share that is done.

    Returns:
        By name: "values", rows of cosines; "levels", the cosines from which on a place is coloured
        and from which on the label counts as there; "box", the part of the image that the map
        covers, left, top, width and height as shares of the image; "verdict" and "is_there".

    Raises:
        InputError: If the label is "a photo", which the map contrasts it with.
        ImageReadError: If the image cannot be read.
    """
    words = clipkit.ZeroShotClassifier(encoder, ["image"], templates="none")
    words.prepare(lambda done, total: tell(0.2 * done / (total or done or 1)))
    found = clipkit.explain(
        encoder, image, label, progress=lambda done, total: tell(0.2 + 0.8 * done / (total or done))
    )
    left, top, right, bottom = found.box
    width, height = found.image_size
    return {
        "label": label,
        "values": [[round(value, DIGITS) for value in row] for row in found.values.tolist()],
        "levels": [round(level, DIGITS) for level in found.levels],
        "box": [left / width, top / height, (right - left) / width, (bottom - top) / height],
        "is_there": found.is_there,
        "verdict": found.verdict,
    }
