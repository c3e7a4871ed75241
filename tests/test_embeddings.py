import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clipkit.embeddings import cosine_similarity, mix_embeddings, normalize_rows, top_k
from clipkit.errors import InputError


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
        cosine_similarity(np.ones((1, 2)), np.ones((1, 3)))


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
