"""Prompts of the thousand classes and of the wider concepts above them, as embeddings.

Shapes: C = 1000 classes, H concepts, D = 384 dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recipe import wordnet
from recipe.imagenet import ClassTexts, class_offsets
from recipe.packages import Cache
from recipe.phrases import with_article
from recipe.texts import TEXT_WIDTH, TextStore
from recipe.trunk import NUM_CLASSES

_MAX_CLASSES_BELOW = 500  # wider concepts, such as "entity", say nothing
_MIN_CLASSES_BELOW = 2
CONCEPT_TEMPLATES = 6


@dataclass(frozen=True)
class Concepts:
    """Query texts with the classes that answer them."""

    class_prompts: Tensor  # (C, longest, 384), padded with 0
    num_class_prompts: Tensor  # (C,)
    members: Tensor  # (H, C): 1 where a class belongs to a concept
    prompts: Tensor  # (H, 6, 384)

    def draw_class_prompts(self, random: torch.Generator) -> Tensor:
        """Return one random prompt of every class, shape (C, 384)."""
        shares = torch.rand(len(self.class_prompts), generator=random)
        positions = (shares * self.num_class_prompts).long()
        return self.class_prompts[torch.arange(len(positions)), positions]

    def draw_prompts(self, rows: Tensor, random: torch.Generator) -> Tensor:
        """Return one random prompt of each given concept, shape (number of rows, 384)."""
        templates = torch.randint(CONCEPT_TEMPLATES, (len(rows),), generator=random)
        return self.prompts[rows, templates]


def build_concepts(
    cache: Cache, texts: list[ClassTexts], store: TextStore, *, with_everyday: bool = True
) -> Concepts:
    """Return the prompts of the classes, of WordNet's hypernyms and of the everyday names."""
    lists = [
        [*t.names, *t.synonyms, *t.drawings, t.named_gloss, t.gloss, *t.hypernym_prompts]
        for t in texts
    ]
    class_prompts = torch.zeros(NUM_CLASSES, max(map(len, lists)), TEXT_WIDTH)
    store.add(text for prompts in lists for text in prompts)  # all at once: a batch is full
    for number, prompts in enumerate(lists):
        class_prompts[number, : len(prompts)] = store.embed(prompts)
    concepts = _hypernyms(cache)
    if with_everyday:
        for number, text in enumerate(texts):
            for phrase in (*text.everyday_names, *text.everyday_kinds, *text.people):
                concepts.setdefault("everyday " + phrase, (phrase, set()))[1].add(number)
    members = torch.zeros(len(concepts), NUM_CLASSES)
    phrases = []
    for row, (phrase, classes) in enumerate(concepts.values()):
        members[row, sorted(classes)] = 1
        phrases.append(phrase)
    prompts_of_concepts = store.embed([text for phrase in phrases for text in _prompts(phrase)])
    return Concepts(
        class_prompts,
        torch.tensor([len(prompts) for prompts in lists]),
        members,
        prompts_of_concepts.view(len(phrases), CONCEPT_TEMPLATES, TEXT_WIDTH),
    )


def _hypernyms(cache: Cache) -> dict[str, tuple[str, set[int]]]:
    """Return WordNet's wider senses of 2 to 500 classes: first word and class numbers."""
    synsets = wordnet.read_nouns(cache.package_folder("wordnet-base"))
    below: dict[str, set[int]] = {}
    for number, offset in enumerate(class_offsets()):
        for wider in wordnet.all_hypernyms(synsets, offset):
            below.setdefault(wider, set()).add(number)
    return {
        offset: (synsets[offset].words[0], classes)
        for offset, classes in sorted(below.items())
        if _MIN_CLASSES_BELOW <= len(classes) <= _MAX_CLASSES_BELOW
    }


def _prompts(phrase: str) -> list[str]:
    """Return six ways to ask for a concept."""
    noun = with_article(phrase)
    return [
        phrase,
        f"a photo of {noun}",
        f"a picture of {noun}",
        noun,
        f"photo of {phrase}",
        f"a close-up photo of {noun}",
    ]
