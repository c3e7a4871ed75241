"""Training pictures that the recipe renders: styles, colours, pages and screens, with captions.

Every picture belongs to a set of the same thing shown differently. A batch takes several of one
set, so that only the words for the difference tell them apart.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from recipe.backgrounds import read_scenes
from recipe.captioned_photographs import read_captioned_photographs
from recipe.colours import COLOURS, HUES, Colour, ColouredObject, paint_object, turn_hue
from recipe.composites import ObjectSize, paste_on_background, view_of
from recipe.emoji import OBJECT_CATEGORIES
from recipe.packages import Cache
from recipe.pages import PAGES, Page, Pens, read_pens
from recipe.picture import Picture
from recipe.screens import SCREENS, Screen
from recipe.styles import STYLES, Style
from recipe.training_jobs import LazyBackgrounds
from recipe.trunk import ImageJob

NUM_COLOURED_OBJECTS = 220
COLOURS_PER_OBJECT = 8
HUES_PER_IMAGE = 5
STYLES_PER_IMAGE = 6
NUM_STYLED_DRAWINGS = 200
PAGES_OF_A_KIND = 40
_MAX_JOINT = 6  # captions with both the thing and its style, of one picture
_SEED = 11
_OBJECTS = ObjectSize(0.6, 1.0)
_NAMING_PARTS = 4  # of a path, enough to tell all images apart
_SMALLEST_VIEW = 0.75  # the captions must still be true of a part

_CHANGED_WORDS = Path(__file__).with_name("changed_words.txt")


@dataclass(frozen=True)
class MadePicture:
    """A rendered picture and three kinds of true captions."""

    job: ImageJob
    set_name: str  # pictures of one set show the same thing
    attribute: str  # what tells it from the others of its set
    things: tuple[str, ...]  # only what is shown: true of the whole set
    joint: tuple[str, ...]  # what is shown and how
    alone: tuple[str, ...]  # only how


def made_pictures(
    cache: Cache, drawings: Sequence[Picture], backgrounds: LazyBackgrounds, size: int
) -> dict[str, list[MadePicture]]:
    """Return all rendered pictures by the name of their kind."""
    pasted = [picture for picture in drawings if picture.category in OBJECT_CATEGORIES]
    random.Random(_SEED).shuffle(pasted)
    scenes, photographs = read_scenes(cache), read_captioned_photographs(cache)
    bases = [*scenes, *pasted[:NUM_STYLED_DRAWINGS]]
    return {
        "styled": styled_pictures(bases, backgrounds, size),
        "styled photographs": styled_pictures(photographs, backgrounds, size),
        "turned": turned_pictures([*scenes, *photographs], size),
        "coloured": coloured_pictures(drawings, backgrounds, size),
        "pages": page_pictures(read_pens(cache), backgrounds),
    }


def image_name(picture: Picture) -> str:
    """Return what its renderings are named after: many files are called ``image.jpg``."""
    return "/".join((picture.category, *picture.path.parts[-_NAMING_PARTS:]))


def styled_pictures(
    bases: Sequence[Picture], backgrounds: LazyBackgrounds, size: int
) -> list[MadePicture]:
    """Return every base picture in some of the styles, the renderings of a base in a row."""
    made = []
    for base in bases:
        name = image_name(base)
        things = tuple(c for c in base.captions if not _words(c) & _changed_words())
        if not things:
            continue
        for style in random.Random("styles " + name).sample(STYLES, STYLES_PER_IMAGE):
            made.append(
                MadePicture(
                    _styled_job(base, style, backgrounds, size),
                    set_name=name,
                    attribute=style.name,
                    things=things,
                    joint=_fill(style.templates, things, f"{name} {style.name}"),
                    alone=style.alone,
                )
            )
    return made


def turned_pictures(bases: Sequence[Picture], size: int) -> list[MadePicture]:
    """Return photographs of which one hue is named, with their hues turned to other names."""
    made = []
    for base in bases:
        named = _words(" ".join(base.captions)) & HUES.keys()
        if len(named) != 1:
            continue
        (before,) = named
        name = f"turned {image_name(base)}"
        says_hue = [caption for caption in base.captions if before in _words(caption)]
        things = [caption for caption in base.captions if before not in _words(caption)]
        things = things or [re.sub(rf"\b{before} ", "", caption) for caption in says_hue]
        others = [hue for hue in HUES if hue != before]
        chosen = random.Random("turned " + name).sample(others, HUES_PER_IMAGE - 1)
        for after in (before, *chosen):
            made.append(
                MadePicture(
                    _turned_job(base, before, after, size),
                    set_name=name,
                    attribute=after,
                    things=tuple(things),
                    joint=tuple(_with_hue(text, before, after) for text in says_hue),
                    alone=(f"something {after}", f"{after} thing"),
                )
            )
    return made


def _with_hue(caption: str, before: str, after: str) -> str:
    """Return the caption with another hue, and the article that this takes."""
    article = "an" if after[0] in "aeiou" else "a"
    turned = re.sub(rf"\ban? {before}\b", f"{article} {after}", caption)
    return re.sub(rf"\b{before}\b", after, turned)


def _turned_job(base: Picture, before: str, after: str, size: int) -> ImageJob:
    identity = f"{before} to {after} in {image_name(base)}"

    def render() -> Image.Image:
        image = view_of(base.path, random.Random(identity), size, smallest=_SMALLEST_VIEW)
        return turn_hue(image, before, after)

    return ImageJob(identity, render)


def coloured_pictures(
    cutouts: Sequence[Picture], backgrounds: LazyBackgrounds, size: int
) -> list[MadePicture]:
    """Return some of the cut-outs in every colour, a third of them before coloured walls."""
    chosen = [
        cutout
        for cutout in cutouts
        if cutout.is_cutout and not _words(" ".join(cutout.captions)) & _changed_words()
    ]
    random.Random(_SEED).shuffle(chosen)
    made = []
    for cutout in chosen[:NUM_COLOURED_OBJECTS]:
        name = image_name(cutout)
        for colour in random.Random("colours " + name).sample(COLOURS, COLOURS_PER_OBJECT):
            draw = random.Random(f"wall {name} {colour.name}")
            others = [other for other in COLOURS if other is not colour]
            wall = draw.choice(others) if draw.random() < 1 / 3 else None
            made.append(_coloured(cutout, name, colour, wall, backgrounds, size))
    return made


def page_pictures(pens: Pens, backgrounds: LazyBackgrounds) -> list[MadePicture]:
    """Return drawn pages, half of them lying on something, and screens."""
    made = []
    for number in range(PAGES_OF_A_KIND):
        for page in PAGES:
            job = _page_job(page, pens, backgrounds, f"page {page.name} {number}")
            made.append(unlike_others(job, page.name, page.captions))
        for screen in SCREENS:
            job = _screen_job(screen, pens, backgrounds, f"screen {screen.name} {number}")
            made.append(unlike_others(job, screen.name, screen.captions))
    return made


def unlike_others(job: ImageJob, name: str, captions: tuple[str, ...]) -> MadePicture:
    """Return a picture that no other shows differently: it is what it looks like."""
    return MadePicture(job, job.identity, name, captions, captions, captions)


def _page_job(page: Page, pens: Pens, backgrounds: LazyBackgrounds, identity: str) -> ImageJob:
    def render() -> Image.Image:
        drawn = page.draw(pens, random.Random(identity))
        return _lay_down(drawn, backgrounds, identity)

    return ImageJob(identity, render)


def _screen_job(
    screen: Screen, pens: Pens, backgrounds: LazyBackgrounds, identity: str
) -> ImageJob:
    return ImageJob(
        identity, lambda: screen.draw(pens, backgrounds.open(), random.Random(identity))
    )


def _styled_job(base: Picture, style: Style, backgrounds: LazyBackgrounds, size: int) -> ImageJob:
    """Return a part of a photograph, or a drawing on one, in a style."""
    identity = f"{style.name} of {image_name(base)}"

    def render() -> Image.Image:
        draw = random.Random(identity)
        if base.is_cutout:
            image = paste_on_background(
                base.path, backgrounds.open(), draw, size=size, object_size=_OBJECTS
            )
        else:
            image = view_of(base.path, draw, size, smallest=_SMALLEST_VIEW)
        return style.render(image, draw)

    return ImageJob(identity, render)


def _coloured(
    cutout: Picture,
    name: str,
    colour: Colour,
    wall: Colour | None,
    backgrounds: LazyBackgrounds,
    size: int,
) -> MadePicture:
    attribute = colour.name + (f" before {wall.name}" if wall else "")
    identity = f"{colour.name} {name}" + (f" before {wall.name}" if wall else "")
    job = ImageJob(
        identity,
        lambda: paint_object(
            ColouredObject(cutout.path, colour, wall),
            backgrounds.open(),
            random.Random(identity),
            size=size,
        ),
    )
    things = cutout.captions[:3]
    joint = [f"{colour.name} {thing}" for thing in things]
    joint += [f"a {colour.name} {things[0]}", f"a photo of a {colour.name} {things[0]}"]
    alone = [f"{colour.name} thing", f"something {colour.name}", f"{colour.name} object"]
    if wall is not None:
        joint += [f"{colour.name} {things[0]} in front of a {wall.name} wall"]
        alone += [f"{wall.name} wall", f"{wall.name} background"]
    return MadePicture(job, name, attribute, things, tuple(joint), tuple(alone))


def _lay_down(page: Image.Image, backgrounds: LazyBackgrounds, identity: str) -> Image.Image:
    """Return the page as it is, or as a turned sheet on something."""
    draw = random.Random("lay down " + identity)
    if draw.random() < 0.5:
        return page
    ground = backgrounds.open().crop(draw, 600, smallest=0.2)
    if draw.random() < 0.5:
        ground = Image.new("RGB", (600, 600), tuple(draw.randint(40, 200) for _ in range(3)))
    scale = draw.uniform(0.7, 0.95) * 600 / max(page.size)
    sheet = page.convert("RGBA").resize((int(page.width * scale), int(page.height * scale)))
    sheet = sheet.rotate(draw.uniform(-14, 14), expand=True, resample=Image.Resampling.BICUBIC)
    place = ((600 - sheet.width) // 2, (600 - sheet.height) // 2)
    ground.paste(sheet, place, sheet)
    return ground


def _fill(templates: Sequence[str], things: Sequence[str], seed: str) -> tuple[str, ...]:
    draw = random.Random(seed)
    filled = [
        template.format(
            _bare(thing) if template.endswith(" {}") and " of " not in template else thing
        )
        for template in templates
        for thing in things
    ]
    draw.shuffle(filled)
    return tuple(filled[:_MAX_JOINT])


def _bare(thing: str) -> str:
    """Return the phrase without its article: "foggy street", not "foggy a street"."""
    return re.sub(r"^(an?|the) ", "", thing)


@cache
def _changed_words() -> frozenset[str]:
    lines = _CHANGED_WORDS.read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z-]+", text.lower()))
