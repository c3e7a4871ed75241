"""Rules for image-text pairs: captions, image sizes, similarities, duplicates."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path, PurePath
from typing import NamedTuple

from clipkit.errors import InputError
from clipkit.inputs.extensions import IMAGE_EXTENSIONS
from clipkit.inputs.image_input import ImageInput
from clipkit.inputs.images import Size, borrow_image
from clipkit.inputs.metadata import read_metadata

RULES = (
    "empty caption",
    "file name for a caption",
    "caption too short",
    "caption too long",
    "unreadable image",
    "image too small",
    "image too narrow",
    "exact duplicate",
    "similarity too low",
    "lowest similarities",
    "near duplicate",
)
"""The reasons a pair is dropped for, in the order in which they are checked. Rules on captions open
no image, so an unreadable one is found by the first rule that does."""


# "IMG_1234", "DSCN0042", "P1010001", "PXL_20230101_123456789", "20190504_123456", "image 001 (2)"
_CAMERA_NAME = re.compile(
    r"(_?(img|dsc[nf]?|pxl|mvi|gopr|dji|sam|vid|image|photo|picture|pic|scan|screenshot)[ _-]?"
    r"[0-9]{3,}|p[0-9]{7}|[0-9]{8}[_-][0-9]{6})[0-9_ -]*(\([0-9]+\))?",
    re.IGNORECASE,
)


class Fault(NamedTuple):
    """Which rule was broken, and how."""

    rule: str  # one of RULES
    why: str  # a clause with the figures, without a full stop


@dataclass(frozen=True)
class FilterRules:
    """The conditions for a pair to be kept. A rule that is None or False does not apply.

    Captions are checked one by one, and those that break a rule are removed; a pair without a
    caption is dropped. An empty caption breaks a rule always.
    """

    drop_file_names: bool = False  # captions such as "IMG_1234.jpg"
    min_words: int | None = None  # of a caption, parted by spaces
    max_words: int | None = None
    min_characters: int | None = None  # of a caption, without outer spaces
    max_characters: int | None = None
    min_side: int | None = None  # pixels of the shorter side of an image
    max_aspect: float | None = None  # longer side / shorter side, at least 1
    drop_exact_copies: bool = False  # images with the same bytes
    min_similarity: float | None = None  # cosine of image and caption, -1..1
    min_quantile: float | None = None  # this share of the captions, the least similar, goes
    near_epsilon: float | None = None  # images with a cosine above 1 - this are the same

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            InputError: If one is out of range, or a minimum is above its maximum.
        """
        for name in ("min_words", "max_words", "min_characters", "max_characters", "min_side"):
            _check_range(name, getattr(self, name), 1, math.inf)
        _check_range("max_aspect", self.max_aspect, 1, math.inf)
        _check_range("min_similarity", self.min_similarity, -1, 1)
        _check_range("min_quantile", self.min_quantile, 0, 1, is_open_above=True)
        _check_range("near_epsilon", self.near_epsilon, 1e-6, 2)
        for what in ("words", "characters"):
            least, most = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if least is not None and most is not None and least > most:
                raise InputError(f"min_{what} {least} is above max_{what} {most}: no caption fits")

    @property
    def active(self) -> dict[str, float | bool]:
        """The rules that apply, by field; empty if none does."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if value is not None and value is not False}

    @property
    def need_sizes(self) -> bool:
        """Whether the size of each image must be known."""
        return self.min_side is not None or self.max_aspect is not None

    @property
    def need_embeddings(self) -> bool:
        """Whether images and captions must be embedded."""
        return any(
            value is not None
            for value in (self.min_similarity, self.min_quantile, self.near_epsilon)
        )

    def caption_fault(self, caption: str, name: str) -> Fault | None:
        """Return what is wrong with a caption as a text, or None.

        Args:
            caption: The caption.
            name: Of its pair.

        Returns:
            The first rule of RULES that it breaks.
        """
        return next(self._caption_faults(caption.strip(), name), None)

    def size_fault(self, size: tuple[int, int]) -> Fault | None:
        """Return what is wrong with the size of an image, or None.

        Args:
            size: (width, height) in pixels.

        Returns:
            The first rule of RULES that it breaks.
        """
        shown, side, aspect = f"{size[0]} x {size[1]} pixels", min(size), max(size) / min(size)
        if self.min_side is not None and side < self.min_side:
            return Fault(
                "image too small", f"{shown}, at least {self.min_side} a side are required"
            )
        if self.max_aspect is not None and aspect > self.max_aspect:
            return Fault(
                "image too narrow",
                f"{shown}, one side {aspect:.2f} times the other, {self.max_aspect:g} are allowed",
            )
        return None

    def _caption_faults(self, caption: str, name: str) -> Iterator[Fault]:
        if not caption:
            yield Fault("empty caption", "there is no text")
        if self.drop_file_names and is_file_name(caption, name):
            yield Fault("file name for a caption", f'"{caption}"')
        for what, count in (("words", len(caption.split())), ("characters", len(caption))):
            least = getattr(self, f"min_{what}")
            if least is not None and count < least:
                yield Fault("caption too short", f"{count} {what}, at least {least} are required")
        for what, count in (("words", len(caption.split())), ("characters", len(caption))):
            most = getattr(self, f"max_{what}")
            if most is not None and count > most:
                yield Fault("caption too long", f"{count} {what}, at most {most} are allowed")


def is_file_name(caption: str, name: str) -> bool:
    """Return whether a caption is the name of a file and says nothing about the image.

    Args:
        caption: The caption, without outer spaces.
        name: Of its pair.

    Returns:
        True for texts that end like an image file, that cameras and phones give as names, or that
        are the pair's own name with a number of three digits or more in it. A word that is the
        file's name too, as "dog" of dog.jpg, is a caption.

    Example:
        >>> is_file_name("holiday.JPG", "a"), is_file_name("DSC_0042", "a")
        (True, True)
        >>> is_file_name("dog", "dog.jpg"), is_file_name("a Boeing 747", "a")
        (False, False)
    """
    if PurePath(caption).suffix.lower() in IMAGE_EXTENSIONS:
        return True
    has_number = re.search("[0-9]{3}", caption) is not None
    is_own_name = caption in (name, PurePath(name).name, PurePath(name).stem)
    return (has_number and is_own_name) or _CAMERA_NAME.fullmatch(caption) is not None


def image_size(image: ImageInput, *, max_pixels: int | None = None) -> Size:
    """Return the size of an image, upright; of a file only the header is read.

    Args:
        image: The image.
        max_pixels: How many pixels may be decoded of one that is no file.

    Returns:
        (width, height) in pixels.

    Raises:
        ImageReadError: If it is missing or is no image.
    """
    if isinstance(image, str | Path):
        details = read_metadata(image)
        return details.width, details.height
    with borrow_image(image, target=(1, 1), max_pixels=max_pixels) as decoded:
        return decoded.size


def _check_range(
    name: str, value: float | None, least: float, most: float, *, is_open_above: bool = False
) -> None:
    if value is None:
        return
    is_inside = least <= value < most if is_open_above else least <= value <= most
    if not is_inside or math.isinf(value):
        below = f"or more and below {most:g}" if is_open_above else f"to {most:g}"
        above = "or more" if most == math.inf else below
        raise InputError(f"{name} must be {least:g} {above}, got {value:g}")
