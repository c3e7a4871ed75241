"""Captions of what the recipe renders: true of the rendering, and complete."""

import colorsys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from recipe.colours import COLOURS, HUES
from recipe.made_pictures import (
    COLOURS_PER_OBJECT,
    HUES_PER_IMAGE,
    PAGES_OF_A_KIND,
    coloured_pictures,
    image_name,
    page_pictures,
    styled_pictures,
    turned_pictures,
)
from recipe.pages import PAGES, Pens
from recipe.picture import Picture
from recipe.screens import SCREENS
from recipe.styles import STYLES
from recipe.training_jobs import LazyBackgrounds


def picture(path: Path, *captions: str, is_cutout: bool = False) -> Picture:
    mode = "RGBA" if is_cutout else "RGB"
    Image.new(mode, (80, 60), (120, 130, 90, 255)[: len(mode)]).save(path)
    return Picture(path, captions, captions[0], "train", "things", is_cutout=is_cutout)


@pytest.fixture
def backgrounds(tmp_path: Path) -> LazyBackgrounds:
    return LazyBackgrounds([picture(tmp_path / "ground.png", "ground").path])


def test_images_of_one_file_name_are_told_apart(
    tmp_path: Path, backgrounds: LazyBackgrounds
) -> None:
    """Packages of one image each call it ``data/image.jpg``."""
    bases = []
    for name in ("boat", "tree"):
        folder = tmp_path / name / "data"
        folder.mkdir(parents=True)
        bases.append(picture(folder / "image.png", f"a {name}"))
    made = styled_pictures(bases, backgrounds, 40)
    things = {one.set_name: one.things for one in made}
    assert sorted(things.values()) == [("a boat",), ("a tree",)]


def test_captions_that_a_style_makes_false_are_left_out(
    tmp_path: Path, backgrounds: LazyBackgrounds
) -> None:
    """A blue sea is not blue in black and white, and no sunset is left at night."""
    base = picture(
        tmp_path / "sea.png", "a sea", "blue sea", "sunset over the sea", "a red-brick house"
    )
    lost = picture(tmp_path / "sun.png", "orange sunset")
    made = styled_pictures([base, lost], backgrounds, 40)
    assert {one.set_name for one in made} == {image_name(base)}
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
    assert {one.set_name for one in made} == {image_name(car)}
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


def test_a_photograph_is_turned_from_the_one_hue_that_it_names(tmp_path: Path) -> None:
    """Red turned to blue is blue, and so says the caption; two hues or none are left out."""
    wall = picture(tmp_path / "wall.png", "a red wall", "a wall with a window")
    Image.new("RGB", (80, 60), (200, 30, 30)).save(wall.path)
    both = picture(tmp_path / "both.png", "a red car", "a green tree")
    none = picture(tmp_path / "none.png", "a black car")
    made = turned_pictures([wall, both, none], 40)
    assert len(made) == HUES_PER_IMAGE
    assert len({one.attribute for one in made}) == HUES_PER_IMAGE
    assert made[0].attribute == "red"
    for one in made:
        article = "an" if one.attribute == "orange" else "a"
        assert one.joint == (f"{article} {one.attribute} wall",)
        assert one.things == ("a wall with a window",)
        red, green, blue = np.asarray(one.job.load())[20, 20] / 255
        degrees = 360 * colorsys.rgb_to_hsv(red, green, blue)[0]
        distance = abs(degrees - HUES[one.attribute]) % 360
        assert min(distance, 360 - distance) < 5


def test_pages_and_screens_say_what_kind_they_are(backgrounds: LazyBackgrounds) -> None:
    fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"
    face = fonts / "DejaVuSans.ttf"
    made = page_pictures(Pens(face, face, face, face, ["tree", "house"]), backgrounds)
    kinds = {page.name: page.captions for page in PAGES}
    kinds |= {screen.name: screen.captions for screen in SCREENS}
    assert len(made) == PAGES_OF_A_KIND * len(kinds)
    assert len({one.job.identity for one in made}) == len({one.set_name for one in made})
    for one in made[:: len(made) // 25]:
        assert one.things == one.joint == one.alone == kinds[one.attribute]
        assert min(one.job.load().size) >= 300
