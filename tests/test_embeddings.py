"""Embeddings: norms, cosines, top_k and mixing by hand, and the space that rows keep."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clipkit.embeddings import (
    EmbeddingArray,
    common_space,
    cosine_similarity,
    mix_embeddings,
    normalize_rows,
    top_k,
)
from clipkit.errors import InputError, SpaceMismatchError


def test_normalize_rows_gives_norm_one_and_keeps_the_direction() -> None:
    rows = normalize_rows([[3.0, 4.0], [-5.0, 12.0]])
    np.testing.assert_allclose(rows, [[0.6, 0.8], [-5 / 13, 12 / 13]], atol=1e-7)
    assert rows.dtype == np.float32


def test_normalize_rows_survives_the_largest_features() -> None:
    np.testing.assert_allclose(normalize_rows([[3e38, 4e38 / 2]]), [[0.8321, 0.5547]], atol=1e-4)


@pytest.mark.parametrize("row", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_normalize_rows_without_direction_raises(row: list[float]) -> None:
    with pytest.raises(InputError, match=r"row 1 of the features is zero or not finite"):
        normalize_rows([[1.0, 0.0], row])


def test_normalize_rows_of_no_rows_is_empty() -> None:
    assert normalize_rows(np.empty((0, 5))).shape == (0, 5)


def test_normalize_rows_of_one_vector_raises() -> None:
    with pytest.raises(InputError, match=r"shape \(N, D\), got \(3,\)"):
        normalize_rows([1.0, 2.0, 3.0])


def test_cosine_similarity_by_hand() -> None:
    first = [[1.0, 0.0], [0.6, 0.8]]
    second = [[0.0, 1.0], [1.0, 0.0], [0.8, 0.6]]
    expected = [[0.0, 1.0, 0.8], [0.8, 0.6, 0.96]]
    np.testing.assert_allclose(cosine_similarity(first, second), expected, atol=1e-6)


def test_cosine_similarity_never_leaves_its_range() -> None:
    row = np.full((1, 3), np.float32(0.57735032))  # its square sums to a little more than 1
    assert cosine_similarity(row, row).max() <= 1.0


def test_cosine_similarity_of_other_dimensions_raises() -> None:
    with pytest.raises(InputError, match=r"got \(1, 2\) and \(1, 3\)"):
        cosine_similarity([[1.0, 0.0]], [[1.0, 0.0, 0.0]])


@given(
    arrays(np.float32, st.integers(1, 60), elements=st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0])),
    st.integers(1, 70),
)
def test_top_k_equals_a_stable_full_sort(scores: np.ndarray, k: int) -> None:
    reference = sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:k]
    assert top_k(scores, k).tolist() == reference


def test_top_k_puts_nan_last() -> None:
    assert top_k([np.nan, 0.1, -1.0], 3).tolist() == [1, 2, 0]
    assert top_k([np.nan, 0.1, -1.0], 2).tolist() == [1, 2]
    assert top_k([np.nan, 0.1, -1.0], 1).tolist() == [1]


@pytest.mark.parametrize("k", [0, -3])
def test_top_k_of_nothing_raises(k: int) -> None:
    with pytest.raises(InputError, match=f"k must be at least 1, got {k}"):
        top_k([1.0], k)


def test_top_k_of_a_matrix_raises() -> None:
    with pytest.raises(InputError, match=r"shape \(M,\)"):
        top_k([[1.0]], 1)


def test_mix_embeddings_by_hand() -> None:
    # 1*(1,0) + 0.75*(0.6,0.8) - 0.15*(0,1) = (1.45, 0.45), of norm 1.518223
    mixed = mix_embeddings([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], [1.0, 0.75, -0.15])
    np.testing.assert_allclose(mixed, [[1.45 / 1.518223, 0.45 / 1.518223]], atol=1e-6)


def test_mix_embeddings_does_not_depend_on_the_scale_of_weights() -> None:
    rows = [[1.0, 0.0], [0.6, 0.8]]
    np.testing.assert_allclose(
        mix_embeddings(rows, [1.0, 2.0]), mix_embeddings(rows, [10.0, 20.0]), atol=1e-6
    )


def test_mix_embeddings_that_cancel_out_raises() -> None:
    with pytest.raises(InputError, match="cancel out"):
        mix_embeddings([[1.0, 0.0], [1.0, 0.0]], [1.0, -1.0])


def test_mix_embeddings_of_one_thing_in_two_precisions_cancels_out() -> None:
    row = normalize_rows(np.random.default_rng(0).normal(size=(1, 512)))
    rounded = normalize_rows(row.astype(np.float16))
    assert not np.array_equal(row, rounded)
    with pytest.raises(InputError, match="cancel out"):
        mix_embeddings(np.concatenate([row, rounded]), [1.0, -1.0])


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1.0], "got 1 weights"), ([], "got 0 weights"), ([1.0, np.nan], "finite")],
)
def test_mix_embeddings_with_wrong_weights_raises(weights: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mix_embeddings([[1.0, 0.0], [0.0, 1.0]], weights)


# --- norms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [3.0, 0.0, 0.98, np.nan, 1e30])
def test_rows_that_are_no_embeddings_are_refused(factor: float) -> None:
    rows = np.eye(3, dtype=np.float32)
    rows[1] *= factor
    for sides in ((rows, np.eye(3)), (np.eye(3), rows)):
        with pytest.raises(InputError, match=r"in row 1; 1 of 3 .*normalize_rows does that"):
            cosine_similarity(*sides)


@pytest.mark.parametrize("mantissa_bits", [10, 7])  # of float16 and of bfloat16
def test_rows_normalised_in_half_precision_are_embeddings(mantissa_bits: int) -> None:
    def rounded(values: np.ndarray) -> np.ndarray:
        mantissa, exponent = np.frexp(values)
        units = np.round(mantissa * 2 ** (mantissa_bits + 1))
        nearest: np.ndarray = np.ldexp(units, exponent - mantissa_bits - 1)
        return nearest

    rows = np.random.default_rng(0).standard_normal((2000, 16))
    halved = rounded(rows / rounded(np.linalg.norm(rows, axis=1, keepdims=True)))
    assert np.abs(np.linalg.norm(halved, axis=1) - 1).max() > 2 ** -(mantissa_bits + 3)
    exact = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    error = np.abs(cosine_similarity(halved, exact[:5]) - exact @ exact[:5].T).max()
    assert error < 2 * 2**-mantissa_bits


# --- spaces ---------------------------------------------------------------------------------------


def in_space(space_id: str | None = "a") -> EmbeddingArray:
    """Return six embeddings of four dimensions."""
    rows = np.random.default_rng(0).standard_normal((6, 4))
    return EmbeddingArray(normalize_rows(rows), space_id)


WHOLE_ROWS: dict[str, Callable[[EmbeddingArray], Any]] = {
    "slice": lambda rows: rows[1:3],
    "one row": lambda rows: rows[0],
    "numbers": lambda rows: rows[[4, 1]],
    "mask": lambda rows: rows[np.asarray(rows)[:, 0] > 0],
    "iteration": lambda rows: next(iter(rows)),
    "copy": lambda rows: copy.copy(rows),
    "deepcopy": lambda rows: copy.deepcopy(rows),
    "pickle": lambda rows: pickle.loads(pickle.dumps(rows)),
    "pickle of one row": lambda rows: pickle.loads(pickle.dumps(rows[0])),
    "one row as two dimensions": lambda rows: rows[0].reshape(1, -1),
    "new axis": lambda rows: rows[0][None],
    "astype": lambda rows: rows.astype(np.float16),
    "concatenate": lambda rows: np.concatenate([rows, rows]),
    "stack": lambda rows: np.stack([rows[0], rows[1]]),
    "vstack": lambda rows: np.vstack([rows, rows]),
    "append": lambda rows: np.append(rows, rows, axis=0),
    "take": lambda rows: np.take(rows, [0], axis=0),
    "take, the method": lambda rows: rows.take([0], axis=0),
    "repeat": lambda rows: np.repeat(rows, 2, axis=0),
    "split": lambda rows: np.array_split(rows, 2)[1],
    "normalize_rows": normalize_rows,
    "mix_embeddings": lambda rows: mix_embeddings(rows, [1.0] * 6),
    "mix_embeddings of a list": lambda rows: mix_embeddings(list(rows), [1.0] * 6),
    "top_k": lambda rows: rows[top_k([0.1, 0.9], 1)],
}
OTHER_NUMBERS: dict[str, Callable[[EmbeddingArray], Any]] = {
    "product": lambda rows: rows * 3,
    "product from the left": lambda rows: 3 * rows,
    "in-place product": lambda rows: rows.copy().__imul__(3),
    "negative": lambda rows: -rows,
    "matmul": lambda rows: rows @ np.eye(4),
    "dot": lambda rows: np.dot(rows, np.eye(4)),
    "dot, the method": lambda rows: rows.dot(np.eye(4)),
    "einsum": lambda rows: np.einsum("nd,de->ne", rows, np.eye(4)),
    "mean": lambda rows: rows.mean(axis=0),
    "mean, the function": lambda rows: np.mean(rows, axis=0),
    "cumsum": lambda rows: rows.cumsum(axis=0),
    "round": lambda rows: rows.round(2),
    "clip": lambda rows: np.clip(rows, 0, 1),
    "where": lambda rows: np.where(rows > 0, rows, 0),
    "zeros_like": lambda rows: np.zeros_like(rows),
    "qr": lambda rows: np.linalg.qr(rows)[0],
    "columns": lambda rows: rows[:, :2],
    "side by side": lambda rows: np.hstack([rows, in_space("b")]),
    "transpose": lambda rows: rows.T,
    "asarray": np.asarray,
    "together with unknown rows": lambda rows: np.concatenate([rows, np.asarray(rows)]),
}


@pytest.mark.parametrize("name", WHOLE_ROWS)
def test_whole_rows_keep_their_space(name: str) -> None:
    assert WHOLE_ROWS[name](in_space()).space_id == "a"


@pytest.mark.parametrize("name", OTHER_NUMBERS)
def test_other_numbers_are_of_no_space(name: str) -> None:
    assert getattr(OTHER_NUMBERS[name](in_space()), "space_id", None) is None


@pytest.mark.parametrize("name", [*WHOLE_ROWS, *OTHER_NUMBERS])
def test_a_space_changes_no_number(name: str) -> None:
    function = {**WHOLE_ROWS, **OTHER_NUMBERS}[name]
    if "method" not in name and name not in ("in-place product", "copy", "deepcopy"):
        np.testing.assert_array_equal(function(in_space()), function(in_space(None)))
    plain = np.asarray(in_space())
    np.testing.assert_array_equal(np.asarray(function(in_space())), function(plain))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "compare",
    [
        cosine_similarity,
        lambda first, second: np.concatenate([first, second]),
        lambda first, second: np.stack([first[0], second[0]]),
        lambda first, second: cosine_similarity([first[0]], [second[0]]),
        lambda first, second: mix_embeddings([first[0], second[1]], [1.0, 1.0]),
        common_space,
    ],
)
def test_two_spaces_never_meet(compare: Callable[..., Any]) -> None:
    compare(in_space("a"), in_space("a"))
    compare(in_space("a"), np.asarray(in_space("b")))  # whose space nobody knows any more
    with pytest.raises(SpaceMismatchError, match="two spaces, a and b"):
        compare(in_space("a"), in_space("b"))
