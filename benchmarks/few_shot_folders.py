"""What every image set of few_shot_sets.py is made with: halves that share nothing, and a card."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recipe.packages import Package  # not on the path of every script that imports this


def halves(kinds: Sequence[str]) -> list[str]:
    """Return "train" or "test" for each image of one class, about half of each.

    Args:
        kinds: What each image shows, more finely than its class: "carrot" of two carrots. Images
            of one kind are all in the same half.

    Returns:
        The halves, which depend on the kinds alone and not on the order of the images.
    """
    counts = Counter(kinds)
    halves: dict[str, str] = {}
    sizes = {"train": 0, "test": 0}
    # Large kinds first, so that the halves come out alike; those of one size as if at random.
    for kind in sorted(counts, key=lambda kind: (-counts[kind], _digest(kind))):
        halves[kind] = min(sizes, key=lambda half: sizes[half])
        sizes[halves[kind]] += counts[kind]
    return [halves[kind] for kind in kinds]


def _digest(kind: str) -> str:
    return hashlib.sha256(kind.encode()).hexdigest()


def join_kinds(words: list[set[str]]) -> list[str]:
    """Return a kind for each set of words: sets with a word in common are of one kind.

    Args:
        words: What is said about each image, no set empty.

    Returns:
        Of each image, one of the words of the first image of its kind.
    """
    kinds = list(range(len(words)))
    owners: dict[str, list[int]] = defaultdict(list)
    for place, those in enumerate(words):
        for word in those:
            owners[word].append(place)
    for places in owners.values():
        joined = {kinds[place] for place in places}
        kinds = [min(joined) if kind in joined else kind for kind in kinds]
    return [min(words[kind]) for kind in kinds]


def write_card(directory: Path, about: str, packages: Sequence[Package]) -> None:
    """Write what a set is, its counts and credits, as Markdown. With it a set is complete."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for half in ("train", "test"):
        for path in (directory / half).glob("*/*"):
            counts[path.parent.name][half] += 1
    lines = [about.strip(), "", "| class | train | test |", "|---|--:|--:|"]
    lines += [f"| {name} | {n['train']} | {n['test']} |" for name, n in sorted(counts.items())]
    if packages:
        lines += ["", "| package | version | licence | SHA-256 |", "|---|---|---|---|"]
        lines += [f"| {p.name} | {p.version} | {p.licence} | {p.sha256} |" for p in packages]
    (directory / "CARD.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
