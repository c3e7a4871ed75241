"""Every kind of TIFF is read right or refused; expected values from what tifffile was given."""

import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from clipkit.errors import ImageReadError, how_to_install
from clipkit.inputs.images import read_image
from clipkit.inputs.metadata import ImageMetadata, read_metadata
from clipkit.inputs.thumbnails import read_thumbnail
from tests.inputs.tiff_kinds import Written, outcomes, quiet_libtiff, tiff_kinds


@pytest.fixture(scope="module")
def kinds() -> list[Written]:
    """One choice of thirteen; python -m tests.inputs.tiff_kinds  tries all of them."""
    with quiet_libtiff():
        return list(tiff_kinds(step=13))


@pytest.mark.slow
def test_no_kind_of_tiff_is_read_wrong(kinds: list[Written]) -> None:
    found = outcomes(kinds)
    assert set(found) == {"equal", "refused"}, found
    assert found["equal"] > 250, found


@pytest.mark.slow
def test_no_kind_of_tiff_is_read_wrong_without_the_extra(
    kinds: list[Written], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    found = outcomes(kinds)
    assert set(found) == {"equal", "refused"}, found
    assert found["equal"] > 70, found


# --- the kinds that were silently wrong ---------------------------------------------------------


def written(pixels: NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, metadata=None, **options)
    return file.getvalue()


def ramp(dtype: str = "uint16", top: int = 65535) -> NDArray[Any]:
    """Shape (12, 16, 3): red grows to the right, green downwards, blue both ways."""
    rows, columns = np.mgrid[0:12, 0:16]
    colors = np.stack([columns / 15, rows / 11, (rows + columns) / 26], axis=2)
    values: NDArray[Any] = np.rint(colors * top).astype(dtype)
    return values


def assert_shows(data: bytes, expected: NDArray[Any], levels: float = 1) -> None:
    pixels = np.asarray(read_image(data).pixels).astype(float)
    shown = expected if expected.ndim == 3 else expected[:, :, None]
    assert np.abs(pixels - shown).max() <= levels


@pytest.fixture
def without_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)


@pytest.mark.parametrize("order", "<>")
def test_16_bit_planes(order: str) -> None:
    data = written(
        np.moveaxis(ramp(), 2, 0), photometric="rgb", planarconfig="separate", byteorder=order
    )
    assert_shows(data, ramp() / 257)


def test_16_bit_planes_without_the_extra(without_extra: None) -> None:
    data = written(np.moveaxis(ramp(), 2, 0), photometric="rgb", planarconfig="separate")
    with pytest.raises(ImageReadError) as caught:
        read_image(data)
    assert caught.value.reason == (
        "is a kind of TIFF that needs an extra (RGB of 3 x 16 bits, one plane after the other, "
        f"compression none): {how_to_install('tiff')}"
    )


def test_16_bit_white_is_zero_needs_no_extra(without_extra: None) -> None:
    grey = ramp()[:, :, 0]
    data = written(65535 - grey, photometric="miniswhite")
    assert_shows(data, grey / 257)
    with Image.open(io.BytesIO(data)) as image:  # of Pillow's own, the same
        assert np.abs(np.asarray(read_image(image).pixels)[:, :, 0] - grey / 257).max() <= 1


def test_8_bit_values_in_a_16_bit_color_map_need_no_extra(without_extra: None) -> None:
    indices = np.arange(192, dtype=np.uint8).reshape(12, 16)
    colors = np.random.default_rng(0).integers(0, 256, (3, 256))
    data = written(indices, photometric="palette", colormap=colors.astype(np.uint16))
    assert_shows(data, colors.T[indices], levels=0)
    wide = written(indices, photometric="palette", colormap=(colors * 257).astype(np.uint16))
    assert_shows(wide, colors.T[indices], levels=0)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_bits(bits: int) -> None:
    top = 2**bits - 1
    grey = ramp(top=top)[:, :, 0]
    data = written(grey, photometric="minisblack", bitspersample=bits)
    assert_shows(data, grey.astype(float) * 255 / top)


def test_lzw_floats_and_alpha_of_16_bits() -> None:
    assert_shows(written(ramp() / 65535, photometric="rgb", compression="lzw"), ramp() / 257)
    grey_alpha = ramp()[:, :, 1:]
    data = written(grey_alpha, photometric="minisblack", extrasamples=["unassalpha"])
    grey, alpha = grey_alpha[:, :, 0] / 257, grey_alpha[:, :, 1:] / 65535
    assert_shows(data, grey[:, :, None] * alpha + 255 * (1 - alpha), levels=2)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (ramp("int16", 32767), "is a kind of TIFF that cannot be read here: RGB of 3 x 16 signed"),
        (ramp("uint32", 255), "has 32-bit values from 0 to 255, which may be of 8 to 16 bits: sav"),
        (ramp("uint32", 2**32 - 1), "has 32-bit values from 0 to 4294967295: save it with 8 or"),
        (ramp("float32", 1) + np.float32(np.nan), "has floating-point values from nan to nan"),
        (ramp("float32", 1) * 3, "has floating-point values from 0 to 3: scale them"),
    ],
)
def test_values_without_one_meaning_are_refused(values: NDArray[Any], reason: str) -> None:
    with pytest.raises(ImageReadError) as caught:
        read_image(written(values, photometric="rgb"))
    assert caught.value.reason.startswith(reason)


def test_ycbcr_that_is_not_compressed_is_refused() -> None:
    data = bytearray(written(ramp("uint8", 255), photometric="rgb"))
    place = data.index(b"\x06\x01\x03\0\1\0\0\0\2\0")  # 262, one short number: 2
    data[place + 8] = 6
    with pytest.raises(ImageReadError, match="cannot be read here: YCbCr of 3 x 8 bits, compressi"):
        read_image(bytes(data))


def test_pillows_own_image_of_a_kind_that_it_reads_wrong_is_refused() -> None:
    data = written(np.moveaxis(ramp(), 2, 0), photometric="rgb", planarconfig="separate")
    with (
        Image.open(io.BytesIO(data)) as image,
        pytest.raises(ImageReadError, match=r"that Pillow cannot read: RGB .* give its path inst"),
    ):
        read_image(image)


# --- pages --------------------------------------------------------------------------------------


def paged(*pages: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for page in pages:
            writer.write(**{"photometric": "rgb", "metadata": None, **page})
    return file.getvalue()


THUMBNAIL: dict[str, Any] = {"data": np.zeros((4, 5, 3), np.uint8), "subfiletype": 1}
MASK = {"data": np.zeros((12, 16), bool), "subfiletype": 4, "photometric": "minisblack"}
OLD_THUMBNAIL: dict[str, Any] = {
    "data": np.zeros((4, 5, 3), np.uint8),
    "extratags": [(255, 3, 1, 2, True)],
}


@pytest.mark.parametrize("first", [[THUMBNAIL], [MASK], [OLD_THUMBNAIL], [THUMBNAIL, MASK], []])
@pytest.mark.parametrize("dtype", ["uint8", "float64"])  # by Pillow and by tifffile
def test_first_page_that_is_no_thumbnail(
    first: list[dict[str, Any]], dtype: str, tmp_path: Path
) -> None:
    scale = 255 if dtype == "uint8" else 1
    values = ramp() / 65535 * scale
    whole = {"data": np.rint(values).astype(dtype) if scale > 1 else values}
    data = paged(*first, whole, {"data": np.ones((3, 3, 3), np.uint8)})
    assert_shows(data, ramp() / 257)
    path = tmp_path / "pages.tif"
    path.write_bytes(data)
    assert read_metadata(path) == ImageMetadata(16, 12, None, None)
    assert read_thumbnail(path, box=(99, 99)).shape == (12, 16, 3)


def test_page_below_a_thumbnail() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(**THUMBNAIL, photometric="rgb", metadata=None, subifds=1)
        writer.write(ramp("uint8", 255), photometric="rgb", metadata=None)
    assert_shows(file.getvalue(), ramp("uint8", 255))


def test_nothing_but_a_thumbnail_is_the_image() -> None:
    assert read_image(paged(THUMBNAIL)).size == (5, 4)


# --- what is said beside the pixels -------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_details_and_pixels_agree_on_what_tifffile_reads(
    orientation: int, tmp_path: Path, exif: Callable[[int], bytes]
) -> None:
    tags = [
        (274, 3, 1, orientation, True),
        (271, 2, 0, "Canon", True),
        (272, 2, 0, "EOS 80D", True),
        (306, 2, 0, "2020:02:03 04:05:06", True),
    ]
    path = tmp_path / "turned.tif"
    path.write_bytes(written(ramp() / 65535, photometric="rgb", extratags=tags))
    plain = tmp_path / "plain.png"
    Image.fromarray(np.rint(ramp() / 257).astype(np.uint8)).save(plain, exif=exif(orientation))
    size = read_image(plain).size
    assert read_metadata(path) == ImageMetadata(*size, "2020-02-03T04:05:06", "Canon EOS 80D")
    assert read_image(path).pixels.tobytes() == read_image(plain).pixels.tobytes()
    small = read_thumbnail(path, box=(6, 6))
    assert np.array_equal(small, read_thumbnail(plain, box=(6, 6)))


# --- limits -------------------------------------------------------------------------------------


def patched(data: bytes, tag: int, value: int) -> bytes:
    """Return a little-endian TIFF with another number in one of its tags."""
    changed = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        found = file.pages[0].tags[tag]  # type: ignore[union-attr]
    changed[found.valueoffset : found.valueoffset + 4] = value.to_bytes(4, "little")
    if found.dtype == 3:  # a short number: make it a long one
        changed[found.offset + 2 : found.offset + 4] = b"\4\0"
    return bytes(changed)


@pytest.mark.parametrize(
    ("tags", "options"),
    [
        ({256: 60_000, 257: 60_000}, {}),
        ({322: 60_000, 323: 60_000}, {"tile": (16, 16), "compression": "lzw"}),
    ],
)
def test_bombs_are_refused_before_anything_is_decoded(
    tags: dict[int, int], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = written(ramp() / 65535, photometric="rgb", **options)
    for tag, value in tags.items():
        data = patched(data, tag, value)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", None)
    with pytest.raises(ImageReadError, match="is too large: "):
        read_image(data)


@pytest.mark.slow
def test_strips_that_unpack_to_more_than_they_state_are_no_bomb() -> None:
    import tracemalloc

    data = written(ramp() / 65535, photometric="rgb", compression="zlib", rowsperstrip=12)
    import zlib

    packed = zlib.compress(bytes(200_000_000), 9)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages[0].tags  # type: ignore[union-attr]
        assert tags[279].count == 1
    bomb = patched(patched(data + packed, 273, len(data)), 279, len(packed))
    tracemalloc.start()
    with contextlib.suppress(ImageReadError):
        read_image(bomb)
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()
