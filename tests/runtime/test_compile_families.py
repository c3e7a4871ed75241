"""One model of every family that open_clip builds, compiled from random weights, against open_clip.

Each pairs an image tower with a text tower, so that seven models cover thirteen towers.
"""

import json
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

from timm.models import register_model  # noqa: E402
from timm.models.eva import Eva  # noqa: E402
from timm.models.fastvit import FastVit  # noqa: E402

from clipkit.embeddings import normalize_rows  # noqa: E402
from clipkit.models.sources import resolve_source  # noqa: E402
from clipkit.runtime.bundle import graph_name, verify  # noqa: E402
from clipkit.runtime.compile import compile_bundle  # noqa: E402
from clipkit.runtime.onnx_runtime import OnnxRuntime  # noqa: E402
from clipkit.runtime.openvino_runtime import OPENVINO_PRECISIONS, OpenVinoRuntime  # noqa: E402
from tests.models.conftest import (  # noqa: E402
    TINY_BERT,
    TINY_TEXT,
    _write_tokenizer,
    make_open_clip,
    tiny_config,
    write_directory,
)

LENGTH = TINY_TEXT["context_length"]
CLIP_TEXT = {**TINY_TEXT, "vocab_size": 49408}
VIT = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}
OWN_WORDS = {**TINY_TEXT, "hf_tokenizer_name": "."}
MT5 = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
TRANSFORMERS = {"ResNet, RoBERTa": ("roberta", {}), "ConvNeXt, mT5": ("mt5", MT5)}
FROM_TRANSFORMERS = {
    "hf_model_pretrained": False,
    "hf_tokenizer_name": ".",
    "hf_proj_type": "mlp",
    "hf_pooler_type": "mean_pooler",
    "context_length": LENGTH,
}


@register_model
def small_fastvit(*, num_classes: int, global_pool: str = "avg", **_: Any) -> Any:
    return FastVit(
        layers=(1, 1, 1, 1),
        embed_dims=(16, 32, 64, 128),
        mlp_ratios=(2, 2, 2, 2),
        token_mixers=("repmixer", "repmixer", "repmixer", "attention"),
        num_classes=num_classes,
        global_pool=global_pool,
    )


@register_model
def small_eva(*, num_classes: int, global_pool: str = "avg", **_: Any) -> Any:
    return Eva(
        img_size=28,
        patch_size=14,
        embed_dim=48,
        depth=2,
        num_heads=3,
        swiglu_mlp=True,
        use_rot_pos_emb=True,
        ref_feat_shape=(2, 2),
        num_classes=num_classes,
        global_pool=global_pool,
    )


def _trunk(name: str, size: int, **options: Any) -> dict[str, Any]:
    return {
        "timm_model_name": name,
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": None,
        "image_size": size,
        **options,
    }


CONFIGS: dict[str, dict[str, Any]] = {
    "ResNet, RoBERTa": tiny_config(
        vision_cfg={"image_size": 64, "layers": [1, 1, 1, 1], "width": 16},
        text_cfg=FROM_TRANSFORMERS,
    ),
    "SigLIP": tiny_config(
        custom_text=True,
        init_logit_bias=-10,
        embed_dim=64,
        vision_cfg=_trunk("test_vit", 32, timm_pool="map", timm_proj="none"),
        text_cfg={
            **OWN_WORDS,
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
        },
    ),
    "ConvNeXt, mT5": tiny_config(
        vision_cfg=_trunk("test_convnext", 64, timm_proj="mlp"), text_cfg=FROM_TRANSFORMERS
    ),
    "MobileCLIP": tiny_config(
        custom_text=True,
        vision_cfg=_trunk("small_fastvit", 64),
        text_cfg={**CLIP_TEXT, "no_causal_mask": True},
    ),
    "EVA": tiny_config(
        custom_text=True,
        vision_cfg=_trunk("small_eva", 28, timm_pool="token"),
        text_cfg=CLIP_TEXT,
    ),
    "CLIPA": tiny_config(
        vision_cfg={
            **VIT,
            "no_ln_pre": True,
            "pool_type": "avg",
            "final_ln_after_pool": True,
            "pos_embed_type": "sin_cos_2d",
        },
        text_cfg={
            **OWN_WORDS,
            "tokenizer_kwargs": {"strip_sep_token": True},
            "no_causal_mask": True,
            "pool_type": "last",
        },
    ),
    "CoCa, QuickGELU": tiny_config(
        quick_gelu=True,
        vision_cfg={
            **VIT,
            "attentional_pool": True,
            "attn_pooler_queries": 8,
            "attn_pooler_heads": 2,
            "output_tokens": True,
        },
        text_cfg={**CLIP_TEXT, "embed_cls": True, "output_tokens": True},
        multimodal_cfg={**CLIP_TEXT, "layers": 1},
    ),
}
# Padding, where rows are cut to the longest text; and whether most of the work is in products.
IS_CUT = {"ResNet, RoBERTa", "ConvNeXt, mT5", "EVA"}
IS_CONVOLUTIONAL = {"ResNet, RoBERTa", "MobileCLIP"}


def _make(name: str, directory: Path) -> Any:
    config = deepcopy(CONFIGS[name])
    directory.mkdir()
    if name in TRANSFORMERS:
        kind, options = TRANSFORMERS[name]
        content = {**TINY_BERT, "model_type": kind, **options}
        (directory / "config.json").write_text(json.dumps(content))
        config["text_cfg"]["hf_model_name"] = str(directory)
    if "hf_tokenizer_name" in config["text_cfg"]:
        _write_tokenizer(directory)
    if "multimodal_cfg" in config:
        torch.manual_seed(0)
        model = open_clip.CoCa(**config).eval()
        config["custom_text"] = True
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
    else:
        model = make_open_clip(config)
    write_directory(directory, model, config)
    return model


def _token_ids(name: str) -> Any:
    """Four texts of 3 to 12 tokens, the last of them the highest, as in CLIP's vocabulary."""
    random = np.random.default_rng(3)
    end = CONFIGS[name]["text_cfg"].get("vocab_size", 99) - 1
    token_ids = np.zeros((4, LENGTH), np.int64)
    for row, length in zip(token_ids, (3, 12, 7, 5), strict=True):
        row[: length - 1] = random.integers(1, end, length - 1)
        row[length - 1] = end
    return token_ids


@pytest.mark.parametrize("name", CONFIGS)
def test_a_compiled_model_computes_what_open_clip_computes(name: str, tmp_path: Path) -> None:
    model = _make(name, tmp_path / "source")
    compile_bundle(resolve_source(tmp_path / "source"), tmp_path / "compiled")
    bundle = verify(tmp_path / "compiled")
    assert (bundle.padding_id is not None) == (name in IS_CUT)
    assert ("int8" in bundle.refused) == (name in IS_CONVOLUTIONAL)

    height, width = bundle.image_size
    pixels = np.random.default_rng(1).normal(size=(3, 3, height, width)).astype(np.float32)
    pixels[1] += np.linspace(-9, 9, width, dtype=np.float32)  # far from the others
    token_ids = _token_ids(name)
    with torch.inference_mode():
        images = model.encode_image(torch.from_numpy(pixels), normalize=False).numpy()
        texts = model.encode_text(torch.from_numpy(token_ids), normalize=False).numpy()
    assert np.abs(images[0] - images[1]).max() > 1e-2, "the check tells inputs apart"
    assert np.abs(texts[0] - texts[1]).max() > 1e-2

    for precision in bundle.precisions:
        runtime = OnnxRuntime(tmp_path / "compiled", precision)
        of_images, of_texts = (
            1e-4 * np.abs(features).max() if precision == "fp32" else 0.1 * np.abs(features).max()
            for features in (images, texts)
        )
        np.testing.assert_allclose(runtime.image_features(pixels), images, atol=of_images)
        np.testing.assert_allclose(runtime.text_features(token_ids), texts, atol=of_texts)
        # One by one, where rows may be cut shorter, it is the same.
        alone = np.concatenate([runtime.text_features(row[None]) for row in token_ids])
        np.testing.assert_allclose(alone, texts, atol=of_texts)
        alone = np.concatenate([runtime.image_features(one[None]) for one in pixels])
        np.testing.assert_allclose(alone, images, atol=of_images)

    # This SigLIP has positions for another size; OpenVINO resamples them a little differently.
    least = {"fp32": 1 - (1e-3 if name == "SigLIP" else 1e-5), "bf16": 0.999, "int8": 0.98}
    for precision in OPENVINO_PRECISIONS if find_spec("openvino") else ():
        if precision != "int8" or "int8" in bundle.precisions:
            features = OpenVinoRuntime(tmp_path / "compiled", precision).image_features(pixels)
            cosines = (normalize_rows(features) * normalize_rows(images)).sum(axis=1)
            assert cosines.min() > least[precision]

    if name == "ConvNeXt, mT5":  # but for the moves in it, OpenVINO takes half as long again
        graph = onnx.load(
            tmp_path / "compiled" / graph_name("image", "int8.fixed"), load_external_data=False
        ).graph
        assert not [node for node in graph.node if node.op_type == "LayerNormalization"]
