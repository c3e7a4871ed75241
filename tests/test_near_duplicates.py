"""Near duplicates by hand, and against going through all pairs one by one."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from clipkit import near_duplicates
from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.errors import InputError
from clipkit.near_duplicates import mark_near_duplicates, rows_near_another


def _slow_rows(embeddings: Embeddings, cosine: float) -> list[int]:
    close = {
        row
        for pair in itertools.combinations(range(len(embeddings)), 2)
        if float(embeddings[pair[0]] @ embeddings[pair[1]]) >= cosine
        for row in pair
    }
    return sorted(close)


@pytest.mark.parametrize("block", [1, 4, 7, 50])
def test_only_rows_with_another_near_them_are_found(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "_BLOCK", block)
    embeddings = normalize_rows(np.random.default_rng(1).standard_normal((20, 3)))
    told: list[tuple[int, int | None]] = []
    rows = rows_near_another(embeddings, 0.95, progress=lambda *progress: told.append(progress))
    expected = _slow_rows(embeddings, 0.95)
    assert 3 < len(expected) < 20
    assert rows.tolist() == expected
    assert told == sorted(told) and told[-1] == (20, 20)
    assert rows_near_another(embeddings.astype(np.float16), 0.95).tolist() == expected
    assert rows_near_another(embeddings[:0], 0.95).tolist() == []


def on_circle(*degrees: float) -> Embeddings:
    """Return embeddings whose cosines are those of the differences of angles."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_chains_do_not_grow() -> None:
    # Within 10 degrees is near. 8 is near 0; 16 is near 8, which is not kept, so it is kept.
    epsilon = 1 - np.cos(np.radians(10))
    found = mark_near_duplicates(on_circle(0, 8, 16, 24, 90), epsilon=epsilon)
    assert found.original.tolist() == [-1, 0, -1, 2, -1]
    near = np.cos(np.radians(8))
    np.testing.assert_allclose(found.cosine, [0, near, 0, near, 0], atol=1e-6)


def test_the_first_is_kept_and_the_closest_kept_is_named() -> None:
    epsilon = 1 - np.cos(np.radians(10))
    # 9 is near both 0 and 18; 11 is near 18 only (7 degrees), for 9 is not kept.
    assert mark_near_duplicates(on_circle(0, 18, 9.5, 11), epsilon=epsilon).original.tolist() == [
        -1, -1, 1, 1,
    ]  # fmt: skip
    assert mark_near_duplicates(on_circle(9, 0, 18), epsilon=epsilon).original.tolist() == [
        -1, 0, 0,
    ]  # fmt: skip


@pytest.mark.parametrize("block", [1, 2])  # against earlier blocks, and within one
def test_exactly_the_border_is_not_near(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_BLOCK", block)
    rows = np.array([[1, 0], [0.5, 0.75**0.5]], dtype=np.float32)  # a cosine of exactly .5
    assert mark_near_duplicates(rows, epsilon=0.5).original.tolist() == [-1, -1]
    assert mark_near_duplicates(rows, epsilon=0.5001).original.tolist() == [-1, 0]


@given(
    st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2), st.integers(-2, 2)), max_size=30),
    st.sampled_from([0.02, 0.1, 0.3, 0.7, 1.1]),
    st.integers(1, 8),
)
def test_agrees_with_a_slow_reference_whatever_the_blocks(
    vectors: list[tuple[int, int, int]], epsilon: float, block: int
) -> None:
    vectors = [vector for vector in vectors if any(vector)]
    rows = normalize_rows(np.array(vectors, dtype=np.float32).reshape(-1, 3))
    cosines = rows.astype(np.float64) @ rows.astype(np.float64).T
    assume(not np.isclose(cosines, 1 - epsilon, atol=1e-5).any())
    kept: list[int] = []
    for row in range(len(rows)):
        if all(cosines[row, other] <= 1 - epsilon for other in kept):
            kept.append(row)
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "_BLOCK", block)
        found = mark_near_duplicates(
            rows, epsilon=epsilon, progress=lambda done, total: seen.append(done)
        )
    assert np.flatnonzero(found.original < 0).tolist() == kept
    for row in np.flatnonzero(found.original >= 0).tolist():
        assert found.original[row] in kept
        assert found.original[row] < row
        assert found.cosine[row] == pytest.approx(cosines[row, found.original[row]], abs=1e-6)
    assert seen == [*range(block, len(rows), block), *([len(rows)] if len(rows) else [])]
    # Looking at the kept ones again finds nothing more.
    again = mark_near_duplicates(rows[kept], epsilon=epsilon)
    assert (again.original < 0).all()


@pytest.mark.parametrize("epsilon", [0, 1e-7, -0.1, 2.1, float("nan")])
def test_epsilon_has_a_range(epsilon: float) -> None:
    with pytest.raises(InputError, match="epsilon must be 1e-06 to 2, got"):
        mark_near_duplicates(on_circle(0, 1), epsilon=epsilon)


def test_rows_that_are_no_embeddings_are_refused() -> None:
    with pytest.raises(InputError, match="norm 3 in row 0; 2 of 2 rows"):
        mark_near_duplicates(3 * on_circle(0, 8), epsilon=0.1)
