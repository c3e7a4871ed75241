"""Captions of what the recipe renders: true of the rendering, and complete."""

from pathlib import Path

import pytest
from PIL import Image
from recipe.colours import COLOURS
from recipe.made_pictures import COLOURS_PER_OBJECT, coloured_pictures, styled_pictures
from recipe.picture import Picture
from recipe.styles import STYLES
from recipe.training_jobs import LazyBackgrounds


def picture(path: Path, *captions: str, is_cutout: bool = False) -> Picture:
    mode = "RGBA" if is_cutout else "RGB"
    Image.new(mode, (80, 60), (120, 130, 90, 255)[: len(mode)]).save(path)
    return Picture(path, captions, captions[0], "train", "things", is_cutout=is_cutout)


@pytest.fixture
def backgrounds(tmp_path: Path) -> LazyBackgrounds:
    return LazyBackgrounds([picture(tmp_path / "ground.png", "ground").path])


def test_captions_that_a_style_makes_false_are_left_out(
    tmp_path: Path, backgrounds: LazyBackgrounds
) -> None:
    """A blue sea is not blue in black and white, and no sunset is left at night."""
    base = picture(
        tmp_path / "sea.png", "a sea", "blue sea", "sunset over the sea", "a red-brick house"
    )
    lost = picture(tmp_path / "sun.png", "orange sunset")
    made = styled_pictures([base, lost], backgrounds, 40)
    assert {one.set_name for one in made} == {"things/sea.png"}
    styles = {style.name: style for style in STYLES}
    for one in made:
        style = styles[one.attribute]
        assert one.things == ("a sea", "a red-brick house")
        assert one.alone == style.alone
        assert 0 < len(one.joint) <= 6
        for caption in one.joint:
            assert "sea" in caption or "house" in caption
            assert caption not in one.things
        image = one.job.load()
        assert image.size == (40, 40)


def test_words_before_a_thing_take_its_article_away(
    tmp_path: Path, backgrounds: LazyBackgrounds
) -> None:
    base = picture(tmp_path / "house.png", "a house")
    joint = [one.joint for one in styled_pictures([base] * 40, backgrounds, 40)]
    captions = {caption for captions in joint for caption in captions}
    assert not any(" a a " in f" {caption} " or "foggy a" in caption for caption in captions)


def test_an_object_in_several_colours_is_one_set(
    tmp_path: Path, backgrounds: LazyBackgrounds
) -> None:
    car = picture(tmp_path / "car.png", "car", "automobile", is_cutout=True)
    rose = picture(tmp_path / "rose.png", "red rose", is_cutout=True)
    made = coloured_pictures([car, rose], backgrounds, 40)
    assert len(made) == COLOURS_PER_OBJECT
    assert {one.set_name for one in made} == {"things/car.png"}
    names = {colour.name for colour in COLOURS}
    for one in made:
        colour, _, wall = one.attribute.partition(" before ")
        assert colour in names
        assert f"{colour} car" in one.joint
        assert all(colour in caption for caption in one.joint)
        assert one.things == ("car", "automobile")
        if wall:
            assert wall != colour
            assert f"{wall} wall" in one.alone
        assert one.job.load().size == (40, 40)
