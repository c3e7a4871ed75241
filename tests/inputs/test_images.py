"""Every source of an image, every way it can be unreadable, and damage at random."""

import io
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from clipkit.errors import ImageReadError, InputError, how_to_install
from clipkit.inputs.image_input import image_name
from clipkit.inputs.images import read_image
from clipkit.inputs.read_errors import reason_for
from clipkit.inputs.truncated import CutOffImageWarning

Pixels = NDArray[np.uint8]
Encode = Callable[..., bytes]


def reason_of(source: Any, **options: Any) -> str:
    """Why a source cannot be read."""
    with pytest.raises(ImageReadError) as caught:
        read_image(source, **options)
    assert str(caught.value) == f"{caught.value.path}: {caught.value.reason}"
    return caught.value.reason


# --- sources ----------------------------------------------------------------------------------


def test_every_source_gives_the_same_image(encode: Encode, noise: Pixels, tmp_path: Path) -> None:
    data = encode(noise, "PNG")
    path = tmp_path / "an image.png"
    path.write_bytes(data)
    with path.open("rb") as file:
        file.read(5)  # files are read from their start, as Pillow does
        sources: list[Any] = [
            path,
            str(path),
            data,
            io.BytesIO(data),
            file,
            Image.open(path),
            noise,
        ]
        for source in sources:
            image = read_image(source)
            assert image.pixels.mode == "RGB"
            assert image.size == image.pixels.size == (56, 40)
            assert image.box is None
            assert np.array_equal(np.asarray(image.pixels), noise)
        assert not file.closed


def test_file_that_cannot_be_rewound(encode: Encode, noise: Pixels) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self.rest = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            return self.rest.readinto(buffer)

    image = read_image(io.BufferedReader(Pipe(encode(noise, "PNG"))))
    assert np.array_equal(np.asarray(image.pixels), noise)


def test_large_files_are_decoded_from_disk(
    encode: Encode, noise: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image.tif"
    path.write_bytes(encode(noise, "TIFF"))
    monkeypatch.setattr("clipkit.inputs.images._MAX_BYTES_AT_ONCE", 100)
    assert np.array_equal(np.asarray(read_image(path).pixels), noise)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "JPEG2000"])
def test_lossless_formats_exactly(encode: Encode, kind: str) -> None:
    image = np.repeat(np.arange(0, 240, 16, dtype=np.uint8), 3).reshape(3, 5, 3)
    options = {"WEBP": {"lossless": True}}.get(kind, {})
    assert np.array_equal(np.asarray(read_image(encode(image, kind, **options)).pixels), image)


def test_array_shapes() -> None:
    gray = np.arange(6, dtype=np.uint8).reshape(2, 3)
    expected = np.stack([gray] * 3, axis=2)
    assert np.array_equal(np.asarray(read_image(gray).pixels), expected)
    assert np.array_equal(np.asarray(read_image(gray[:, :, None]).pixels), expected)
    assert np.array_equal(np.asarray(read_image(expected[:, ::-1]).pixels), expected[:, ::-1])
    clear = np.concatenate([expected, np.zeros((2, 3, 1), np.uint8)], axis=2)
    assert (np.asarray(read_image(clear).pixels) == 255).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "must be uint8 with values 0 to 255, got float32"),
        (np.zeros((4, 4, 2), np.uint8), r"\(H, W, 4\) with H and W at least 1, got \(4, 4, 2\)"),
        (np.zeros((3, 4, 4), np.uint8)[None], r"got \(1, 3, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"at least 1, got \(0, 4, 3\)"),
        (np.zeros(4, np.uint8), r"got \(4,\)"),
    ],
)
def test_wrong_arrays(array: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_image(array)
    assert not isinstance(caught.value, ImageReadError)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "must be a path, bytes, an open binary file, a PIL image .* got NoneType"),
        (7, "got int"),
        ([b""], "got list"),
        (io.StringIO("text"), r'open in binary mode \("rb"\), got a text file'),
        ("http://localhost/a.jpg", "nothing is fetched unless allow_urls=True"),
        ("HTTPS://localhost/a.jpg", "nothing is fetched unless allow_urls=True"),
        ("file:///etc/hosts", "only http:// and https:// URLs can be read, got 'file:///etc/hos"),
        ("s3://bucket/a.jpg", "only http:// and https:// URLs can be read"),
    ],
)
def test_wrong_sources(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_image(source)
    assert not isinstance(caught.value, ImageReadError)


def test_max_pixels_must_be_positive() -> None:
    with pytest.raises(InputError, match="max_pixels must be at least 1, got 0"):
        read_image(b"", max_pixels=0)


def test_names(tmp_path: Path, encode: Encode, noise: Pixels) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(noise, "PNG"))
    assert image_name(path) == image_name(str(path)) == str(path)
    assert image_name(b"") == "<bytes>"
    assert image_name(noise) == "<array>"
    assert image_name(io.BytesIO()) == "<file>"
    assert image_name(Image.new("L", (1, 1))) == "<PIL image>"
    with path.open("rb") as file, Image.open(path) as image:
        assert image_name(file) == image_name(image) == str(path)
    with tempfile.TemporaryFile() as unnamed:  # its name is a number
        assert image_name(unnamed) == "<file>"


# --- what cannot be read, and why -------------------------------------------------------------


def test_missing_file_names_itself(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError) as caught:
        read_image(tmp_path / "none.jpg")
    assert caught.value.path == str(tmp_path / "none.jpg")
    assert caught.value.reason == "no such file"
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    assert reason_of(tmp_path) == "is a folder"
    assert reason_of("with\0null.jpg").startswith("is not a path: ")
    (tmp_path / "file").touch()
    assert reason_of(tmp_path / "file" / "a.jpg") == (
        "no such file: a part of its path is not a folder"
    )
    assert reason_of(tmp_path / ("a" * 300)).startswith("cannot be opened: file name too long")


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links and pipes")
def test_links_and_pipes(tmp_path: Path) -> None:
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    assert reason_of(tmp_path / "loop.jpg") == "is a link that leads back to itself"
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason_of(tmp_path / "pipe.jpg") == "is not a regular file"


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.jpg"
    path.write_bytes(b"a")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # root may read everything, so modes do not help
    assert reason_of(path) == "permission denied"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty (0 bytes)"),
        (b"hello world\n" * 50, "is not an image: it starts with 'hello wor'"),
        (b"<!DOCTYPE html><html></html>", "is not an image: it starts with '<!DOCTYPE'"),
        (bytes(5000), r"is not an image: it starts with '\x00\x00\x00\x00\x00\x00\x00\x00\x00'"),
        (b'it\'s "so"', "is not an image: it starts with 'it\\'s \"so\"'"),
        (b"\x89PNG\r\n\x1a\n", "is damaged or cut off: it starts like PNG, but its header is unr"),
        (b"\xff\xd8\xff", "is damaged or cut off: it starts like JPEG, but its header is unread"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "is damaged or cut off: "),
    ],
)
def test_bytes_that_are_no_image(data: bytes, reason: str, tmp_path: Path) -> None:
    assert reason_of(data).startswith(reason)
    assert reason_of(io.BytesIO(data)).startswith(reason)
    path = tmp_path / "renamed.jpg"
    path.write_bytes(data)
    assert reason_of(path).startswith(reason)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF"])
def test_cut_off_in_the_middle_of_the_pixels(encode: Encode, noise: Pixels, kind: str) -> None:
    data = encode(noise, kind)
    assert reason_of(data[: len(data) * 2 // 3]).startswith("is cut off: ")


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "JPEG2000"])
def test_cut_off_where_the_decoder_cannot_tell(encode: Encode, noise: Pixels, kind: str) -> None:
    data = encode(noise, kind)
    assert reason_of(data[: len(data) * 2 // 3]).startswith("is damaged or cut off: ")


def test_image_without_pixels() -> None:
    assert reason_of(Image.new("RGB", (0, 5))) == "has no pixels: its size is 0 x 5"


def test_reasons_are_one_line_and_never_empty() -> None:
    assert reason_for(ValueError("two\n  lines"), b"") == "is damaged or cut off: two lines"
    assert reason_for(KeyError(), b"") == "is damaged or cut off: KeyError"


def test_cut_off_pil_image(encode: Encode, noise: Pixels) -> None:
    data = encode(noise, "JPEG")
    assert reason_of(Image.open(io.BytesIO(data[:-500]))).startswith("is cut off: ")


def test_not_enough_memory(encode: Encode, noise: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load_prepare", fail)
    assert reason_of(encode(noise, "PNG")) == "does not fit in memory"


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_heic_without_the_extra_names_it(brand: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(100)
    assert reason_of(data) == f"is a HEIC image: {how_to_install('heif')}"


def test_heic(encode: Encode) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32] = 255
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(image)).save(file, quality=95)
    formats = set(Image.OPEN)
    read = read_image(file)
    assert read.size == (64, 48)
    assert np.abs(np.asarray(read.pixels).astype(int) - image).mean() < 3
    assert set(Image.OPEN) == formats  # Pillow itself is as it was
    assert reason_of(file, max_pixels=3000).startswith("is too large: its 64 x 48 pixels")
    assert reason_of(file.getvalue()[:-50]).startswith("is cut off: ")


def test_heic_is_upright(exif: Callable[[int], bytes]) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    stored = np.zeros((48, 64, 3), np.uint8)
    stored[:24, :32] = 255
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(stored)).save(file, quality=95, exif=exif(6))
    upright = np.asarray(read_image(file).pixels).astype(int)
    assert np.abs(upright - np.rot90(stored, -1)).mean() < 3


# --- damage at random -------------------------------------------------------------------------


def small_files() -> dict[str, bytes]:
    """One valid file of each kind."""
    x, y = np.meshgrid(np.arange(24), np.arange(17))
    image = Image.fromarray(np.stack([x * 10, y * 15, x + y], axis=2).astype(np.uint8))
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, "a camera"
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"exif": tags},
        "PNG": {"exif": tags},
        "GIF": {},
        "WEBP": {"exif": tags},
        "TIFF": {"compression": "tiff_lzw"},
        "BMP": {},
    }
    extra = {"JPEG progressive": ("JPEG", {"progressive": True}), "TIFF plain": ("TIFF", {})}
    files = {}
    for name, (kind, saving) in ({k: (k, o) for k, o in options.items()} | extra).items():
        file = io.BytesIO()
        image.save(file, kind, **saving)
        files[name] = file.getvalue()
    return files


FILES = small_files()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid file with a few bytes changed, put in or cut out, possibly cut off."""
    data = bytearray(FILES[draw(st.sampled_from(sorted(FILES)))])
    for _ in range(draw(st.integers(1, 6))):
        # Headers are short and full of meaning, so half of the damage goes there.
        end = draw(st.sampled_from([min(len(data), 64), len(data)]))
        at = draw(st.integers(0, max(0, end - 1)))
        match draw(st.sampled_from(["flip", "set", "insert", "delete", "cut"])):
            case "flip":
                data[at : at + 1] = bytes(b ^ (1 << draw(st.integers(0, 7))) for b in data[at:][:1])
            case "set":
                values = draw(st.sampled_from([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f", b"\x80"]))
                data[at : at + len(values)] = values
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "delete":
                del data[at : at + draw(st.integers(1, 8))]
            case "cut":
                del data[max(at, 1) :]
    return bytes(data)


@given(data=damaged())
@settings(deadline=None, max_examples=400)
def test_damage_never_raises_anything_else_nor_warns(data: bytes) -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            image = read_image(data, target=(4, 4), max_pixels=1_000_000)
        except ImageReadError as error:
            assert error.reason.strip() == error.reason != ""
            assert "\n" not in error.reason
        else:
            assert image.pixels.mode == "RGB"
            assert image.pixels.width * image.pixels.height <= 1_000_000
        assert all(warning.category is CutOffImageWarning for warning in heard)


@given(data=st.binary(max_size=200))
@settings(deadline=None, max_examples=100)
def test_random_bytes_are_no_image(data: bytes) -> None:
    with pytest.raises(ImageReadError):
        read_image(data)
