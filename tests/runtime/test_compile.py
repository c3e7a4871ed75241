"""Compiling: equal to torch, borrowed weights, folded batch norms, and what the gate refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from clipkit.errors import CheckpointError, InputError  # noqa: E402
from clipkit.models.checkpoint import load_towers  # noqa: E402
from clipkit.models.sources import resolve_source  # noqa: E402
from clipkit.runtime import compile as compiler  # noqa: E402
from clipkit.runtime import graphs  # noqa: E402
from clipkit.runtime.bundle import IMAGE_TOWER, MANIFEST, TEXT_TOWER, Bundle, is_bundle  # noqa: E402
from clipkit.runtime.compile import compile_directory  # noqa: E402
from clipkit.runtime.graphs import fold_batch_norms, stored_tensors  # noqa: E402
from clipkit.runtime.onnx_runtime import OnnxRuntime  # noqa: E402
from tests.runtime.conftest import CONTEXT_LENGTH, KEPT_DIMS  # noqa: E402


def test_graphs_compute_what_the_towers_compute(bundle: Path) -> None:
    towers = load_towers(resolve_source(bundle))
    runtime = OnnxRuntime(bundle)
    random = np.random.default_rng(0)
    pixel_values = random.normal(size=(5, 3, 64, 64)).astype(np.float32)
    token_ids = random.integers(1, 14, size=(4, CONTEXT_LENGTH))
    for length, row in zip((2, 5, 7, 12), token_ids, strict=True):
        row[length:] = 0
    with torch.inference_mode():
        images = towers.image_features(torch.from_numpy(pixel_values)).numpy()
        texts = towers.text_features(torch.from_numpy(token_ids)).numpy()
    assert images.shape == (5, KEPT_DIMS)
    np.testing.assert_allclose(runtime.image_features(pixel_values), images, atol=1e-5)
    np.testing.assert_allclose(runtime.text_features(token_ids), texts, atol=1e-5)
    # One by one, where padding is trimmed to another length, it is the same.
    for row, expected in zip(token_ids, texts, strict=True):
        np.testing.assert_allclose(runtime.text_features(row[None]), expected[None], atol=1e-5)


def test_graphs_hold_no_weights_of_their_own(bundle: Path) -> None:
    weights = (bundle / "open_clip_model.safetensors").stat().st_size
    for name in (IMAGE_TOWER, TEXT_TOWER):
        graph = onnx.load(str(bundle / name), load_external_data=False).graph
        inside = sum(
            np.prod(tensor.dims, dtype=int)
            for tensor in graph.initializer
            if not tensor.external_data and tensor.data_type == onnx.TensorProto.FLOAT
        )
        outside = [tensor for tensor in graph.initializer if tensor.external_data]
        assert outside
        # What is inside are constants of the architecture, such as zero biases.
        assert inside * 4 < weights / 10


def test_graphs_name_no_file_of_the_machine_they_were_made_on(bundle: Path) -> None:
    for name in (IMAGE_TOWER, TEXT_TOWER):
        content = (bundle / name).read_bytes()
        assert str(bundle.parent).encode() not in content
        assert b"site-packages" not in content
        assert b".py" not in content


def test_batch_norms_after_convolutions_are_folded(bundle: Path) -> None:
    graph = onnx.load(str(bundle / IMAGE_TOWER), load_external_data=False).graph
    operations = [node.op_type for node in graph.node]
    assert "Conv" in operations
    assert "BatchNormalization" not in operations


def test_a_folded_batch_norm_computes_the_same() -> None:
    from onnx import TensorProto, helper

    random = np.random.default_rng(1)
    shapes: dict[str, tuple[int, ...]] = {
        "w": (4, 3, 3, 3),
        "b": (4,),
        "gain": (4,),
        "shift": (4,),
        "mean": (4,),
        "var": (4,),
    }
    values = {
        name: random.uniform(0.5, 2.0, shape).astype(np.float32) for name, shape in shapes.items()
    }

    def make(has_bias: bool) -> Any:
        nodes = [
            helper.make_node("Conv", ["x", "w", *(["b"] if has_bias else [])], ["c"]),
            helper.make_node(
                "BatchNormalization", ["c", "gain", "shift", "mean", "var"], ["y"], epsilon=1e-3
            ),
        ]
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [onnx.numpy_helper.from_array(value, name) for name, value in values.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)

    from onnx.reference import ReferenceEvaluator

    picture = random.normal(size=(1, 3, 8, 8)).astype(np.float32)
    for has_bias in (False, True):
        plain, folded = make(has_bias), make(has_bias)
        assert fold_batch_norms(folded.graph) == 1
        (expected,) = ReferenceEvaluator(plain).run(None, {"x": picture})
        (result,) = ReferenceEvaluator(folded).run(None, {"x": picture})
        np.testing.assert_allclose(np.asarray(result), np.asarray(expected), rtol=1e-4, atol=1e-4)


def test_stored_tensors_point_at_the_very_bytes(small_checkpoint: Path) -> None:
    from safetensors.numpy import load_file

    path = small_checkpoint / "open_clip_model.safetensors"
    content = path.read_bytes()
    tensors = stored_tensors(path)
    for name, expected in load_file(path).items():
        if expected.dtype == np.float16:
            entry = tensors[name]
            raw = content[entry.offset : entry.offset + entry.length]
            np.testing.assert_array_equal(
                np.frombuffer(raw, np.float16).reshape(entry.shape), expected
            )


def test_the_manifest_says_what_the_checkpoint_is(bundle: Path) -> None:
    manifest = Bundle.read(bundle)
    towers = load_towers(resolve_source(bundle))
    assert manifest.embed_dim == KEPT_DIMS
    assert manifest.scoring.logit_scale == pytest.approx(towers.logit_scale)
    assert manifest.padding_id == 0
    assert manifest.parity.mean_image_cosine > 0.9999
    assert manifest.parity.num_texts == 3


def test_poor_graphs_are_refused_and_leave_the_directory_alone(
    checkpoint: Path, samples: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = graphs.export_graph

    def spoil(*args: object, **options: object) -> Any:
        model = real(*args, **options)  # type: ignore[arg-type]
        # The last layer's input is replaced by its absolute value: close, but not the same.
        gemm = next(
            node for node in reversed(model.graph.node) if node.op_type in ("Gemm", "MatMul")
        )
        node = onnx.helper.make_node("Abs", [gemm.input[0]], ["spoiled"])
        gemm.input[0] = "spoiled"
        model.graph.node.insert(list(model.graph.node).index(gemm), node)
        return model

    monkeypatch.setattr(compiler, "export_graph", spoil)
    before = sorted(path.name for path in checkpoint.iterdir())
    with pytest.raises(CheckpointError, match=r"do not match the original: mean cosine 0\.\d+"):
        compile_directory(checkpoint, pictures=samples[:2], texts=["a cat"])
    assert sorted(path.name for path in checkpoint.iterdir()) == before
    assert not is_bundle(checkpoint)


def test_compiling_needs_something_to_compare(checkpoint: Path, samples: list[Path]) -> None:
    with pytest.raises(InputError, match="at least one picture and one text"):
        compile_directory(checkpoint, pictures=[], texts=["a cat"])
    with pytest.raises(InputError, match="at least one picture and one text"):
        compile_directory(checkpoint, pictures=samples[:1], texts=[])


def test_changed_weights_are_noticed(bundle: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    content = bytearray((copy / "open_clip_model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "open_clip_model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="is not the file this bundle was compiled from"):
        OnnxRuntime(copy)


@pytest.mark.parametrize("name", [IMAGE_TOWER, TEXT_TOWER, "open_clip_model.safetensors"])
def test_a_missing_file_is_named(bundle: Path, tmp_path: Path, name: str) -> None:
    import shutil

    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=f"has no {name}"):
        OnnxRuntime(copy)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', "null"])
def test_a_damaged_manifest_is_named(bundle: Path, tmp_path: Path, content: str) -> None:
    import shutil

    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    (copy / MANIFEST).write_text(content)
    with pytest.raises(CheckpointError, match="cannot be read as a manifest"):
        OnnxRuntime(copy)


def test_a_newer_manifest_is_refused(bundle: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    entries = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps({**entries, "format": 99}))
    with pytest.raises(CheckpointError, match="written by a newer clipkit"):
        OnnxRuntime(copy)


def test_a_damaged_graph_is_named(bundle: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    (copy / TEXT_TOWER).write_bytes(b"not a graph")
    runtime = OnnxRuntime(copy)
    with pytest.raises(CheckpointError, match=f"{TEXT_TOWER} cannot be loaded"):
        runtime.text_features(np.ones((1, CONTEXT_LENGTH), dtype=np.int64))
