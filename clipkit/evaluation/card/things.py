"""Things that probes show and name: photographs that come with clipkit, and drawn shapes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clipkit.inputs.scene import WHOLE, Box, Change, Photograph, Shape
from clipkit.inputs.shapes import SHAPES
from clipkit.runtime.parity import reference_directory

_TABLE = Path(__file__).with_name("things.json")


@dataclass(frozen=True)
class Thing:
    """A thing of which there is a photograph."""

    name: str
    file: Path
    misspelling: str
    synonym: str = ""  # empty: none
    names: Mapping[str, str] = field(default_factory=dict)  # by ISO code of a language


def photographed_things() -> list[Thing]:
    """Return the things of which clipkit has a photograph, each followed by its partner.

    Returns:
        An even number of them.

    Raises:
        CheckpointError: If clipkit was installed without the photographs.
    """
    folder = reference_directory()
    entries = json.loads(_TABLE.read_text(encoding="utf-8"))["things"]
    return [Thing(**{**entry, "file": folder / entry["file"]}) for entry in entries]


def languages() -> dict[str, str]:
    """Return the languages that things have names in, in English, by ISO code."""
    found: dict[str, str] = json.loads(_TABLE.read_text(encoding="utf-8"))["languages"]
    return found


@dataclass(frozen=True)
class Motif:
    """What can be put into a scene: a photograph, or a drawn shape of any colour."""

    name: str
    photograph: Path | None = None  # None: a shape

    def layer(
        self, box: Box = WHOLE, *, color: str = "black", change: Change = "none"
    ) -> Photograph | Shape:
        """Return it in its place; a photograph has no colour, and a shape no change."""
        if self.photograph is None:
            return Shape(self.name, color, box)
        return Photograph(self.photograph, box, change)


def motif_pairs() -> list[tuple[Motif, Motif]]:
    """Return pairs of photographs and pairs of shapes; no motif is in two of them.

    Returns:
        Both motifs of each pair are of one kind.

    Raises:
        CheckpointError: If clipkit was installed without the photographs.
    """
    return photograph_pairs() + shape_pairs()


def photograph_pairs() -> list[tuple[Motif, Motif]]:
    """Return the pairs of photographs."""
    return _in_pairs([Motif(thing.name, thing.file) for thing in photographed_things()])


def shape_pairs() -> list[tuple[Motif, Motif]]:
    """Return the pairs of shapes."""
    return _in_pairs([Motif(name) for name in SHAPES])


def _in_pairs(motifs: list[Motif]) -> list[tuple[Motif, Motif]]:
    return list(zip(motifs[::2], motifs[1::2], strict=True))
