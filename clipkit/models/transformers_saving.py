"""Saving a checkpoint in transformers' layout, and as a file that open_clip_train resumes from."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipkit.errors import CheckpointError, MissingExtraError
from clipkit.models.building import image_size
from clipkit.models.towers import Towers
from clipkit.models.transformers_layout import (
    MODEL_CONFIG,
    TIMM_SIGLIP,
    WEIGHTS,
    Family,
)
from clipkit.models.transformers_preprocess import PROCESSOR_CONFIGS
from clipkit.models.transformers_tokenizer import OLDER_FILES, SETTINGS, TOKENIZER
from clipkit.models.transformers_weights import to_transformers
from clipkit.models.weights import StateDict

try:
    import torch
    from safetensors.torch import save_file
    from torch import nn
except ImportError as error:
    raise MissingExtraError("torch", "Saving a checkpoint") from error

_CLASSES: dict[Family, str] = {
    "clip": "CLIPModel",
    "metaclip_2": "MetaClip2Model",
    "chinese_clip": "ChineseCLIPModel",
    "siglip": "SiglipModel",
}
_FILTERS = {"bilinear": 2, "bicubic": 3}  # Pillow's numbers
# What CLIP's own image encoder has none of, and other ViTs of open_clip's may have.
_NOT_CLIPS = (
    "timm_model_name",
    "attentional_pool",
    "no_ln_pre",
    "ls_init_value",
    "final_ln_after_pool",
    "qk_norm",
    "scaled_cosine_attn",
    "scale_heads",
    "scale_attn_inner",
    "scale_attn",
    "scale_fc",
    "block_type",
)
_CLIP_MARKS = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}


def write_transformers(
    towers: Towers, tensors: StateDict, directory: Path, tokenizer_json: str | None
) -> None:
    """Write the files of a checkpoint in transformers' layout into an empty directory.

    Args:
        towers: What to save.
        tensors: Its tensors by open_clip's names, float32, contiguous, none shared.
        directory: Where to.
        tokenizer_json: The text of a tokenizer.json; needed only for CLIP's own vocabulary.

    Raises:
        CheckpointError: If transformers has no class for such encoders.
        OSError: If a file cannot be written.
    """
    family = transformers_family(towers)
    if towers.kept_dims is not None:
        raise CheckpointError(
            "transformers has no word for dimensions that are cut off (kept_dims): "
            'save the model with layout="open_clip"'
        )
    weights = to_transformers(tensors, family, towers.model_cfg)
    save_file(weights, directory / WEIGHTS[0], metadata={"format": "pt"})
    _write_json(directory / MODEL_CONFIG, _model_config(towers, family))
    shutil.copymode(directory / MODEL_CONFIG, directory / WEIGHTS[0])  # as readable as its config
    _write_json(directory / PROCESSOR_CONFIGS[0], _processor(towers, family))
    if towers.tokenizer_source.is_dir():
        for name in (TOKENIZER, *SETTINGS, *OLDER_FILES):
            if (towers.tokenizer_source / name).is_file():
                shutil.copyfile(towers.tokenizer_source / name, directory / name)
    elif tokenizer_json is not None:
        _write_clip_tokenizer(json.loads(tokenizer_json), towers.context_length, directory)


def write_open_clip_train(tensors: StateDict, path: Path) -> None:
    """Write weights as a file that ``open_clip_train --resume`` and ``--pretrained`` take.

    Args:
        tensors: By open_clip's names.
        path: The file, best called epoch_N.pt.

    Raises:
        OSError: If it cannot be written.
    """
    # With an "epoch" it would be asked for the state of an optimizer, too.
    torch.save({"state_dict": tensors}, path)


def transformers_family(towers: Towers) -> Family:
    """Return which of transformers' models has the same encoders.

    Args:
        towers: The towers.

    Returns:
        The model_type of its config.

    Raises:
        CheckpointError: If none has.
    """
    vision_cfg, text_cfg = towers.model_cfg["vision_cfg"], towers.model_cfg["text_cfg"]
    stem = str(vision_cfg.get("timm_model_name") or "").rpartition("_")[0]
    has_clips_image_encoder = isinstance(vision_cfg.get("layers", 12), int) and not any(
        vision_cfg.get(key) for key in _NOT_CLIPS
    )
    if stem in TIMM_SIGLIP.values() and text_cfg.get("no_causal_mask"):
        return "siglip"
    if has_clips_image_encoder and "multimodal_cfg" not in towers.model_cfg:
        if text_cfg.get("hf_model_name"):
            text = towers.model.text
            is_plain = type(text.pooler).__name__ == "ClsLastHiddenStatePooler"
            if text.config.model_type == "bert" and is_plain and isinstance(text.proj, nn.Linear):
                return "chinese_clip"
        elif not any(text_cfg.get(key) for key in (*_NOT_CLIPS, "no_causal_mask", "embed_cls")):
            pool_type = text_cfg.get("pool_type", "argmax")
            if pool_type == "argmax":
                return "clip"
            if pool_type == "eos":
                return "metaclip_2"
    raise CheckpointError(
        f"transformers has no model with the encoders of this one; it has those of "
        f'{", ".join(_CLASSES.values())}: save it with layout="open_clip"'
    )


def _model_config(towers: Towers, family: Family) -> dict[str, Any]:
    text_cfg = towers.model_cfg["text_cfg"]
    text, vision = _text_config(towers, family), _vision_config(towers, family)
    config: dict[str, Any] = {
        "architectures": [_CLASSES[family]],
        "model_type": family,
        "dtype": "float32",
        "text_config": text,
        "vision_config": vision,
    }
    if family == "siglip":
        text["projection_size"] = towers.embed_dim
        return config
    text["projection_dim"] = vision["projection_dim"] = towers.embed_dim
    config |= {"projection_dim": towers.embed_dim, "logit_scale_init_value": towers.logit_scale}
    if family == "clip":
        text["eos_token_id"] = int(text_cfg.get("vocab_size", 49408)) - 1
    if family == "metaclip_2":
        text["eos_token_id"] = int(text_cfg.get("eos_id", 2))
    return config


def _text_config(towers: Towers, family: Family) -> dict[str, Any]:
    text_cfg = towers.model_cfg["text_cfg"]
    if family == "chinese_clip":
        content = json.loads(towers.model.text.config.to_json_string(use_diff=False))
        dropped = ("architectures", "dtype", "torch_dtype", "_name_or_path")
        kept = {key: value for key, value in content.items() if key not in dropped}
        return {**kept, "model_type": "chinese_clip_text_model"}
    width = int(text_cfg.get("width", 512))
    return {
        "vocab_size": int(text_cfg.get("vocab_size", 49408)),
        "hidden_size": width,
        "intermediate_size": round(width * float(text_cfg.get("mlp_ratio", 4.0))),
        "num_hidden_layers": int(text_cfg.get("layers", 12)),
        "num_attention_heads": int(text_cfg.get("heads", 8)),
        "max_position_embeddings": towers.context_length,
        "hidden_act": _activation(towers.model_cfg, text_cfg),
        "layer_norm_eps": _epsilon(text_cfg),
    }


def _vision_config(towers: Towers, family: Family) -> dict[str, Any]:
    vision_cfg, size = towers.model_cfg["vision_cfg"], image_size(towers.model)
    if not isinstance(size, int):
        raise CheckpointError(
            f"transformers' image encoders are square, and this one takes {size} pixels: "
            'save it with layout="open_clip"'
        )
    if family == "siglip":
        trunk = towers.model.visual.trunk
        stem = str(vision_cfg["timm_model_name"]).rpartition("_")[0]
        numbers = next(key for key, name in TIMM_SIGLIP.items() if name == stem)
        width, layers, heads, patch = numbers
        block = trunk.blocks[0].mlp
        is_exact = isinstance(block.act, nn.GELU) and block.act.approximate == "none"
        return {
            "hidden_size": width,
            "intermediate_size": int(block.fc1.out_features),
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "image_size": size,
            "patch_size": patch,
            "hidden_act": "gelu" if is_exact else "gelu_pytorch_tanh",
            "layer_norm_eps": float(trunk.norm.eps),
        }
    width = int(vision_cfg.get("width", 768))
    return {
        "hidden_size": width,
        "intermediate_size": round(width * float(vision_cfg.get("mlp_ratio", 4.0))),
        "num_hidden_layers": int(vision_cfg.get("layers", 12)),
        "num_attention_heads": width // int(vision_cfg.get("head_width", 64)),
        "image_size": size,
        "patch_size": int(vision_cfg.get("patch_size", 16)),
        "hidden_act": _activation(towers.model_cfg, vision_cfg),
        "layer_norm_eps": _epsilon(vision_cfg),
    }


def _processor(towers: Towers, family: Family) -> dict[str, Any]:
    """Return the config of the image processor; a crop is rounded down, whatever it was before."""
    cfg, (height, width) = towers.preprocess_cfg, towers.image_size
    mode = cfg.get("resize_mode") or "shortest"
    if mode == "longest":
        raise CheckpointError(
            'transformers\' image processors have no resize mode "longest": save the model with '
            'layout="open_clip"'
        )
    config = {
        "image_processor_type": f"{'Siglip' if mode == 'squash' else 'CLIP'}ImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": height, "width": width},
        "resample": _FILTERS[cfg.get("interpolation") or "bicubic"],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(cfg["mean"]),
        "image_std": list(cfg["std"]),
    }
    if mode == "shortest":
        config["size"] = {"shortest_edge": int(cfg.get("resize_size") or height)}
        config |= {"do_center_crop": True, "crop_size": {"height": height, "width": width}}
    return config


def _write_clip_tokenizer(content: dict[str, Any], length: int, directory: Path) -> None:
    """Write CLIP's own vocabulary under transformers' names, with what its class does to texts."""
    model = content["model"]
    ids = {_CLIP_MARKS.get(entry, entry): number for entry, number in model["vocab"].items()}
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    text = json.dumps(content, ensure_ascii=False)
    for ours, theirs in _CLIP_MARKS.items():
        text = text.replace(json.dumps(ours), json.dumps(theirs))
    renamed = json.loads(text)
    renamed["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Lowercase"},
        ],
    }
    renamed["truncation"] = renamed["padding"] = None
    _write_json(directory / TOKENIZER, renamed)
    _write_json(directory / "vocab.json", ids)
    lines = "\n".join(["#version: 0.2", *merges, ""])
    (directory / "merges.txt").write_text(lines, encoding="utf-8")
    start, end = _CLIP_MARKS.values()
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": length,
        "bos_token": start,
        "eos_token": end,
        "unk_token": end,
        "pad_token": end,
    }
    _write_json(directory / SETTINGS[0], settings)


def _activation(model_cfg: Mapping[str, Any], encoder_cfg: Mapping[str, Any]) -> str:
    if model_cfg.get("quick_gelu"):
        return "quick_gelu"
    is_tanh = (encoder_cfg.get("act_kwargs") or {}).get("approximate") == "tanh"
    return "gelu_pytorch_tanh" if is_tanh else "gelu"


def _epsilon(encoder_cfg: Mapping[str, Any]) -> float:
    return float((encoder_cfg.get("norm_kwargs") or {}).get("eps", 1e-5))


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
