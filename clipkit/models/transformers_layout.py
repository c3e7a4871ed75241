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
from clipkit.models.config_values import ConfigValues
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


# Far beyond every published model: what is larger is no size, and would be built for ever.
_MOST_LAYERS, _MOST_WIDTH, _MOST_INNER = 200, 16_384, 131_072
_MOST_PIXELS, _MOST_POSITIONS, _MOST_TOKENS = 16_384, 65_536, 4_000_000


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
    values = ConfigValues(content, path)
    text, vision = _part(values, "text"), _part(values, "vision")
    if kind == "siglip":
        model_cfg = _siglip(text, vision, path)
    else:
        model_cfg = _clip(kind, values, text, vision, path)
    return TransformersConfig(
        kind,
        {"model_cfg": model_cfg, "preprocess_cfg": read_processor(directory)},
        {**text.content, "model_type": "bert"} if kind == "chinese_clip" else None,
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
        if any(not name or Path(name).name != name for name in names):
            raise ValueError("it names a file in another directory, or none")
        if any(name.endswith(INDEX_SUFFIX) for name in names):
            raise ValueError("it names an index")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is not an index of weights files: {error!r}") from error
    return [index.with_name(name) for name in names]


def _clip(
    kind: Family,
    content: ConfigValues,
    text: ConfigValues,
    vision: ConfigValues,
    path: Path,
) -> dict[str, Any]:
    """Return the model config of CLIP and of its relatives with the same image encoder."""
    width = vision.whole("hidden_size", 768, most=_MOST_WIDTH)
    act = vision.text("hidden_act", "quick_gelu")
    model_cfg: dict[str, Any] = {
        "embed_dim": _projection(content, "projection_dim", 512),
        "vision_cfg": {
            "image_size": vision.side("image_size", 224, most=_MOST_PIXELS),
            "layers": vision.whole("num_hidden_layers", 12, most=_MOST_LAYERS),
            "width": width,
            "head_width": width // vision.heads(12, width),
            "mlp_ratio": vision.whole("intermediate_size", 3072, most=_MOST_INNER) / width,
            "patch_size": vision.side("patch_size", 32, most=_MOST_PIXELS),
            **_norm(vision),
            **_activation(act, path),
        },
        "quick_gelu": act == "quick_gelu",
    }
    if kind == "chinese_clip":
        _check_bert(text)
        model_cfg["custom_text"] = True
        model_cfg["text_cfg"] = {
            "hf_model_name": ".",
            "hf_model_pretrained": False,
            "hf_proj_type": "linear",
            "hf_pooler_type": "cls_last_hidden_state_pooler",
            # open_clip's own length, where the config would mean BERT's 512 positions.
            **_tokenizer(_length(text, 77)),
        }
        return model_cfg
    if text.text("hidden_act", "quick_gelu") != act:
        raise CheckpointError(
            f"{path} has another activation in its text encoder "
            f"({text.text('hidden_act', 'quick_gelu')!r}) than in its image encoder ({act!r}), "
            "which open_clip's cannot have"
        )
    text_width = text.whole("hidden_size", 512, most=_MOST_WIDTH)
    vocabulary = text.whole("vocab_size", 49408, most=_MOST_TOKENS)
    # A config from before transformers 4.31 says 2 whatever the tokenizer ends with, and the
    # highest id was taken for the end: as openai/CLIP and open_clip do it.
    end = text.whole("eos_token_id", 49407, least=0, most=_MOST_TOKENS)
    is_highest = kind == "clip" and (end == 2 or end == vocabulary - 1)
    model_cfg["text_cfg"] = {
        "vocab_size": vocabulary,
        "width": text_width,
        "heads": text.heads(8, text_width),
        "layers": text.whole("num_hidden_layers", 12, most=_MOST_LAYERS),
        "mlp_ratio": text.whole("intermediate_size", 2048, most=_MOST_INNER) / text_width,
        **({} if is_highest else {"pool_type": "eos", "eos_id": end}),
        **_norm(text),
        **_activation(act, path),
        **_tokenizer(_length(text, 77)),
    }
    return model_cfg


def siglip_layers(model_cfg: Mapping[str, Any]) -> int:
    """Return how many blocks the SigLIP image encoder of a model config has."""
    stem = str(model_cfg["vision_cfg"]["timm_model_name"]).rpartition("_")[0]
    return next(layers for (_, layers, _, _), name in TIMM_SIGLIP.items() if name == stem)


def _siglip(text: ConfigValues, vision: ConfigValues, path: Path) -> dict[str, Any]:
    """Return the model config of SigLIP, and of SigLIP2 at a fixed size."""
    width = vision.whole("hidden_size", 768, most=_MOST_WIDTH)
    heads = vision.heads(12, width)
    layers = vision.whole("num_hidden_layers", 12, most=_MOST_LAYERS)
    size = vision.side("image_size", 224, most=_MOST_PIXELS)
    patch = vision.side("patch_size", 16, most=_MOST_PIXELS)
    stem = TIMM_SIGLIP.get((width, layers, heads, patch))
    if stem is None:
        raise CheckpointError(
            f"{path} has an image encoder of width {width}, {layers} layers, {heads} heads and "
            f"patches of {patch} pixels; open_clip takes SigLIP's from timm, which has "
            f"{', '.join(dict.fromkeys(TIMM_SIGLIP.values()))}"
        )
    has_head = vision.content.get("vision_use_head", True)
    if not has_head or vision.positive("layer_norm_eps", 1e-6) != 1e-6:
        raise CheckpointError(
            f"{path} has an image encoder without a pooling head, or with another layer_norm_eps "
            "than 1e-6, which timm's SigLIP encoders cannot have"
        )
    text_width = text.whole("hidden_size", 768, most=_MOST_WIDTH)
    projected = _projection(text, "projection_size", text_width)
    if projected != width:
        raise CheckpointError(
            f"{path} projects texts to {projected} dimensions and has image embeddings of {width}"
        )
    acts = [part.text("hidden_act", "gelu_pytorch_tanh") for part in (text, vision)]
    text_act, vision_act = (_activation(act, path) for act in acts)
    if "quick_gelu" in acts:
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
            "vocab_size": text.whole("vocab_size", 32000, most=_MOST_TOKENS),
            "width": text_width,
            "heads": text.heads(12, text_width),
            "layers": text.whole("num_hidden_layers", 12, most=_MOST_LAYERS),
            "mlp_ratio": text.whole("intermediate_size", 3072, most=_MOST_INNER) / text_width,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": text.positive("layer_norm_eps", 1e-6)},
            **text_act,
            **_tokenizer(_length(text, 64)),
        },
    }


def _tokenizer(length: int) -> dict[str, Any]:
    """Return what all text configs have; the files of the tokenizer say how texts are cleaned."""
    return {"context_length": length, "hf_tokenizer_name": "."}


def _length(text: ConfigValues, usual: int) -> int:
    return text.whole("max_position_embeddings", usual, most=_MOST_POSITIONS)


def _projection(values: ConfigValues, key: str, usual: int) -> int:
    """Return the dimensions of an encoder's features; null is the usual number."""
    if values.content.get(key, 0) is None:
        return usual
    return values.whole(key, usual, most=_MOST_WIDTH)


def _norm(values: ConfigValues) -> dict[str, Any]:
    key = "layer_norm_eps"
    epsilon = 1e-5 if values.content.get(key) is None else values.positive(key, 1e-5)
    return {} if epsilon == 1e-5 else {"norm_kwargs": {"eps": epsilon}}


def _check_bert(text: ConfigValues) -> None:
    """Check the numbers of a text encoder that transformers builds itself."""
    width = text.whole("hidden_size", 768, most=_MOST_WIDTH)
    text.heads(12, width)
    text.whole("num_hidden_layers", 12, most=_MOST_LAYERS)
    text.whole("intermediate_size", 3072, most=_MOST_INNER)
    text.whole("vocab_size", 30522, most=_MOST_TOKENS)
    text.whole("type_vocab_size", 2, most=_MOST_TOKENS)
    text.whole("pad_token_id", 0, least=0, most=_MOST_TOKENS)
    text.positive("layer_norm_eps", 1e-12)
    text.text("hidden_act", "gelu")


def _activation(name: str, path: Path) -> dict[str, Any]:
    """Return the keys for an activation; QuickGELU is one switch for the whole model."""
    if name in ("quick_gelu", "gelu"):
        return {}
    if name in ("gelu_pytorch_tanh", "gelu_new", "gelu_fast"):  # formulas of one function
        return {"act_kwargs": {"approximate": "tanh"}}
    raise CheckpointError(
        f"{path} has the activation {name!r}, which open_clip's encoders have not"
    )


def _part(content: ConfigValues, name: str) -> ConfigValues:
    """Return the config of one encoder: of CLIP, an older key beside it decides where it is."""
    older = f"{name}_config_dict"
    return content.part(f"{name}_config" if content.content.get(older) is None else older)
