"""Drawings of emoji by several vendors with their names: pairs to train a small model on.

One vendor, OpenMoji, is held out whole: retrieval is measured on its drawings alone. One concept in
five is held out as well, for all vendors: no drawing that is trained on shows it.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from workplace import ROOT, Workplace

REQUIREMENTS = ("pillow==12.3.0", "resvg_py==0.5.0")
MAX_KEYWORDS = 4
HEADER = "filepath\ttitle"
_SCRIPT = Path(__file__).with_name("emoji_drawings.py")
_RECIPE = ROOT / "weights" / "starter"


@dataclass(frozen=True)
class EmojiPairs:
    """Where the pairs lie: tables with the columns filepath and title, separated by tabs."""

    directory: Path

    @property
    def train(self) -> Path:
        """Pairs of the training vendors, without the concepts that are held out."""
        return self.directory / "train.tsv"

    @property
    def seen(self) -> Path:
        """The held-out vendor's drawings of what training vendors show, each with its name."""
        return self.directory / "seen_concepts.tsv"

    @property
    def unseen(self) -> Path:
        """The held-out vendor's drawings of what no training pair shows."""
        return self.directory / "unseen_concepts.tsv"

    @property
    def card(self) -> Path:
        """What the data is, with licences and counts. Written last: with it, all is there."""
        return self.directory / "CARD.md"


def make_emoji_pairs(workplace: Workplace) -> EmojiPairs:
    """Return the pairs, made unless they are there.

    Packages are fetched and checked as the starter's recipe does, into its cache.
    """
    pairs = EmojiPairs(workplace.directory / "emoji")
    if not pairs.card.is_file():
        python = workplace.environment("emoji", REQUIREMENTS)
        subprocess.run(
            [str(python), str(_SCRIPT), str(pairs.directory)],
            env={**os.environ, "PYTHONPATH": str(_RECIPE)},
            check=True,
        )
    return pairs


def captions_of(names: Sequence[str], keywords: Sequence[str]) -> list[str]:
    """Return what is said about one emoji: its names, and a line of keywords.

    Args:
        names: Of several lists, most of them alike.
        keywords: Looser words.

    Returns:
        The names and the line, in this order, without those that differ from an earlier one in
        capitals and punctuation alone.
    """
    known = {letters(name) for name in names}
    others = [word for word in keywords if letters(word) not in known]
    captions: dict[str, str] = {}
    for caption in (*names, ", ".join(others[:MAX_KEYWORDS])):
        captions.setdefault(letters(caption), caption)
    captions.pop("", None)
    return list(captions.values())


def letters(text: str) -> str:
    """Return the small letters and digits of a name: lists differ in how they write the rest."""
    return re.sub("[^a-z0-9]", "", text.lower())


def as_table(pairs: Iterable[tuple[Path, str]]) -> str:
    """Return images and captions as a table.

    Raises:
        ValueError: If a caption would break it.
    """
    lines = [HEADER]
    for path, caption in pairs:
        if re.search(r'[\t\r\n"]', caption):
            raise ValueError(f"the caption of {path} does not fit into a table: {caption!r}")
        lines.append(f"{path}\t{caption}")
    return "\n".join(lines) + "\n"


def read_table(path: Path) -> list[tuple[Path, str]]:
    """Return the images and captions of a table that `as_table` wrote."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return [(Path(image), caption) for image, caption in rows]
