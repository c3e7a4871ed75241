"""How the pairs of a place are laid out, as far as a person says it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

Format = Literal["auto", "folder", "classes", "table", "shards"]
Split = Literal["train", "validation", "test"]
Say = Callable[[str], None]
"""Who is told in one line how a place was understood, and what is odd about it."""

DEFAULT_TEMPLATES = ("a photo of a {}.",)


@dataclass(frozen=True)
class PairLayout:
    """What is known of a place before it is looked at; every default means: as it looks."""

    format: Format = "auto"
    image_column: str = ""  # of a table, with paths or with the files themselves
    caption_column: str = ""  # of a table
    caption_ending: str = ""  # of caption files, and of members of shards: "caption", "en.txt"
    templates: tuple[str, ...] = DEFAULT_TEMPLATES  # class name -> caption, each with one {}
    class_names: str = ""  # a file with names of classes, as read_class_names reads it
    split: Split = "train"  # of a folder that is divided


def any_of(names: Sequence[str]) -> str:
    """Return names as in "a, b or c"."""
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def list_some(items: Iterable[object], *, most: int = 3) -> str:
    """Return the first of some things on one line, and how many more there are."""
    everything = iter(items)
    shown = "; ".join(map(str, islice(everything, most)))
    more = sum(1 for _ in everything)
    return f"{shown}; and {more} more" if more else shown
