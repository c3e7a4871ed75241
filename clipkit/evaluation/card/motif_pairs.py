"""Probes of two motifs: where, how large and which colour each is, and what is not there.

Each pair is a group of its own, with two values: the motifs as they are, and in each other's role.
Both prompts have the same words, so that a bag of words is right in one of two trials; wordings
that name the motifs in the other order keep it from helping which is named first.
"""

from collections.abc import Callable, Iterator, Sequence

from clipkit.evaluation.card.probe import Probe, Trial, article
from clipkit.evaluation.card.things import Motif, motif_pairs, photograph_pairs, shape_pairs
from clipkit.inputs.scene import Box, Scene, Shape, Word

Pair = tuple[Motif, Motif]
Wording = Callable[[str, str], str]
"""The prompt that is right if the first motif has the first role."""

_LEFT: Box = (0.03, 0.27, 0.49, 0.73)
_RIGHT: Box = (0.51, 0.27, 0.97, 0.73)
_TOP: Box = (0.27, 0.03, 0.73, 0.49)
_BOTTOM: Box = (0.27, 0.51, 0.73, 0.97)
_COLOR_PAIRS = (("red", "blue"), ("green", "orange"))


def motif_pair_probes() -> list[Probe]:
    """Return the probes.

    Returns:
        Each on its own pairs of photographs, of shapes, or both.

    Raises:
        CheckpointError: If clipkit was installed without the photographs.
    """
    return [
        _placed(
            "left or right",
            (_LEFT, _RIGHT),
            (
                lambda first, second: f"{first} to the left of {second}",
                lambda first, second: f"{second} to the right of {first}",
            ),
        ),
        _placed(
            "above or below",
            (_TOP, _BOTTOM),
            (
                lambda first, second: f"{first} above {second}",
                lambda first, second: f"{second} below {first}",
            ),
        ),
        _sized(),
        _coloured(),
        _absent(),
        _mislabelled(),
        _upright(),
    ]


def _roles(
    pairs: Sequence[Pair], wordings: Sequence[Wording]
) -> Iterator[tuple[int, int, Pair, list[tuple[str, str]]]]:
    """Yield group, value, the motifs of the first and second role, and sets of prompts."""
    for group, (first, second) in enumerate(pairs):
        names = article(first.name), article(second.name)
        prompts = [(wording(*names), wording(*reversed(names))) for wording in wordings]
        yield group, 0, (first, second), prompts
        yield group, 1, (second, first), prompts


def _group_names(pairs: Sequence[Pair]) -> tuple[tuple[str, ...], ...]:
    return tuple((first.name, second.name) for first, second in pairs)


def _placed(name: str, boxes: tuple[Box, Box], wordings: tuple[Wording, Wording]) -> Probe:
    pairs = motif_pairs()
    return Probe(
        name,
        f"tell {name.replace(' or ', ' from ')}",
        f"takes {name.replace(' or ', ' for ')}",
        _group_names(pairs),
        tuple(
            Trial(
                Scene((first.layer(boxes[0]), second.layer(boxes[1]))),
                wordings[0](first.name, second.name),
                group,
                value,
                prompts,
            )
            for group, value, (first, second), sets in _roles(pairs, wordings)
            for prompts in sets
        ),
    )


def _sized() -> Probe:
    pairs = motif_pairs()
    wordings: tuple[Wording, ...] = (
        lambda first, second: f"{first} that is larger than {second}",
        lambda first, second: f"{second} that is smaller than {first}",
    )
    sides: tuple[tuple[Box, Box], ...] = (
        ((0.03, 0.16, 0.7, 0.83), (0.74, 0.39, 0.96, 0.61)),
        ((0.3, 0.16, 0.97, 0.83), (0.04, 0.39, 0.26, 0.61)),
    )
    trials = [
        Trial(
            Scene((first.layer(large), second.layer(small))),
            f"large {first.name}, small {second.name}",
            group,
            value,
            prompts,
        )
        for group, value, (first, second), sets in _roles(pairs, wordings)
        for large, small in sides
        for prompts in sets
    ]
    return Probe(
        "size",
        "tell which of two things is larger",
        "takes the smaller thing for the larger one",
        _group_names(pairs),
        tuple(trials),
    )


def _coloured() -> Probe:
    pairs = shape_pairs()
    trials = [
        trial
        for color, other in _COLOR_PAIRS
        for group, pair in enumerate(pairs)
        for value, (first, second) in enumerate((pair, pair[::-1]))
        for trial in _coloured_trials((first.name, second.name), (color, other), group, value)
    ]
    return Probe(
        "attribute binding",
        "tell which of two things has which colour",
        "gives each of two things the other's colour",
        _group_names(pairs),
        tuple(trials),
    )


def _coloured_trials(
    shapes: tuple[str, str], colors: tuple[str, str], group: int, value: int
) -> Iterator[Trial]:
    """Yield the trials of two shapes, each of its colour, in both places and both word orders."""

    def things(*names: str) -> list[str]:
        return [f"{color} {name}" for color, name in zip(colors, names, strict=True)]

    right, wrong = things(*shapes), things(*reversed(shapes))
    in_order = (right, wrong) if value == 0 else (wrong, right)
    forward = tuple(f"{article(one)} and {article(two)}" for one, two in in_order)
    backward = tuple(f"{article(two)} and {article(one)}" for one, two in in_order)
    for place, opposite in ((_LEFT, _RIGHT), (_RIGHT, _LEFT)):
        layers = (Shape(shapes[0], colors[0], place), Shape(shapes[1], colors[1], opposite))
        for prompts in (forward, backward):
            yield Trial(Scene(layers), ", ".join(right), group, value, prompts)


def _absent() -> Probe:
    pairs = motif_pairs()
    wordings: tuple[Wording, ...] = (
        lambda shown, absent: f"{shown} without {absent}",
        lambda shown, absent: f"not {absent} but {shown}",
    )
    trials = [
        Trial(
            Scene((shown.layer((0.1, 0.1, 0.9, 0.9)),)),
            f"{shown.name}, no {absent.name}",
            group,
            value,
            prompts,
        )
        for group, value, (shown, absent), sets in _roles(pairs, wordings)
        for prompts in sets
    ]
    return Probe(
        "negation",
        "understand not and without",
        "takes what a text says is not there for what is there",
        _group_names(pairs),
        tuple(trials),
    )


def _mislabelled() -> Probe:
    pairs = photograph_pairs()
    wordings: tuple[Wording, ...] = (
        lambda shown, _: shown,
        lambda shown, _: f"a photo of {shown}",
    )
    places: tuple[Box, ...] = ((0.1, 0.05, 0.9, 0.25), (0.1, 0.75, 0.9, 0.95))
    trials = [
        Trial(
            Scene((shown.layer(), Word(written.name, "black", "white", place))),
            f'{shown.name} with the word "{written.name}"',
            group,
            value,
            prompts,
        )
        for group, value, (shown, written), sets in _roles(pairs, wordings)
        for place in places
        for prompts in sets
    ]
    return Probe(
        "typographic attack",
        "name a thing although another word is written on the image",
        "believes a word that is written on the image more than what it shows",
        _group_names(pairs),
        tuple(trials),
    )


def _upright() -> Probe:
    pairs = photograph_pairs()
    wordings: tuple[Wording, ...] = (
        lambda upright, turned: f"{upright}, and upside down {turned}",
        lambda upright, turned: f"upside down {turned}, and {upright}",
    )
    trials = []
    for group, value, (upright, turned), sets in _roles(pairs, wordings):
        for place, opposite in ((_LEFT, _RIGHT), (_RIGHT, _LEFT)):
            layers = (upright.layer(place), turned.layer(opposite, change="upside down"))
            shows = f"{upright.name}, upside down {turned.name}"
            trials += [Trial(Scene(layers), shows, group, value, prompts) for prompts in sets]
    return Probe(
        "orientation",
        "tell what is upright from what is upside down",
        "takes what is upside down for upright",
        _group_names(pairs),
        tuple(trials),
    )
