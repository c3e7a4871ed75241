"""Embeddings in fewer bits: codes from arithmetic, error bounds, recall, files, hostile input."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import clipkit
from clipkit.errors import InputError, SpaceMismatchError
from clipkit.quantizer import PRECISIONS, EmbeddingQuantizer


def unit_rows(count: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """Return rows as CLIP has them: a large common part, dimensions of unequal spread."""
    rng = np.random.default_rng(seed)
    spread = np.geomspace(0.2, 3.0, width)
    return clipkit.normalize_rows(rng.normal(size=(count, width)) * spread + 2 * spread[::-1])


def by_hand(precision: Any) -> EmbeddingQuantizer:
    center, step = np.array([0.5, 0.0, 0.25], np.float32), np.array([0.01, 0.02, 0.5], np.float32)
    return EmbeddingQuantizer(precision, center, step, "fake")


def test_codes_are_steps_from_the_centre() -> None:
    rows = [[0.6, 0.8, 0.0], [0.48, -0.6, 0.64]]
    codes = by_hand("int8").quantize(rows)
    # (.6 - .5) / .01 = 10, .8 / .02 = 40, -.25 / .5 rounds to 0 (half to even); -2, -30, .78 -> 1
    assert codes.tolist() == [[10, 40, 0], [-2, -30, 1]]
    np.testing.assert_allclose(
        by_hand("int8").dequantize(codes), [[0.6, 0.8, 0.25], [0.48, -0.6, 0.75]], atol=1e-6
    )


def test_what_is_too_far_is_cut_off() -> None:
    quantizer = EmbeddingQuantizer("int8", np.zeros(2, np.float32), np.full(2, 0.001, np.float32))
    assert quantizer.quantize([[1.0, 0.0], [0.0, -1.0]]).tolist() == [[127, 0], [0, -127]]


def test_bits_say_on_which_side_of_the_centre() -> None:
    codes = by_hand("binary").quantize([[0.6, 0.8, 0.0], [0.48, -0.6, 0.64]])
    assert codes.tolist() == [[0b110_00000], [0b001_00000]]
    np.testing.assert_allclose(
        by_hand("binary").dequantize(codes), [[0.51, 0.02, -0.25], [0.49, -0.02, 0.75]], atol=1e-6
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_similarity_is_the_product_with_what_codes_stand_for(precision: Any) -> None:
    rows, queries = unit_rows(20_000, 24), unit_rows(3, 24, seed=1)
    quantizer = EmbeddingQuantizer.fit(rows[:100], precision)
    codes = quantizer.quantize(rows)
    expected = queries.astype(np.float64) @ quantizer.dequantize(codes).T.astype(np.float64)
    np.testing.assert_allclose(quantizer.similarity(queries, codes), expected, atol=1e-5)


def test_half_precision_and_eight_bits_move_cosines_by_little() -> None:
    rows, queries = unit_rows(500, 64), unit_rows(20, 64, seed=1)
    for precision, error in (("float16", 1e-3), ("int8", 1e-2)):
        name: Any = precision
        quantizer = EmbeddingQuantizer.fit(rows[:250], name)
        scores = quantizer.similarity(queries, quantizer.quantize(rows))
        assert np.abs(scores - queries @ rows.T).max() < error
        assert quantizer.quantize(rows).nbytes == rows.nbytes // (2 if name == "float16" else 4)
    bits = EmbeddingQuantizer.fit(rows, "binary").quantize(rows)
    assert bits.nbytes == rows.nbytes // 32


def slow_recall(
    queries: NDArray[Any], rows: NDArray[Any], scores: NDArray[Any], k: int, taken: int
) -> float:
    shares = []
    for query, some in zip(queries, scores, strict=True):
        nearest = set(np.argsort(-(rows @ query))[:k].tolist())
        shares.append(len(nearest & set(np.argsort(-some)[:taken].tolist())) / k)
    return float(np.mean(shares))


@pytest.mark.parametrize("precision", ["int8", "binary"])
@pytest.mark.parametrize(("k", "candidates"), [(1, 1), (10, 1), (10, 4), (500, 1)])
def test_recall_is_counted(precision: Any, k: int, candidates: int) -> None:
    rows, queries = unit_rows(300, 32), unit_rows(7, 32, seed=1)
    quantizer = EmbeddingQuantizer.fit(unit_rows(100, 32, seed=2), precision)
    scores = quantizer.similarity(queries, quantizer.quantize(rows))
    expected = slow_recall(queries, rows, scores, min(k, 300), k * candidates)
    assert quantizer.recall(queries, rows, k=k, candidates=candidates) == pytest.approx(expected)


def test_of_copies_any_is_right() -> None:
    rows = np.repeat(unit_rows(40, 16), 5, axis=0)
    assert EmbeddingQuantizer.fit(rows, "float16").recall(rows[::5], rows, k=3) == 1.0


def test_own_centres_beat_one_scale_for_all() -> None:
    rows, queries = unit_rows(2000, 64), unit_rows(50, 64, seed=1)
    recall = EmbeddingQuantizer.fit(rows[:500], "int8").recall(queries, rows[500:])
    one_scale = np.round(rows[500:] * 127) / 127
    assert recall > slow_recall(queries, rows[500:], queries @ one_scale.T, 10, 10) + 0.02


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_constant_dimension_does_no_harm(precision: Any) -> None:
    rows = unit_rows(64, 8)
    rows[:, 3] = 0
    rows = np.asarray(clipkit.normalize_rows(rows))
    quantizer = EmbeddingQuantizer.fit(rows, precision)
    assert np.isfinite(quantizer.similarity(rows, quantizer.quantize(rows))).all()
    same = np.tile(rows[:1], (40, 1))
    quantizer = EmbeddingQuantizer.fit(same, precision)
    assert np.isfinite(quantizer.similarity(rows, quantizer.quantize(rows))).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_saved_quantizer_is_the_same(precision: Any, tmp_path: Path) -> None:
    rows = clipkit.EmbeddingArray(unit_rows(64, 20), "5fd1")
    quantizer = EmbeddingQuantizer.fit(rows, precision)
    quantizer.save(tmp_path / "quantizer.npz")
    again = EmbeddingQuantizer.load(tmp_path / "quantizer.npz")
    assert (again.precision, again.space_id) == (precision, "5fd1")
    np.testing.assert_array_equal(again.quantize(rows), quantizer.quantize(rows))
    codes = quantizer.quantize(rows)
    np.testing.assert_array_equal(again.dequantize(codes), quantizer.dequantize(codes))


def test_files_that_are_no_quantizer_are_told(tmp_path: Path) -> None:
    rows = unit_rows(64, 20)
    good = tmp_path / "good.npz"
    EmbeddingQuantizer.fit(rows, "int8").save(good)
    files = {"text.npz": b"hello", "empty.npz": b"", "cut.npz": good.read_bytes()[:200]}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    np.savez(tmp_path / "other.npz", embeddings=rows)
    np.savez(
        tmp_path / "short.npz",
        center=np.zeros(3, np.float32),
        step=np.ones(2, np.float32),
        settings=np.array('{"precision": "int8", "space_id": null}'),
    )
    np.savez(
        tmp_path / "zero.npz",
        center=np.zeros(3, np.float32),
        step=np.zeros(3, np.float32),
        settings=np.array('{"precision": "int8", "space_id": null}'),
    )
    np.savez(
        tmp_path / "unknown.npz",
        center=np.zeros(3, np.float32),
        step=np.ones(3, np.float32),
        settings=np.array('{"precision": ["int4"], "space_id": null}'),
    )
    for name in [*files, "other.npz", "short.npz", "zero.npz", "unknown.npz", "nothing.npz"]:
        with pytest.raises(
            InputError, match=r"is no quantizer, as EmbeddingQuantizer\.save writes"
        ):
            EmbeddingQuantizer.load(tmp_path / name)
    for place in ("nowhere/quantizer.npz", "null\0.npz"):
        with pytest.raises(InputError, match=r"cannot be written: (No such file|embedded null)"):
            EmbeddingQuantizer.fit(rows, "int8").save(tmp_path / place)
    with pytest.raises(InputError, match=r"path must end with \.npz"):
        EmbeddingQuantizer.fit(rows, "int8").save(tmp_path / "quantizer.bin")


def test_another_space_is_refused() -> None:
    quantizer = EmbeddingQuantizer.fit(clipkit.EmbeddingArray(unit_rows(64, 8), "one"), "int8")
    others = clipkit.EmbeddingArray(unit_rows(2, 8), "two")
    with pytest.raises(SpaceMismatchError, match=r"space two, .* fitted on one"):
        quantizer.quantize(others)
    with pytest.raises(SpaceMismatchError, match="the queries are of the space two"):
        quantizer.similarity(others, quantizer.quantize(unit_rows(3, 8)))


def test_what_does_not_fit_is_told() -> None:
    rows = unit_rows(64, 8)
    some: Any = np.array(["int8", "binary"])
    with pytest.raises(InputError, match='"float16", "int8" or "binary", got array'):
        EmbeddingQuantizer.fit(rows, some)
    some = "int4"
    with pytest.raises(InputError, match='"float16", "int8" or "binary", got \'int4\''):
        EmbeddingQuantizer.fit(rows, some)
    with pytest.raises(InputError, match=r"at least 32 embeddings .* got 31"):
        EmbeddingQuantizer.fit(rows[:31], "int8")
    assert EmbeddingQuantizer.fit(rows[:1], "float16").quantize(rows).dtype == np.float16
    with pytest.raises(InputError, match="norm 1"):
        EmbeddingQuantizer.fit(rows * 2, "int8")
    quantizer = EmbeddingQuantizer.fit(rows, "binary")
    with pytest.raises(InputError, match=r"must have the 8 dimensions .* got 9"):
        quantizer.quantize(unit_rows(3, 9))
    for codes in (rows, np.zeros((3, 2), np.uint8), np.zeros(3, np.uint8), "codes", None):
        some = codes
        with pytest.raises(InputError, match="codes"):
            quantizer.similarity(rows, some)
    for k, candidates in ((0, 1), (1, 0), (1.5, 1), (True, 1)):
        some = k
        with pytest.raises(InputError, match=r"k must be|candidates must be"):
            quantizer.recall(rows, rows, k=some, candidates=candidates)
    with pytest.raises(InputError, match="at least one query and one embedding, got 0 and 64"):
        quantizer.recall(rows[:0], rows)


@given(width=st.integers(1, 40), count=st.integers(0, 5), seed=st.integers(0, 99), data=st.data())
def test_codes_of_any_size_come_back(width: int, count: int, seed: int, data: Any) -> None:
    precision = data.draw(st.sampled_from(PRECISIONS))
    rng = np.random.default_rng(seed)
    rows = clipkit.normalize_rows(rng.normal(size=(40 + count, width)))
    quantizer = EmbeddingQuantizer.fit(rows[:40], precision)
    codes = quantizer.quantize(rows[40:])
    back = quantizer.dequantize(codes)
    assert back.shape == (count, width)
    if precision == "int8":
        inside = np.abs(rows[40:] - quantizer.center) <= 127 * quantizer.step
        error = np.abs(back - rows[40:])
        assert (error[inside] <= (quantizer.step / 2 + 1e-6)[None].repeat(count, 0)[inside]).all()
    if precision == "binary":
        np.testing.assert_array_equal(back > quantizer.center, rows[40:] > quantizer.center)
