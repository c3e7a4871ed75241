"""How close embeddings are: counted by hand, and the golden vectors of a bundle."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipkit.embeddings import normalize_rows
from clipkit.errors import CheckpointError
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.models.sources import resolve_source
from clipkit.runtime.bundle import GOLDEN_VECTORS, Parity
from clipkit.runtime.parity import ReferenceEmbeddings, compare

CLOSE = Parity(45, 83, 0.9999, 0.999, 0.9999, 0.999, 1.0, 1.0, 0.01)


def test_cosines_and_ranks_are_what_is_counted_by_hand() -> None:
    axes = np.eye(6, dtype=np.float32)
    texts = normalize_rows(axes + 0.1 * np.array([6, 5, 4, 3, 2, 1], np.float32))
    turned = axes.copy()
    turned[0] = [0.6, 0.8, 0, 0, 0, 0]  # cosine 0.6 to what it was
    parity = compare(ReferenceEmbeddings(axes, texts), ReferenceEmbeddings(turned, texts))
    assert (parity.num_images, parity.num_texts) == (6, 6)
    assert parity.mean_image_cosine == pytest.approx((5 + 0.6) / 6)
    # The percentile lies 5 % of the way from the lowest to the next: 0.6 + 0.05 * 0.4.
    assert parity.p1_image_cosine == pytest.approx(0.62)
    assert parity.mean_text_cosine == pytest.approx(1)
    assert parity.p1_text_cosine == pytest.approx(1)
    # Image 0 scores .6 of coordinate 0 and .8 of coordinate 1. Text 0 (1.6, .5, ...) finds it
    # first both times. Text 1 (.6, 1.5, ...) gives it 1.56, more than image 1's 1.5.
    # The others give it at most .76, less than their own axis' 1.1 and more.
    assert parity.same_first_image == pytest.approx(5 / 6)
    # Each text leaves out its farthest of six, which is image 5 for all but text 5, whose is 4.
    assert parity.top5_overlap == 1


def test_ranks_that_leave_the_best_five_are_counted() -> None:
    images = np.eye(10, dtype=np.float32)
    weights = np.arange(10, 0, -1, dtype=np.float32)
    text = normalize_rows(weights[None])
    other = images[[5, 1, 2, 3, 4, 0, 6, 7, 8, 9]]  # images 0 and 5 have changed places
    parity = compare(ReferenceEmbeddings(images, text), ReferenceEmbeddings(other, text))
    assert parity.same_first_image == 0
    assert parity.top5_overlap == pytest.approx(4 / 5)


def test_a_shift_of_scores_is_counted_in_their_spread() -> None:
    images = np.eye(3, dtype=np.float32)
    texts = np.array([[0.8, 0.6, 0.0]], np.float32)
    # Scores .8, .6, 0: less their mean .4667 they are .3333, .1333, -.4667, of spread .3399.
    other = np.array([[0.6, 0.8, 0.0]], np.float32)
    # What moved: -.2, +.2, 0, of spread .1633.
    parity = compare(ReferenceEmbeddings(images, texts), ReferenceEmbeddings(images, other))
    assert parity.score_shift == pytest.approx(np.sqrt(0.08 / 3) / np.sqrt(1.04 / 9), rel=1e-5)
    # Scores that all fall alike, as by a new dimension that no image has, shift nothing.
    flat = np.full((1, 3), 3**-0.5, np.float32)
    away = np.eye(4, dtype=np.float32)[:3]
    lower = np.array([[0.5, 0.5, 0.5, 0.5]], np.float32)
    before = ReferenceEmbeddings(away, np.append(flat, [[0]], axis=1).astype(np.float32))
    assert compare(before, ReferenceEmbeddings(away, lower)).score_shift == pytest.approx(0)


@pytest.mark.parametrize(
    ("shift", "fp32", "int8", "is_close"),
    [(0.08, True, True, True), (0.0801, False, True, False), (0.2501, False, False, False)],
)
def test_the_gate_for_scores(shift: float, fp32: bool, int8: bool, is_close: bool) -> None:
    parity = dataclasses.replace(CLOSE, score_shift=shift)
    assert (parity.passes("fp32"), parity.passes("int8")) == (fp32, int8)
    assert parity.is_close == is_close


@pytest.mark.parametrize(
    ("side", "mean", "lowest", "fp32", "int8", "is_close"),
    [
        ("image", 0.9990, 0.9950, True, True, True),
        ("text", 0.9989, 0.9950, False, True, False),
        ("image", 0.9990, 0.9949, False, True, True),
        ("text", 0.9990, 0.9899, False, True, False),
        ("image", 0.9900, 0.9700, False, True, False),
        ("text", 0.9899, 0.9700, False, False, False),
        ("image", 0.9900, 0.9699, False, False, False),
        ("text", float("nan"), 0.999, False, False, False),
    ],
)
def test_the_gate(  # each bar is tried on both of its sides
    side: str, mean: float, lowest: float, fp32: bool, int8: bool, is_close: bool
) -> None:
    changes: dict[str, Any] = {f"mean_{side}_cosine": mean, f"p1_{side}_cosine": lowest}
    parity = dataclasses.replace(CLOSE, **changes)
    assert (parity.passes("fp32"), parity.passes("int8")) == (fp32, int8)
    assert parity.is_close == is_close


def test_golden_vectors_are_what_the_towers_computed(bundle: Path) -> None:
    torch = pytest.importorskip("torch")
    from clipkit.models.checkpoint import load_towers
    from clipkit.runtime.parity import reference_images, reference_texts

    golden = ReferenceEmbeddings.read(bundle / GOLDEN_VECTORS)
    towers = load_towers(resolve_source(bundle))
    preprocess = Preprocess.from_config(towers.preprocess_cfg, towers.image_size)
    tokenizer = Tokenizer.from_config(towers.model_cfg["text_cfg"], bundle)
    with torch.inference_mode():
        pixels = np.stack([preprocess.pixel_values(path) for path in reference_images()])
        images = towers.image_features(torch.from_numpy(pixels)).numpy()
        texts = towers.text_features(torch.from_numpy(tokenizer(reference_texts()))).numpy()
    np.testing.assert_allclose(golden.images, normalize_rows(images), atol=1e-3)
    np.testing.assert_allclose(golden.texts, normalize_rows(texts), atol=1e-3)


@pytest.mark.parametrize("content", [b"", b"PK", b"not vectors"])
def test_damaged_golden_vectors_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / GOLDEN_VECTORS
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read as golden vectors"):
        ReferenceEmbeddings.read(path)
