"""What RUN.toml says about training the head: the trainer's own sections, and the recipe's."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from clipkit.errors import InputError
from clipkit.training.config import OptimizerConfig
from recipe.packages import RecipeError

SETTINGS_FILE = Path(__file__).resolve().parent.parent / "RUN.toml"
_Section = TypeVar("_Section")


@dataclass(frozen=True)
class Amount:
    """How much is learned from: the part of the trainer's [compute] that holds for features."""

    batch_size: int  # pairs in a step
    epochs: int


@dataclass(frozen=True)
class Rates:
    """Learning rates of the parts, in multiples of the optimizer's."""

    class_units: float
    free_units: float
    text_map: float
    loss_scales: float


@dataclass(frozen=True)
class Weights:
    """What each loss counts."""

    contrastive: float
    class_distillation: float  # KL to the trunk's own 1000-way softmax
    concepts: float  # binary cross-entropy over wider concepts
    conse_pull: float  # 1 - cosine to ConSE on photo-like features
    drawing_pull: float  # the same on drawings
    text_map_pull: float  # squared distance of the text map to the identity


@dataclass(frozen=True)
class Draws:
    """What a batch is drawn from, and the sharpness of its targets."""

    composites: float  # share of the pairs: drawings pasted on photographs
    scenes: float  # share of the pairs: views of landscape photographs; the rest are drawings
    photographs: float  # share of the pairs: views of captioned photographs
    styled: int  # rendered pictures beside the pairs: in another style,
    styled_classes: int  # ImageNet's classes in a style, made of features only
    turned: int  # photographs with another hue,
    coloured: int  # drawings in a named colour,
    pages: int  # documents, charts, maps and screens
    named: int  # parts of photographs of which only the colours are said
    per_set: int  # renderings of one picture that come together
    alone: float  # share of the rendered that only say how a picture looks
    things: float  # share of the rendered that only say what is shown
    tags: float  # share of pairs with a tag for a caption
    feature_noise: float  # in standard deviations
    concepts_per_step: int  # drawn anew in every step
    conse_exponent: float  # of the trunk's probabilities
    drawing_exponent: float
    leave_out_validation: bool  # while settings are chosen


@dataclass(frozen=True)
class Tuning:
    """How the trunk's last layers learn, together with a head that is thrown away afterwards."""

    steps: int  # 0: the trunk stays as it was published
    batch_size: int  # pairs in a step
    trunk_rate: float  # a multiple of optimizer.lr
    head_rate: float  # a multiple of the head's own rates
    class_drift: float  # weight of the KL to what the published trunk says of the same image
    logit_drift: float  # weight of the squared difference of the logits
    share: float  # of the tuned layers in the mean with the published ones, 0 to 1


@dataclass(frozen=True)
class Settings:
    """A whole RUN.toml of the recipe."""

    seed: int
    optimizer: OptimizerConfig
    amount: Amount
    rates: Rates
    weights: Weights
    draws: Draws
    tuning: Tuning


def read_settings(path: Path = SETTINGS_FILE) -> Settings:
    """Return what a RUN.toml says.

    Raises:
        RecipeError: If it cannot be read, or a key is unknown, missing or out of range.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        own = content.pop("starter", {})
        settings = Settings(
            seed=content.pop("seed", 0),
            optimizer=_section(OptimizerConfig, "optimizer", content.pop("optimizer", {})),
            amount=_section(Amount, "compute", content.pop("compute", {})),
            rates=_section(Rates, "starter.rates", own.pop("rates", {})),
            weights=_section(Weights, "starter.weights", own.pop("weights", {})),
            draws=_section(Draws, "starter.draws", own.pop("draws", {})),
            tuning=_section(Tuning, "starter.tuning", own.pop("tuning", {})),
        )
    except (OSError, ValueError, TypeError) as error:  # InputError is a ValueError
        raise RecipeError(f"{path}: {error}") from error
    for name in (*content, *(f"starter.{name}" for name in own)):
        raise RecipeError(f"{path}: the recipe reads no {name}; delete it")
    return settings


def _section(kind: type[_Section], name: str, table: Mapping[str, Any]) -> _Section:
    known: dict[str, Field[Any]] = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise InputError(f"[{name}] has no {key}; its keys are {', '.join(known)}")
    for key, item in known.items():
        if key not in table and item.default is MISSING:
            raise InputError(f"[{name}] needs {key}")
    return kind(**table)
