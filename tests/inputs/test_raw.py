"""Camera RAW files: a DNG built here, byte by byte, with and without a preview."""

import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clipkit.errors import ImageReadError, how_to_install
from clipkit.inputs.extensions import RAW_EXTENSIONS
from clipkit.inputs.images import read_image

BYTE, ASCII, SHORT, LONG, RATIONAL, SRATIONAL = 1, 2, 3, 4, 5, 10
FORMATS = {BYTE: "B", ASCII: "B", SHORT: "H", LONG: "I", RATIONAL: "II", SRATIONAL: "ii"}


def directory(entries: dict[int, tuple[int, list[Any]]], start: int) -> bytes:
    """A TIFF directory as it stands at byte `start`, its long values after it."""
    head, tail = struct.pack("<H", len(entries)), b""
    after = start + 2 + 12 * len(entries) + 4
    for tag, (kind, values) in sorted(entries.items()):
        body = struct.pack("<" + FORMATS[kind] * (len(values) // len(FORMATS[kind])), *values)
        head += struct.pack("<HHI", tag, kind, len(values) // len(FORMATS[kind]))
        if len(body) <= 4:
            head += body.ljust(4, b"\0")
        else:
            head += struct.pack("<I", after + len(tail))
            tail += body + b"\0" * (len(body) % 2)
    return head + struct.pack("<I", 0) + tail


def dng(
    mosaic: NDArray[np.uint16], preview: bytes, preview_size: tuple[int, int], turn: int
) -> bytes:
    """A DNG: first directory the preview (if any), its sub-directory the sensor's values."""
    height, width = mosaic.shape
    sensor: dict[int, tuple[int, list[Any]]] = {
        254: (LONG, [0]),
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [16]),
        259: (SHORT, [1]),
        262: (SHORT, [32803]),
        273: (LONG, [8]),
        277: (SHORT, [1]),
        278: (LONG, [height]),
        279: (LONG, [mosaic.nbytes]),
        33421: (SHORT, [2, 2]),
        33422: (BYTE, [0, 1, 1, 2]),
        50717: (LONG, [65535]),
    }
    camera: dict[int, tuple[int, list[Any]]] = {
        271: (ASCII, list(b"Maker\0")),
        272: (ASCII, list(b"Camera\0")),
        274: (SHORT, [turn]),
        50706: (BYTE, [1, 4, 0, 0]),
        50708: (ASCII, list(b"Maker Camera\0")),
        50721: (SRATIONAL, [n for v in (1, 0, 0, 0, 1, 0, 0, 0, 1) for n in (v, 1)]),
        50728: (RATIONAL, [1, 1, 1, 1, 1, 1]),
        50778: (SHORT, [21]),
    }
    body = mosaic.astype("<u2").tobytes()
    if not preview:
        return (
            b"II*\0"
            + struct.pack("<I", 8 + len(body))
            + body
            + directory(sensor | camera, 8 + len(body))
        )
    is_jpeg = preview.startswith(b"\xff\xd8")
    preview_at = 8 + len(body)
    padded = preview + b"\0" * (len(preview) % 2)
    sensor_at = preview_at + len(padded)
    sensor_directory = directory(sensor, sensor_at)
    first_at = sensor_at + len(sensor_directory)
    first: dict[int, tuple[int, list[Any]]] = {
        254: (LONG, [1]),
        256: (LONG, [preview_size[0]]),
        257: (LONG, [preview_size[1]]),
        258: (SHORT, [8, 8, 8]),
        259: (SHORT, [7 if is_jpeg else 1]),
        262: (SHORT, [6 if is_jpeg else 2]),
        273: (LONG, [preview_at]),
        277: (SHORT, [3]),
        278: (LONG, [preview_size[1]]),
        279: (LONG, [len(preview)]),
        330: (LONG, [sensor_at]),
    }
    head = b"II*\0" + struct.pack("<I", first_at)
    return head + body + padded + sensor_directory + directory(first | camera, first_at)


def mosaic(width: int = 64, height: int = 48) -> NDArray[np.uint16]:
    """Black, but white in the upper left quarter."""
    values = np.zeros((height, width), np.uint16)
    values[: height // 2, : width // 2] = 65535
    return values


def quarter(width: int, height: int) -> NDArray[np.uint8]:
    """The same as a finished image."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = 255
    return pixels


def bright_quarter(image: Image.Image) -> str:
    """Which quarter of an image is the bright one."""
    gray = np.asarray(image.convert("L")).astype(float)
    height, width = gray.shape
    quarters = {
        f"{row} {column}": gray[ys, xs].mean()
        for row, ys in (("upper", slice(0, height // 2)), ("lower", slice(height // 2, None)))
        for column, xs in (("left", slice(0, width // 2)), ("right", slice(width // 2, None)))
    }
    return max(quarters, key=lambda name: quarters[name])


@pytest.mark.parametrize("extension", [".dng", ".NEF", ".cr3", ".ARW"])
def test_raw_without_the_extra_names_it(
    extension: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    path = tmp_path / f"photo{extension}"
    path.write_bytes(b"II*\0 and so on")
    with pytest.raises(ImageReadError) as caught:
        read_image(path)
    assert caught.value.reason == f"is a camera RAW file: {how_to_install('raw')}"
    path.write_bytes(b"")
    with pytest.raises(ImageReadError, match="is empty"):
        read_image(path)


def test_extensions_are_lower_case_with_a_dot() -> None:
    assert all(name == name.lower() and name.startswith(".") for name in RAW_EXTENSIONS)


@pytest.mark.parametrize(
    ("turn", "expected"), [(1, "upper left"), (3, "lower right"), (6, "upper right")]
)
def test_raw_without_a_preview_is_developed_upright(
    tmp_path: Path, turn: int, expected: str
) -> None:
    pytest.importorskip("rawpy")
    path = tmp_path / "photo.dng"
    path.write_bytes(dng(mosaic(), b"", (0, 0), turn))
    image = read_image(path)
    assert sorted(image.size) == [24, 32]  # half of 64 x 48
    assert (image.size == (24, 32)) == (turn == 6)
    assert bright_quarter(image.pixels) == expected
    with pytest.raises(ImageReadError, match=r"is too large: its 64 x 48 pixels"):
        read_image(path, max_pixels=64 * 48 // 2 - 1)


@pytest.mark.parametrize(
    ("turn", "expected"),
    [(1, "upper left"), (3, "lower right"), (6, "upper right"), (8, "lower left")],
)
def test_preview_comes_first_and_upright(
    encode: Callable[..., bytes], tmp_path: Path, turn: int, expected: str
) -> None:
    pytest.importorskip("rawpy")
    preview = encode(quarter(320, 240), "JPEG")
    path = tmp_path / "photo.DNG"
    path.write_bytes(dng(mosaic(), preview, (320, 240), turn))
    image = read_image(path)
    assert sorted(image.size) == [240, 320]
    assert bright_quarter(image.pixels) == expected
    scaled = read_image(path, target=(20, 20))
    assert scaled.size == image.size
    assert sorted(scaled.pixels.size) == [60, 80]
    assert bright_quarter(scaled.pixels) == expected


@pytest.mark.parametrize(
    ("turn", "expected"),
    [(1, "upper left"), (3, "lower right"), (6, "upper right"), (8, "lower left")],
)
def test_preview_that_is_not_a_jpeg(tmp_path: Path, turn: int, expected: str) -> None:
    pytest.importorskip("rawpy")
    path = tmp_path / "photo.dng"
    path.write_bytes(dng(mosaic(), quarter(320, 240).tobytes(), (320, 240), turn))
    image = read_image(path)
    assert sorted(image.size) == [240, 320]
    assert bright_quarter(image.pixels) == expected


def test_orientation_inside_the_preview_wins(
    encode: Callable[..., bytes], exif: Callable[[int], bytes], tmp_path: Path
) -> None:
    pytest.importorskip("rawpy")
    preview = encode(quarter(320, 240), "JPEG", exif=exif(3))
    # Cameras begin with EXIF; LibRaw writes its own in front of Pillow's 18 bytes of JFIF.
    assert preview[6:10] == b"JFIF"
    preview = preview[:2] + preview[20:]
    path = tmp_path / "photo.dng"
    path.write_bytes(dng(mosaic(), preview, (320, 240), 6))
    assert bright_quarter(read_image(path).pixels) == "lower right"


def test_preview_that_is_too_small_is_not_taken(
    encode: Callable[..., bytes], tmp_path: Path
) -> None:
    pytest.importorskip("rawpy")
    path = tmp_path / "photo.dng"
    path.write_bytes(dng(mosaic(640, 480), encode(quarter(160, 120), "JPEG"), (160, 120), 1))
    assert read_image(path).size == (160, 120)
    assert read_image(path, target=(160, 120)).size == (160, 120)
    assert read_image(path, target=(161, 120)).size == (320, 240)


def test_file_that_only_claims_to_be_raw(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    path = tmp_path / "photo.nef"
    path.write_bytes(b"hello world" * 100)
    with pytest.raises(ImageReadError, match="is not a RAW file that can be read: "):
        read_image(path)
