"""Augmentation of training images: random resized crop, flip, colour jitter, random erasing.

The crop is torchvision's RandomResizedCrop, which open_clip trains with. All randomness comes from
the generator that the caller gives, so equal generators give equal pixel values.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from clipkit.inputs.image_input import ImageInput
from clipkit.inputs.images import Size, borrow_image
from clipkit.inputs.preprocess import Preprocess

# Strengths of open_clip's own recipe with colour jitter: brightness, contrast and saturation by a
# factor of 1 ± .32, hue by ± .08 of the circle.
_JITTER = 0.32
_HUE = 0.08
_CROP_TRIES = 10
# Of the image's area, and width / height: Zhong et al. 2020 (arXiv 1708.04896), section 3.
_ERASED_SHARE = (0.02, 1 / 3)
_ERASED_RATIO = (0.3, 1 / 0.3)


@dataclass(frozen=True)
class Augmentation:
    """How strongly training images are augmented."""

    crop_scale: tuple[float, float] = (1.0, 1.0)  # share of the area that is kept
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width / height of what is kept
    horizontal_flip: float = 0.0  # probability, like all that follow
    color_jitter: float = 0.0
    grayscale: float = 0.0
    random_erasing: float = 0.0

    @property
    def is_none(self) -> bool:
        """Whether training sees the same pixel values as inference, each time."""
        chances = (self.horizontal_flip, self.color_jitter, self.grayscale, self.random_erasing)
        return self.crop_scale == (1.0, 1.0) and not any(chances)

    def levels(
        self,
        source: ImageInput,
        preprocesses: list[Preprocess],
        generator: np.random.Generator,
    ) -> list[NDArray[np.uint8]]:
        """Return one random view of an image, in the input size of each of several image towers.

        The towers' mean and standard deviation are applied in the training step: until then a batch
        takes a quarter of the memory.

        Args:
            source: An image, as read_image takes it.
            preprocesses: One for each tower; all see the same view.
            generator: The source of all randomness.

        Returns:
            Levels 0..255, shape (3, H, W) for each tower.

        Raises:
            ImageReadError: If the image cannot be read.
            InputError: If the source is no image at all.
        """
        if self.is_none:
            return [_unaugmented(source, preprocess) for preprocess in preprocesses]
        # All of the image is decoded, in a size at which the crop is twice as large as its result.
        zoom = 1 / math.sqrt(self.crop_scale[0])
        height, width = np.max([preprocess.size for preprocess in preprocesses], axis=0)
        target = math.ceil(width * zoom), math.ceil(height * zoom)
        with borrow_image(source, target=target) as image:
            box = self._random_resized_crop(image.size, generator)
            filled = image.box or (0.0, 0.0, *image.pixels.size)
            across = (filled[2] - filled[0]) / image.size[0]
            down = (filled[3] - filled[1]) / image.size[1]
            area = (
                filled[0] + box[0] * across,
                filled[1] + box[1] * down,
                filled[0] + box[2] * across,
                filled[1] + box[3] * down,
            )
            changes = self._draw_changes(generator)
            return [changes.apply(image.pixels, area, preprocess) for preprocess in preprocesses]

    def _random_resized_crop(
        self, size: Size, generator: np.random.Generator
    ) -> tuple[int, int, int, int]:
        """Return (left, top, right, bottom) of a random part, in pixels of the full image.

        Source:
            Szegedy et al. 2015 (arXiv 1409.4842), section 6, as in torchvision.
        """
        width, height = size
        for _ in range(_CROP_TRIES):
            area = width * height * generator.uniform(*self.crop_scale)
            ratio = math.exp(generator.uniform(*np.log(self.crop_ratio)))
            columns = round(math.sqrt(area * ratio))
            rows = round(math.sqrt(area / ratio))
            if 0 < columns <= width and 0 < rows <= height:
                top = int(generator.integers(height - rows + 1))
                left = int(generator.integers(width - columns + 1))
                return left, top, left + columns, top + rows
        # A panorama holds no such part: take the largest of an allowed shape, from its middle.
        columns, rows = width, height
        if width / height < self.crop_ratio[0]:
            rows = max(1, round(width / self.crop_ratio[0]))
        elif width / height > self.crop_ratio[1]:
            columns = max(1, round(height * self.crop_ratio[1]))
        left, top = (width - columns) // 2, (height - rows) // 2
        return left, top, left + columns, top + rows

    def _draw_changes(self, generator: np.random.Generator) -> "_Changes":
        """Return what is done to the crop: flip, colour jitter, greyscale, random erasing."""
        is_flipped = generator.random() < self.horizontal_flip
        jitter = None
        if generator.random() < self.color_jitter:
            factors = generator.uniform(1 - _JITTER, 1 + _JITTER, size=3)
            jitter = (*map(float, factors), float(generator.uniform(-_HUE, _HUE)))
        is_gray = generator.random() < self.grayscale
        erased = None
        if generator.random() < self.random_erasing:
            share = generator.uniform(*_ERASED_SHARE)
            ratio = math.exp(generator.uniform(*np.log(_ERASED_RATIO)))
            width = min(math.sqrt(share * ratio), 1.0)
            height = min(math.sqrt(share / ratio), 1.0)
            left, top = generator.random(2) * (1 - width, 1 - height)
            erased = (float(left), float(top), float(left + width), float(top + height))
        return _Changes(is_flipped, jitter, is_gray, erased)


RecipeName = Literal["none", "clip", "slip", "clipa", "tip-adapter", "imagenet"]

RECIPES: dict[RecipeName, Augmentation] = {
    "none": Augmentation(),
    # open_clip's default; CLIP itself takes random square crops (Radford et al. 2021, section 2.4).
    "clip": Augmentation((0.9, 1.0)),
    # Mu et al. 2021 (arXiv 2112.12750), of the image that meets the text.
    "slip": Augmentation((0.5, 1.0)),
    # Li et al. 2023 (arXiv 2305.07017), as open_clip's docs/clipa.md gives it.
    "clipa": Augmentation((0.4, 1.0), color_jitter=0.8, grayscale=0.2),
    # Zhang et al. 2021 (arXiv 2111.03930), for few images of each class.
    "tip-adapter": Augmentation((0.5, 1.0), horizontal_flip=0.5),
    # torchvision's reference for classification, also CoOp's (Zhou et al. 2022, arXiv 2109.01134).
    "imagenet": Augmentation((0.08, 1.0), horizontal_flip=0.5),
}
"""Augmentations by name, as they were published; none erases."""


@dataclass(frozen=True)
class _Changes:
    """What is done to a crop, drawn once for all towers."""

    is_flipped: bool
    jitter: tuple[float, ...] | None  # brightness, contrast, saturation, shift of hue
    is_gray: bool
    erased: tuple[float, float, float, float] | None  # left, top, right, bottom in 0..1

    def apply(
        self,
        pixels: Image.Image,
        area: tuple[float, float, float, float],
        preprocess: Preprocess,
    ) -> NDArray[np.uint8]:
        height, width = preprocess.size
        image = pixels.resize((width, height), preprocess.filter, box=area)
        if self.is_flipped:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.jitter is not None:
            image = _color_jittered(image, self.jitter)
        if self.is_gray:
            image = image.convert("L").convert("RGB")
        levels = _channels_first(image)
        if self.erased is not None:
            left, top, right, bottom = self.erased
            rows = slice(round(top * height), round(bottom * height))
            mean = np.rint(255 * np.array(preprocess.mean)).clip(0, 255)  # 0 when standardised
            columns = slice(round(left * width), round(right * width))
            levels[:, rows, columns] = mean[:, None, None]
        return levels


def _unaugmented(source: ImageInput, preprocess: Preprocess) -> NDArray[np.uint8]:
    """Return an image as it is at inference."""
    with borrow_image(source, target=preprocess.resized_size) as image:
        return _channels_first(preprocess.fitted(image))


def _channels_first(image: Image.Image) -> NDArray[np.uint8]:
    """Return an image's levels in an array of its own, shape (3, H, W)."""
    return np.array(np.asarray(image).transpose(2, 0, 1), order="C")


def _color_jittered(image: Image.Image, jitter: tuple[float, ...]) -> Image.Image:
    for enhance, factor in zip(
        (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), jitter, strict=False
    ):
        image = enhance(image).enhance(factor)
    hue, saturation, value = image.convert("HSV").split()
    shift = round(jitter[3] * 256)
    hue = hue.point([(level + shift) % 256 for level in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")
