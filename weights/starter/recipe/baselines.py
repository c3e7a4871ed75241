"""What needs no training: chance and ConSE, for the same table as the checkpoint.

Shapes: N pictures, C = 1000 classes, D = 384 dimensions of the text tower.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recipe.imagenet import ClassTexts, TextWeights, group_means, prototypes
from recipe.texts import TextStore
from recipe.trunk import Trunk

CONSE_TOP = 10  # classes that a picture's ConSE embedding mixes
CONSE_EXPONENT = 0.8


class FeatureEmbedder:
    """Embeds cached trunk features and cached MiniLM texts by two given functions."""

    def __init__(
        self,
        features: Tensor,
        store: TextStore,
        *,
        image_function: Callable[[Tensor], Tensor],
        text_function: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Embed the features of shape (N, 1280) once; texts go through MiniLM first."""
        with torch.no_grad():
            self._images = normalize(image_function(features), dim=-1)
        self._store = store
        self._text_function = text_function

    def embed_rows(self, rows: Sequence[int]) -> Tensor:
        """Return embeddings of the suite's pictures, rows of norm 1."""
        return self._images[list(rows)]

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return embeddings of texts, rows of norm 1."""
        embeddings = self._store.embed(texts)
        if self._text_function is None:
            return embeddings
        with torch.no_grad():
            return normalize(self._text_function(embeddings), dim=-1)


class ChanceEmbedder:
    """Random directions: what any score is without knowing anything."""

    def __init__(self, num_pictures: int, seed: int) -> None:
        """Draw the pictures' directions."""
        self._generator = torch.Generator().manual_seed(seed)
        self._images = self._draw(num_pictures)
        self._texts: dict[str, Tensor] = {}

    def embed_rows(self, rows: Sequence[int]) -> Tensor:
        """Return embeddings of the suite's pictures, rows of norm 1."""
        return self._images[list(rows)]

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return embeddings of texts, rows of norm 1; the same text has the same direction."""
        for text in texts:
            if text not in self._texts:
                self._texts[text] = self._draw(1)[0]
        return torch.stack([self._texts[text] for text in texts])

    def _draw(self, count: int) -> Tensor:
        return normalize(torch.randn(count, 64, generator=self._generator), dim=-1)


@dataclass(frozen=True)
class Baseline:
    """A named way from trunk features to MiniLM's space."""

    name: str
    image_function: Callable[[Tensor], Tensor]


def conse_baselines(trunk: Trunk, texts: list[ClassTexts], store: TextStore) -> list[Baseline]:
    """Return the rows that need no training.

    Source:
        Norouzi et al. 2014, "Zero-Shot Learning by Convex Combination of Semantic Embeddings"
        (arXiv 1312.5650), equation 4. Exponent and centring: own.
    """
    names = group_means([t.names for t in texts], store)
    everything = group_means(
        [(*t.names, *t.synonyms, *t.drawings, t.named_gloss, t.gloss, *t.hypernym_prompts)
         for t in texts],
        store,
    )  # fmt: skip
    weighted = prototypes(texts, store, TextWeights(everyday_names=0.0))
    everyday = prototypes(texts, store, TextWeights())

    def top(class_embeddings: Tensor) -> Callable[[Tensor], Tensor]:
        def embed(features: Tensor) -> Tensor:
            probabilities, classes = trunk.class_logits(features).softmax(-1).topk(CONSE_TOP)
            return torch.einsum("nk,nkd->nd", probabilities, class_embeddings[classes])

        return embed

    def powered(class_embeddings: Tensor) -> Callable[[Tensor], Tensor]:
        centred = class_embeddings - class_embeddings.mean(0)
        return lambda features: (
            (CONSE_EXPONENT * trunk.class_logits(features)).softmax(-1) @ centred
        )

    return [
        Baseline("ConSE, top 10, names", top(names)),
        Baseline("ConSE, top 10, all class texts", top(everything)),
        Baseline("ConSE, p^.8, centred, weighted texts", powered(weighted)),
        Baseline("ConSE, p^.8, centred, with everyday names", powered(everyday)),
    ]
