"""Compiling: equal to torch, borrowed weights, rewritten graphs, and what the gate refuses."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

import onnxruntime  # noqa: E402

import clipkit  # noqa: E402
from clipkit.errors import CheckpointError  # noqa: E402
from clipkit.inputs import tokenizer  # noqa: E402
from clipkit.models.checkpoint import load_towers  # noqa: E402
from clipkit.models.sources import resolve_source  # noqa: E402
from clipkit.runtime import compile as compiler  # noqa: E402
from clipkit.runtime import int8  # noqa: E402
from clipkit.runtime.bundle import graph_name, is_bundle, verify  # noqa: E402
from clipkit.runtime.compile import RefusedError, compile_bundle, compile_in_place  # noqa: E402
from clipkit.runtime.onnx_export import (  # noqa: E402
    fold_batch_norms,
    fuse_transposed_weights,
    stored_tensors,
)
from clipkit.runtime.onnx_runtime import OnnxRuntime  # noqa: E402
from clipkit.runtime.quantize import quantize_products  # noqa: E402
from tests.models.conftest import TINY_TEXT, make_open_clip, tiny_config, write_directory  # noqa: E402
from tests.runtime.conftest import CONTEXT_LENGTH, KEPT_DIMS  # noqa: E402

IMAGE_TOWER, TEXT_TOWER = graph_name("image", "fp32"), graph_name("text", "fp32")


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_graphs_name_no_file_of_the_machine_they_were_made_on(bundle: Path) -> None:
    for name in (IMAGE_TOWER, TEXT_TOWER):
        content = (bundle / name).read_bytes()
        assert str(bundle.parent).encode() not in content
        assert b"site-packages" not in content
        assert b".py" not in content


@pytest.mark.slow
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

    image = random.normal(size=(1, 3, 8, 8)).astype(np.float32)
    for has_bias in (False, True):
        plain, folded = make(has_bias), make(has_bias)
        assert fold_batch_norms(folded.graph) == 1
        (expected,) = ReferenceEvaluator(plain).run(None, {"x": image})
        (result,) = ReferenceEvaluator(folded).run(None, {"x": image})
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


def test_a_product_with_a_transposed_weight_is_one_operation() -> None:
    from onnx import TensorProto, helper

    random = np.random.default_rng(2)
    weight = random.normal(size=(4, 3)).astype(np.float32)
    inputs = random.normal(size=(2, 5, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["w"], ["turned"], perm=[1, 0]),
            helper.make_node("MatMul", ["x", "turned"], ["y"]),
            helper.make_node("Transpose", ["v"], ["shown"], perm=[1, 0]),
            helper.make_node("MatMul", ["x", "shown"], ["z"]),
            helper.make_node("Abs", ["shown"], ["kept"]),  # so this one is still needed
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 5, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in ("y", "z", "kept")
        ],
        [onnx.numpy_helper.from_array(weight, name) for name in ("w", "v")],
    )
    assert fuse_transposed_weights(graph) == 1
    assert [node.op_type for node in graph.node] == ["FusedMatMul", "Transpose", "MatMul", "Abs"]
    domains = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for result in session.run(["y", "z"], {"x": inputs}):
        np.testing.assert_allclose(result, inputs @ weight.T, rtol=1e-5)


@pytest.mark.slow
def test_embedding_tables_are_widened_row_by_row(bundle: Path) -> None:
    graph = onnx.load(str(bundle / TEXT_TOWER), load_external_data=False).graph
    tables = {node.input[0] for node in graph.node if node.op_type == "Gather"}
    assert any(name.endswith("word_embeddings.weight.stored") for name in tables)


@pytest.mark.slow
def test_the_manifest_says_what_the_checkpoint_is(bundle: Path) -> None:
    manifest = verify(bundle)
    towers = load_towers(resolve_source(bundle))
    assert manifest.name == "small"
    assert manifest.embed_dim == KEPT_DIMS
    assert manifest.image_size == (64, 64)
    assert manifest.scoring.log_scale == pytest.approx(towers.logit_scale)
    assert manifest.padding_id == 0
    assert manifest.precisions["fp32"].mean_image_cosine > 0.9999
    assert manifest.precisions["fp32"].num_texts == 11
    assert manifest.precisions["fp32"].top5_overlap == 1
    assert not (bundle / graph_name("image", "int8")).exists()
    assert "convolutions" in manifest.refused["int8"].reason


def _spoil(graph: Any) -> None:
    """Replace the last layer's input by its absolute value: close, but not the same."""
    products = ("Gemm", "MatMul", "FusedMatMul")
    last = next(node for node in reversed(graph.node) if node.op_type in products)
    node = onnx.helper.make_node("Abs", [last.input[0]], ["spoiled"])
    last.input[0] = "spoiled"
    graph.node.insert(list(graph.node).index(last), node)


@pytest.mark.slow
def test_poor_graphs_are_refused_and_leave_the_directory_alone(
    checkpoint: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(*_: Any, input_name: str, **__: Any) -> Any:
        name = IMAGE_TOWER if input_name == "pixel_values" else TEXT_TOWER
        model = onnx.load(str(bundle / name), load_external_data=False)
        _spoil(model.graph)
        return model

    monkeypatch.setattr(compiler, "export_graph", export)
    before = {path.name: path.stat().st_mtime_ns for path in checkpoint.iterdir()}
    with pytest.raises(CheckpointError, match=r"do not match the original: cosine mean 0\.\d+"):
        compile_in_place(checkpoint, name="small")
    assert {path.name: path.stat().st_mtime_ns for path in checkpoint.iterdir()} == before
    assert not is_bundle(checkpoint)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny ViT."""
    folder = tmp_path_factory.mktemp("vit")
    config = tiny_config(text_cfg={**TINY_TEXT, "vocab_size": 49408})
    write_directory(folder, make_open_clip(config), config)
    return folder


@pytest.fixture(scope="module")
def compiled_vit(vit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It, compiled with 8-bit weights that are wrong."""
    folder = tmp_path_factory.mktemp("compiled") / "vit"
    with pytest.MonkeyPatch.context() as patch:
        real = quantize_products

        def quantize(graph: Any, directory: Path, name: str, **options: Any) -> int:
            count = real(graph, directory, name, **options)
            values = np.fromfile(directory / name, np.int8)
            values[::3] = 0
            values.tofile(directory / name)
            return count

        patch.setattr(int8, "quantize_products", quantize)
        compile_bundle(resolve_source(vit), folder)
    return folder


@pytest.mark.slow
def test_int8_that_is_too_far_is_left_out_with_its_figures(compiled_vit: Path) -> None:
    manifest = verify(compiled_vit)
    assert list(manifest.precisions) == ["fp32"]
    refusal = manifest.refused["int8"]
    assert refusal.parity is not None
    assert not refusal.parity.passes("int8")
    assert "too far from the original: cosine mean 0." in refusal.reason
    assert not list(compiled_vit.glob("*int8*"))
    assert manifest.origin.keys() >= {
        str(Path(next(iter(manifest.origin))).parent / name)
        for name in ("open_clip_model.safetensors", "open_clip_config.json")
    }


@pytest.mark.slow
def test_a_compiled_model_is_a_checkpoint_of_its_own(vit: Path, compiled_vit: Path) -> None:
    for size in (2, 9, 16):  # texts of any length, as long as their end is in it
        token_ids = np.zeros((3, 16), np.int64)
        token_ids[:, : size - 1] = np.random.default_rng(size).integers(1, 40_000, (3, size - 1))
        token_ids[:, size - 1] = 49_407
        whole = torch.from_numpy(token_ids)
        for folder in (vit, compiled_vit):
            towers = load_towers(resolve_source(folder))
            with torch.inference_mode():
                expected = towers.model.encode_text(whole).numpy()
            result = OnnxRuntime(compiled_vit).text_features(token_ids)
            np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.slow
def test_a_compiled_model_reads_of_its_vocabulary_what_a_text_needs(
    vit: Path, compiled_vit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "vocabulary.sqlite" in verify(compiled_vit).files
    encoder = clipkit.load(compiled_vit, cache_texts=False)
    expected = clipkit.load(vit, engine="torch", cache_texts=False).tokenize(["a red boat"])
    for vocabulary in ("_read_vocabulary", "_build_clip_vocabulary"):
        monkeypatch.setattr(tokenizer, vocabulary, None)  # it cannot be called
    np.testing.assert_array_equal(encoder.tokenize(["a red boat"]).token_ids, expected.token_ids)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["save_towers", "export_graph", "put_in_place"])
@pytest.mark.parametrize("is_there", [True, False])
def test_what_goes_wrong_midway_leaves_what_was_there(
    compiled_vit: Path,
    vit: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    is_there: bool,
) -> None:
    class Unforeseen(BaseException):  # as when the user interrupts
        pass

    def fail(*_: Any, **__: Any) -> None:
        raise Unforeseen

    if step == "put_in_place":  # or else each case would export both towers
        graph = onnx.load(str(compiled_vit / IMAGE_TOWER), load_external_data=False)
        monkeypatch.setattr(compiler, "export_graph", lambda *_, **__: graph)
        monkeypatch.setattr(compiler, "admit", lambda bundle, *_: bundle)
        monkeypatch.setattr(compiler, "compile_int8", lambda bundle, *_: bundle)
    place = tmp_path / "place"
    if is_there:
        shutil.copytree(compiled_vit, place)
    monkeypatch.setattr(compiler, step, fail)
    with pytest.raises(Unforeseen):
        compile_bundle(resolve_source(vit), place)
    assert [path.name for path in tmp_path.iterdir()] == (["place"] if is_there else [])
    if is_there:
        verify(place)


def test_a_tower_that_torch_cannot_export_is_refused(
    vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        try:
            raise ValueError("no such operation\nand a long story")
        except ValueError as error:
            raise RuntimeError("advice") from error

    monkeypatch.setattr(compiler, "export_graph", fail)
    with pytest.raises(RefusedError, match=r"cannot export the image tower .*: no such operation$"):
        compile_bundle(resolve_source(vit), tmp_path / "place")
    assert not list(tmp_path.iterdir())


def test_other_directories_are_not_replaced(vit: Path, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is not a compiled model: choose another directory"):
        compile_bundle(resolve_source(vit), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_drafts_that_were_killed_are_removed(tmp_path: Path) -> None:
    import os
    import time

    old, new, other = (tmp_path / name for name in (".a.1.part", ".a.2.part", ".b.1.part"))
    for folder in (old, new, other):
        folder.mkdir()
    long_ago = time.time() - 2 * 3600
    os.utime(old, (long_ago, long_ago))
    os.utime(other, (long_ago, long_ago))
    compiler._remove_abandoned(tmp_path / "a")
    assert {path.name for path in tmp_path.iterdir()} == {".a.2.part", ".b.1.part"}
