"""Which activation (QuickGELU, GELU, ReLU) a checkpoint's towers use. Imports no torch.

A tower built with another activation than it was trained with loses several points of accuracy
without any error; this is what ``clipkit doctor`` shows of it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipkit.errors import CheckpointError
from clipkit.files import read_json_object
from clipkit.models.open_clip_config import TEXT_CONFIG_NAME


def image_activation(model_cfg: Mapping[str, Any]) -> str:
    """Return the activation of the image tower.

    Args:
        model_cfg: An open_clip model config.

    Returns:
        "GELU", "QuickGELU", "GELU (tanh)", "ReLU"; or "as timm builds NAME", where open_clip
        leaves it to timm.
    """
    vision_cfg = model_cfg["vision_cfg"]
    if vision_cfg.get("timm_model_name"):
        return f"as timm builds {vision_cfg['timm_model_name']}"
    if isinstance(vision_cfg.get("layers"), list):
        return "ReLU"  # open_clip's ResNets know no other
    return _native(model_cfg, vision_cfg)


def text_activation(model_cfg: Mapping[str, Any], text_config: Path | None) -> str:
    """Return the activation of the text tower.

    Args:
        model_cfg: An open_clip model config.
        text_config: The directory with the ``config.json`` of a Hugging Face text tower, if it
            is one.

    Returns:
        As for the image tower; of a Hugging Face tower the name in its config, as in "gelu".

    Raises:
        CheckpointError: If that config cannot be read.
    """
    if text_config is None:
        return _native(model_cfg, model_cfg["text_cfg"])
    content = read_json_object(text_config / TEXT_CONFIG_NAME, CheckpointError)
    stated = content.get("hidden_act") or content.get("feed_forward_proj")
    return str(stated or content.get("activation_function") or f"as {content['model_type']} has it")


def text_kind(text_config: Path) -> str:
    """Return what kind of tower a Hugging Face ``config.json`` describes, as in "bert".

    Args:
        text_config: The directory that holds it.

    Returns:
        Its model_type.

    Raises:
        CheckpointError: If it cannot be read.
    """
    return str(read_json_object(text_config / TEXT_CONFIG_NAME, CheckpointError)["model_type"])


def _native(model_cfg: Mapping[str, Any], tower_cfg: Mapping[str, Any]) -> str:
    if model_cfg.get("quick_gelu"):
        return "QuickGELU"
    options = tower_cfg.get("act_kwargs") or {}
    return f"GELU ({options['approximate']})" if options.get("approximate") else "GELU"
