"""Colours and real detail, of real photographs that were made grey, brown, smaller and larger."""

from pathlib import Path

import pytest
from PIL import Image, ImageOps

from clipkit.inputs.image_quality import colorfulness, real_size
from tests.conftest import SAMPLES
from tests.search.duplicates.drawn import save


def test_grey_and_one_tint_have_no_colours(tmp_path: Path) -> None:
    photo = Image.open(SAMPLES / "parrot.jpg").convert("RGB")
    grey = ImageOps.grayscale(photo)
    sepia = ImageOps.colorize(grey, (40, 20, 0), (255, 240, 200))
    colors = colorfulness(SAMPLES / "parrot.jpg")
    assert colors > 5
    assert colorfulness(save(tmp_path / "grey.png", grey)) < 0.1
    assert colorfulness(save(tmp_path / "sepia.png", sepia)) < 0.2 * colors
    sixteen = grey.convert("I;16")
    assert colorfulness(save(tmp_path / "sixteen.tif", sixteen)) < 0.1


@pytest.mark.parametrize("name", ["castle", "cat", "owl", "bee"])
@pytest.mark.parametrize(
    "way", [Image.Resampling.NEAREST, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS]
)
def test_an_enlarged_image_is_no_larger_than_what_it_was_made_from(
    name: str, way: Image.Resampling, tmp_path: Path
) -> None:
    photo = Image.open(SAMPLES / f"{name}.jpg").convert("RGB")
    half = photo.width // 2, photo.height // 2
    small = photo.resize(half, Image.Resampling.LANCZOS)
    enlarged = save(tmp_path / "large.jpg", small.resize(photo.size, way), quality=90)
    assert real_size(enlarged, [half]) == half
    assert real_size(SAMPLES / f"{name}.jpg", [half]) == photo.size
    assert real_size(enlarged, []) == photo.size
