"""The default engine against torch in float32, on real images: the same results."""

import json
from pathlib import Path

import numpy as np
import pytest

import clipkit
from tests.conftest import SAMPLES

pytestmark = pytest.mark.slow

TOP = 20
TIE = 1e-6  # of a cosine: nearer ones may change places by rounding


def test_both_engines_rank_the_samples_alike(samples: list[Path]) -> None:
    """The first 20 of 45 images for 38 queries, from the files on."""
    queries = [entry["query"] for entry in json.loads((SAMPLES / "queries.json").read_text())]
    assert len(queries) >= 30
    similarities = []
    for engine in ("onnx", "torch"):
        encoder = clipkit.load(
            engine=engine,
            device="cpu",
            precision="fp32",
            is_caching_texts=False,
        )
        similarities.append(encoder.encode_texts(queries) @ encoder.encode_images(samples).T)
    onnx, torch = similarities
    assert not np.array_equal(onnx, torch)  # two engines did compute
    np.testing.assert_allclose(onnx, torch, atol=1e-5)
    order = np.argsort(-onnx, axis=1, kind="stable")[:, :TOP]
    expected = np.argsort(-torch, axis=1, kind="stable")[:, :TOP]
    for query, (row, mine, theirs) in enumerate(zip(torch, order, expected, strict=True)):
        gaps = np.abs(row[mine] - row[theirs])
        assert gaps.max() < TIE, f"{queries[query]!r}: {mine[gaps >= TIE]}, {theirs[gaps >= TIE]}"
