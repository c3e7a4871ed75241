"""Files that lack their last bytes: expected pixels are those of the whole file."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from clipkit.errors import ImageReadError
from clipkit.inputs.decoder_name import decoder_name
from clipkit.inputs.images import read_image
from clipkit.inputs.metadata import read_metadata
from clipkit.inputs.thumbnails import read_thumbnail
from clipkit.inputs.truncated import CutOffImageWarning

Encode = Callable[..., bytes]
SAMPLE = Path(__file__).parents[2] / "demo" / "samples" / "cat.jpg"


@pytest.fixture
def photograph() -> Image.Image:
    with Image.open(SAMPLE) as image:
        return image.convert("RGB")


def pixels_of(data: bytes) -> NDArray[np.int64]:
    return np.asarray(read_image(data).pixels).astype(int)


KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "baseline": ("RGB", "JPEG", {}),
    "progressive": ("RGB", "JPEG", {"progressive": True}),
    "grey": ("L", "JPEG", {}),
    "CMYK": ("CMYK", "JPEG", {}),
    "GIF": ("P", "GIF", {}),
    "interlaced GIF": ("P", "GIF", {"interlace": 1}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lacking", [2, 40])
def test_last_bytes_are_missed_and_told_of(
    kind: str, lacking: int, encode: Encode, photograph: Image.Image
) -> None:
    mode, image_format, options = KINDS[kind]
    data = encode(photograph.convert(mode), image_format, **options)
    whole = pixels_of(data)
    if kind.endswith("GIF") and lacking == 2:  # the pixels end before: nothing is missing
        assert read_image(data[:-2]).missing_share is None
        return
    with pytest.warns(CutOffImageWarning, match=r"<bytes>: lacks its last bytes .* are missing"):
        image = read_image(data[:-lacking])
    assert image.missing_share is not None
    assert image.missing_share < 0.02
    assert image.size == whole.shape[1::-1]
    assert np.abs(np.asarray(image.pixels) - whole).mean() < 1
    assert read_image(data).missing_share is None


@pytest.mark.parametrize(("mode", "image_format"), [("RGB", "JPEG"), ("P", "GIF")])
def test_what_lacks_more_is_cut_off(
    mode: str, image_format: str, encode: Encode, photograph: Image.Image
) -> None:
    data = encode(photograph.convert(mode), image_format)
    with pytest.raises(ImageReadError, match=r"is cut off: [1-9]\d% of its pixels are missing$"):
        read_image(data[: len(data) // 2])


@pytest.mark.parametrize("interlace", [0, 1])
def test_share_that_is_missing_of_a_gif(encode: Encode, interlace: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 100), dtype=np.uint8)
    image = Image.fromarray(noise).convert("P")
    data = encode(image, "GIF", interlace=interlace)
    with pytest.warns(CutOffImageWarning):
        photo = read_image(data[: -len(data) // 50])
    # All indices are as likely, so pixels and bytes run out together; Pillow takes whole blocks of
    # 255 bytes, of which there are a hundred.
    assert photo.missing_share == pytest.approx(1 / 50, abs=0.015)


def test_share_that_is_missing_of_a_jpeg(encode: Encode) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (800, 80, 3), dtype=np.uint8)
    data = encode(noise, "JPEG", quality=90)
    with pytest.warns(CutOffImageWarning):
        image = read_image(data[: -len(data) // 50])
    assert image.missing_share == pytest.approx(1 / 50, abs=0.01)
    with pytest.warns(CutOffImageWarning):
        scaled = read_image(data[: -len(data) // 50], target=(10, 100))
    assert scaled.pixels.size == (20, 200)
    assert scaled.missing_share == pytest.approx(1 / 50, abs=0.01)


def test_strictness_is_a_setting(
    encode: Encode, photograph: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(photograph, "JPEG")[:-40]
    lenient = decoder_name()
    monkeypatch.setenv("CLIPKIT_STRICT_IMAGES", "1")
    assert decoder_name() != lenient  # so an index tries again what it skipped
    with pytest.raises(ImageReadError, match="is cut off: image file is truncated"):
        read_image(data)
    monkeypatch.setenv("CLIPKIT_STRICT_IMAGES", "0")
    with pytest.warns(CutOffImageWarning):
        read_image(data)


def test_pillows_own_setting_is_left_alone(encode: Encode, photograph: Image.Image) -> None:
    data = encode(photograph, "JPEG")[:-40]
    with pytest.warns(CutOffImageWarning):
        read_image(data)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(data)).load()


def test_thumbnail_and_details_agree(
    tmp_path: Path, encode: Encode, photograph: Image.Image, exif: Callable[[int], bytes]
) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(encode(photograph, "JPEG", exif=exif(6))[:-20])
    details = read_metadata(path)
    assert (details.width, details.height) == photograph.size[::-1]
    with pytest.warns(CutOffImageWarning, match=r"cut\.jpg: lacks"):
        small = read_thumbnail(path, box=(64, 64))
    with pytest.warns(CutOffImageWarning):
        assert read_image(path).size == photograph.size[::-1]
    assert small.shape[0] == 64


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_other_formats_are_whole_or_refused(kind: str, encode: Encode, noise: Image.Image) -> None:
    data = encode(noise, kind)
    with pytest.raises(ImageReadError, match="cut off"):
        read_image(data[: len(data) * 95 // 100])
