"""Decoding of camera RAW files: the preview that the camera put inside, or a quick development."""

import io
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image

from clipkit.errors import how_to_install
from clipkit.inputs.decoder import (
    DecodedImage,
    DecodeOptions,
    Target,
    decode_file,
    decode_image,
)
from clipkit.inputs.memory_budget import BYTES_PER_PIXEL, check_pixels
from clipkit.inputs.read_errors import UnreadableError
from clipkit.inputs.safe_open import check_read_whole

if TYPE_CHECKING:
    import rawpy


def decode_raw(file: BinaryIO, options: DecodeOptions) -> DecodedImage:
    """Return the image in a camera's RAW file.

    The preview inside is what the camera would have saved as a JPEG. It is taken unless it is
    smaller than the target; then the sensor's values are developed at half their size.

    Args:
        file: A binary file at its start; it is left open.
        options: The limit and the target.

    Returns:
        The image. Its size is that of the preview or of the development.

    Raises:
        UnreadableError: If rawpy is not installed or the image is too large. On damaged files
            rawpy raises its own exceptions; they pass through.
    """
    try:
        import rawpy
    except ImportError as error:
        raise UnreadableError(f"is a camera RAW file: {how_to_install('raw')}") from error
    check_read_whole(file)
    try:
        with rawpy.imread(file) as raw:
            # Estimated, not measured: the sensor's values, their development and its copies.
            options.reserve(BYTES_PER_PIXEL * raw.sizes.raw_width * raw.sizes.raw_height)
            preview = _preview(raw, options)
            if preview is not None and _is_large_enough(preview, options.target):
                return preview
            return _develop(raw, options)
    except rawpy.LibRawError as error:
        raise UnreadableError(f"is not a RAW file that can be read: {_message(error)}") from error


ORIENTATIONS = {3: 3, 5: 8, 6: 6}
"""LibRaw's numbers for how the camera was held, as EXIF orientations."""


def _preview(raw: "rawpy.RawPy", options: DecodeOptions) -> DecodedImage | None:
    import rawpy

    try:
        preview = raw.extract_thumb()
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
        return None
    options = replace(options, orientation=ORIENTATIONS.get(raw.sizes.flip, 1))
    if isinstance(preview.data, bytes):
        return decode_file(io.BytesIO(preview.data), options)
    return decode_image(Image.fromarray(preview.data), options)


def _is_large_enough(preview: DecodedImage, target: Target | None) -> bool:
    if target is None:
        return True
    wanted = target(preview.size) if callable(target) else target
    return preview.size[0] >= wanted[0] and preview.size[1] >= wanted[1]


def _develop(raw: "rawpy.RawPy", options: DecodeOptions) -> DecodedImage:
    sizes = raw.sizes
    # The sensor's values are held whole, with two bytes each; the image is a quarter of them.
    check_pixels(
        sizes.raw_width * sizes.raw_height // 2, (sizes.width, sizes.height), options.max_pixels
    )
    pixels = Image.fromarray(raw.postprocess(half_size=True, use_camera_wb=True, output_bps=8))
    return DecodedImage(pixels, size=pixels.size)


def _message(error: Exception) -> str:
    # LibRaw's messages arrive as bytes.
    first = error.args[0] if error.args else ""
    return first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)
