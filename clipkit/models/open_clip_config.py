"""open_clip's configs: reading, checking and completing them, and those of published weights.

A checkpoint directory has one, ``open_clip_config.json``; a Hugging Face text tower has its own
``config.json`` beside it. Imports no torch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipkit.errors import CheckpointError
from clipkit.files import read_json_object
from clipkit.models.known_models import (
    Tag,
    architecture_config,
    installed_architectures,
    known_architectures,
)
from clipkit.models.own_settings import join_own
from clipkit.models.transformers_layout import MODEL_CONFIG

TEXT_CONFIG_NAME = MODEL_CONFIG
TEXT_MODEL_TYPES = ("roberta", "xlm-roberta", "mt5", "bert", "m2m_100")  # those open_clip builds
DEFAULT_PREPROCESS: Mapping[str, Any] = {
    "mode": "RGB",
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}  # open_clip's PreprocessCfg, without the size, which the image tower knows
_OWN_PREPROCESS = ("crop", "resize_size")  # of transformers' image processors


def read_config(path: Path) -> dict[str, Any]:
    """Return the content of an ``open_clip_config.json``.

    Args:
        path: The file.

    Returns:
        A dict with a complete "model_cfg".

    Raises:
        CheckpointError: If it cannot be read or is not such a file.
    """
    content = read_json_object(path, CheckpointError)
    model_cfg = content.get("model_cfg")
    if not isinstance(model_cfg, dict):
        raise CheckpointError(f'{path} has no "model_cfg", so it is not an open_clip config')
    check_model_cfg(model_cfg, path)
    return join_own(content, content.get("clipkit_cfg") or {})


def read_architecture(path: Path) -> dict[str, Any]:
    """Return the config of an architecture of one's own.

    Args:
        path: A JSON file: a model config alone, as in open_clip's ``model_configs``, or "model_cfg"
            and "preprocess_cfg" as in a checkpoint.

    Returns:
        A dict with a complete "model_cfg".

    Raises:
        CheckpointError: If it cannot be read or is not such a file.
    """
    content = read_json_object(path, CheckpointError)
    config = content if isinstance(content.get("model_cfg"), dict) else {"model_cfg": content}
    check_model_cfg(config["model_cfg"], path)
    return config


def check_model_cfg(model_cfg: Mapping[str, Any], path: Path) -> None:
    """Refuse a model config without its main parts.

    Args:
        model_cfg: What a file holds as its "model_cfg".
        path: The file.

    Raises:
        CheckpointError: If a part is missing or of another kind.
    """
    for key, kind in (("embed_dim", int), ("vision_cfg", dict), ("text_cfg", dict)):
        if not isinstance(model_cfg.get(key), kind):
            raise CheckpointError(f'{path} has no valid "{key}" in its "model_cfg"')


def complete_preprocess(preprocess_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return a preprocess config with open_clip's default for what it leaves out.

    Args:
        preprocess_cfg: What a config names; keys of neither open_clip nor clipkit are left out.

    Returns:
        Every key of DEFAULT_PREPROCESS, and clipkit's own that are given.
    """
    given = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in preprocess_cfg.items()
        if key in (*DEFAULT_PREPROCESS, *_OWN_PREPROCESS) and value is not None
    }
    return {**DEFAULT_PREPROCESS, **given}


def is_text_config(path: Path) -> bool:
    """Return whether a file describes a text tower of open_clip's, with no code of its own."""
    try:
        content = read_json_object(path, CheckpointError)
    except CheckpointError:
        return False
    return "auto_map" not in content and content.get("model_type") in TEXT_MODEL_TYPES


def published_config(architecture: str, tag: Tag | None) -> dict[str, Any]:
    """Return the config that weights of one of open_clip's architectures were trained with.

    Args:
        architecture: A name of open_clip's.
        tag: The published weights; None: weights that nobody has published.

    Returns:
        "model_cfg" with the tag's activation, and "preprocess_cfg". Without a tag these are the
        architecture's activation, and what all its tags share or else nothing.

    Raises:
        MissingExtraError: If open_clip is not installed.
    """
    model_cfg = architecture_config(architecture)
    if tag is None:
        return {"model_cfg": model_cfg, "preprocess_cfg": _usual_preprocess(architecture)}
    # open_clip only warns when the activation differs, and then computes wrong features.
    if tag.is_quick_gelu:
        model_cfg["quick_gelu"] = True
    else:
        model_cfg.pop("quick_gelu", None)
    return {"model_cfg": model_cfg, "preprocess_cfg": tag.preprocess}


def _usual_preprocess(architecture: str) -> Mapping[str, Any]:
    """Return the preprocess that all tags of an architecture share, or open_clip's default."""
    table = known_architectures() | installed_architectures()
    shared = [entry.preprocess for entry in table[architecture].tags.values()]
    return shared[0] if shared and all(item == shared[0] for item in shared) else {}
