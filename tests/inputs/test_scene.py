"""Scenes show what they say, where they say it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.scene import CHANGES, SIDE, Photograph, Scene, Shape, Word, draw_scene
from tests.conftest import SAMPLES

RED, BLUE, WHITE = [255, 0, 0], [0, 0, 255], [255, 255, 255]


@pytest.fixture
def corners(tmp_path: Path) -> Path:
    """A photograph, 40 x 20, whose left half is red and whose right half is blue."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20], pixels[:, 20:] = RED, BLUE
    Image.fromarray(pixels).save(tmp_path / "corners.png")
    return tmp_path / "corners.png"


def test_shapes_are_in_their_boxes_in_their_colours_and_holes_show_what_is_behind() -> None:
    scene = Scene(
        (Shape("square", "red", (0, 0, 0.5, 0.5)), Shape("ring", "blue", (0.5, 0.5, 1, 1))),
        "white",
    )
    pixels = draw_scene(scene)
    assert pixels.shape == (SIDE, SIDE, 3) and pixels.dtype == np.uint8
    quarter, rest = SIDE // 4, 3 * SIDE // 4
    assert pixels[quarter, quarter].tolist() == RED
    assert pixels[quarter, rest].tolist() == pixels[rest, quarter].tolist() == WHITE
    assert pixels[rest, rest].tolist() == WHITE  # the hole
    assert pixels[rest, SIDE // 2 + SIDE // 20].tolist() == BLUE


def test_a_shape_in_a_wide_box_keeps_its_form_in_the_middle() -> None:
    pixels = draw_scene(Scene((Shape("square", "black", (0, 0.4, 1, 0.6)),)))
    rows, columns = np.nonzero(pixels[..., 0] < 128)
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 1
    assert abs(columns.mean() - SIDE / 2) < 2


def test_a_photograph_fills_its_box_or_gives_the_scene_its_size(corners: Path) -> None:
    whole = draw_scene(Scene((Photograph(corners),), is_photograph_sized=True))
    assert whole.shape == (20, 40, 3)
    assert (whole[10, 5].tolist(), whole[10, 35].tolist()) == (RED, BLUE)
    placed = draw_scene(Scene((Photograph(corners, (0, 0, 0.5, 1)),)))
    assert placed[5, 5].tolist() == RED and placed[5, SIDE // 2 - 5].tolist() == BLUE
    assert placed[5, SIDE // 2 + 5].tolist() == WHITE


def test_photographs_are_turned(corners: Path) -> None:
    def drawn(change: str) -> np.ndarray:
        layer = Photograph(corners, change=change)  # type: ignore[arg-type]
        return draw_scene(Scene((layer,), is_photograph_sized=True))

    assert drawn("upside down")[10, 5].tolist() == BLUE
    assert drawn("turned left").shape == drawn("turned right").shape == (40, 20, 3)
    assert drawn("turned left")[5, 10].tolist() == BLUE  # what was right is above
    assert drawn("turned right")[5, 10].tolist() == RED


def test_each_change_makes_another_image() -> None:
    drawn = [
        draw_scene(Scene((Photograph(SAMPLES / "parrot.jpg", change=change),)))
        for change in CHANGES
    ]
    for place, image in enumerate(drawn):
        for other in drawn[:place]:
            assert np.abs(image.astype(int) - other).mean() > 3
    gray = drawn[CHANGES.index("black and white")]
    assert (gray[..., 0] == gray[..., 1]).all() and (gray[..., 1] == gray[..., 2]).all()
    assert np.abs(drawn[CHANGES.index("negative")].astype(int) - (255 - drawn[0])).max() <= 2


def test_a_word_is_as_large_as_fits_and_in_its_colours() -> None:
    pixels = draw_scene(Scene((Word("scissors", "red", "blue", (0, 0, 1, 0.5)),)))
    assert pixels[2, 2].tolist() == BLUE and pixels[-2, -2].tolist() == WHITE
    rows, columns = np.nonzero(pixels[..., 0] > 200)
    inside = rows < SIDE // 2
    assert 0.8 * SIDE < np.ptp(columns[inside]) < 0.95 * SIDE


def test_the_same_scene_is_the_same_image() -> None:
    scene = Scene((Photograph(SAMPLES / "cat.jpg"), Word("dog", "black", "white", (0, 0, 1, 0.2))))
    assert scene == Scene(scene.layers) and hash(scene) == hash(Scene(scene.layers))
    np.testing.assert_array_equal(draw_scene(scene), draw_scene(scene))


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        (Scene((Shape("blob", "red"),)), 'no shape "blob"; there are circle, square'),
        (Scene((Photograph(SAMPLES / "cat.jpg", change="sepia"),)), "none, upside down"),  # type: ignore[arg-type]
        (Scene((Shape("circle", "red"),), is_photograph_sized=True), "must begin with one"),
        (Scene((), is_photograph_sized=True), "must begin with one"),
    ],
)
def test_what_cannot_be_drawn_is_refused(scene: Scene, message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw_scene(scene)


def test_a_photograph_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match=r"gone\.jpg"):
        draw_scene(Scene((Photograph(tmp_path / "gone.jpg"),)))
