"""Files that no program should read to their end, most of them sparse: long, but not on disk."""

import io
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from clipkit.errors import ImageReadError
from clipkit.inputs.images import read_image
from clipkit.inputs.read_errors import UnreadableError
from clipkit.inputs.safe_open import check_read_whole, open_file

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX files and links")


def encoded(image_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 100, 50)).save(buffer, image_format)
    return buffer.getvalue()


def sparse_file(path: Path, head: bytes, size: int) -> Path:
    """Make a file that starts with head and goes on with zeros that take no room."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
    return path


def test_open_file_gives_what_the_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"pixels")
    with open_file(path) as file:
        assert file.read() == b"pixels"


@posix_only
@pytest.mark.parametrize("target", ["/dev/zero", "/dev/random", "/dev/null"])
def test_devices_are_never_opened(
    tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "device.png"
    path.symlink_to(target)
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("opened"))
    with pytest.raises(UnreadableError, match="is not a regular file"):
        open_file(path)


@posix_only
@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_takes_the_place_of_a_file_at_the_last_moment_is_refused(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"pixels")
    really_open = os.open

    def replace_and_open(name: str, flags: int) -> int:
        path.unlink()
        os.mkfifo(path) if kind == "pipe" else path.mkdir()
        return really_open(name, flags)

    monkeypatch.setattr(os, "open", replace_and_open)
    reason = "is not a regular file" if kind == "pipe" else "is a folder"
    with pytest.raises(ImageReadError, match=reason):
        read_image(path)


def test_a_growing_file_is_read_as_far_as_it_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bmp"
    path.write_bytes(encoded("BMP"))
    fstat = os.fstat

    def grow_after(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        with path.open("ab") as file:
            file.write(b"\xff" * 1000)
        return status

    reads: list[int] = []

    class Watched(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            reads.append(size or 0)
            return super().read(size)

    monkeypatch.setattr(os, "fstat", grow_after)
    monkeypatch.setattr("clipkit.inputs.images.open_file", Watched)
    assert read_image(path).size == (8, 8)
    assert reads == [len(encoded("BMP"))]


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="needs Linux")
def test_a_file_without_a_size_is_not_read() -> None:
    with pytest.raises(UnreadableError, match=r"is empty \(0 bytes\)"):
        open_file(Path("/proc/self/mem"))


@posix_only
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("comment.ppm", b"P6 #"),
        ("fill.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"),
    ],
)
def test_a_header_without_an_end_is_not_searched_for_ever(
    tmp_path: Path, name: str, head: bytes
) -> None:
    path = sparse_file(tmp_path / name, head, 5_000_000_000)
    with pytest.raises(ImageReadError, match="is damaged or cut off: its header has no end"):
        read_image(path)


def test_a_long_comment_is_no_endless_header() -> None:
    data = b"P6 #" + b"x" * 50_000 + b"\n1 1 255\n\x01\x02\x03"
    assert read_image(data).pixels.getpixel((0, 0)) == (1, 2, 3)


@posix_only
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.webp", encoded("WEBP")),
        ("a.avif", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf"),
        ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        ("a.dng", b"II*\0"),
    ],
)
def test_formats_that_are_read_whole_have_a_limit(tmp_path: Path, name: str, head: bytes) -> None:
    if name == "a.heic":
        pytest.importorskip("pillow_heif")
    if name == "a.dng":
        pytest.importorskip("rawpy")
    path = sparse_file(tmp_path / name, head, 5_000_000_000)
    with pytest.raises(ImageReadError) as caught:
        read_image(path)
    assert caught.value.reason == "is too large: it has 5 GB, the limit for its format is 1.07"


@posix_only
@pytest.mark.parametrize("image_format", ["JPEG", "BMP", "GIF", "TIFF"])
def test_images_with_gigabytes_behind_them_are_read(tmp_path: Path, image_format: str) -> None:
    path = sparse_file(tmp_path / "a.jpg", encoded(image_format), 5_000_000_000)
    assert read_image(path).size == (8, 8)


def test_the_limit_for_files_that_are_read_whole(tmp_path: Path) -> None:
    with sparse_file(tmp_path / "a", b"start", 2**30).open("rb") as file:
        check_read_whole(file)
        assert file.read(5) == b"start"
    with (
        sparse_file(tmp_path / "a", b"", 2**30 + 1).open("rb") as file,
        pytest.raises(UnreadableError),
    ):
        check_read_whole(file)
