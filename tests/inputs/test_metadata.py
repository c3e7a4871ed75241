"""Metadata and provenance: EXIF data as cameras, programs and damage leave them."""

import io
import os
import struct
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from clipkit.errors import ImageReadError
from clipkit.inputs import png
from clipkit.inputs.images import read_image
from clipkit.inputs.metadata import ImageMetadata, Provenance, read_metadata, read_provenance
from tests.conftest import SAMPLES
from tests.inputs.test_raw import BYTE, LONG, RATIONAL, SHORT, directory, dng, mosaic
from tests.search.duplicates.drawn import camera_exif, save

ORIENTATION, MAKE, MODEL, CHANGED = 274, 271, 272, 306
TAKEN, DIGITIZED, OFFSET = 36867, 36868, 36881
EXIF_DIRECTORY = 34665
FORMATS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif"}
Image.init()
if "AVIF" in Image.SAVE:  # from Pillow 11.3 on
    FORMATS["AVIF"] = ".avif"


def exif(main: dict[int, Any] | None = None, details: dict[int, Any] | None = None) -> bytes:
    """EXIF data with these tags in their first directory and in the one for details."""
    data = Image.Exif()
    data.update(main or {})
    data[EXIF_DIRECTORY] = details or {}
    return data.tobytes()


def jpeg(data: bytes = b"", size: tuple[int, int] = (48, 32)) -> bytes:
    """A JPEG file with these EXIF data."""
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "JPEG", exif=data)
    return file.getvalue()


@pytest.fixture
def details_of(tmp_path: Path) -> Callable[[bytes], ImageMetadata]:
    """EXIF data -> what a JPEG with them says."""

    def details_of(data: bytes) -> ImageMetadata:
        path = tmp_path / "photo.jpg"
        path.write_bytes(jpeg(data))
        return read_metadata(path)

    return details_of


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


# --- size -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("turn", range(10))
def test_size_is_that_of_the_upright_image(kind: str, turn: int, tmp_path: Path) -> None:
    path = tmp_path / f"photo{FORMATS[kind]}"
    main = {ORIENTATION: turn, MAKE: "Canon", MODEL: "Canon EOS 80D"}
    data = exif(main, {TAKEN: "2024:06:01 12:30:00"})
    Image.new("RGB", (48, 32)).save(path, kind, exif=data)
    found = read_metadata(path)
    size = (32, 48) if turn in (5, 6, 7, 8) else (48, 32)  # 0 and 9 mean nothing
    assert found == ImageMetadata(*size, "2024-06-01T12:30:00", "Canon EOS 80D")
    assert read_image(path).size == size


def test_heic(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "photo.heic"
    data = exif({ORIENTATION: 6, MODEL: "iPhone 12"}, {TAKEN: "2024:06:01 12:30:00"})
    heif.from_pillow(Image.new("RGB", (48, 32))).save(path, exif=data)
    found = read_metadata(path)
    assert (found.width, found.height) == read_image(path).size
    assert (found.taken_at, found.camera) == ("2024-06-01T12:30:00", "iPhone 12")


def test_heic_without_the_extra_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(ImageReadError, match=r"clipkit\[heif\]"):
        read_metadata(path)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "PPM", "JPEG2000", "TIFF", "PNG"])
def test_formats_without_exif_data(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    Image.new("L", (5, 7)).save(path, kind)
    assert read_metadata(path) == ImageMetadata(5, 7, None, None)


def test_samples_have_the_size_they_decode_to(samples: list[Path]) -> None:
    for path in samples:
        found = read_metadata(path)
        assert (found.width, found.height) == read_image(path).size


def test_exif_data_behind_the_pixels_of_a_png(tmp_path: Path) -> None:
    data = exif({ORIENTATION: 6, MODEL: "Pixel 8"})
    path = tmp_path / "photo.png"
    Image.new("RGB", (48, 32)).save(path)
    png = path.read_bytes()
    path.write_bytes(png[:-12] + chunk(b"eXIf", data.removeprefix(b"Exif\0\0")) + png[-12:])
    assert read_metadata(path) == ImageMetadata(32, 48, None, "Pixel 8")
    assert read_image(path).size == (32, 48)


@pytest.mark.parametrize("kind", FORMATS)
def test_no_pixels_are_decoded(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"photo{FORMATS[kind]}"
    Image.new("RGB", (48, 32)).save(path, kind)
    loaded: list[Image.Image] = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: loaded.append(image))
    read_metadata(path)
    assert loaded == []


def test_chunks_without_end_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "photo.png"
    Image.new("RGB", (48, 32)).save(path)
    data = path.read_bytes()
    model = chunk(b"eXIf", exif({MODEL: "Pixel 8"}).removeprefix(b"Exif\0\0"))
    path.write_bytes(data[:-12] + chunk(b"IDAT", b"") * 7 + model + data[-12:])
    monkeypatch.setattr(png, "_MAX_CHUNKS", 10)  # the header, the pixels, 7, and the model
    assert read_metadata(path).camera == "Pixel 8"
    monkeypatch.setattr(png, "_MAX_CHUNKS", 9)
    assert read_metadata(path).camera is None


def test_sizes_have_no_limit(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 200_000, 100_000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    assert read_metadata(path) == ImageMetadata(200_000, 100_000, None, None)
    with pytest.raises(ImageReadError, match="is too large"):
        read_image(path, max_pixels=10**6)


def test_limits_of_pillow_stay_as_they_are(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    read_metadata(SAMPLES / "cat.jpg")
    assert before == Image.MAX_IMAGE_PIXELS


# --- date -------------------------------------------------------------------------------------

NOON, ONE, TWO = "2024:06:01 12:00:00", "2024:06:01 13:00:00", "2024:06:01 14:00:00"


@pytest.mark.parametrize(
    ("main", "details", "expected"),
    [
        ({CHANGED: TWO}, {TAKEN: NOON, DIGITIZED: ONE}, "2024-06-01T12:00:00"),
        ({CHANGED: TWO}, {DIGITIZED: ONE}, "2024-06-01T13:00:00"),
        ({CHANGED: TWO}, {}, "2024-06-01T14:00:00"),
        ({CHANGED: TWO}, {TAKEN: "0000:00:00 00:00:00"}, "2024-06-01T14:00:00"),
        ({}, {TAKEN: NOON, OFFSET: "-07:00"}, "2024-06-01T12:00:00"),
        ({}, {}, None),
    ],
)
def test_which_date_counts(
    main: dict[int, Any],
    details: dict[int, Any],
    expected: str | None,
    details_of: Callable[[bytes], ImageMetadata],
) -> None:
    assert details_of(exif(main, details)).taken_at == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024:02:29 23:59:59", "2024-02-29T23:59:59"),
        ("2024:06:01 12:30:00\0\0", "2024-06-01T12:30:00"),
        ("  2024:06:01  12:30:00 ", "2024-06-01T12:30:00"),
        ("2024-06-01T12:30:00+02:00", "2024-06-01T12:30:00"),
        ("2024/06/01 12:30:00.25", "2024-06-01T12:30:00"),
        ("2023:02:29 12:30:00", None),  # no such day
        ("2024:13:45 12:30:00", None),
        ("2024:06:01 24:00:00", None),
        ("2024:06:01", None),
        ("    :  :     :  :  ", None),
        ("0000:00:00 00:00:00", None),
        ("0001:01:01 00:00:00", None),
        ("1601:01:01 00:00:00", None),
        ("٢٠٢٤:06:01 12:30:00", None),
        ("", None),
        ("\0", None),
        ("yesterday", None),
        ("9" * 60_000, None),
        (b"2024:06:01 12:30:00", "2024-06-01T12:30:00"),
    ],
)
def test_dates_as_they_are_found(
    text: Any, expected: str | None, details_of: Callable[[bytes], ImageMetadata]
) -> None:
    if isinstance(text, str):
        text = text.encode("ascii", "replace")
    assert details_of(exif(details={TAKEN: text})).taken_at == expected


@given(st.datetimes(min_value=datetime(1826, 1, 1), max_value=datetime(9999, 12, 31)))
def test_dates_sort_as_the_times_do(time: datetime) -> None:
    file = io.BytesIO(jpeg(exif(details={TAKEN: f"{time:%Y:%m:%d %H:%M:%S}".rjust(19, "0")})))
    path = Path(os.environ["CLIPKIT_HOME"]) / "dated.jpg"
    path.write_bytes(file.getvalue())
    assert read_metadata(path).taken_at == time.replace(microsecond=0).isoformat()


# --- camera -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "model", "expected"),
    [
        ("Canon", "Canon EOS 80D", "Canon EOS 80D"),
        ("Google", "Pixel 8", "Google Pixel 8"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("SONY  ", " ILCE-7M3\0\0", "SONY ILCE-7M3"),
        ("samsung", "SAMSUNG-SM-G900A", "SAMSUNG-SM-G900A"),
        ("Apple", None, "Apple"),
        (None, "X100", "X100"),
        (None, None, None),
        (" ", "\0", None),
        ("", "X100\0garbage", "X100"),
        ("FUJI\nFILM", "\x1b[2JX100", "FUJI FILM [2JX100"),  # nothing that moves a cursor
        ("m" * 9000, "x" * 9000, "m" * 100),
    ],
)
def test_cameras(
    make: Any, model: Any, expected: str | None, details_of: Callable[[bytes], ImageMetadata]
) -> None:
    tags = {tag: value for tag, value in ((MAKE, make), (MODEL, model)) if value is not None}
    assert details_of(exif(tags)).camera == expected


# --- RAW --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("turn", "size"), [(1, (64, 48)), (3, (64, 48)), (6, (48, 64))])
def test_raw(turn: int, size: tuple[int, int], tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    path = tmp_path / "photo.DNG"
    preview = jpeg(exif({MODEL: "Camera"}, {TAKEN: NOON}), (320, 240))
    path.write_bytes(dng(mosaic(), preview, (320, 240), turn))
    found = read_metadata(path)
    assert (found.width, found.height) == size
    assert found.camera == "Maker Camera"
    # Cameras begin with EXIF data, not with Pillow's 18 bytes of JFIF; LibRaw then adds none.
    path.write_bytes(dng(mosaic(), preview[:2] + preview[20:], (320, 240), turn))
    assert read_metadata(path) == ImageMetadata(*size, "2024-06-01T12:00:00", "Camera")
    path.write_bytes(dng(mosaic(), b"", (0, 0), turn))
    found = read_metadata(path)
    assert found == ImageMetadata(*size, None, None)
    path.write_bytes(dng(mosaic(), preview[:100], (320, 240), turn))
    found = read_metadata(path)
    assert (found.width, found.height, found.taken_at) == (*size, None)


def test_raw_without_the_extra_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    path = tmp_path / "photo.nef"
    path.write_bytes(b"II*\0")
    with pytest.raises(ImageReadError, match=r"clipkit\[raw\]"):
        read_metadata(path)


# --- damage -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "values"),
    [(SHORT, [7]), (SHORT, [7, 8, 9]), (BYTE, [200, 201]), (LONG, [2**31]), (RATIONAL, [1, 0])],
)
def test_tags_of_another_type(
    kind: int, values: list[int], details_of: Callable[[bytes], ImageMetadata]
) -> None:
    tags = dict.fromkeys((MAKE, CHANGED, EXIF_DIRECTORY), (kind, values))
    tags |= {ORIENTATION: (BYTE, [6, 6, 6])}
    found = details_of(b"Exif\0\0II*\0\x08\0\0\0" + directory(tags, 8))
    # Bytes may be a text: some programs mark it so.
    assert found == ImageMetadata(48, 32, None, "ÈÉ" if kind == BYTE else None)


def damaged_exif() -> st.SearchStrategy[bytes]:
    """EXIF data with some bytes changed and the end missing, or anything at all."""
    good = exif({ORIENTATION: 6, MAKE: "Canon", MODEL: "80D", CHANGED: ONE}, {TAKEN: NOON})
    changes = st.lists(st.tuples(st.integers(6, len(good) - 1), st.integers(0, 255)), max_size=6)

    def damage(changes: list[tuple[int, int]], length: int) -> bytes:
        data = bytearray(good)
        for place, value in changes:
            data[place] = value
        return bytes(data[:length])

    return st.builds(damage, changes, st.integers(6, len(good))) | st.binary(max_size=200).map(
        lambda tail: b"Exif\0\0" + tail
    )


@pytest.mark.slow
@given(data=damaged_exif(), kind=st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF"]))
def test_damaged_exif_data_are_as_none(data: bytes, kind: str) -> None:
    path = Path(os.environ["CLIPKIT_HOME"]) / f"damaged{FORMATS[kind]}"
    if kind == "TIFF":
        path.write_bytes(data.removeprefix(b"Exif\0\0"))
        try:
            found = read_metadata(path)
        except ImageReadError:
            return
    else:
        Image.new("RGB", (48, 32)).save(path, kind, exif=data)
        found = read_metadata(path)
        assert {found.width, found.height} == {48, 32}
        assert (found.width, found.height) == read_image(path).size
    if found.taken_at is not None:
        datetime.fromisoformat(found.taken_at)
        assert len(found.taken_at) == 19
    if found.camera is not None:
        assert found.camera.isprintable()
        assert 0 < len(found.camera) <= 100


@given(place=st.integers(0, 600), values=st.binary(min_size=1, max_size=20))
def test_damaged_files_have_details_or_a_reason(place: int, values: bytes) -> None:
    data = bytearray(jpeg(exif({ORIENTATION: 6, MODEL: "80D"}, {TAKEN: NOON})))
    data[place : place + len(values)] = values
    path = Path(os.environ["CLIPKIT_HOME"]) / "damaged.jpg"
    path.write_bytes(data)
    try:
        found = read_metadata(path)
    except ImageReadError as error:
        assert error.reason
    else:
        assert found.width > 0
        assert found.height > 0


def test_what_is_no_image(tmp_path: Path) -> None:
    def reason_of(path: Path | str) -> str:
        with pytest.raises(ImageReadError) as caught:
            read_metadata(path)
        return caught.value.reason

    path = tmp_path / "photo.jpg"
    assert reason_of(path) == "no such file"
    assert reason_of(tmp_path) == "is a folder"
    assert "is not a path" in reason_of("a\0b")
    path.write_bytes(b"")
    assert reason_of(path) == "is empty (0 bytes)"
    path.write_bytes(b"hello world")
    assert reason_of(path) == "is not an image: it starts with 'hello wor'"
    path.write_bytes(jpeg()[:30])
    assert reason_of(path) == "is cut off: Truncated File Read"
    if hasattr(os, "mkfifo"):
        pipe = tmp_path / "pipe.jpg"
        os.mkfifo(pipe)
        assert reason_of(pipe) == "is not a regular file"


def test_threads_see_what_one_sees(samples: list[Path]) -> None:
    alone = [read_metadata(path) for path in samples]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(read_metadata, samples * 20))
    assert together == alone * 20


# --- provenance ---------------------------------------------------------------------------------


def _saved(folder: Path, exif: Image.Exif, size: tuple[int, int] = (40, 30)) -> Provenance:
    return read_provenance(save(folder / "a.jpg", Image.new("RGB", size), exif=exif))


def test_a_file_as_a_camera_wrote_it(tmp_path: Path) -> None:
    found = _saved(tmp_path, camera_exif((40, 30)))
    assert (found.has_exif, found.is_from_camera, found.shot_at) == (
        True,
        True,
        "2024:06:01 12:30:00",
    )


def test_a_file_of_another_size_or_changed_later_was_saved_again(tmp_path: Path) -> None:
    assert not _saved(tmp_path, camera_exif((4000, 3000))).is_from_camera
    assert not _saved(tmp_path, camera_exif((30, 40))).is_from_camera  # turned in its pixels
    later = camera_exif((40, 30), changed="2024:06:02 09:00:00")
    assert not _saved(tmp_path, later).is_from_camera
    assert _saved(tmp_path, later).has_exif


def test_turned_by_a_tag(tmp_path: Path) -> None:
    exif = camera_exif((40, 30))
    assert not _saved(tmp_path, exif).is_turned_by_tag
    exif[0x0112] = 6
    found = _saved(tmp_path, exif)
    assert (found.is_from_camera, found.is_turned_by_tag) == (True, True)


def test_fractions_of_a_second(tmp_path: Path) -> None:
    exif = camera_exif((40, 30))
    exif.get_ifd(0x8769)[0x9291] = "042"
    assert _saved(tmp_path, exif).shot_at_fraction == "042"


def test_nothing_is_known_of_a_file_that_says_nothing(tmp_path: Path) -> None:
    assert read_provenance(save(tmp_path / "a.png", Image.new("RGB", (9, 9)))) == Provenance()
    never_set = camera_exif((40, 30), taken="0000:00:00 00:00:00")
    assert _saved(tmp_path, never_set).shot_at is None


def test_a_raw_file_is_known_by_its_ending_and_no_image_is_an_error(tmp_path: Path) -> None:
    assert read_provenance(tmp_path / "a.CR2").is_raw
    with pytest.raises(ImageReadError, match="no such file"):
        read_provenance(tmp_path / "a.jpg")
