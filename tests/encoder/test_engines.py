"""Which engine a name becomes, and that both compute the same on real images."""

import json
from pathlib import Path

import numpy as np
import pytest

import clipkit
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from tests.conftest import SAMPLES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"engine": "tensorflow"},
            "engine must be one of auto, onnx, openvino, torch, got 'tensorflow'",
        ),
        ({"engine": "onnx", "device": "cuda"}, "onnx engine runs on the CPU"),
        ({"engine": "onnx", "precision": "bf16"}, "onnx engine runs on the CPU"),
    ],
)
def test_load_refuses_what_does_not_fit(options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        clipkit.load("starter", **options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_starter_is_the_same_on_both_engines(
    starter: Encoder, samples: list[Path], sample_labels: dict[str, str]
) -> None:
    pytest.importorskip("open_clip")
    original = clipkit.load("starter", engine="torch", device="cpu", precision="fp32")
    assert original.engine == "torch"
    assert original.space_id == starter.space_id
    assert original.scoring == starter.scoring
    texts = sorted(set(sample_labels.values()))
    pairs = [
        (starter.encode_images(samples), original.encode_images(samples)),
        (starter.encode_texts(texts), original.encode_texts(texts)),
    ]
    for compiled, reference in pairs:
        cosines = np.einsum("nd,nd->n", compiled, reference)
        assert cosines.mean() >= 0.999
        assert cosines.min() >= 0.99


def test_what_does_not_fit_together_is_refused_with_what_would(tiny_checkpoint: Path) -> None:
    with pytest.raises(InputError, match="openvino, torch, got 'tensorrt'"):
        clipkit.load(engine="tensorrt")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="runs on the CPU in fp32 or int8, got device 'cuda'"):
        clipkit.load(engine="onnx", device="cuda")
    with pytest.raises(InputError, match="is not compiled, which engine onnx needs: run  clipkit"):
        clipkit.load(tiny_checkpoint, engine="onnx")
    with pytest.raises(InputError, match="is not compiled, which int8 needs: run  clipkit compile"):
        clipkit.load(tiny_checkpoint, precision="int8")
    with pytest.raises(InputError, match="starter is not compiled for int8, only for fp32: most"):
        clipkit.load("starter", precision="int8")


TOP = 20


TIE = 1e-6  # of a cosine: nearer ones may change places by rounding


@pytest.mark.slow
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
            cache_texts=False,
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
