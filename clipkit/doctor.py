"""clipkit doctor: what decides a model's embeddings, and whether this machine computes them right.

Most of what goes wrong with such a model is silent: another activation, mean, resize or padding
than it was trained with costs points of accuracy and raises nothing.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipkit.encoder.encoder import Encoder
from clipkit.encoder.engines import Engine, open_encoder
from clipkit.errors import CheckpointError
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.text_cleaning import cleaning_rule
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.models.activation import image_activation, text_activation, text_kind
from clipkit.models.hub_integrity import verify_weights
from clipkit.models.locate import CheckpointFiles, locate
from clipkit.models.open_clip_config import read_config
from clipkit.models.sources import (
    CONFIG_NAME,
    DirectorySource,
    FileSource,
    Source,
    resolve_source,
)
from clipkit.runtime.autotune import Trial, compiled_trial
from clipkit.runtime.bundle import GOLDEN_VECTORS, Bundle, Parity, Refusal, verify
from clipkit.runtime.cache import find_compiled, remembered_refusal
from clipkit.runtime.parity import (
    ReferenceEmbeddings,
    compare,
    reference_digest,
    reference_images,
    reference_texts,
)


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
    trial: Trial | None  # of the precisions on this machine; None: there was nothing to choose


@dataclass(frozen=True)
class Diagnosis:
    """What decides a model's embeddings on this machine, and what is wrong with it."""

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
    remarks: tuple[str, ...]  # what a person should know
    problems: tuple[str, ...]  # what makes embeddings wrong

    @property
    def is_healthy(self) -> bool:
        """Whether nothing wrong was found."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return what ``clipkit doctor --json`` prints: the fields by name, and "is_healthy"."""
        values = {**dataclasses.asdict(self), "is_healthy": self.is_healthy}
        if self.weights is not None:
            values["weights"] = str(self.weights)
        if self.compilation is not None:
            values["compilation"]["directory"] = str(self.compilation.directory)
        return values


def diagnose(
    name: str | Path = "starter",
    *,
    device: str = "auto",
    precision: str = "auto",
    engine: Engine = "auto",
) -> Diagnosis:
    """Load a model, say what decides its embeddings, and compare them with its golden vectors.

    Args:
        name: A model, as for :func:`clipkit.load`.
        device: As for :func:`clipkit.load`.
        precision: As for :func:`clipkit.load`.
        engine: As for :func:`clipkit.load`.

    Returns:
        The diagnosis.

    Raises:
        InputError: If device, precision or engine do not fit.
        CheckpointError: If the model cannot be loaded.
        OfflineError: If weights would have to be fetched and there is no network.
        MissingExtraError: If the model needs torch and torch is not installed.
    """
    source = resolve_source(name)
    encoder = open_encoder(
        source, engine=engine, device=device, precision=precision, cache_dir=None, text_cache=None
    )
    directory = find_compiled(source)
    bundle = None if directory is None else Bundle.read(directory)
    # Beside a compiled model lies all of its checkpoint, so that open_clip need not be installed.
    is_whole = directory is not None and encoder.engine == "onnx"
    files = locate(DirectorySource(source.name, directory) if directory and is_whole else source)
    golden = None if directory is None else golden_parity(encoder, directory)
    return Diagnosis(
        name=source.name,
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
        else Compilation(directory, bundle.precisions, bundle.refused, compiled_trial(bundle)),
        golden=golden,
        remarks=tuple(_remarks(source, directory)),
        problems=tuple(_problems(source, encoder, files, directory, golden)),
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


def golden_parity(encoder: Encoder, directory: Path) -> Parity | None:
    """Compare what an encoder computes with the golden vectors of a compiled model.

    Args:
        encoder: Of the same model, on any engine and in any precision; without a text cache, or
            else what another process computed is compared.
        directory: The compiled model.

    Returns:
        Cosines and ranks on the reference inputs; None if the golden vectors are of other inputs
        than those of this clipkit.

    Raises:
        CheckpointError: If the golden vectors cannot be read.
    """
    if Bundle.read(directory).reference != reference_digest():
        return None
    computed = ReferenceEmbeddings(
        encoder.encode_images(reference_images()), encoder.encode_texts(reference_texts())
    )
    return compare(ReferenceEmbeddings.read(directory / GOLDEN_VECTORS), computed)


def _problems(
    source: Source,
    encoder: Encoder,
    files: CheckpointFiles,
    directory: Path | None,
    golden: Parity | None,
) -> Iterator[str]:
    if files.weights is not None:
        is_local = isinstance(source, DirectorySource | FileSource)
        try:
            verify_weights(files.weights, None if is_local else source.name)
        except CheckpointError as error:
            yield str(error)
    if directory is not None:
        try:
            verify(directory)
        except CheckpointError as error:
            yield str(error)
    if golden is not None and not golden.passes(encoder.precision):
        yield f"{encoder.precision} on {encoder.engine} is too far from the original: {golden}"


def _remarks(source: Source, directory: Path | None) -> Iterator[str]:
    if directory is None:
        refusal = remembered_refusal(source)
        if refusal is not None:
            yield f"it cannot be compiled: {refusal}"
        else:
            yield "there are no golden vectors to compare with before it is compiled"
    if isinstance(source, FileSource) and not source.architecture.endswith("-quickgelu"):
        yield (
            "a weights file does not say its activation: if it was trained from weights with "
            f'QuickGELU, such as OpenAI\'s, call it "{source.architecture}-quickgelu={source.path}"'
        )
    if isinstance(source, DirectorySource):
        config = source.directory / CONFIG_NAME
        # Without it the directory is in transformers' layout, which never leaves these out.
        if config.is_file() and not read_config(config).get("preprocess_cfg"):
            yield (
                f"{config} has no preprocess_cfg: mean, std, interpolation and resize mode are "
                "open_clip's defaults, which need not be those it was trained with"
            )


def _scoring(encoder: Encoder) -> str:
    if encoder.logit_bias is None:
        return f"softmax of cosines times {encoder.logit_scale:.4g}"
    return f"sigmoid of cosines times {encoder.logit_scale:.4g} plus {encoder.logit_bias:.4g}"


def _depth(tower_cfg: Mapping[str, Any], usual_width: int) -> str:
    layers, width = tower_cfg.get("layers", 12), tower_cfg.get("width", usual_width)
    return f"{layers} layers, width {width}"
