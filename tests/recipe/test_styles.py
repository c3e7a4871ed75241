"""Styles, colours, pages and screens that the recipe draws: what they do to pixels."""

import colorsys
import random
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from recipe.colours import COLOURS, Colour, ColouredObject, paint_object, paint_wall, tint
from recipe.composites import Backgrounds
from recipe.pages import PAGES, Page, Pens
from recipe.screens import SCREENS, Screen
from recipe.styles import STYLES, Style

SAMPLES = Path(__file__).parents[2] / "demo" / "samples"
SIZE = 128


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    (first, *_) = sorted(SAMPLES.glob("*.jpg"))
    return Image.open(first).convert("RGB").resize((SIZE, SIZE))


@pytest.fixture(scope="module")
def backgrounds() -> Backgrounds:
    return Backgrounds(sorted(SAMPLES.glob("*.jpg"))[:3])


@pytest.fixture(scope="module")
def pens() -> Pens:
    """Typefaces that come with matplotlib."""
    fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"
    sans, serif, mono = (fonts / f"DejaVu{name}.ttf" for name in ("Sans", "Serif", "SansMono"))
    return Pens(serif=serif, sans=sans, mono=mono, hand=sans, words=["tree", "house", "river"])


def style_named(name: str) -> Style:
    (style,) = (style for style in STYLES if style.name == name)
    return style


def luminance(image: Image.Image) -> float:
    return float(np.asarray(image.convert("L"), np.float64).mean())


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_a_style_is_decided_by_its_seed_and_keeps_the_size(
    style: Style, photograph: Image.Image
) -> None:
    first, again, other = (style.render(photograph, random.Random(seed)) for seed in (1, 1, 2))
    assert first.mode == "RGB"
    assert first.size == photograph.size
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != photograph.tobytes()
    assert first.tobytes() != other.tobytes()


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
@pytest.mark.parametrize("size", [(16, 16), (7, 90), (64, 3)])
def test_a_style_renders_any_size_and_flat_colours(style: Style, size: tuple[int, int]) -> None:
    for seed, colour in enumerate(((0, 0, 0), (255, 255, 255), (255, 0, 0))):
        assert style.render(Image.new("RGB", size, colour), random.Random(seed)).size == size


@pytest.mark.parametrize("seed", range(5))
def test_what_styles_say_is_so(photograph: Image.Image, seed: int) -> None:
    """Grey has no colour, sepia is brown, night is darker, fog has less contrast."""

    def rendered(name: str) -> Image.Image:
        return style_named(name).render(photograph, random.Random(seed))

    grey = np.asarray(rendered("black and white"))
    assert (grey == grey[..., :1]).all()
    red, green, blue = np.asarray(rendered("sepia"), np.float64).mean((0, 1))
    assert red > green > blue
    assert luminance(rendered("night")) < 0.6 * luminance(photograph)
    before, after = (np.asarray(i.convert("L")).std() for i in (photograph, rendered("fog")))
    assert after < 0.75 * before
    red, _, blue = np.asarray(rendered("sunset"), np.float64).mean((0, 1))
    assert red > 1.3 * blue


@pytest.mark.parametrize("colour", COLOURS, ids=lambda colour: colour.name)
def test_a_tinted_cutout_has_the_colour_in_its_middle_and_its_outline(colour: Colour) -> None:
    """A ramp from dark to light: what was middle grey becomes the colour itself."""
    ramp = np.tile(np.linspace(60, 200, 141).astype(np.uint8), (20, 1))
    alpha = np.full_like(ramp, 255)
    alpha[:5] = 0
    cutout = Image.merge("RGBA", [Image.fromarray(ramp)] * 3 + [Image.fromarray(alpha)])
    for shade in colour.shades:
        painted = np.asarray(tint(cutout, shade))
        assert np.abs(painted[10, 70, :3].astype(int) - shade).max() <= 2
        assert (painted[..., 3] == alpha).all()
        rows = painted[10, :, :3].astype(int).sum(1)
        assert (np.diff(rows) >= 0).all()  # what was lighter stays lighter


@pytest.mark.parametrize("name", ["red", "yellow", "green", "blue", "purple"])
def test_a_wall_has_the_hue_of_its_name(name: str) -> None:
    hues = {"red": 0.0, "yellow": 0.14, "green": 0.36, "blue": 0.61, "purple": 0.77}
    (colour,) = (colour for colour in COLOURS if colour.name == name)
    for seed in range(4):
        wall = np.asarray(paint_wall(colour, random.Random(seed), size=80), np.float64)
        hue, saturation, _ = colorsys.rgb_to_hsv(*(wall.mean((0, 1)) / 255))
        distance = abs(hue - hues[name])
        assert min(distance, 1 - distance) < 0.07
        assert saturation > 0.3


def test_an_object_stands_before_its_wall(tmp_path: Path, backgrounds: Backgrounds) -> None:
    disc = Image.new("RGBA", (60, 60))
    disc.paste((128, 128, 128, 255), (10, 10, 50, 50))
    disc.save(tmp_path / "square.png")
    red, blue = (next(c for c in COLOURS if c.name == name) for name in ("red", "blue"))
    what = ColouredObject(tmp_path / "square.png", red, blue)
    image = np.asarray(paint_object(what, backgrounds, random.Random(3), size=100), np.int64)
    is_red = image[..., 0] > image[..., 2] + 60
    is_blue = image[..., 2] > image[..., 0] + 30
    assert 0.15 < is_red.mean() < 0.95  # 45 % to 95 % of each side
    assert (is_red | is_blue).mean() > 0.97
    assert is_blue.any()


@pytest.mark.parametrize("kind", [*PAGES, *SCREENS], ids=lambda kind: kind.name)
def test_every_page_and_screen_is_drawn_by_its_seed(
    kind: Page | Screen, pens: Pens, backgrounds: Backgrounds
) -> None:
    def drawn(seed: int) -> Image.Image:
        if isinstance(kind, Page):
            return kind.draw(pens, random.Random(seed))
        return kind.draw(pens, backgrounds, random.Random(seed))

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert first.mode == "RGB"
    assert min(first.size) >= 300
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    assert kind.captions


def test_no_two_kinds_share_a_name() -> None:
    names = [
        *(style.name for style in STYLES),
        *(colour.name for colour in COLOURS),
        *(page.name for page in PAGES),
        *(screen.name for screen in SCREENS),
    ]
    assert len(names) == len(set(names))
    for style in STYLES:
        assert all(template.count("{}") == 1 for template in style.templates)
