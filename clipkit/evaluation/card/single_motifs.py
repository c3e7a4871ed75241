"""Probes of one motif: what it is, its colour, shape, number, kind and writing, in which words."""

from collections.abc import Mapping, Sequence

import numpy as np

from clipkit.evaluation.card.probe import Probe, Trial, article, choices
from clipkit.evaluation.card.things import Thing, languages, photographed_things
from clipkit.inputs.scene import WHOLE, Box, Change, Photograph, Scene, Shape, Word
from clipkit.inputs.shapes import SHAPES

_ENGLISH = ("{}", "a photo of a {}")  # of other languages the bare word: these would mix two
_TURNS: tuple[Change, ...] = ("upside down", "turned left", "turned right")
_COLORS = {
    "red": "#e02020",
    "orange": "#ff8c00",
    "yellow": "#ffe000",
    "green": "#109020",
    "blue": "#1840e0",
    "purple": "#8020a0",
    "pink": "#ff90c0",
    "brown": "#7a4a20",
}
_BACKGROUNDS = ("white", "#d8d8d8", "black")
_NUMBERS = ("one", "two", "three", "four", "five", "six")
_COUNTED = ("circle", "star", "heart", "tree", "house", "cup", "mushroom", "flag")
_WORDS = (
    *("hotel", "music", "river", "sugar", "queen", "paper", "bread", "stone"),
    *("winter", "garden", "market", "doctor", "school", "police", "coffee", "danger"),
)
_STYLES = (("black", "white"), ("white", "#203080"), ("#c00000", "#ffe860"))  # letters and plate
_KINDS: dict[Change, str] = {
    "none": "a colour photograph of a {}",
    "line drawing": "a line drawing of a {}",
    "oil painting": "an oil painting of a {}",
    "black and white": "a black and white photograph of a {}",
    "negative": "a photographic negative of a {}",
    "mosaic": "a mosaic of a {}",
    "blurred": "a blurred photograph of a {}",
}


def single_motif_probes() -> list[Probe]:
    """Return the probes.

    Returns:
        Each with one group of values.

    Raises:
        CheckpointError: If clipkit was installed without the photographs.
    """
    things = photographed_things()
    return [
        _named("objects", "name things in photographs", {thing.name: thing for thing in things}),
        _turned(things),
        _drawn("colours", "tell colours apart", list(_COLORS), list(SHAPES)[:12]),
        _drawn("shapes", "tell drawn shapes apart", list(SHAPES), list(_COLORS)[::2]),
        _counted(),
        _written(),
        _kinds(things),
    ]


def _photo(thing: Thing, change: Change = "none") -> Scene:
    return Scene((Photograph(thing.file, change=change),), is_photograph_sized=True)


def _named(
    name: str, ability: str, things: Mapping[str, Thing], templates: Sequence[str] = _ENGLISH
) -> Probe:
    """Return a probe of things by the words that they are to be named by."""
    return Probe(
        name,
        ability,
        "gives things each other's names",
        (tuple(things),),
        tuple(
            Trial(_photo(thing), thing.name, 0, value, prompts)
            for prompts in choices(things, templates)
            for value, thing in enumerate(things.values())
        ),
    )


def _turned(things: Sequence[Thing]) -> Probe:
    names = [thing.name for thing in things]
    return Probe(
        "rotated photographs",
        "name things in photographs that lie on a side or stand on their head",
        "gives turned things each other's names",
        (tuple(names),),
        tuple(
            Trial(_photo(thing, turn), f"{thing.name}, {turn}", 0, value, prompts)
            for prompts in choices(names, _ENGLISH)
            for turn in _TURNS
            for value, thing in enumerate(things)
        ),
    )


def _drawn(name: str, ability: str, values: Sequence[str], others: Sequence[str]) -> Probe:
    """Return a probe of colours over shapes or of shapes over colours: all pairs of both."""
    is_colour = values[0] in _COLORS
    trials = []
    for number, other in enumerate(others):
        named = [f"{value} {other}" if is_colour else f"{other} {value}" for value in values]
        for prompts in choices(map(article, named), ("{}", "a drawing of {}")):
            for value, shown in enumerate(named):
                color, shape = shown.split(" ", 1)
                box = (0.2, 0.2, 0.8, 0.8)
                background = _BACKGROUNDS[number % len(_BACKGROUNDS)]  # the same for all values
                scene = Scene((Shape(shape, _COLORS[color], box),), background)
                trials.append(Trial(scene, shown, 0, value, prompts))
    return Probe(name, ability, f"mixes up {name}", (tuple(values),), tuple(trials))


def _counted() -> Probe:
    trials = []
    colors = list(_COLORS.values())
    for number, shape in enumerate(_COUNTED):
        words = [f"{word} {shape}{'s' if word != 'one' else ''}" for word in _NUMBERS]
        digits = [f"{count} {shape}{'s' if count > 1 else ''}" for count in range(1, 7)]
        for is_equal_area in (False, True):
            for value in range(len(_NUMBERS)):
                # Where all cover as much together, size says nothing of number; where each is as
                # large as elsewhere, area does: no single one of them answers both.
                side = 0.3 * (3 / (value + 1)) ** 0.5 if is_equal_area else 0.24
                boxes = _scattered(value + 1, side, seed=100 * number + 10 * is_equal_area + value)
                color = colors[number % len(colors)]
                scene = Scene(tuple(Shape(shape, color, box) for box in boxes))
                trials += [
                    Trial(scene, words[value], 0, value, tuple(prompts))
                    for prompts in (words, digits)
                ]
    ability = "count from one to six"
    return Probe("counting", ability, "miscounts", (_NUMBERS,), tuple(trials))


def _scattered(count: int, side: float, *, seed: int) -> list[Box]:
    """Return that many square boxes that do not overlap."""
    rng = np.random.default_rng(seed)
    while True:
        corners = rng.uniform(0.02, 0.98 - side, size=(count, 2))
        gaps = np.abs(corners[:, None] - corners[None]).max(axis=2)
        if (gaps[~np.eye(count, dtype=bool)] > side + 0.01).all():
            return [(x, y, x + side, y + side) for x, y in corners.tolist()]


def _written() -> Probe:
    trials = [
        Trial(Scene((Word(word, letters, plate, WHOLE),)), f"the word {word}", 0, value, prompts)
        for prompts in choices(_WORDS, ('the word "{}"', "a sign that says {}"))
        for letters, plate in _STYLES
        for value, word in enumerate(_WORDS)
    ]
    return Probe("text in images", "read a word", "misreads words", (_WORDS,), tuple(trials))


def _kinds(things: Sequence[Thing]) -> Probe:
    trials = [
        Trial(_photo(thing, kind), f"{thing.name}, {kind}", 0, value, prompts)
        for thing in things[::2]
        for prompts in [tuple(template.format(thing.name) for template in _KINDS.values())]
        for value, kind in enumerate(_KINDS)
    ]
    return Probe(
        "drawing or photograph",
        "tell photographs, drawings and other kinds of images apart",
        "takes photographs, drawings and other kinds for each other",
        (tuple("colour photograph" if kind == "none" else kind for kind in _KINDS),),
        tuple(trials),
    )


def other_word_probes() -> list[Probe]:
    """Return the probes of the words that things are named by.

    Returns:
        Synonyms, misspellings, and one probe a language.

    Raises:
        CheckpointError: If clipkit was installed without the photographs.
    """
    things = photographed_things()
    synonyms = {thing.synonym: thing for thing in things if thing.synonym}
    misspelt = {thing.misspelling: thing for thing in things}
    translated = {
        language: {thing.names[code]: thing for thing in things if thing.names}
        for code, language in languages().items()
    }
    return [
        _named("synonyms", "name things by less usual words", synonyms),
        _named("misspellings", "understand misspelt names", misspelt),
        *(
            _named(f"names in {language}", f"name things in {language}", words, ("{}",))
            for language, words in translated.items()
        ),
    ]
