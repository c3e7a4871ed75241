"""Building towers from scratch: an architecture, a tokenizer and a seed -> random weights."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipkit.errors import CheckpointError, MissingExtraError
from clipkit.models.known_models import architecture_config, clip_vocabulary
from clipkit.models.locate import TOKENIZER_NAME
from clipkit.models.open_clip_config import (
    TEXT_CONFIG_NAME,
    complete_preprocess,
    is_text_config,
    read_architecture,
)
from clipkit.models.own_settings import split_own
from clipkit.models.published_names import resolve_architecture
from clipkit.models.towers import Towers
from clipkit.models.vocabulary_check import read_vocabulary, wrong_end
from clipkit.paths import expand_home

try:
    import torch
    from torch import nn
except ImportError as error:
    raise MissingExtraError("torch", "Building towers") from error

# Where sigmoid training starts; SigLIP (arXiv 2303.15343), section 3.
SIGMOID_SCALE = math.log(10)
SIGMOID_BIAS = -10.0
_CLIP_TOKENS = 49408  # CLIP's own vocabulary with its two marks


def build_towers(
    architecture: str, *, tokenizer: str = "", seed: int, is_sigmoid: bool = False
) -> Towers:
    """Return towers whose weights are random, as open_clip's own classes make them.

    The random state of the process stays as it is.

    Args:
        architecture: A config of open_clip's by name, or a JSON file: such a config alone, or
            "model_cfg" and "preprocess_cfg" as in a checkpoint.
        tokenizer: A directory with a tokenizer.json, and the config.json of a Hugging Face text
            tower; empty: CLIP's own vocabulary, or the folder of the JSON file, or those that it
            names by their whole paths.
        seed: Equal seeds make equal weights.
        is_sigmoid: Whether the scale and bias of logits start for the sigmoid loss, at ln 10 and
            -10; a config that names them is respected. Otherwise the scale starts at ln(1/0.07).

    Returns:
        Towers in float32 on the CPU, in eval mode.

    Raises:
        CheckpointError: If the architecture is unknown or cannot be built, or the vocabulary is
            missing, larger than the text tower's, or marks the end in a way the tower misses.
        MissingExtraError: If open_clip is not installed.
    """
    config, home = _describe(architecture)
    model_cfg = config["model_cfg"]
    if is_sigmoid:
        _start_for_sigmoid(model_cfg)
    text_cfg = model_cfg["text_cfg"]
    named = (text_cfg.get(key) or "" for key in ("hf_model_name", "hf_tokenizer_name"))
    own = [Path(name) for name in named if Path(name).is_absolute()]  # a folder of this machine
    given = (expand_home(tokenizer) if tokenizer else None, home, *own)
    folders = [folder for folder in given if folder is not None]
    text_config = _text_config(model_cfg["text_cfg"], folders, architecture)
    vocabulary = _vocabulary(model_cfg["text_cfg"], folders, architecture, is_named=bool(tokenizer))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs as well
        model = build_model(model_cfg, architecture, text_config)
    _check_vocabulary(model_cfg["text_cfg"], vocabulary, model)
    return Towers(
        model.float(),
        model_cfg=model_cfg,
        preprocess_cfg={
            "size": image_size(model),
            **complete_preprocess(config.get("preprocess_cfg") or {}),
        },
        tokenizer_source=vocabulary,
    ).eval()


def with_logit_bias(towers: Towers) -> Towers:
    """Make towers that were trained with softmax ready for the sigmoid loss.

    They get a logit bias of -10 and the scale that goes with it, ln 10: what softmax has learnt
    as its scale says nothing about a match by itself. Towers with a bias stay as they are.

    Args:
        towers: The towers, which are changed.

    Returns:
        The same towers.
    """
    model = towers.model
    if model.logit_bias is None:
        _start_for_sigmoid(towers.model_cfg)
        with torch.no_grad():
            model.logit_scale.fill_(SIGMOID_SCALE)
        model.logit_bias = nn.Parameter(torch.full_like(model.logit_scale, SIGMOID_BIAS))
    return towers


def build_model(model_cfg: Mapping[str, Any], name: str, text_config: Path | None) -> Any:
    """Return open_clip's model of a config, initialised from torch's random state.

    Args:
        model_cfg: The config: embed_dim, vision_cfg, text_cfg and more.
        name: What an error calls the model.
        text_config: The directory with a Hugging Face text tower's config.json, if it has one.

    Returns:
        CLIP, CustomTextCLIP or CoCa, without weights from anywhere.

    Raises:
        CheckpointError: If open_clip cannot build it.
        MissingExtraError: If open_clip is not installed.
    """
    try:
        from open_clip import CLIP, CoCa, CustomTextCLIP
    except ImportError as error:
        raise MissingExtraError("torch", "Building an open_clip model") from error

    activation = model_cfg["vision_cfg"].get("timm_activation")
    config = split_own({"model_cfg": model_cfg})[0]["model_cfg"]
    vision_cfg, text_cfg = config["vision_cfg"], config["text_cfg"]
    if ":" in str(vision_cfg.get("timm_model_name") or ""):
        raise CheckpointError(
            f"{name} takes its image tower from {vision_cfg['timm_model_name']}, "
            "outside the checkpoint; clipkit builds only towers that timm knows by name"
        )
    is_custom = config.pop("custom_text", False) or text_config is not None
    if text_config is not None:
        text_cfg |= {"hf_model_name": str(text_config), "hf_model_pretrained": False}
    if vision_cfg.get("timm_model_name"):
        vision_cfg["timm_model_pretrained"] = False
    if is_custom and "multimodal_cfg" in config:
        kind = CoCa
    else:
        kind = CustomTextCLIP if is_custom else CLIP
    try:
        model = kind(**config)
    except Exception as error:
        # open_clip, timm and transformers each refuse a config in their own way.
        raise CheckpointError(
            f"open_clip cannot build the model that {name} describes: {error}"
        ) from error
    if activation is not None:
        _set_activation(model.visual.trunk, activation)
    return model


def image_size(model: Any) -> int | list[int]:
    """Return the pixels of a side, or [height, width] of images that are not square."""
    size = model.visual.image_size
    if isinstance(size, int):
        return size
    return int(size[0]) if size[0] == size[1] else list(size)


def num_token_rows(model: Any) -> int:
    """Return how many tokens the embedding table of a model's text tower has."""
    return int(getattr(model, "text", model).vocab_size)


def _set_activation(trunk: nn.Module, name: str) -> None:
    """Replace every GELU of an image tower of timm's, as its name in timm says."""
    approximation = {"gelu": "none", "gelu_tanh": "tanh"}.get(name)
    if approximation is None:
        raise CheckpointError(f"timm_activation must be gelu or gelu_tanh, got {name!r}")
    for module in list(trunk.modules()):
        for part, child in module.named_children():
            if isinstance(child, nn.GELU) or type(child).__name__ == "GELUTanh":
                setattr(module, part, nn.GELU(approximate=approximation))


def _describe(architecture: str) -> tuple[dict[str, Any], Path | None]:
    """Return the configs of an architecture, and the folder of its file."""
    if not architecture.endswith(".json"):
        return {"model_cfg": architecture_config(resolve_architecture(architecture))}, None
    path = expand_home(architecture)
    return read_architecture(path), path.absolute().parent


def _start_for_sigmoid(model_cfg: dict[str, Any]) -> None:
    for key, value in (("init_logit_scale", SIGMOID_SCALE), ("init_logit_bias", SIGMOID_BIAS)):
        if model_cfg.get(key) is None:
            model_cfg[key] = value


def _text_config(text_cfg: dict[str, Any], folders: list[Path], name: str) -> Path | None:
    """Return the folder with the config of a Hugging Face text tower, if it is to be one."""
    wanted = text_cfg.get("hf_model_name")
    if not wanted:
        return None
    for folder in folders:
        if is_text_config(folder / TEXT_CONFIG_NAME):
            text_cfg["hf_model_name"] = "."  # a checkpoint holds it itself
            return folder
    raise CheckpointError(
        f'{name} takes the config of its text tower from the hub ("{wanted}"), and training from '
        f"scratch uses no network: put its {TEXT_CONFIG_NAME} and {TOKENIZER_NAME} into a folder "
        "and give that as model.tokenizer"
    )


def _vocabulary(
    text_cfg: dict[str, Any], folders: list[Path], name: str, *, is_named: bool
) -> Path:
    """Return the folder of the tokenizer's files, or CLIP's own vocabulary file."""
    wanted = text_cfg.get("hf_tokenizer_name")
    if not wanted and not is_named:
        return clip_vocabulary()
    for folder in folders:
        if (folder / TOKENIZER_NAME).is_file():
            text_cfg["hf_tokenizer_name"] = "."  # a checkpoint holds it itself
            return folder.absolute()
        if is_named:
            raise CheckpointError(f"{folder} holds no {TOKENIZER_NAME}, so it is no tokenizer")
    raise CheckpointError(
        f'{name} takes its vocabulary from the hub ("{wanted}"), and training from scratch uses '
        f"no network: put its {TOKENIZER_NAME} into a folder and give that as model.tokenizer"
    )


def _check_vocabulary(text_cfg: Mapping[str, Any], source: Path, model: Any) -> None:
    """Raise if the text tower has no row for some token id, or would not find the end token."""
    num_rows = num_token_rows(model)
    if source.is_file():
        extra_marks = (text_cfg.get("tokenizer_kwargs") or {}).get("additional_special_tokens")
        num_tokens = _CLIP_TOKENS + len(extra_marks or ())
    else:
        vocabulary = read_vocabulary(source / TOKENIZER_NAME)
        num_tokens, end_id = vocabulary.num_tokens, vocabulary.end_id
        problem = wrong_end(text_cfg, num_tokens - 1, end_id)
        if problem is not None:
            raise CheckpointError(
                f"the text tower {problem}: "
                + (
                    f'"pool_type": "eos" and "eos_id": {end_id} in the text_cfg would be right'
                    if end_id >= 0
                    else "its post-processor must add an end token"
                )
            )
    if num_tokens > num_rows:
        raise CheckpointError(
            f"the text tower has {num_rows} tokens, too few for the {num_tokens} of {source}: "
            f"vocab_size must be at least {num_tokens}"
        )
