"""Retrieval metrics against CLIP_benchmark's arithmetic, hand counts and chance."""

import numpy as np
import pytest
from numpy.typing import NDArray

from clipkit.embeddings import normalize_rows
from clipkit.evaluation.caption_retrieval import caption_retrieval
from clipkit.metrics.comparison import ItemValues


def benchmark_recall(scores: NDArray[np.float32], positive: NDArray[np.bool_], k: int) -> float:
    """Return what CLIP_benchmark computes: the share of rows with a positive in their top k."""
    top = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float(np.take_along_axis(positive, top, axis=1).any(axis=1).mean())


def means(values: dict[str, ItemValues]) -> dict[str, float]:
    return {name: found.mean for name, found in values.items()}


@pytest.mark.parametrize("seed", range(3))
def test_recalls_are_clip_benchmarks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = normalize_rows(rng.normal(size=(30, 8)).astype(np.float32))
    owners = np.repeat(np.arange(30), rng.integers(1, 6, size=30))
    texts = normalize_rows(images[owners] + rng.normal(size=(len(owners), 8)).astype(np.float32))
    values, _ = caption_retrieval(images, texts, owners)
    metrics = means(values)

    scores = texts @ images.T
    positive = owners[:, None] == np.arange(30)
    for k in (1, 5, 10):
        expected = benchmark_recall(scores, positive, k)
        assert metrics[f"image_retrieval_recall@{k}"] == pytest.approx(expected)
        expected = benchmark_recall(scores.T, positive.T, k)
        assert metrics[f"text_retrieval_recall@{k}"] == pytest.approx(expected)
    for found in values.values():
        interval = found.interval()
        assert interval.low <= found.mean <= interval.high
        assert interval.count == 30  # images are drawn, with their captions


def test_the_toy_of_the_papers() -> None:
    """Four captions of two images, by their cosines."""
    images = np.eye(4, dtype=np.float32)[:2]
    cosines = np.array([[0.9, 0.1], [0.2, 0.3], [0.4, 0.5], [0.6, 0.55]])
    rest = np.sqrt(1 - (cosines**2).sum(axis=1, keepdims=True))
    texts = np.hstack([cosines, rest, np.zeros((4, 1))]).astype(np.float32)
    values, median_ranks = caption_retrieval(images, texts, np.array([0, 0, 1, 1]))
    metrics = means(values)
    assert metrics["image_retrieval_recall@1"] == 0.5
    assert metrics["text_retrieval_recall@1"] == 1.0
    assert median_ranks["image_retrieval_median_rank"] == 1.5
    assert metrics["image_retrieval_mrr"] == pytest.approx((1 + 1 / 2 + 1 + 1 / 2) / 4)
    # Image 0 lists the captions 0 3 2 1 and has 0 and 1; image 1 lists 3 2 1 0 and has 2 and 3.
    assert metrics["text_retrieval_map"] == pytest.approx(((1 + 2 / 4) / 2 + 1) / 2)
    assert "image_retrieval_recall@5" not in metrics


def test_a_model_that_finds_everything_equally_close_scores_as_a_guess_does() -> None:
    count = 2000
    constant = np.tile(np.array([[1, 0]], dtype=np.float32), (count, 1))
    values, median_ranks = caption_retrieval(constant, constant, np.arange(count))
    metrics = means(values)
    for name in ("image_retrieval_recall@10", "text_retrieval_recall@10"):
        assert metrics[name] == pytest.approx(10 / count, abs=3 * np.sqrt(10) / count)
    assert median_ranks["image_retrieval_median_rank"] == pytest.approx(count / 2, rel=0.1)
    # Also if what is sought comes first in every list.
    metrics = means(caption_retrieval(constant, constant[:20], np.arange(20))[0])
    assert metrics["image_retrieval_recall@10"] < 0.2
