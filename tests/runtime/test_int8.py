"""8 bits of a model with outlier channels, as trained ones have: smoothed, or partly in float32."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from clipkit.models.sources import resolve_source  # noqa: E402
from clipkit.runtime import int8  # noqa: E402
from clipkit.runtime.bundle import Parity, count_kept, graph_name, verify  # noqa: E402
from clipkit.runtime.compile import compile_bundle  # noqa: E402
from clipkit.runtime.onnx_graph import find_products  # noqa: E402
from clipkit.runtime.onnx_runtime import OnnxRuntime  # noqa: E402
from clipkit.runtime.quantize import quantize_products  # noqa: E402
from clipkit.runtime.smoothing import Smoothing, smooth_products  # noqa: E402
from tests.models.conftest import (  # noqa: E402
    TINY_TEXT,
    make_open_clip,
    tiny_config,
    write_directory,
)

pytestmark = pytest.mark.slow

OUTLIERS = [3, 17, 20, 29]


def _plant(model: Any) -> None:
    """Make channels of both towers 40 times larger where layer norms end; the model is the same."""
    with torch.no_grad():
        for tower in (model.visual.transformer, model.transformer):
            for block in tower.resblocks:
                readers = (
                    (block.ln_1, block.attn.in_proj_weight),
                    (block.ln_2, block.mlp[0].weight),
                )
                for norm, weight in readers:
                    norm.weight[OUTLIERS] *= 40
                    norm.bias[OUTLIERS] *= 40
                    weight[:, OUTLIERS] /= 40


@pytest.fixture(scope="module")
def outlying(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny ViT with outliers."""
    folder = tmp_path_factory.mktemp("outlying")
    config = tiny_config(text_cfg={**TINY_TEXT, "vocab_size": 49408})
    model = make_open_clip(config)
    images, texts = torch.randn(2, 3, 32, 32), torch.randint(1, 99, (2, 16))
    before = model.encode_image(images), model.encode_text(texts)
    _plant(model)
    for old, new in zip(
        before, (model.encode_image(images), model.encode_text(texts)), strict=True
    ):
        torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-5)
    write_directory(folder, model, config)
    return folder


def _int8_parity(directory: Path) -> Parity:
    """Return what was measured in 8 bits, used or refused."""
    bundle = verify(directory)
    refused = bundle.refused.get("int8")
    parity = refused.parity if refused else bundle.precisions["int8"]
    assert parity is not None
    return parity


@pytest.fixture(scope="module")
def smoothed(outlying: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compiled") / "smoothed"
    compile_bundle(resolve_source(outlying), folder)
    return folder


def test_outliers_survive_8_bits_only_if_they_are_smoothed(
    outlying: Path, smoothed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = smooth_products

    def none(*args: Any) -> dict[str, Smoothing]:
        return {name: dataclasses.replace(each, factors=None) for name, each in real(*args).items()}

    monkeypatch.setattr(int8, "smooth_products", none)
    monkeypatch.setattr(int8, "LEAST_SHARE", 1.0)  # nor may any product stay in float32
    compile_bundle(resolve_source(outlying), tmp_path / "plain")
    plain, found = _int8_parity(tmp_path / "plain"), _int8_parity(smoothed)
    assert 1 - found.mean_image_cosine < (1 - plain.mean_image_cosine) / 20
    assert 1 - found.mean_text_cosine < (1 - plain.mean_text_cosine) / 20
    assert found.is_close
    assert not plain.is_close
    assert not verify(smoothed).kept


def test_what_smoothing_does_not_save_stays_in_float32(
    outlying: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = quantize_products
    spoiled = "visual.transformer.resblocks.1.mlp.c_proj.weight"

    def spoil(graph: Any, directory: Path, name: str, **options: Any) -> int:
        count = real(graph, directory, name, **options)
        for tensor in graph.initializer:
            if spoiled in tensor.name and ".scales." in tensor.name:
                tensor.CopyFrom(
                    onnx.numpy_helper.from_array(
                        2 * onnx.numpy_helper.to_array(tensor), tensor.name
                    )
                )
        return count

    def worst(*args: Any) -> dict[str, Smoothing]:
        found = smooth(*args)
        last = [each.activations for each in find_products(args[0]) if spoiled in each.weight.name]
        return {
            name: dataclasses.replace(each, error=1.0) if name in last else each
            for name, each in found.items()
        }

    smooth = smooth_products
    monkeypatch.setattr(int8, "quantize_products", spoil)
    monkeypatch.setattr(int8, "smooth_products", worst)
    compile_bundle(resolve_source(outlying), tmp_path / "kept")
    bundle = verify(tmp_path / "kept")
    assert [name.partition("visual")[1:] for name in bundle.kept["image"]] == [
        ("visual", spoiled.removeprefix("visual"))
    ]
    assert list(bundle.kept) == ["image"]
    assert count_kept(bundle.kept) == "products in float32: 1 of the image tower"
    assert bundle.precisions["int8"].is_close
    operations = [
        node.op_type
        for node in onnx.load(
            str(tmp_path / "kept" / graph_name("image", "int8")), load_external_data=False
        ).graph.node
    ]
    assert operations.count("DynamicQuantizeMatMul") == 8
    random = np.random.default_rng(0)
    pixels = random.normal(size=(3, 3, 32, 32)).astype(np.float32)
    exact = OnnxRuntime(tmp_path / "kept").image_features(pixels)
    rounded = OnnxRuntime(tmp_path / "kept", "int8").image_features(pixels)
    cosines = (
        (exact * rounded).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rounded, axis=1)
    )
    assert cosines.min() > 0.995
