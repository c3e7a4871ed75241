"""Models whose activations have outliers, as those of trained towers have: the same architectures.

Two kinds: "channels" of layer norms that are 40 times larger, with weights behind them that are as
much smaller, so that the model computes the same; and "tokens" too: in some block an MLP writes
values into two channels that are hundreds of times larger than the rest, for some tokens.

Image towers of 256 pixels, which rclip reads, with the text tower of ViT-B-32: it is the image
tower whose speed is measured.
"""

import json
from pathlib import Path
from typing import Any

from workplace import Workplace, apart

ARCHITECTURES = ("ViT-B-32-256", "ViT-B-16", "ViT-B-16-SigLIP-256", "convnext_base_w")
KINDS = ("clean", "channels", "channels and tokens")
CHANNELS, FACTOR = (7, 133, 402, 500), 40
MASSIVE, HIDDEN_UNITS, BLOCK = (11, 301), (5, 9), 2
_MASSIVE_FACTOR, _RARELY = 4000, -1.5
# Where a layer norm of a block ends: open_clip's ViT and texts, timm's ViT, ConvNeXt.
_READERS = (
    ("ln_1", "attn.in_proj_weight"), ("ln_2", "mlp.c_fc.weight"), ("norm1", "attn.qkv.weight"),
    ("norm2", "mlp.fc1.weight"), ("norm", "mlp.fc1.weight"),
)  # fmt: skip
_WRITERS = (("mlp.c_fc.bias", "mlp.c_proj.weight"), ("mlp.fc1.bias", "mlp.fc2.weight"))


def outlier_model(workplace: Workplace, architecture: str, kind: str) -> Path:
    """Return a checkpoint directory, written unless it is there."""
    folder = workplace.directory / "models" / f"{architecture}-256, {kind}"
    if not (folder / "open_clip_config.json").exists():
        apart(_write, folder, architecture, kind)
    return folder


def make_towers(architecture: str, kind: str) -> Any:
    """Return open_clip's model with random weights, the same ones every time."""
    import open_clip
    import torch

    config = _config(architecture)
    torch.manual_seed(0)
    model = open_clip.CLIP(**config)
    with torch.no_grad():
        for module in model.modules():
            if kind != "clean":
                _enlarge_channels(module)
        if kind == KINDS[2]:
            for tower in (model.visual, model.transformer):
                _enlarge_tokens(tower)
    return model


def _enlarge_channels(block: Any) -> None:
    for norm, reader in _READERS:
        weight, gain = _find(block, reader), _find(block, f"{norm}.weight")
        if weight is None or gain is None or weight.shape[1] != len(gain):
            continue
        channels = [channel for channel in CHANNELS if channel < len(gain)]
        for scaled in (gain, _find(block, f"{norm}.bias")):
            scaled[channels] *= FACTOR
        weight[:, channels] /= FACTOR


def _enlarge_tokens(tower: Any) -> None:
    blocks = [
        (bias, weight)
        for module in tower.modules()
        for first, second in _WRITERS
        if (bias := _find(module, first)) is not None
        and (weight := _find(module, second)) is not None
    ]
    bias, weight = blocks[BLOCK]
    for channel, unit in zip(MASSIVE, HIDDEN_UNITS, strict=True):
        weight[channel % len(weight), unit] = _MASSIVE_FACTOR * weight.std()
        bias[unit] = _RARELY


def _find(module: Any, path: str) -> Any:
    """Return a parameter of a module by its path; None if it has none of that name."""
    for name in path.split("."):
        module = getattr(module, name, None)
    return module


def _config(architecture: str) -> dict[str, Any]:
    import open_clip

    vision = open_clip.get_model_config(architecture)["vision_cfg"]
    text = open_clip.get_model_config("ViT-B-32")["text_cfg"]
    if "timm_model_name" in vision:
        # rclip's vectors have 512 numbers.
        vision = {**vision, "timm_model_pretrained": False, "timm_proj": "linear"}
    vision = {**vision, "image_size": 256}
    return {"embed_dim": 512, "vision_cfg": vision, "text_cfg": text}


def _write(folder: Path, architecture: str, kind: str) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: one.contiguous() for name, one in make_towers(architecture, kind).state_dict().items()
    }
    save_file(state, folder / "open_clip_model.safetensors")
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    config = {"model_cfg": _config(architecture), "preprocess_cfg": {"mean": mean, "std": std}}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2))
