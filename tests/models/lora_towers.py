"""Tiny towers of every kind that LoRA adapts, and adapters that change something."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipkit.models.lora import LoraSettings, add_lora
from clipkit.models.low_rank import adapters
from clipkit.models.sources import DirectorySource
from clipkit.models.towers import Towers
from tests.models.conftest import TINY_BERT, TINY_TEXT, make_open_clip, tiny_config

BASE = DirectorySource("local-dir:/models/birds", Path("/models/birds"))
DIGEST = "a tokenizer"
VIT = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}
TIMM = {"timm_pool": "", "timm_proj": "linear", "image_size": 32, "timm_model_pretrained": False}
VISION: dict[str, dict[str, Any]] = {
    "vit": VIT,
    "attentional pooling": {**VIT, "attentional_pool": True, "attn_pooler_heads": 2},
    "resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
    "timm vit": {**TIMM, "timm_model_name": "test_vit"},
    "timm convolutions": {**TIMM, "timm_model_name": "test_efficientnet", "timm_pool": "avg"},
    "timm linear": {**TIMM, "timm_model_name": "test_convnext", "timm_pool": "avg"},
}
TEXT: dict[str, dict[str, Any]] = {
    "native": dict(TINY_TEXT),
    "bert": TINY_BERT,
    "mt5": {
        "model_type": "mt5",
        "vocab_size": 99,
        "d_model": 32,
        "num_layers": 2,
        "num_heads": 2,
        "d_ff": 64,
        "d_kv": 16,
        "pad_token_id": 0,
    },
}
MakeTowers = Callable[..., Towers]


def make_towers(folder: Path, vision: str = "vit", text: str = "native") -> Towers:
    """Return towers in eval mode, the same at every call.

    Args:
        folder: Where the config of a Hugging Face text tower may be written.
        vision: One of VISION.
        text: One of TEXT.
    """
    text_cfg = dict(TEXT[text])
    if "model_type" in text_cfg:
        (folder / "config.json").write_text(json.dumps(text_cfg))
        text_cfg = {
            "hf_model_name": str(folder),
            "hf_model_pretrained": False,
            "hf_proj_type": "linear",
            "hf_pooler_type": "mean_pooler",
            "context_length": 16,
        }
    config = tiny_config(vision_cfg=dict(VISION[vision]), text_cfg=text_cfg)
    return Towers(
        make_open_clip(config),
        model_cfg=config,
        preprocess_cfg={"size": 32},
        tokenizer_source=folder,
    ).eval()


def adapt(towers: Towers, settings: LoraSettings | None = None, *, is_trained: bool = True) -> None:
    """Give towers adapters, of which B is random if they are trained."""
    add_lora(towers, settings or LoraSettings(), base=BASE, tokenizer_digest=DIGEST, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, adapter in adapters(towers.model) if is_trained else ():
            adapter.lora_B.normal_(std=0.2, generator=generator)


def features_of(towers: Towers) -> Tensor:
    """Return image features and text features of noise, one below the other."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(2, 3, 32, 32, generator=generator).to(towers.model.logit_scale.dtype)
    token_ids = torch.randint(1, 98, (3, 16), generator=generator)
    return torch.cat([towers.image_features(images), towers.text_features(token_ids)])
