"""Listing the models that load by name, with size, accuracy and whether they are downloaded."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipkit.arguments import check_path
from clipkit.errors import CheckpointError
from clipkit.models.hub import SAFE_WEIGHTS, models_here
from clipkit.models.known_models import (
    ModelRecommendation,
    known_architectures,
    published_accuracy,
    recommended_models,
)
from clipkit.models.open_clip_config import read_config
from clipkit.models.safetensors_header import read_header
from clipkit.models.sources import CONFIG_NAME


@dataclass(frozen=True)
class ModelListing:
    """One model that clipkit.load takes by name."""

    name: str
    parameters: int | None  # of both towers; None: not known
    image_size: int | tuple[int, int] | None  # pixels; None: not known
    imagenet_top1: float | None  # published zero-shot accuracy, fraction; None: not known
    place: Path | None  # where it lies on this machine; None: not here
    recommendation: ModelRecommendation | None = None  # for one of the models to begin with

    @property
    def is_here(self) -> bool:
        """Whether it loads without a network."""
        return self.place is not None

    def to_dict(self) -> dict[str, Any]:
        """Return what ``clipkit models --json`` prints of it, with None for what is not known."""
        advice = self.recommendation
        return {
            "name": self.name,
            "parameters": self.parameters,
            "image_size": self.image_size,
            "imagenet_top1": self.imagenet_top1,
            "path": None if self.place is None else str(self.place),
            "recommended_for": advice and advice.purpose,
            "license": advice and advice.license,
            "image_gflops": advice and advice.image_gflops,
        }


def list_models(*, cache_dir: str | os.PathLike[str] | None = None) -> list[ModelListing]:
    """Return every model that loads by name: those on this machine first, then open_clip's order.

    Args:
        cache_dir: The hub cache to look in; the usual one if None.

    Returns:
        One entry a model.
    """
    here = models_here(None if cache_dir is None else check_path(cache_dir, "cache_dir"))
    accuracy = published_accuracy()
    recommended = {entry.name: entry for entry in recommended_models()}
    listings = [
        ModelListing(
            name=f"{name}/{tag}",
            parameters=architecture.parameters,
            image_size=architecture.image_size,
            imagenet_top1=accuracy.get(f"{name}/{tag}"),
            place=here.get(f"{name}/{tag}"),
            recommendation=recommended.get(f"{name}/{tag}"),
        )
        for name, architecture in known_architectures().items()
        if not name.endswith("-quickgelu")  # the same weights under another name
        for tag in architecture.tags
    ]
    known = {listing.name for listing in listings}
    others = [_of_directory(name, place) for name, place in here.items() if name not in known]
    return sorted(others + listings, key=lambda listing: not listing.is_here)


def _of_directory(name: str, directory: Path) -> ModelListing:
    """Return the listing of a checkpoint directory, as far as its own files tell."""
    try:
        image_size = read_config(directory / CONFIG_NAME)["model_cfg"]["vision_cfg"]["image_size"]
    except (CheckpointError, KeyError):
        image_size = None
    return ModelListing(
        name, count_parameters(directory / SAFE_WEIGHTS), image_size, None, directory
    )


def count_parameters(weights: Path) -> int | None:
    """Return how many numbers a safetensors file holds, from its header alone."""
    try:
        header, _ = read_header(weights)
    except (OSError, ValueError):
        return None
    shapes: list[list[int]] = [
        entry["shape"] for entry in header.values() if entry["dtype"].startswith(("F", "BF"))
    ]
    return sum(map(math.prod, shapes))
