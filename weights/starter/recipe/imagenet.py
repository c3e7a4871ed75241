"""What the thousand ImageNet-1k classes are called: WordNet's words and everyday names.

Shapes: C = 1000 classes, D = 384 dimensions of the text tower.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor
from torch.nn.functional import normalize

from recipe import wordnet
from recipe.packages import Cache, RecipeError
from recipe.phrases import BARE_TEMPLATE, PHOTO_TEMPLATES, fill, with_article
from recipe.texts import TEXT_WIDTH, TextStore
from recipe.trunk import NUM_CLASSES

EVERYDAY_FILE = Path(__file__).with_name("everyday_names.txt")
PEOPLE_FILE = Path(__file__).with_name("people_phrases.txt")
DRAWING_TEMPLATE = "a drawing of {}"
_MAX_SYNONYMS = 4
_MAX_HYPERNYM_PROMPTS = 2


@dataclass(frozen=True)
class ClassTexts:
    """Everything that is said about one class, by kind of text."""

    name: str  # WordNet's first word
    names: tuple[str, ...]  # the name in the photo templates
    synonyms: tuple[str, ...]  # other words in the photo templates
    named_gloss: str
    gloss: str
    hypernym_prompts: tuple[str, ...]
    everyday_names: tuple[str, ...]  # bare phrases
    everyday_kinds: tuple[str, ...]  # bare phrases, wider than the class
    people: tuple[str, ...]  # bare phrases about who wears, plays or uses it
    drawings: tuple[str, ...]  # the name and its synonyms as drawings


@dataclass(frozen=True)
class TextWeights:
    """How much each kind of text counts in a class's prototype; each kind is averaged first."""

    synonyms: float = 0.5
    named_gloss: float = 0.5
    gloss: float = 0.5
    hypernyms: float = 1.0
    everyday_names: float = 2.0
    everyday_kinds: float = 0.0
    people: float = 0.0


def read_class_texts(cache: Cache) -> list[ClassTexts]:
    """Return the texts of the thousand classes in the order of the trunk's classifier."""
    synsets = wordnet.read_nouns(cache.package_folder("wordnet-base"))
    everyday = read_everyday_names(EVERYDAY_FILE)
    people = read_everyday_names(PEOPLE_FILE)
    result = []
    for number, offset in enumerate(class_offsets()):
        synset = synsets[offset]
        words = synset.words[:_MAX_SYNONYMS]
        wider = wordnet.hypernym_chain(synsets, offset, length=_MAX_HYPERNYM_PROMPTS)
        plain_names, kinds = everyday.get(number, ((), ()))
        result.append(
            ClassTexts(
                name=words[0],
                names=_photo_prompts(words[:1]),
                synonyms=(*_photo_prompts(words[1:]),),
                named_gloss=f"{words[0]}: {synset.gloss}",
                gloss=synset.gloss,
                hypernym_prompts=tuple(
                    f"a photo of {with_article(words[0])}, a kind of {synsets[w].words[0]}"
                    for w in wider
                ),
                everyday_names=plain_names,
                everyday_kinds=kinds,
                people=people.get(number, ((), ()))[0],
                drawings=tuple(fill(DRAWING_TEMPLATE, word) for word in words),
            )
        )
    return result


def class_offsets() -> list[str]:
    """Return the WordNet offset of each class in the order of the trunk's classifier."""
    names: list[str] = ImageNetInfo().label_names()  # type: ignore[no-untyped-call]
    return [name.removeprefix("n") for name in names]


def read_everyday_names(file: Path) -> dict[int, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return plain names and wider kinds by class number from the hand-written list.

    Raises:
        RecipeError: If a line names no class.
    """
    names: dict[int, list[str]] = {}
    kinds: dict[int, list[str]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        numbers, colon, words = line.partition(":")
        if not colon:
            raise RecipeError(f"{file.name}: {line!r} has no colon after the class numbers")
        plain, _, wider = words.partition(">")
        for number in _class_numbers(numbers):
            names.setdefault(number, []).extend(_phrases(plain))
            kinds.setdefault(number, []).extend(_phrases(wider))
    return {
        number: (tuple(dict.fromkeys(names[number])), tuple(dict.fromkeys(kinds[number])))
        for number in names
    }


def prototypes(texts: list[ClassTexts], store: TextStore, weights: TextWeights) -> Tensor:
    """Return one text embedding per class, a weighted mean of its texts, shape (C, 384), norm 1."""
    total = torch.zeros(NUM_CLASSES, TEXT_WIDTH)
    for weight, groups in (
        (1.0, [t.names for t in texts]),
        (weights.synonyms, [t.synonyms for t in texts]),
        (weights.named_gloss, [(t.named_gloss,) for t in texts]),
        (weights.gloss, [(t.gloss,) for t in texts]),
        (weights.hypernyms, [t.hypernym_prompts for t in texts]),
        (weights.everyday_names, [_bare_and_photo(t.everyday_names) for t in texts]),
        (weights.everyday_kinds, [_bare_and_photo(t.everyday_kinds) for t in texts]),
        (weights.people, [_bare_and_photo(t.people) for t in texts]),
    ):
        if weight:
            total += weight * group_means(groups, store)
    return normalize(total, dim=-1)


def group_means(groups: Iterable[Iterable[str]], store: TextStore) -> Tensor:
    """Return the normalised mean embedding of each group, shape (G, 384); zero if it is empty."""
    lists = [list(group) for group in groups]
    flat = [text for group in lists for text in group]
    owner = torch.tensor([number for number, group in enumerate(lists) for _ in group])
    sums = torch.zeros(len(lists), TEXT_WIDTH).index_add(0, owner, store.embed(flat))
    return normalize(sums, dim=-1)


def _photo_prompts(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(fill(template, word) for word in words for template in PHOTO_TEMPLATES)


def _bare_and_photo(phrases: Iterable[str]) -> tuple[str, ...]:
    templates = (BARE_TEMPLATE, "a photo of {}")
    return tuple(fill(template, phrase) for phrase in phrases for template in templates)


def _class_numbers(text: str) -> list[int]:
    """Return the numbers of "1,5-8"."""
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def _phrases(text: str) -> list[str]:
    return [phrase.strip() for phrase in text.split(";") if phrase.strip()]
