"""Reading of truncated JPEG and GIF files, which lack their last bytes, as far as they go.

A download or a copy that broke off near its end leaves such files, and every viewer shows them.
"""

import warnings

import numpy as np
from PIL import Image
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile

from clipkit.errors import ClipkitWarning
from clipkit.inputs.decoder_name import refuses_truncated
from clipkit.inputs.read_errors import UnreadableError, says_truncated

MAX_MISSING_SHARE = 0.05
"""The share of an image's pixels up to which its file may lack them; beyond, it is refused."""


class CutOffImageWarning(ClipkitWarning):
    """An image file lacks its last bytes; the image was read without them."""


def load_truncated(image: Image.Image, error: OSError) -> float:
    """Load an image whose file ended too early, as far as it goes.

    Args:
        image: The image, after its load failed. It is loaded when this returns; the missing
            pixels are grey in a JPEG, and in a GIF of the colour that decoders start from.
        error: What was raised.

    Returns:
        The share of its pixels that its file lacks, 0 to 1. A progressive JPEG may lack none and
        be less sharp.

    Raises:
        UnreadableError: If that share is too large.
        OSError: The error, if it is of another kind, or cut-off files are not to be read.
    """
    if refuses_truncated() or not says_truncated(str(error)):
        raise error
    if isinstance(image, JpegImageFile):
        missing = _finish_jpeg(image)
    elif isinstance(image, GifImageFile):
        missing = _finish_gif(image)
    else:
        raise error
    if missing > MAX_MISSING_SHARE:
        raise UnreadableError(f"is cut off: {missing:.0%} of its pixels are missing") from error
    return missing


def warn_truncated(name: str, missing: float) -> None:
    """Warn of an image that was read without its last bytes.

    Args:
        name: What to call it.
        missing: The share of its pixels that its file lacks, 0 to 1.
    """
    warnings.warn(
        f"{name}: lacks its last bytes and was read without them, {missing:.1%} of its pixels are "
        "missing (CLIPKIT_STRICT_IMAGES=1 refuses such files)",
        CutOffImageWarning,
        stacklevel=2,
    )


# --- JPEG ---------------------------------------------------------------------------------------

_END_OF_IMAGE = b"\xff\xd9"
_GREY = 128  # what libjpeg decodes a block to that it has no data for


def _finish_jpeg(image: JpegImageFile) -> float:
    """Decode once more with an end marker added, as Pillow does with LOAD_TRUNCATED_IMAGES."""
    file = image.fp
    assert file is not None  # kept until the image is loaded
    ends = [_END_OF_IMAGE]

    def read(read_bytes: int) -> bytes:
        return file.read(read_bytes) or (ends.pop() if ends else b"")

    image.load_read = read  # type: ignore[method-assign]
    image.load()
    return _grey_share(image)


def _grey_share(image: Image.Image) -> float:
    """Return the share of the pixels, from the last one backwards, that were never stored."""
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    missing = 0
    for row in pixels[::-1]:
        is_stored = (np.abs(row.astype(np.int16) - _GREY) > 1).any(axis=1)
        stored = np.flatnonzero(is_stored)
        grey = image.width - (int(stored[-1]) + 1 if len(stored) else 0)
        if not grey:
            break
        missing += grey
    return missing / (image.width * image.height)


# --- GIF ----------------------------------------------------------------------------------------


def _finish_gif(image: GifImageFile) -> float:
    """Keep what was decoded; pixels that depend on the colour decoding starts from are missing."""
    file = image.fp
    assert file is not None  # as above
    image.tile = []  # what can be decoded is
    image.load()
    file.seek(0)
    other = GifImageFile(file)
    prepare = other.load_prepare
    start = image.info.get("transparency", 0)

    def fill() -> None:
        prepare()
        other.im.paste(255 - start if isinstance(start, int) else 255, (0, 0, *other.size))

    other.load_prepare = fill  # type: ignore[method-assign]
    try:
        other.load()
    except OSError:
        other.tile = []
        other.load()
    return float((np.asarray(image) != np.asarray(other)).mean())
