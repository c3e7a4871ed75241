"""Image preprocessing: resize, crop and standardise as an image tower's checkpoint says.

The arithmetic is open_clip's evaluation transform (``open_clip.transform.image_transform``), pixel
for pixel, on Pillow and NumPy alone. Pillow is imported with the first image: an encoder has a
preprocess, and a query of words no image. C = 3 channels; H and W are the tower's input size.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import CheckpointError, InputError
from clipkit.inputs.image_input import ImageInput

if TYPE_CHECKING:
    from PIL import Image

    from clipkit.inputs.images import DecodedImage, Size

Interpolation = Literal["bicubic", "bilinear"]
ResizeMode = Literal["shortest", "longest", "squash"]
Crop = Literal["even", "down"]
Channels = tuple[float, float, float]

OPENAI_MEAN: Channels = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD: Channels = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocess:
    """Preprocessing of one model: images to pixel values."""

    size: tuple[int, int]  # (height, width) of the tower's input; images elsewhere are (w, h)
    mean: Channels = OPENAI_MEAN  # of red, green and blue in 0..1
    std: Channels = OPENAI_STD
    interpolation: Interpolation = "bicubic"
    # shortest: scale until the image covers the input, cut off what is over.
    # longest: scale until it fits inside, fill the rest with fill_color.
    # squash: scale width and height independently.
    resize_mode: ResizeMode = "shortest"
    fill_color: int = 0  # grey level 0..255 around an image in mode "longest"
    # Of a crop that cannot be in the middle by half a pixel, the first one: rounded to the even
    # number, as torchvision does it, or down, as transformers does it.
    crop: Crop = "even"
    # The shorter side before the crop, in mode "shortest"; None: that of the input.
    resize_size: int | None = None

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InputError: If a field has a wrong length, type or range.
        """
        if len(self.size) != 2 or min(self.size) < 1:
            raise InputError(f"size must be (height, width), each at least 1, got {self.size}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3 or not all(math.isfinite(value) for value in values):
                raise InputError(f"{name} must be 3 finite numbers, got {values}")
        if min(self.std) <= 0:
            raise InputError(f"std must be above 0, got {self.std}")
        if self.interpolation not in _INTERPOLATIONS:
            raise InputError(_not_one_of("interpolation", _INTERPOLATIONS, self.interpolation))
        if self.resize_mode not in _RESIZE_MODES:
            raise InputError(_not_one_of("resize_mode", _RESIZE_MODES, self.resize_mode))
        if self.crop not in _CROPS:
            raise InputError(_not_one_of("crop", _CROPS, self.crop))
        if self.resize_size is not None and (
            self.resize_mode != "shortest" or self.resize_size < max(self.size)
        ):
            raise InputError(
                f'resize_size goes with resize_mode "shortest" and is at least {max(self.size)}, '
                f"got {self.resize_size} and {self.resize_mode}"
            )
        if not 0 <= self.fill_color <= 255:
            raise InputError(f"fill_color must be 0 to 255, got {self.fill_color}")

    @classmethod
    def from_config(
        cls, preprocess_cfg: Mapping[str, object], image_size: int | Sequence[int]
    ) -> "Preprocess":
        """Return what a checkpoint's ``preprocess_cfg`` describes.

        Missing keys and null have open_clip's defaults: OpenAI's mean and std, bicubic, shortest,
        0. Other keys are ignored, as open_clip ignores them.

        Args:
            preprocess_cfg: open_clip's keys size, mode, mean, std, interpolation, resize_mode and
                fill_color, and clipkit's own crop and resize_size.
            image_size: The tower's input size, one number or (height, width), for a config that
                does not state a size of its own.

        Returns:
            The preprocess.

        Raises:
            CheckpointError: If a value is of the wrong kind, or a mode is unknown.

        Example:
            >>> Preprocess.from_config({"resize_mode": "squash"}, 224).size
            (224, 224)
        """
        stated = {key: value for key, value in preprocess_cfg.items() if value is not None}
        if stated.get("mode", "RGB") != "RGB":
            raise CheckpointError(f'preprocess mode must be "RGB", got {stated["mode"]!r}')
        interpolation = stated.get("interpolation") or "bicubic"
        try:
            return cls(
                size=_height_width(stated.get("size", image_size)),
                # "or" as in open_clip, where a bare 0 means the default as well.
                mean=_channels(stated.get("mean") or OPENAI_MEAN),
                std=_channels(stated.get("std") or OPENAI_STD),
                # "random" concerns training; open_clip evaluates such a checkpoint with bicubic.
                interpolation=cast(
                    Interpolation, "bicubic" if interpolation == "random" else interpolation
                ),
                resize_mode=cast(ResizeMode, stated.get("resize_mode") or "shortest"),
                fill_color=int(cast(int, stated.get("fill_color", 0))),
                crop=cast(Crop, stated.get("crop", "even")),
                resize_size=cast("int | None", stated.get("resize_size")),
            )
        except (InputError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint's preprocess_cfg: {error}") from error

    def to_config(self) -> dict[str, object]:
        """Return the ``preprocess_cfg`` that describes this, in open_clip's keys.

        Returns:
            What ``from_config`` reads, plain JSON values; open_clip reads it too where crop and
            resize_size are the usual ones, which it has no keys for.
        """
        config: dict[str, object] = {
            "size": self.size[0] if self.size[0] == self.size[1] else list(self.size),
            "mode": "RGB",
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "resize_mode": self.resize_mode,
            "fill_color": self.fill_color,
        }
        if self.crop != "even":
            config["crop"] = self.crop
        if self.resize_size is not None:
            config["resize_size"] = self.resize_size
        return config

    def __call__(self, image: ImageInput) -> NDArray[np.float32]:
        """Return an image as the image tower takes it, bit for bit as open_clip's transform does.

        But for transparent images, which lie on white here and on the colour behind their alpha
        channel there, and images of a palette or of one bit, whose colours are blended here.

        A transform for torch's datasets: its DataLoader makes a tensor of a batch of these arrays.
        Raises what read_image raises.

        Args:
            image: A PIL image, or any other form that read_image takes.

        Returns:
            Standardised values, shape (3, H, W).
        """
        return self.pixel_values(image, decode_scaled=False)

    def pixel_values(
        self,
        source: "ImageInput | DecodedImage",
        *,
        decode_scaled: bool = True,
        max_pixels: int | None = None,
        allow_urls: bool = False,
    ) -> NDArray[np.float32]:
        """Return an image as pixel values of the image encoder.

        Raises what read_image raises.

        Args:
            source: An image in any form that read_image takes, or one it returned.
            decode_scaled: Whether large JPEGs are decoded at 1/2, 1/4 or 1/8, to at least twice
                the size they are resized to: several times faster. The mean difference from full
                decoding, measured on 40 photographs of 1 to 18 megapixels, is below 0.005 of full
                scale for each of them and 0.001 on average. Without it the result is open_clip's,
                bit for bit.
            max_pixels: As in read_image.
            allow_urls: As in read_image.

        Returns:
            Standardised values, shape (3, H, W).
        """
        from clipkit.inputs.images import DecodedImage, borrow_image

        if isinstance(source, DecodedImage):
            return self.standardized(self.fitted(source))
        with borrow_image(
            source,
            target=self.resized_size if decode_scaled else None,
            max_pixels=max_pixels,
            allow_urls=allow_urls,
        ) as decoded:
            image = self.fitted(decoded)
        return self.standardized(image)

    def resized_size(self, size: "Size") -> "Size":
        """Return the size that an image is resized to before it is cropped or padded.

        Args:
            size: (width, height) of the full upright image.

        Returns:
            (width, height), each at least 1.
        """
        width, height = size
        target_height, target_width = self.size
        if self.resize_mode == "squash":
            return target_width, target_height
        if self._short_side:
            # torchvision's Resize cuts the fraction off.
            long_side = int(self._short_side * max(size) / min(size))
            return (
                (self._short_side, long_side) if width <= height else (long_side, self._short_side)
            )
        # timm's ResizeKeepRatio rounds to the nearest.
        ratios = height / target_height, width / target_width
        ratio = max(ratios) if self.resize_mode == "longest" else min(ratios)
        return max(1, round(width / ratio)), max(1, round(height / ratio))

    def fitted(self, decoded: "DecodedImage") -> "Image.Image":
        """Return an image at exactly the input size: resized, then cropped or padded."""
        height, width = self.size
        resized = self.resized_size(decoded.size)
        box = decoded.box or (0.0, 0.0, float(decoded.pixels.width), float(decoded.pixels.height))
        is_scaled = decoded.pixels.size != decoded.size
        if is_scaled or resized[0] * resized[1] > _MAX_RESIZED_PIXELS:
            # Only what is kept: of a photograph, a quarter less to compute. Pillow rounds a box to
            # float32, by which one value in ten thousand differs by a level.
            columns, left, right = self._kept(resized[0], width, box[0], box[2])
            rows, top, bottom = self._kept(resized[1], height, box[1], box[3])
            resized, box = (columns, rows), (left, top, right, bottom)
        image = decoded.pixels.resize(resized, self.filter, box=box)
        return self._center_crop_or_pad(image, (width, height))

    def standardized(self, image: "Image.Image") -> NDArray[np.float32]:
        """Return the pixel values of an image that has exactly the tower's input size.

        Args:
            image: Mode RGB, W x H.

        Returns:
            Standardised values, shape (3, H, W).
        """
        pixels = np.asarray(image)  # (H, W, C)
        values = np.empty((3, *pixels.shape[:2]), dtype=np.float32)
        for channel in range(3):
            # No index lies outside the table; mode="clip" only spares NumPy a check and a copy.
            np.take(self._table[channel], pixels[:, :, channel], out=values[channel], mode="clip")
        return values

    @property
    def value_range(self) -> tuple[float, float]:
        """The least and the largest of pixel values."""
        return float(self._table.min()), float(self._table.max())

    @functools.cached_property
    def _table(self) -> NDArray[np.float32]:
        """The standardised value of each level of each channel, shape (C, 256).

        The same float32 steps as dividing and subtracting pixel by pixel, done once.
        """
        levels = np.arange(256, dtype=np.float32) / np.float32(255)
        mean, std = np.array([self.mean, self.std], dtype=np.float32)[:, :, None]
        table: NDArray[np.float32] = (levels - mean) / std
        return table

    @property
    def filter(self) -> "Image.Resampling":
        """Pillow's resampling filter."""
        from PIL import Image

        # open_clip passes no interpolation on when it fits an image to an input that is not
        # square.
        if self.resize_mode == "shortest" and not self._short_side:
            return Image.Resampling.BICUBIC
        return Image.Resampling[self.interpolation.upper()]

    @property
    def _short_side(self) -> int:
        """What the shorter side is resized to; 0 where an image is fitted to both sides."""
        if self.resize_mode != "shortest":
            return 0
        is_square = self.size[0] == self.size[1]
        return self.resize_size or (self.size[0] if is_square else 0)

    def _kept(self, resized: int, kept: int, start: float, end: float) -> tuple[int, float, float]:
        """Return how much of a resized side is kept, and the stretch of the image it is of."""
        if resized <= kept:
            return resized, start, end
        step = (end - start) / resized
        first = self._first_kept(resized - kept)
        return kept, start + first * step, start + (first + kept) * step

    def _center_crop_or_pad(self, image: "Image.Image", size: "Size") -> "Image.Image":
        over, under = size[0] - image.width, size[1] - image.height
        if over > 0 or under > 0:
            left, top = max(over, 0) // 2, max(under, 0) // 2
            right, bottom = (max(over, 0) + 1) // 2, (max(under, 0) + 1) // 2
            fill = (self.fill_color,) * 3
            from PIL import ImageOps

            image = ImageOps.expand(image, (left, top, right, bottom), fill=fill)
        if image.size == size:
            return image
        left = self._first_kept(image.width - size[0])
        top = self._first_kept(image.height - size[1])
        return image.crop((left, top, left + size[0], top + size[1]))

    def _first_kept(self, over: int) -> int:
        """Return where a crop in the middle begins, of a side that is so many pixels longer."""
        # Halves go to the even number, as Python and torchvision round.
        return over // 2 if self.crop == "down" else round(over / 2)


_INTERPOLATIONS = get_args(Interpolation)
_RESIZE_MODES = ("shortest", "longest", "squash")
_CROPS = ("even", "down")
# 256 MiB. Of a strip so long that it would need more (1275 : 1 at 224 x 224), only what is kept is
# resized; its pixels may differ from open_clip's by a few levels.
_MAX_RESIZED_PIXELS = 1 << 26


def _height_width(size: object) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if not isinstance(size, Sequence) or isinstance(size, str) or len(size) not in (1, 2):
        raise InputError(f"size must be one number or [height, width], got {size!r}")
    return int(size[0]), int(size[-1])


def _channels(values: object) -> Channels:
    if isinstance(values, int | float):
        return (float(values),) * 3
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise InputError(f"mean and std must be numbers, got {values!r}")
    return cast(Channels, tuple(float(value) for value in values))


def _not_one_of(name: str, known: Iterable[str], got: object) -> str:
    return f"{name} must be {' or '.join(known)}, got {got!r}"
