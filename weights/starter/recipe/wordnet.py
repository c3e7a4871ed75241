"""WordNet 3.0 nouns: words, gloss and hypernyms of a synset.

ImageNet's class ids are WordNet 3.0 offsets ("n02084071" is the synset at offset 02084071).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NOUN_FILE = Path("usr/share/wordnet/data.noun")


@dataclass(frozen=True)
class Synset:
    """One noun sense."""

    words: tuple[str, ...]  # the first is the usual one
    gloss: str  # the definition without examples
    hypernyms: tuple[str, ...]  # offsets of the wider senses


def read_nouns(package_folder: Path) -> dict[str, Synset]:
    """Return all noun synsets by their offset of eight digits.

    Source:
        The file format is described in WordNet's manual page wndb(5WN).
    """
    synsets = {}
    for line in (package_folder / NOUN_FILE).read_text(encoding="latin-1").splitlines():
        if line.startswith("  "):  # the licence at the top of the file
            continue
        data, _, gloss = line.partition(" | ")
        fields = data.split()
        num_words = int(fields[3], 16)
        words = tuple(fields[4 + 2 * i].replace("_", " ") for i in range(num_words))
        pointers = fields[4 + 2 * num_words + 1 :]
        hypernyms = tuple(
            pointers[i + 1] for i in range(0, len(pointers) - 1, 4) if pointers[i] in ("@", "@i")
        )
        definition = gloss.split('; "')[0].split(";")[0].strip()
        synsets[fields[0]] = Synset(words, definition, hypernyms)
    return synsets


def hypernym_chain(synsets: dict[str, Synset], offset: str, *, length: int) -> list[str]:
    """Return up to ``length`` offsets upwards from a synset, along first hypernyms."""
    chain: list[str] = []
    while len(chain) < length and synsets[offset].hypernyms:
        offset = synsets[offset].hypernyms[0]
        chain.append(offset)
    return chain


def all_hypernyms(synsets: dict[str, Synset], offset: str) -> set[str]:
    """Return the offsets of every wider sense, along all paths."""
    found: set[str] = set()
    waiting = list(synsets[offset].hypernyms)
    while waiting:
        wider = waiting.pop()
        if wider not in found:
            found.add(wider)
            waiting.extend(synsets[wider].hypernyms)
    return found
