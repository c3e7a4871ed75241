"""A decoded picture in any of Pillow's modes -> 8-bit RGB, with nothing clipped by accident."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipkit.inputs.reasons import UnreadableError


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a picture as 8-bit RGB, on white where it is transparent.

    Colour profiles are not applied, as in open_clip. 16-bit values v become round(v / 257).
    Floating-point pictures are taken when they span 0 to 1 or 0 to 255. Raises UnreadableError
    for pictures that there is no one way to show in 8 bits.

    Args:
        image: A loaded picture in any mode.

    Returns:
        The same picture in mode RGB. An RGB picture without transparency is returned as it is.
    """
    if image.mode in _DEEP_MODES:
        return _from_deep(image)
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def _on_white(image: Image.Image) -> Image.Image:
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.getchannel("A"))
    return flat


def _from_deep(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    gray = _from_float(values) if image.mode == "F" else _from_integers(values)
    key = image.info.get("transparency")
    if isinstance(key, int):
        gray = np.where(values == key, np.uint8(255), gray)
    return Image.fromarray(gray).convert("RGB")


def _from_integers(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise UnreadableError(
            f"has 32-bit values from {low} to {high}: save it with 8 or 16 bits a channel"
        )
    levels: NDArray[np.uint8] = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return levels


def _from_float(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    # Written so that NaN fails it too.
    if not (low >= 0.0 and high <= 255.0):
        raise UnreadableError(
            f"has floating-point values from {low:g} to {high:g}: "
            "scale them to 0..1 or 0..255, or save it with 8 or 16 bits a channel"
        )
    scale = 255.0 if high <= 1.0 else 1.0
    levels: NDArray[np.uint8] = np.rint(values * scale).astype(np.uint8)
    return levels
