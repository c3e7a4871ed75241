"""Comparing pixels, on pages drawn here and on copies of real photographs."""

import itertools

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from clipkit.inputs.perceptual_hash import ImagePyramid, read_grey_thumbnail, read_pyramid
from clipkit.search.duplicates.perceptual_similarity import perceptual_similarity
from clipkit.search.duplicates.pixel_comparison import align, is_copy
from tests.conftest import SAMPLES
from tests.search.duplicates.drawn import cropped, encoded, page, scaled, with_turned_hues


def _pyramid(image: Image.Image) -> ImagePyramid:
    return read_pyramid(encoded(image, quality=80))


@pytest.fixture(scope="module")
def castle() -> Image.Image:
    return Image.open(SAMPLES / "castle.jpg").convert("RGB")


@pytest.mark.slow
@pytest.mark.parametrize("layout", range(4))
def test_pages_on_one_layout_are_alike_from_far_away_and_no_copies(layout: int) -> None:
    pages = [page(seed, layout) for seed in range(3)]
    thumbnails = np.stack([read_grey_thumbnail(image) for image in pages])
    assert perceptual_similarity(thumbnails, thumbnails).min() > 0.9
    for first, second in itertools.combinations(map(_pyramid, pages), 2):
        assert not is_copy(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("layout", [0, 2])
def test_a_page_saved_again_or_made_smaller_is_a_copy(layout: int) -> None:
    original = page(7, layout)
    for copy in (
        encoded(original, quality=40),
        encoded(original, "WEBP", quality=70),
        encoded(scaled(original, 0.6), quality=85),
        encoded(ImageOps.grayscale(original), quality=85),
    ):
        assert is_copy(_pyramid(original), read_pyramid(copy))


def test_one_other_number_makes_another_page() -> None:
    first, second = page(1), page(1)
    for image, amount in ((first, "1234.56 EUR"), (second, "7391.80 EUR")):
        ImageDraw.Draw(image).text((420, 900), amount, "black", ImageFont.load_default(26))
    assert not is_copy(_pyramid(first), _pyramid(second))


@pytest.mark.parametrize("steps", [32, 128])
def test_other_colours_make_another_image(castle: Image.Image, steps: int) -> None:
    assert not is_copy(_pyramid(castle), _pyramid(with_turned_hues(castle, steps)))
    flat = Image.new("RGB", (400, 300), (30, 60, 160))
    ImageDraw.Draw(flat).ellipse((60, 60, 240, 240), fill=(200, 180, 40))
    assert not is_copy(_pyramid(flat), _pyramid(with_turned_hues(flat, steps)))


def test_one_recoloured_thing_makes_another_image() -> None:
    first = Image.new("RGB", (600, 400), (200, 205, 210))
    draw = ImageDraw.Draw(first)
    draw.rectangle((0, 250, 600, 400), fill=(40, 120, 60))
    second = first.copy()
    draw.ellipse((350, 60, 500, 210), fill=(200, 40, 40))
    ImageDraw.Draw(second).ellipse((350, 60, 500, 210), fill=(40, 60, 200))
    assert not is_copy(_pyramid(first), _pyramid(second))


@pytest.mark.parametrize(
    "copy",
    [
        pytest.param(lambda image: encoded(image, quality=20), id="low quality"),
        pytest.param(lambda image: encoded(scaled(image, 0.4)), id="smaller"),
        pytest.param(lambda image: encoded(ImageOps.grayscale(image)), id="grey"),
        pytest.param(lambda image: encoded(cropped(image, 0.05, 0.05, 0.05, 0.05)), id="cropped"),
        pytest.param(lambda image: encoded(cropped(image, 0.03, 0.08, 0.06, 0.01)), id="uneven"),
        pytest.param(lambda image: encoded(ImageOps.expand(image, 20, "white")), id="border"),
        pytest.param(
            lambda image: encoded(ImageEnhance.Contrast(image).enhance(1.2)), id="contrast"
        ),
    ],
)
@pytest.mark.parametrize("name", ["castle", "owl"])
def test_a_copy_of_a_photograph_is_one(name: str, copy: object) -> None:
    image = Image.open(SAMPLES / f"{name}.jpg").convert("RGB")
    assert is_copy(_pyramid(image), read_pyramid(copy(image)))  # type: ignore[operator]


def test_words_may_lie_over_a_copy(castle: Image.Image) -> None:
    marked = castle.copy()
    ImageDraw.Draw(marked).text(
        (30, castle.height - 80),
        "Holiday 2024",
        "white",
        ImageFont.load_default(40),
        stroke_width=2,
        stroke_fill="black",
    )
    assert is_copy(_pyramid(castle), _pyramid(marked))
    assert is_copy(_pyramid(marked), _pyramid(castle))


def test_something_that_moved_makes_another_frame(castle: Image.Image) -> None:
    dog = Image.open(SAMPLES / "dog.jpg").convert("RGB").resize((90, 70))
    frames = []
    for place in ((60, 200), (190, 210)):
        frame = castle.copy()
        frame.paste(dog, place)
        frames.append(_pyramid(frame))
    assert not is_copy(*frames)


def test_a_hand_that_turned_the_camera_makes_another_frame(castle: Image.Image) -> None:
    turned = castle.rotate(1, Image.Resampling.BICUBIC)
    inner = 0.06, 0.06, 0.06, 0.06
    assert not is_copy(_pyramid(cropped(castle, *inner)), _pyramid(cropped(turned, *inner)))


def test_the_alignment_is_the_crop_that_was_made(castle: Image.Image) -> None:
    pyramid = _pyramid(castle)
    found = align(pyramid, _pyramid(cropped(castle, 0.1, 0.05, 0, 0.05)))
    # x' = (x - .1) / .9 and y' = (y - .05) / .9; a pixel is .0025 of the width.
    np.testing.assert_allclose(found.x, (1 / 0.9, -0.1 / 0.9), atol=0.003)
    np.testing.assert_allclose(found.y, (1 / 0.9, -0.05 / 0.9), atol=0.003)
    box, other = found.boxes()
    np.testing.assert_allclose(box, (0.1, 0.05, 1, 0.95), atol=0.003)
    np.testing.assert_allclose(other, (0, 0, 1, 1), atol=0.003)
