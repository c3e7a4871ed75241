"""Conversion of decoded images in any of Pillow's modes to 8-bit RGB, without clipping."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipkit.inputs.read_errors import UnreadableError


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an image as 8-bit RGB, on white where it is transparent.

    Colour profiles are not applied, as in open_clip. 16-bit values v become round(v / 257).
    Floating-point images are taken when they span 0 to 1 or 0 to 255, 32-bit integers when they
    span 16 bits. Alpha that is 0 everywhere in a BMP or TGA is ignored. Raises UnreadableError
    for images whose range of values is not known.

    Args:
        image: A loaded image in any mode.

    Returns:
        The same image in mode RGB. An RGB image without transparency is returned as it is.
    """
    if image.mode in _MODES_ABOVE_8_BITS:
        return _from_more_bits(image)
    if (
        image.mode == "RGBA"
        and image.format in _ALPHA_OFTEN_UNUSED
        and _is_fully_transparent(image)
    ):
        image = image.convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


# Programs leave the fourth byte of a pixel 0 in these, whatever the header says of it.
_ALPHA_OFTEN_UNUSED = ("BMP", "DIB", "TGA")


def _is_fully_transparent(image: Image.Image) -> bool:
    return image.getchannel("A").getextrema() == (0, 0)


_MODES_ABOVE_8_BITS = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def _on_white(image: Image.Image) -> Image.Image:
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.getchannel("A"))
    return flat


def _from_more_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    # PPM files state what is white, and Pillow scales them to 16 bits.
    is_scaled = image.mode != "I" or image.format == "PPM"
    gray = to_levels(values, 16 if is_scaled else 32)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        gray = 255 - gray
    key = image.info.get("transparency")
    if isinstance(key, int):
        gray = np.where(values == key, np.uint8(255), gray)
    return Image.fromarray(gray).convert("RGB")


_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # a tag of TIFF; Pillow applies it up to 8 bits


def to_levels(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Return samples as 8-bit levels, rounded.

    Args:
        values: Samples of any shape: floating point, or integers.
        bits: How many bits an integer has in its file. Of 17 and more it is not known what they
            mean: they are taken for 16-bit values if they span most of those.

    Returns:
        The levels, shape as that of the values.

    Raises:
        UnreadableError: If it is not known which range these values have.
    """
    if values.dtype.kind == "f":
        return _from_float(values)
    if bits > 16:
        _check_spans_16_bits(values)
        bits = 16
    if bits == 8:
        return values.astype(np.uint8)
    top = np.uint32(2**bits - 1)
    levels = np.empty(values.shape, dtype=np.uint8)
    for row in range(0, len(values), _ROWS_AT_ONCE):
        part = values[row : row + _ROWS_AT_ONCE].astype(np.uint32)  # 65535 * 255 fits
        levels[row : row + _ROWS_AT_ONCE] = (part * np.uint32(255) + top // 2) // top
    return levels


_ROWS_AT_ONCE = 64  # so that wide numbers of a whole image are never in memory


def _check_spans_16_bits(values: NDArray[Any]) -> None:
    low, high = int(values.min()), int(values.max())
    if low >= 0 and (high == 0 or 2**14 <= high <= 65535):
        return
    # In 32 bits lie values of 8, 10, 12 and 14 bits too, and would come out too dark.
    doubt = ", which may be of 8 to 16 bits" if low >= 0 and high < 2**14 else ""
    raise UnreadableError(
        f"has 32-bit values from {low} to {high}{doubt}: save it with 8 or 16 bits a channel"
    )


def _from_float(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    # Written so that NaN fails it too. From 1 to 64 may be light of no upper bound, or few levels.
    if not (low >= 0.0 and (high <= 1.0 or 64.0 <= high <= 255.0)):
        raise UnreadableError(
            f"has floating-point values from {low:g} to {high:g}: "
            "scale them to 0..1 or 0..255, or save it with 8 or 16 bits a channel"
        )
    scale = 255.0 if high <= 1.0 else 1.0
    levels = np.empty(values.shape, dtype=np.uint8)
    for row in range(0, len(values), _ROWS_AT_ONCE):
        levels[row : row + _ROWS_AT_ONCE] = np.rint(values[row : row + _ROWS_AT_ONCE] * scale)
    return levels
