"""How honest zero-shot probabilities are, and the scale that makes them so.

Shapes: N pictures, C class names.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from recipe.benchmarks import BenchmarkSuite, Classification
from recipe.packages import RecipeError
from recipe.scoring import Embedder, class_embeddings

NUM_LABELS = 8  # a user's short list: the right name and seven others
_REPETITIONS = 20
_NUM_BINS = 10
_SCALES = torch.arange(5.0, 60.0, 0.5)


@dataclass(frozen=True)
class Calibration:
    """Zero-shot naming among a few labels."""

    num_labels: int
    scale: float
    accuracy: float  # 0 to 1
    confidence: float  # mean probability of the answer, 0 to 1
    error: float  # expected calibration error, 0 to 1


def short_list_cosines(embedder: Embedder, benchmark: Classification, *, seed: int) -> Tensor:
    """Return cosines to the right name (first column) and to random others, shape (R, 8).

    Every class counts the same: each class is drawn twenty times with a random picture of it.
    """
    generator = torch.Generator().manual_seed(seed)
    images = embedder.embed_rows(benchmark.rows)
    similarities = images @ class_embeddings(embedder, benchmark.class_names).T  # (N, C)
    labels = torch.tensor(benchmark.labels)
    lists = []
    for number in benchmark.scored_classes:
        pictures = (labels == number).nonzero()[:, 0]
        for _ in range(_REPETITIONS):
            picture = pictures[torch.randint(len(pictures), (1,), generator=generator)]
            others = torch.randperm(len(benchmark.class_names), generator=generator)
            others = others[others != number][: NUM_LABELS - 1]
            columns = torch.cat([torch.tensor([number]), others])
            lists.append(similarities[picture][:, columns][0])
    return torch.stack(lists)


def honest_scale(cosines: Tensor) -> float:
    """Return the scale with the least mean log loss of the right name.

    Source:
        Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv 1706.04599), section 4.2.
    """
    right = torch.zeros(len(cosines), dtype=torch.long)
    losses = torch.stack([cross_entropy(scale * cosines, right) for scale in _SCALES])
    return float(_SCALES[losses.argmin()])


def calibration_at(cosines: Tensor, scale: float) -> Calibration:
    """Return accuracy, confidence and expected calibration error at a scale.

    Source:
        Guo et al. 2017 (arXiv 1706.04599), equation 3, with ten bins of equal width.
    """
    confidence, answer = (scale * cosines).softmax(-1).max(-1)
    is_right = (answer == 0).float()
    bins = (confidence * _NUM_BINS).long().clamp(max=_NUM_BINS - 1)
    gaps = []
    for number in range(_NUM_BINS):
        members = bins == number
        if members.any():
            gap = (is_right[members].mean() - confidence[members].mean()).abs()
            gaps.append(float(members.float().mean() * gap))
    return Calibration(
        NUM_LABELS, scale, float(is_right.mean()), float(confidence.mean()), sum(gaps)
    )


def naming_cosines(suite: BenchmarkSuite, embedder: Embedder) -> Tensor:
    """Return short-list cosines on the first benchmark of a suite, shape (R, 8).

    Raises:
        RecipeError: If that benchmark is not about naming.
    """
    benchmark = suite.benchmarks[0]
    if not isinstance(benchmark, Classification):
        raise RecipeError(f"{benchmark.name} is no benchmark of names: it cannot be calibrated on")
    return short_list_cosines(embedder, benchmark, seed=0)
