"""What decides a model's embeddings: towers, activations, preprocess, tokenizer, engine."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipkit.encoder.encoder import Encoder
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.text_cleaning import cleaning_rule
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.models.activation import image_activation, text_activation, text_kind
from clipkit.models.locate import CheckpointFiles
from clipkit.runtime.autotune import Trial
from clipkit.runtime.bundle import Bundle, Parity, Refusal
from clipkit.runtime.compiled_autotune import compiled_trial


@dataclass(frozen=True)
class ImageSide:
    """How images become features."""

    tower: str
    activation: str
    size: tuple[int, int]  # height and width of the pixel values
    resize_mode: str
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class TextSide:
    """How texts become features."""

    tower: str
    activation: str
    context_length: int
    pad_id: int  # token that fills a row
    cleaning: str  # before a text is cut into tokens
    is_lower_cased: bool


@dataclass(frozen=True)
class Compilation:
    """What is known of a compiled model."""

    directory: Path
    precisions: Mapping[str, Parity]  # to the original, when it was compiled
    refused: Mapping[str, Refusal]
    kept: Mapping[str, list[str]]  # by tower, weights whose products are in float32 in int8
    trial: Trial | None  # of the precisions on this machine; None: there was nothing to choose


@dataclass(frozen=True)
class ModelDescription:
    """What decides a model's embeddings on this machine."""

    name: str
    weights: Path | None  # None: not known
    space_id: str
    embed_dim: int
    image: ImageSide
    text: TextSide
    scoring: str  # how cosines become logits
    engine: str
    device: str
    precision: str
    compilation: Compilation | None  # None: it is not compiled
    golden: Parity | None  # of this machine to the golden vectors; None: there are none

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, as JSON has them."""
        values = dataclasses.asdict(self)
        if self.weights is not None:
            values["weights"] = str(self.weights)
        if self.compilation is not None:
            values["compilation"]["directory"] = str(self.compilation.directory)
        return values


def describe_model(
    encoder: Encoder, files: CheckpointFiles, directory: Path | None, golden: Parity | None
) -> ModelDescription:
    """Return what decides the embeddings of an encoder.

    Args:
        encoder: The model on an engine.
        files: What it was opened from.
        directory: Its compiled bundle, if there is one.
        golden: How close it comes to its golden vectors, if there are any.

    Returns:
        The description.

    Raises:
        CheckpointError: If the manifest of the bundle, or a config, cannot be read.
    """
    bundle = None if directory is None else Bundle.read(directory)
    return ModelDescription(
        name=encoder.name,
        weights=files.weights,
        space_id=encoder.space_id,
        embed_dim=encoder.embed_dim,
        image=describe_image_side(files),
        text=describe_text_side(files),
        scoring=_scoring(encoder),
        engine=encoder.engine,
        device=encoder.device,
        precision=encoder.precision,
        compilation=None
        if directory is None or bundle is None
        else Compilation(
            directory, bundle.precisions, bundle.refused, bundle.kept, compiled_trial(bundle)
        ),
        golden=golden,
    )


def describe_image_side(files: CheckpointFiles) -> ImageSide:
    """Return how a checkpoint's images become features.

    Args:
        files: The checkpoint.

    Returns:
        What its configuration says.
    """
    vision_cfg = files.model_cfg["vision_cfg"]
    preprocess = Preprocess.from_config(files.preprocess_cfg, vision_cfg.get("image_size", 224))
    if vision_cfg.get("timm_model_name"):
        tower = f"timm {vision_cfg['timm_model_name']}"
    elif isinstance(vision_cfg.get("layers"), list):
        tower = f"ResNet, layers {vision_cfg['layers']}, width {vision_cfg.get('width', 64)}"
    else:
        tower = f"ViT, patch {vision_cfg.get('patch_size', 16)}, {_depth(vision_cfg, 768)}"
    return ImageSide(
        tower=tower,
        activation=image_activation(files.model_cfg),
        size=preprocess.size,
        resize_mode=preprocess.resize_mode,
        interpolation=preprocess.interpolation,
        mean=preprocess.mean,
        std=preprocess.std,
    )


def describe_text_side(files: CheckpointFiles) -> TextSide:
    """Return how a checkpoint's texts become features.

    Args:
        files: The checkpoint.

    Returns:
        What its configuration says.
    """
    text_cfg = files.model_cfg["text_cfg"]
    tokenizer = Tokenizer.from_config(text_cfg, files.tokenizer)
    upper, lower = tokenizer(["A CAT", "a cat"])  # a vocabulary may do it, not only the cleaning
    if files.text_config is not None:
        tower = f"{text_kind(files.text_config)} of transformers"
    else:
        mask = "every token sees all" if text_cfg.get("no_causal_mask") else "causal"
        tower = f"transformer, {_depth(text_cfg, 512)}, {mask}"
    return TextSide(
        tower=tower,
        activation=text_activation(files.model_cfg, files.text_config),
        context_length=tokenizer.context_length,
        pad_id=tokenizer.pad_id,
        cleaning=cleaning_rule(text_cfg),
        is_lower_cased=bool((upper == lower).all()),
    )


def _scoring(encoder: Encoder) -> str:
    if encoder.logit_bias is None:
        return f"softmax of cosines times {encoder.logit_scale:.4g}"
    return f"sigmoid of cosines times {encoder.logit_scale:.4g} plus {encoder.logit_bias:.4g}"


def _depth(tower_cfg: Mapping[str, Any], usual_width: int) -> str:
    layers, width = tower_cfg.get("layers", 12), tower_cfg.get("width", usual_width)
    return f"{layers} layers, width {width}"
