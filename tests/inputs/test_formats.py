"""Formats beside the common ones, frames, unused alpha, and what is refused for being unknown."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clipkit.errors import ImageReadError
from clipkit.inputs.folders import LeftOut, find_images
from clipkit.inputs.images import read_image
from clipkit.inputs.metadata import read_metadata
from clipkit.inputs.thumbnails import read_thumbnail

Encode = Callable[..., bytes]
Pixels = NDArray[np.uint8]

READ = {
    ".pnm": ("PPM", {}), ".tga": ("TGA", {}), ".qoi": ("QOI", {}), ".dib": ("DIB", {}),
    ".apng": ("PNG", {}), ".j2k": ("JPEG2000", {"no_jp2": True}), ".jpx": ("JPEG2000", {}),
    ".jpf": ("JPEG2000", {}), ".j2c": ("JPEG2000", {"no_jp2": True}),
}  # fmt: skip


@pytest.mark.parametrize("ending", READ)
def test_formats_are_found_in_a_folder_and_read(
    ending: str, tmp_path: Path, encode: Encode, noise: Pixels
) -> None:
    kind, options = READ[ending]
    path = tmp_path / f"photo{ending}"
    path.write_bytes(encode(noise, kind, **options))
    assert [entry.path for entry in find_images(tmp_path).entries] == [path.name]
    assert np.array_equal(np.asarray(read_image(path).pixels), noise)
    assert (read_metadata(path).width, read_metadata(path).height) == (56, 40)
    assert read_thumbnail(path, box=(56, 56)).shape == noise.shape


def test_hif_is_read_as_heic(tmp_path: Path, noise: Pixels) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "photo.hif"
    pillow_heif.from_pillow(Image.fromarray(noise)).save(path, format="HEIF", quality=-1)
    assert [entry.path for entry in find_images(tmp_path).entries] == ["photo.hif"]
    assert read_image(path).size == (56, 40)


@pytest.mark.parametrize("rle", [False, True])
def test_tga_counts_by_its_ending_alone(
    rle: bool, tmp_path: Path, encode: Encode, noise: Pixels
) -> None:
    data = encode(noise, "TGA", compression="tga_rle" if rle else None)
    (tmp_path / "photo.TGA").write_bytes(data)
    (tmp_path / "photo.jpg").write_bytes(data)
    assert np.array_equal(np.asarray(read_image(tmp_path / "photo.TGA").pixels), noise)
    with pytest.raises(ImageReadError, match="is not an image: it starts with"):
        read_image(tmp_path / "photo.jpg")
    bomb = tmp_path / "bomb.tga"
    bomb.write_bytes(data[:12] + b"\xff\xff\xff\xff" + data[16:])
    with pytest.raises(ImageReadError, match="is too large: its 65535 x 65535 pixels"):
        read_image(bomb)


@pytest.mark.parametrize(
    ("name", "start", "kind"),
    [
        ("a.psd", b"8BPS\0\1" + bytes(99), "Photoshop"),
        ("a.exr", b"v/1\x01" + bytes(99), "OpenEXR"),
        ("a.hdr", b"#?RADIANCE\n" + bytes(99), "Radiance HDR"),
        ("a.jxr", b"II\xbc\x01" + bytes(99), "JPEG XR"),
        ("a.xcf", b"gimp xcf v011" + bytes(99), "GIMP"),
    ],
)
def test_known_kinds_that_nothing_reads_are_listed_with_that_reason(
    name: str, start: bytes, kind: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(start)
    assert [entry.path for entry in find_images(tmp_path).entries] == [name]
    with pytest.raises(ImageReadError) as caught:
        read_image(tmp_path / name)
    assert caught.value.reason == (
        f"is of a kind that cannot be read here: {kind}; save it as PNG or JPEG"
    )


def test_drawings_and_icons_are_left_out_and_not_skipped(tmp_path: Path) -> None:
    names = ["logo.svg", "favicon.ICO", "sky.dds", "chart.eps"]
    for name in [*names, "notes.txt", ".hidden.svg"]:
        (tmp_path / name).write_bytes(b"<svg/>")
    scan = find_images(tmp_path)
    assert (scan.entries, scan.skipped) == ([], [])
    reason = "is a drawing, an icon or a texture, of which none are read"
    hidden = LeftOut(".hidden.svg", "is hidden: its name starts with a dot")
    assert scan.left_out == sorted([hidden, *(LeftOut(name, reason) for name in names)])


# --- JPEG that is not damaged -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marker", "bits", "channels", "what"),
    [
        (0xC1, 12, 3, "12 bits a channel"),
        (0xC3, 16, 1, "lossless"),
        (0xC5, 8, 3, "hierarchical"),
        (0xF7, 8, 1, "JPEG-LS"),
        (0xC0, 8, 2, "2 channels"),
    ],
)
@pytest.mark.parametrize(
    "padding", [b"", b"\xff\xe1\x00\x04Ex\xff", b"\xff\xfe\xff\xfe" + bytes(65532)]
)
def test_kinds_of_jpeg_that_are_not_read(
    marker: int, bits: int, channels: int, what: str, padding: bytes
) -> None:
    frame = struct.pack(">BHHB", bits, 40, 56, channels) + b"\1\x11\0" * channels
    segment = b"\xff" + bytes([marker]) + struct.pack(">H", len(frame) + 2) + frame
    with pytest.raises(ImageReadError) as caught:
        read_image(b"\xff\xd8" + padding + segment + b"\xff\xda\0\2" + bytes(99))
    assert caught.value.reason == f"is a kind of JPEG that cannot be read here: {what}"


def test_jpegs_of_imagecodecs_that_are_not_read(noise: Pixels) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    deep = imagecodecs.jpeg8_encode(noise.astype(np.uint16) * 16, bitspersample=12)
    with pytest.raises(ImageReadError, match="that cannot be read here: 12 bits a channel"):
        read_image(deep)
    with pytest.raises(ImageReadError, match="that cannot be read here: JPEG-LS"):
        read_image(imagecodecs.jpegls_encode(noise[:, :, 0].copy()))


# --- alpha that says nothing --------------------------------------------------------------------


def bmp_v5(pixels: Pixels) -> bytes:
    """Return a 32-bit BMP with a V5 header, of RGBA rows."""
    height, width, _ = pixels.shape
    body = pixels[::-1, :, [2, 1, 0, 3]].tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 32, 3, len(body), 0, 0, 0, 0)
    header = (header + masks + b"BGRs").ljust(124, b"\0")
    return b"BM" + struct.pack("<IHHI", 138 + len(body), 0, 0, 138) + header + body


@pytest.mark.parametrize("kind", ["BMP", "TGA"])
def test_alpha_that_is_0_everywhere_means_opaque(
    kind: str, tmp_path: Path, encode: Encode, noise: Pixels
) -> None:
    clear = np.dstack([noise, np.zeros((40, 56), np.uint8)])
    some = clear.copy()
    some[0, 0, 3] = 255
    path = tmp_path / f"photo.{kind.lower()}"
    for pixels, expected in ((clear, noise), (some, np.full_like(noise, 255))):
        expected = expected.copy()
        expected[0, 0] = noise[0, 0]
        path.write_bytes(bmp_v5(pixels) if kind == "BMP" else encode(pixels, "TGA"))
        assert np.array_equal(np.asarray(read_image(path).pixels), expected)


def test_alpha_that_is_0_everywhere_in_a_png_is_meant(encode: Encode, noise: Pixels) -> None:
    clear = np.dstack([noise, np.zeros((40, 56), np.uint8)])
    assert np.asarray(read_image(encode(clear, "PNG")).pixels).min() == 255


# --- frames smaller than their canvas -----------------------------------------------------------


def partial_gif(frame: Image.Image, left: int, top: int, canvas: tuple[int, int]) -> bytes:
    """Return a GIF of one frame that lies somewhere on a larger canvas."""
    file = io.BytesIO()
    frame.save(file, "GIF")
    data = bytearray(file.getvalue())
    place = data.index(b"," + struct.pack("<HHHH", 0, 0, *frame.size))
    data[6:10] = struct.pack("<HH", *canvas)
    data[place + 1 : place + 5] = struct.pack("<HH", left, top)
    return bytes(data)


def partial_webp(frame: Image.Image, left: int, top: int, canvas: tuple[int, int]) -> bytes:
    """Return an animated WebP whose first frame lies somewhere on a larger canvas."""
    file = io.BytesIO()
    frame.save(file, "WEBP", lossless=True)
    image = file.getvalue()[12:]

    def three(number: int) -> bytes:
        return number.to_bytes(3, "little")

    def chunk(kind: bytes, body: bytes) -> bytes:
        return kind + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)

    sizes = three(frame.width - 1) + three(frame.height - 1)
    part = chunk(b"ANMF", three(left // 2) + three(top // 2) + sizes + three(9) + b"\0" + image)
    extended = chunk(b"VP8X", b"\2\0\0\0" + three(canvas[0] - 1) + three(canvas[1] - 1))
    chunks = b"WEBP" + extended + chunk(b"ANIM", bytes(6)) + part + part
    return b"RIFF" + len(chunks).to_bytes(4, "little") + chunks


@pytest.mark.parametrize("kind", ["gif", "webp"])
@pytest.mark.parametrize("place", [(0, 0), (10, 6), (24, 8)])
def test_a_frame_that_does_not_cover_its_canvas_is_the_image(
    kind: str, place: tuple[int, int], tmp_path: Path, noise: Pixels
) -> None:
    frame = Image.fromarray(noise)
    expected = noise
    if kind == "gif":
        frame = frame.quantize(16)
        expected = np.asarray(frame.convert("RGB"))
    make = partial_gif if kind == "gif" else partial_webp
    path = tmp_path / f"part.{kind}"
    path.write_bytes(make(frame, *place, (80, 48)))
    with Image.open(path) as image:
        assert image.size == (80, 48)
    photo = read_image(path)
    assert np.array_equal(np.asarray(photo.pixels), expected)
    assert photo.size == (56, 40)
    assert (read_metadata(path).width, read_metadata(path).height) == (56, 40)
    assert np.array_equal(read_thumbnail(path, box=(99, 99)), expected)
    with pytest.raises(ImageReadError, match="is too large: "):
        read_image(path, max_pixels=80 * 48 - 1)
    path.write_bytes(make(frame, 0, 0, (56, 40)))
    assert np.array_equal(np.asarray(read_image(path).pixels), expected)


def test_small_frame_on_an_enormous_canvas_is_a_bomb(noise: Pixels) -> None:
    data = partial_gif(Image.fromarray(noise).quantize(16), 0, 0, (60_000, 60_000))
    with pytest.raises(ImageReadError, match="is too large: "):
        read_image(data)
