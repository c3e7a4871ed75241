"""The validation loss in closed form: orthonormal pairs, whose cosines are 1 and 0."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.runtime.base import Scoring
from clipkit.training.config import LossKind
from clipkit.training.validation_loss import least_loss, mean_loss
from tests.reference import contrastive

SCALE = math.log(5.0)
NUM = 10


def softmax_loss(num: int) -> float:
    """Return ln(1 + (B - 1) e^-s), the loss of B orthonormal pairs at a multiplier s of 5."""
    return math.log(1 + (num - 1) * math.exp(-5.0))


def sigmoid_loss(num: int, bias: float) -> float:
    """Return the loss of a pair against itself and B - 1 others, whose logits are b."""
    return math.log(1 + math.exp(-5.0 - bias)) + (num - 1) * math.log(1 + math.exp(bias))


def loss_of(
    keys: Sequence[int] | None = None,
    *,
    batch_size: int = 100,
    bias: float | None = None,
    kind: LossKind | None = None,
    seed: int | None = None,
) -> float:
    """Return the loss of ten pairs, orthonormal or random ones."""
    images = texts = np.eye(NUM, dtype=np.float32)
    if seed is not None:
        images, texts = random_rows(seed), random_rows(seed + 1)
    return mean_loss(
        images,
        texts,
        torch.tensor(range(NUM) if keys is None else keys),
        kind=kind or ("infonce" if bias is None else "sigmoid"),
        scoring=Scoring(SCALE, bias),
        batch_size=batch_size,
    )


def random_rows(seed: int) -> Embeddings:
    return normalize_rows(np.random.default_rng(seed).normal(size=(NUM, 4)))


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [(100, [10]), (10, [10]), (5, [5, 5]), (4, [4, 4, 2]), (3, [3, 3, 3, 1])],
)
def test_each_pair_counts_once_whatever_the_batches(batch_size: int, sizes: list[int]) -> None:
    expected = sum(size * softmax_loss(size) for size in sizes) / NUM
    assert loss_of(batch_size=batch_size) == pytest.approx(expected, rel=1e-5)
    expected = sum(size * sigmoid_loss(size, -2.0) for size in sizes) / NUM
    assert loss_of(batch_size=batch_size, bias=-2.0) == pytest.approx(expected, rel=1e-5)


def test_a_bias_that_the_start_brings_changes_nothing_for_softmax() -> None:
    assert loss_of(kind="infonce", bias=-12.9) == pytest.approx(softmax_loss(NUM), rel=1e-5)


def test_equal_captions_are_no_negatives() -> None:
    """Five times two equal captions: eight negatives are left of nine."""
    assert loss_of([number // 2 for number in range(NUM)]) == pytest.approx(
        softmax_loss(NUM - 1), rel=1e-5
    )
    assert loss_of([7] * NUM) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("bias", [None, -2.0])
def test_random_pairs_have_the_loss_of_the_slow_reference(bias: float | None) -> None:
    reference = contrastive.infonce if bias is None else contrastive.sigmoid
    expected = reference(
        torch.from_numpy(random_rows(0)).double(),
        torch.from_numpy(random_rows(1)).double(),
        torch.tensor(5.0).double(),
        None if bias is None else torch.tensor(bias).double(),
        range(NUM),
        range(NUM),
    )
    assert loss_of(bias=bias, seed=0) == pytest.approx(float(expected), rel=1e-5)


def test_neighbours_in_a_listing_are_mixed_always_in_the_same_way() -> None:
    """Two kinds of images one after the other: batches of five would hold one kind each."""
    rows = np.repeat(np.eye(2, dtype=np.float32), 5, axis=0)
    keys = torch.arange(NUM)
    losses = [
        mean_loss(rows, rows, keys, kind="infonce", scoring=Scoring(SCALE), batch_size=5)
        for _ in range(2)
    ]
    assert losses[0] == losses[1]
    assert losses[0] < math.log(5) - 0.1  # of five that are all alike


@pytest.mark.parametrize("kind", ["infonce", "sigmoid"])
def test_the_least_loss_is_the_same_however_sure_the_model_is(kind: LossKind) -> None:
    rng = np.random.default_rng(0)
    images = random_rows(0)
    texts = normalize_rows(images + rng.normal(0, 0.25, images.shape))
    bias = None if kind == "infonce" else -2.0

    def loss(measure: Callable[..., float], scale: float) -> float:
        keys, scoring = torch.arange(NUM), Scoring(math.log(scale), bias)
        return measure(images, texts, keys, kind=kind, scoring=scoring, batch_size=NUM)

    for scale in (2.0, 5.0, 20.0):
        tried = np.geomspace(scale / 16, 16 * scale, 400)
        least = min(loss(mean_loss, each) for each in tried)
        assert loss(least_loss, scale) == pytest.approx(least, abs=0.01)
