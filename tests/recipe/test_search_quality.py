"""Average precision of everyday searches: scikit-learn's, by kind of query."""

import numpy as np
import pytest
import torch
from recipe.baselines import ChanceEmbedder
from recipe.search_quality import ALL_KINDS, SearchSuite, gain_lines, measure_search, search_lines
from recipe.validation import KINDS
from sklearn.metrics import average_precision_score
from torch.nn.functional import normalize

NUM_PICTURES = 40


@pytest.fixture
def suite() -> SearchSuite:
    """Three queries of each kind over 40 pictures; each has 1 to 12 answers."""
    draw = np.random.default_rng(0)
    kinds = tuple(np.repeat(KINDS, 3))
    matches = np.zeros((len(kinds), NUM_PICTURES), bool)
    for row in matches:
        row[draw.choice(NUM_PICTURES, draw.integers(1, 13), replace=False)] = True
    words = tuple(f"query {number}" for number in range(len(kinds)))
    return SearchSuite((None,) * NUM_PICTURES, words, kinds, matches)  # type: ignore[arg-type]


def test_average_precision_is_scikit_learns(suite: SearchSuite) -> None:
    embedder = ChanceEmbedder(NUM_PICTURES, seed=1)
    found = measure_search("chance", suite, embedder)
    similarities = embedder.embed_texts(suite.words) @ embedder.embed_rows(range(NUM_PICTURES)).T
    expected = [
        average_precision_score(row, scores)
        for row, scores in zip(suite.matches, similarities.numpy(), strict=True)
    ]
    assert found.average_precision == pytest.approx(np.array(expected))
    means = found.mean_by_kind()
    assert list(means) == [ALL_KINDS, *KINDS]
    assert means[ALL_KINDS] == pytest.approx(np.mean(expected))
    assert means[KINDS[2]] == pytest.approx(np.mean(expected[6:9]))
    order = similarities.argsort(1, descending=True).numpy()
    for number, row in enumerate(suite.matches):
        assert found.is_first_right[number] == row[order[number, 0]]
        right = row[order[number, :10]].sum()
        assert found.recall[number] == pytest.approx(right / min(10, row.sum()))


def test_tables_say_what_was_found(suite: SearchSuite) -> None:
    """All right pictures first is 100; what nothing changes gains nothing."""

    class Oracle(ChanceEmbedder):
        def embed_rows(self, rows: object) -> torch.Tensor:
            return torch.eye(NUM_PICTURES)

        def embed_texts(self, texts: object) -> torch.Tensor:
            right = torch.from_numpy(suite.matches).float()
            return normalize(right, dim=1)

    best = measure_search("oracle", suite, Oracle(NUM_PICTURES, seed=0))
    header, _, row = search_lines([best])
    assert header.startswith("| model | all (21) | noun (3) | colour and noun (3) |")
    assert row == "| oracle |" + " 100.0 |" * 10
    chance = measure_search("chance", suite, ChanceEmbedder(NUM_PICTURES, seed=0))
    same = gain_lines(chance, chance)
    assert same[0] == "  all: +0.0 [+0.0, +0.0]"
    gain = 100 * (1 - chance.mean_by_kind()[ALL_KINDS])
    assert gain_lines(chance, best)[0].startswith(f"  all: {gain:+.1f} [+")
