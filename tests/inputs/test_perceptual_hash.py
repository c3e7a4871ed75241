"""Grey thumbnails against means computed by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipkit.errors import ImageReadError
from clipkit.inputs.perceptual_hash import GREY_SIDE, read_grey_thumbnail, read_grey_thumbnails


def test_an_image_of_that_size_is_its_own_thumbnail(encode: Callable[..., bytes]) -> None:
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 256, (GREY_SIDE, GREY_SIDE), dtype=np.uint8)
    np.testing.assert_array_equal(read_grey_thumbnail(encode(cells, "PNG")), cells)


def test_colors_become_grey_by_their_brightness(encode: Callable[..., bytes]) -> None:
    # ITU-R BT.601: 0.299 red + 0.587 green + 0.114 blue.
    for color, grey in (("#ff0000", 76), ("#00ff00", 150), ("#0000ff", 29)):
        thumbnail = read_grey_thumbnail(encode(Image.new("RGB", (300, 100), color), "PNG"))
        np.testing.assert_array_equal(thumbnail, grey)


def test_an_image_lies_as_a_person_sees_it(
    encode: Callable[..., bytes], exif: Callable[[int], bytes]
) -> None:
    image = Image.new("L", (96, 64))
    image.paste(255, (0, 0, 96, 32))
    turned = image.transpose(Image.Transpose.ROTATE_90)  # 6: the reader turns it back clockwise
    upright = read_grey_thumbnail(encode(turned, "PNG", exif=exif(6)))
    assert (upright[: GREY_SIDE // 2 - 1] == 255).all()
    assert (upright[GREY_SIDE // 2 + 1 :] == 0).all()


def test_a_scaled_decode_is_close_to_a_whole_one(samples: list[Path]) -> None:
    side = (GREY_SIDE, GREY_SIDE)
    for path in samples:
        with Image.open(path) as image:
            whole = image.convert("L").resize(side, Image.Resampling.BILINEAR)
        difference = np.asarray(whole).astype(int) - read_grey_thumbnail(path)
        assert np.abs(difference).mean() < 0.5


def test_many_come_in_order_with_a_reason_for_each_that_is_missing(
    samples: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    told: list[tuple[int, int | None]] = []
    sources = [*samples[:20], bad, *samples[20:25]]
    report = read_grey_thumbnails(sources, progress=lambda *progress: told.append(progress))
    assert report.positions.tolist() == [*range(20), *range(21, 26)]
    np.testing.assert_array_equal(
        report.thumbnails, np.stack([read_grey_thumbnail(path) for path in samples[:25]])
    )
    assert [error.path for error in report.skipped] == [str(bad)]
    assert told[-1] == (26, 26)


def test_none_are_an_empty_stack() -> None:
    report = read_grey_thumbnails([])
    assert report.thumbnails.shape == (0, GREY_SIDE, GREY_SIDE)
    assert report.positions.tolist() == [] and report.skipped == []


def test_too_large_an_image_is_refused(encode: Callable[..., bytes]) -> None:
    with pytest.raises(ImageReadError, match="too large"):
        read_grey_thumbnail(encode(np.zeros((40, 40), dtype=np.uint8), "PNG"), max_pixels=1599)
