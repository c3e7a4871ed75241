"""The colours that pixels have, by name."""

import numpy as np
import pytest
from PIL import Image
from recipe.colours import COLOURS, Colour
from recipe.named_crops import colour_names, lab_values


def test_lab_values_are_those_of_the_standard() -> None:
    """White, and the primaries of sRGB as CIE's formulas give them by hand."""
    rgb = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]])
    expected = [
        [100, 0, 0],
        [0, 0, 0],
        [53.24, 80.09, 67.20],
        [87.73, -86.18, 83.18],
        [32.30, 79.19, -107.86],
    ]
    assert np.abs(lab_values(rgb) - np.array(expected)).max() < 0.02


@pytest.mark.parametrize("colour", COLOURS, ids=lambda colour: colour.name)
def test_an_image_of_one_colour_has_its_name(colour: Colour) -> None:
    for shade in colour.shades:
        assert colour_names(Image.new("RGB", (90, 60), shade)) == [colour.name]


def test_a_hue_is_named_where_it_fills_enough_of_the_middle() -> None:
    image = Image.new("RGB", (100, 100), (125, 125, 128))
    image.paste((240, 205, 40), (30, 30, 70, 70))
    assert colour_names(image) == ["yellow", "grey"]
    small = Image.new("RGB", (100, 100), (125, 125, 128))
    small.paste((240, 205, 40), (0, 0, 40, 40))  # as many pixels in a corner
    assert colour_names(small) == ["grey"]


def test_what_is_near_no_colour_is_not_named() -> None:
    assert colour_names(Image.new("RGB", (50, 50), (0, 255, 0))) == []
