"""Checkpoints in transformers' layout, described in open_clip's words.

A directory as `save_pretrained` writes it: ``config.json``, weights, the tokenizer's files and a
``preprocessor_config.json``. Its config and its image processor become the configs of an
``open_clip_config.json``; :mod:`clipkit.models.transformers_weights` renames the weights. Imports
neither torch nor transformers.

What open_clip has no word for is said in clipkit's own (:mod:`clipkit.models.own_settings`): no
cleaning of texts but the tokenizer's, a crop whose odd pixel is taken from the other side, another
size before the crop, the activation of a timm tower.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from clipkit.errors import CheckpointError
from clipkit.files import read_json_object
from clipkit.models.transformers_preprocess import read_processor

MODEL_CONFIG = "config.json"
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)  # in the order in which transformers prefers them
INDEX_SUFFIX = ".index.json"  # of a file that names several weights files
# Where sentence-transformers keeps it.
INNER_DIRECTORY = "0_CLIPModel"
INNER_CONFIG = f"{INNER_DIRECTORY}/{MODEL_CONFIG}"

Family = Literal["clip", "metaclip_2", "chinese_clip", "siglip"]
"""What a config's model_type may be for open_clip to have the encoders: fixed-size SigLIP2 is
"siglip" too."""
FAMILIES: tuple[Family, ...] = ("clip", "metaclip_2", "chinese_clip", "siglip")
_UNBUILT = {
    "siglip2": "its image encoder takes images of any shape (NaFlex), which open_clip has none for",
    "altclip": "its text encoder has a layer norm and a linear layer that open_clip's have not",
    "align": "open_clip has no EfficientNet encoder for it",
    "clipseg": "it segments images, with a decoder",
    "owlvit": "it detects objects, with a head for boxes",
    "owlv2": "it detects objects, with a head for boxes",
    "xclip": "it is for videos",
    "clap": "it is for sounds",
    "blip": "it writes captions",
    "blip-2": "it writes captions",
    "clip_text_model": "it holds a text encoder alone",
    "clip_vision_model": "it holds an image encoder alone",
    "siglip_text_model": "it holds a text encoder alone",
    "siglip_vision_model": "it holds an image encoder alone",
}
# open_clip takes SigLIP's image encoders from timm by name: (width, layers, heads, patch) -> name.
TIMM_SIGLIP: dict[tuple[int, int, int, int], str] = {
    (768, 12, 12, 32): "vit_base_patch32_siglip",
    (768, 12, 12, 16): "vit_base_patch16_siglip",
    (1024, 24, 16, 16): "vit_large_patch16_siglip",
    (1152, 27, 16, 14): "vit_so400m_patch14_siglip",
    (1152, 27, 16, 16): "vit_so400m_patch16_siglip",
    (1536, 40, 16, 16): "vit_giantopt_patch16_siglip",
}


@dataclass(frozen=True)
class TransformersConfig:
    """A checkpoint's config in open_clip's words."""

    family: Family
    config: dict[str, Any]  # "model_cfg", "preprocess_cfg"; with clipkit's own settings in them
    text_config: dict[str, Any] | None  # of a text encoder that stays transformers' own


def model_directory(directory: Path) -> Path | None:
    """Return where transformers' config of a model with two encoders lies, if there is one.

    Args:
        directory: A directory, also one of sentence-transformers'.

    Returns:
        The directory, or the ``0_CLIPModel`` inside; None if neither has such a config.
    """
    for place in (directory, directory / INNER_DIRECTORY):
        if is_dual_encoder(place / MODEL_CONFIG):
            return place
    return None


def is_dual_encoder(path: Path) -> bool:
    """Return whether a file is transformers' config of an image and a text encoder, or like it.

    Also one that open_clip has no encoders for, so that it is refused with the reason.
    """
    kind = model_type(path)
    return kind in FAMILIES or kind in _UNBUILT


def model_type(path: Path) -> str | None:
    """Return what kind of model transformers' config says it is of; None: it does not say."""
    try:
        kind = read_json_object(path, CheckpointError).get("model_type")
    except CheckpointError:
        return None
    return kind if isinstance(kind, str) else None


def read_transformers(directory: Path) -> TransformersConfig:
    """Return the config of a checkpoint directory of transformers'.

    Args:
        directory: It holds a config.json and the config of an image processor.

    Returns:
        The config in open_clip's words.

    Raises:
        CheckpointError: If a file is missing or damaged, or open_clip cannot build such a model.
    """
    path = directory / MODEL_CONFIG
    content = read_json_object(path, CheckpointError)
    kind = content.get("model_type")
    if kind not in FAMILIES:
        why = _UNBUILT.get(str(kind), "clipkit has no table for its weights")
        raise CheckpointError(
            f"{path} describes a model of transformers' of type {kind!r}, which open_clip's "
            f"encoders cannot be: {why}; clipkit loads {', '.join(FAMILIES)}"
        )
    try:
        text, vision = _part(content, "text"), _part(content, "vision")
        if kind == "siglip":
            model_cfg = _siglip(text, vision, path)
        else:
            model_cfg = _clip(kind, content, text, vision, path)
    except (TypeError, KeyError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{path} lacks a number of its encoders or has one of another kind: {error!r}"
        ) from error
    return TransformersConfig(
        kind,
        {"model_cfg": model_cfg, "preprocess_cfg": read_processor(directory)},
        {**text, "model_type": "bert"} if kind == "chinese_clip" else None,
    )


def shards(index: Path) -> list[Path]:
    """Return the weights files that an index of transformers' names, each once.

    Args:
        index: A ``model.safetensors.index.json`` or the like.

    Returns:
        Paths beside it, whether they exist or not.

    Raises:
        CheckpointError: If it cannot be read, or names a file elsewhere.
    """
    content = read_json_object(index, CheckpointError)
    try:
        names = sorted(set(content["weight_map"].values()))
        if any(Path(name).name != name for name in names):
            raise ValueError("it names a file in another directory")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is not an index of weights files: {error!r}") from error
    return [index.with_name(name) for name in names]


def _clip(
    kind: Family,
    content: Mapping[str, Any],
    text: Mapping[str, Any],
    vision: Mapping[str, Any],
    path: Path,
) -> dict[str, Any]:
    """Return the model config of CLIP and of its relatives with the same image encoder."""
    width, heads = int(vision.get("hidden_size", 768)), int(vision.get("num_attention_heads", 12))
    act = str(vision.get("hidden_act", "quick_gelu"))
    model_cfg: dict[str, Any] = {
        "embed_dim": int(content.get("projection_dim") or 512),
        "vision_cfg": {
            "image_size": _square(vision.get("image_size", 224)),
            "layers": int(vision.get("num_hidden_layers", 12)),
            "width": width,
            "head_width": width // heads,
            "mlp_ratio": int(vision.get("intermediate_size", 4 * width)) / width,
            "patch_size": int(_square(vision.get("patch_size", 32))),
            **_norm(vision.get("layer_norm_eps", 1e-5)),
            **_activation(act, path),
        },
        "quick_gelu": act == "quick_gelu",
    }
    if kind == "chinese_clip":
        model_cfg["custom_text"] = True
        model_cfg["text_cfg"] = {
            "hf_model_name": ".",
            "hf_model_pretrained": False,
            "hf_proj_type": "linear",
            "hf_pooler_type": "cls_last_hidden_state_pooler",
            **_tokenizer(_length(text)),
        }
        return model_cfg
    if str(text.get("hidden_act", "quick_gelu")) != act:
        raise CheckpointError(
            f"{path} has another activation in its text encoder ({text['hidden_act']!r}) than in "
            f"its image encoder ({act!r}), which open_clip's cannot have"
        )
    text_width, vocabulary = int(text.get("hidden_size", 512)), int(text.get("vocab_size", 49408))
    # A config from before transformers 4.31 says 2 whatever the tokenizer ends with, and the
    # highest id was taken for the end: as openai/CLIP and open_clip do it.
    end = int(text.get("eos_token_id", 49407))
    is_highest = kind == "clip" and (end == 2 or end == vocabulary - 1)
    model_cfg["text_cfg"] = {
        "vocab_size": vocabulary,
        "width": text_width,
        "heads": int(text.get("num_attention_heads", 8)),
        "layers": int(text.get("num_hidden_layers", 12)),
        "mlp_ratio": int(text.get("intermediate_size", 4 * text_width)) / text_width,
        **({} if is_highest else {"pool_type": "eos", "eos_id": end}),
        **_norm(text.get("layer_norm_eps", 1e-5)),
        **_activation(act, path),
        **_tokenizer(_length(text)),
    }
    return model_cfg


def siglip_layers(model_cfg: Mapping[str, Any]) -> int:
    """Return how many blocks the SigLIP image encoder of a model config has."""
    stem = str(model_cfg["vision_cfg"]["timm_model_name"]).rpartition("_")[0]
    return next(layers for (_, layers, _, _), name in TIMM_SIGLIP.items() if name == stem)


def _siglip(text: Mapping[str, Any], vision: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the model config of SigLIP, and of SigLIP2 at a fixed size."""
    width, heads = int(vision.get("hidden_size", 768)), int(vision.get("num_attention_heads", 12))
    layers, size = int(vision.get("num_hidden_layers", 12)), _square(vision.get("image_size", 224))
    patch = int(_square(vision.get("patch_size", 16)))
    stem = TIMM_SIGLIP.get((width, layers, heads, patch))
    if stem is None:
        raise CheckpointError(
            f"{path} has an image encoder of width {width}, {layers} layers, {heads} heads and "
            f"patches of {patch} pixels; open_clip takes SigLIP's from timm, which has "
            f"{', '.join(dict.fromkeys(TIMM_SIGLIP.values()))}"
        )
    if not vision.get("vision_use_head", True) or vision.get("layer_norm_eps", 1e-6) != 1e-6:
        raise CheckpointError(
            f"{path} has an image encoder without a pooling head, or with another layer_norm_eps "
            "than 1e-6, which timm's SigLIP encoders cannot have"
        )
    text_width = int(text.get("hidden_size", 768))
    projected = int(text.get("projection_size") or text_width)
    if projected != width:
        raise CheckpointError(
            f"{path} projects texts to {projected} dimensions and has image embeddings of {width}"
        )
    text_act, vision_act = (
        _activation(str(part.get("hidden_act", "gelu_pytorch_tanh")), path)
        for part in (text, vision)
    )
    if "quick_gelu" in (text.get("hidden_act"), vision.get("hidden_act")):
        raise CheckpointError(f"{path} has the activation 'quick_gelu', which timm's have not")
    return {
        "embed_dim": width,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": size,
            "timm_model_name": f"{stem}_{size}",
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
            # timm builds most of them with the exact GELU.
            "timm_activation": "gelu_tanh" if vision_act else "gelu",
        },
        "text_cfg": {
            "vocab_size": int(text.get("vocab_size", 32000)),
            "width": text_width,
            "heads": int(text.get("num_attention_heads", 12)),
            "layers": int(text.get("num_hidden_layers", 12)),
            "mlp_ratio": int(text.get("intermediate_size", 4 * text_width)) / text_width,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": float(text.get("layer_norm_eps", 1e-6))},
            **text_act,
            **_tokenizer(_length(text, 64)),
        },
    }


def _tokenizer(length: int) -> dict[str, Any]:
    """Return what all text configs have; the files of the tokenizer say how texts are cleaned."""
    return {"context_length": length, "hf_tokenizer_name": "."}


def _length(text: Mapping[str, Any], usual: int = 77) -> int:
    return int(text.get("max_position_embeddings", usual))


def _norm(epsilon: Any) -> dict[str, Any]:
    return {} if epsilon in (None, 1e-5) else {"norm_kwargs": {"eps": float(epsilon)}}


def _activation(name: str, path: Path) -> dict[str, Any]:
    """Return the keys for an activation; QuickGELU is one switch for the whole model."""
    if name in ("quick_gelu", "gelu"):
        return {}
    if name in ("gelu_pytorch_tanh", "gelu_new", "gelu_fast"):  # formulas of one function
        return {"act_kwargs": {"approximate": "tanh"}}
    raise CheckpointError(
        f"{path} has the activation {name!r}, which open_clip's encoders have not"
    )


def _square(value: Any) -> int:
    """Return one number for a side; open_clip's encoders of these families are square."""
    sides = value if isinstance(value, list | tuple) else [value]
    if len(set(sides)) != 1:
        raise ValueError(f"the sides {sides} are not equal")
    return int(sides[0])


def _part(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the config of one encoder: of CLIP, an older key beside it decides where it is."""
    older = content.get(f"{name}_config_dict")
    return dict((content.get(f"{name}_config") or {}) if older is None else older)
