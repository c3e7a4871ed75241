"""The ONNX engine: sessions when they are needed, threads at once, and what is refused."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from clipkit.errors import CheckpointError, InputError
from clipkit.runtime import onnx_runtime
from clipkit.runtime.bundle import MANIFEST, graph_name
from clipkit.runtime.onnx_runtime import OnnxRuntime
from tests.runtime.conftest import CONTEXT_LENGTH, KEPT_DIMS


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Graph and threads of every session as it is made, on a machine of three cores."""
    sessions: list[tuple[str, int]] = []
    real = onnxruntime.InferenceSession

    def make(path: str, options: object, **rest: object) -> object:
        sessions.append((Path(path).name, options.intra_op_num_threads))  # type: ignore[attr-defined]
        return real(path, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", make)
    monkeypatch.setattr(onnx_runtime, "usable_cores", lambda: 3)
    return sessions


def _pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 3, 64, 64)).astype(np.float32)


def test_a_query_loads_one_tower_and_only_when_it_comes(
    bundle: Path, made: list[tuple[str, int]]
) -> None:
    runtime = OnnxRuntime(bundle)
    assert made == []
    token_ids = np.ones((1, CONTEXT_LENGTH), np.int64)
    runtime.text_features(token_ids)
    runtime.text_features(token_ids)
    assert made == [("text_tower.onnx", 3)]


def test_a_lone_image_has_all_cores_and_batches_a_thread_for_each(
    bundle: Path, made: list[tuple[str, int]]
) -> None:
    runtime = OnnxRuntime(bundle)
    assert runtime.image_workers == 3
    pixels = _pixels(7)
    alone = [runtime.image_features(one[None]) for one in pixels[:2]]
    assert made == [("image_tower.onnx", 3)]
    together = runtime.image_features(pixels)
    assert made[1:] == [("image_tower.onnx", 1)]
    # From here on there is one session, with one copy of the weights.
    alone += [runtime.image_features(one[None]) for one in pixels[2:]]
    assert len(made) == 2
    np.testing.assert_allclose(np.concatenate(alone), together, atol=1e-5)


def test_many_texts_have_a_thread_for_each_part_and_few_share_all_cores(
    bundle: Path, made: list[tuple[str, int]]
) -> None:
    runtime = OnnxRuntime(bundle)
    token_ids = np.random.default_rng(2).integers(1, 11, size=(9, CONTEXT_LENGTH))
    few = runtime.text_features(token_ids[:8])
    assert made == [("text_tower.onnx", 3)]
    many = runtime.text_features(token_ids)
    assert made[1:] == [("text_tower.onnx", 1)]
    np.testing.assert_allclose(many[:8], few, atol=1e-5)
    runtime.text_features(token_ids[:1])
    assert len(made) == 2


def test_only_few_texts_in_float32_have_their_graph_read_as_it_is(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels: list[tuple[str, object]] = []
    real = onnxruntime.InferenceSession

    def make(path: str, options: Any, **rest: object) -> object:
        levels.append((Path(path).name, options.graph_optimization_level))
        return real(path, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", make)
    runtime = OnnxRuntime(bundle)
    token_ids = np.random.default_rng(2).integers(1, 11, size=(9, CONTEXT_LENGTH))
    few, many = runtime.text_features(token_ids[:1]), runtime.text_features(token_ids)
    np.testing.assert_allclose(few, many[:1], atol=1e-5)
    runtime.image_features(_pixels(1))
    none, everything = (
        getattr(onnxruntime.GraphOptimizationLevel, name)
        for name in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL")
    )
    assert levels == [
        ("text_tower.onnx", none),
        ("text_tower.onnx", everything),
        ("image_tower.onnx", everything),
    ]


def test_no_inputs_give_no_rows(bundle: Path) -> None:
    runtime = OnnxRuntime(bundle)
    assert runtime.image_features(_pixels(0)).shape == (0, KEPT_DIMS)
    assert runtime.text_features(np.ones((0, CONTEXT_LENGTH), np.int64)).shape == (0, KEPT_DIMS)


def test_many_threads_get_their_own_rows_back(bundle: Path, made: list[tuple[str, int]]) -> None:
    pixels = _pixels(12)
    expected = OnnxRuntime(bundle).image_features(pixels)
    made.clear()
    runtime = OnnxRuntime(bundle)
    with ThreadPoolExecutor(6) as pool:
        parts = list(pool.map(runtime.image_features, np.split(pixels, 6)))
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-5)
    assert made == [("image_tower.onnx", 1)]


def test_a_precision_that_the_bundle_lacks_is_refused_with_its_reason(bundle: Path) -> None:
    with pytest.raises(InputError, match=r"not compiled for int8, only for fp32: .*convolutions"):
        OnnxRuntime(bundle, "int8")
    with pytest.raises(InputError, match=r"not compiled for bf16, only for fp32$"):
        OnnxRuntime(bundle, "bf16")


def test_a_damaged_graph_is_named(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    graph = copy / graph_name("text", "fp32")
    graph.write_bytes(bytes(graph.stat().st_size))
    runtime = OnnxRuntime(copy)
    with pytest.raises(CheckpointError, match=r"text_tower\.onnx cannot be loaded"):
        runtime.text_features(np.ones((1, CONTEXT_LENGTH), np.int64))


def test_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{MANIFEST} cannot be read"):
        OnnxRuntime(tmp_path)
