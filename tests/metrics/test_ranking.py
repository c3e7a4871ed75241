"""Ranking metrics against scikit-learn and hand counts."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score

from clipkit.embeddings import normalize_rows
from clipkit.metrics.ranking import average_precisions, first_ranks, ndcgs, relevant_ranks
from clipkit.metrics.retrieval import hit_ranks


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries = normalize_rows(rng.normal(size=(17, 6)).astype(np.float32))
    items = normalize_rows(rng.normal(size=(40, 6)).astype(np.float32))
    relevant = rng.random((17, 40)) < 0.15
    relevant[np.arange(17), rng.integers(40, size=17)] = True
    asked, answers = np.nonzero(relevant)
    shuffled = rng.permutation(len(asked))
    asked, answers = asked[shuffled], answers[shuffled]

    ranks = relevant_ranks(queries, items, asked, answers)

    similarities = queries @ items.T
    precisions = [average_precision_score(*row) for row in zip(relevant, similarities, strict=True)]
    np.testing.assert_allclose(average_precisions(ranks, asked, 17), precisions, atol=1e-12)
    for k in (1, 5, 10):
        gains = [
            ndcg_score(relevant[[query]], similarities[[query]], k=k)
            for query in range(len(queries))
        ]
        np.testing.assert_allclose(ndcgs(ranks, asked, 17, k=k), gains, atol=1e-12)
    np.testing.assert_array_equal(first_ranks(ranks, asked, 17), hit_ranks(similarities, relevant))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    queries = normalize_rows(rng.normal(size=(9, 4)).astype(np.float32))
    items = normalize_rows(rng.normal(size=(11, 4)).astype(np.float32))
    asked, answers = np.nonzero(rng.random((9, 11)) < 0.3)
    whole = relevant_ranks(queries, items, asked, answers)
    monkeypatch.setattr("clipkit.metrics.ranking._BLOCK_CELLS", 22)
    np.testing.assert_array_equal(relevant_ranks(queries, items, asked, answers), whole)


def test_equally_close_items_are_ranked_by_their_number() -> None:
    constant = np.array([[1.0, 0.0]], dtype=np.float32)
    ranks = relevant_ranks(constant, constant.repeat(4, axis=0), np.zeros(2, int), np.array([3, 1]))
    assert ranks.tolist() == [3, 1]
