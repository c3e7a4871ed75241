"""The image processor of a checkpoint in transformers' layout, as a preprocess config.

open_clip's keys, and two of its own: "crop", for a crop whose odd pixel is taken from the other
side, and "resize_size", for a shortest side other than what is cropped to.
"""

import math
from pathlib import Path
from typing import Any

from clipkit.errors import CheckpointError
from clipkit.files import read_json_object
from clipkit.models.config_values import ConfigValues

PROCESSOR_CONFIGS = (
    "preprocessor_config.json",
    "processor_config.json",
)  # since version 5 one file
_OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
_OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
_MOST_PIXELS = 65_535
_FILTERS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def read_processor(directory: Path) -> dict[str, Any]:
    """Return what a checkpoint's image processor does, as a preprocess config.

    Args:
        directory: It holds a preprocessor_config.json, or a processor_config.json.

    Returns:
        open_clip's keys; "crop" and "resize_size" in addition where they are needed.

    Raises:
        CheckpointError: If neither is there, or it asks for a step that clipkit does not have.
    """
    for name in PROCESSOR_CONFIGS:
        if (directory / name).is_file():
            path = directory / name
            content = read_json_object(path, CheckpointError)
            values = ConfigValues(content, path)
            if content.get("image_processor") is not None:
                values = values.part("image_processor")
            return _preprocess(values, path)
    raise CheckpointError(
        f"{directory} has no {PROCESSOR_CONFIGS[0]}: without it nobody knows how its images are "
        "resized and normalized; copy the file of the model that it was trained from"
    )


def _preprocess(values: ConfigValues, path: Path) -> dict[str, Any]:
    content = values.content
    kind = str(content.get("image_processor_type") or content.get("feature_extractor_type") or "")
    is_siglip, is_vit = kind.startswith("Siglip"), kind.startswith(("ViT", "Deit"))
    if not kind.startswith(("CLIP", "ChineseCLIP", "Siglip", "ViT", "Bit")) or "2" in kind:
        raise CheckpointError(
            f"{path} names the image processor {kind or 'of no name'!r}, whose steps clipkit does "
            "not know; it knows those of CLIP, Chinese-CLIP, SigLIP, ViT and BiT"
        )
    crops = bool(content.get("do_center_crop", not (is_siglip or is_vit)))
    if not content.get("do_resize", True):
        raise CheckpointError(f"{path} does not resize images, and the encoder takes one size only")
    usual = {"height": 224, "width": 224} if is_siglip or is_vit else {"shortest_edge": 224}
    size = _size(values, "size", usual, is_square=is_siglip or is_vit)
    shortest = size.get("shortest_edge")
    cropped = _size(values, "crop_size", 224, is_square=True) if crops else size
    if (shortest and not crops) or "height" not in cropped or "longest_edge" in size:
        raise CheckpointError(
            f"{path} resizes images to {dict(size)} and does not crop them to one shape, "
            "which the encoder needs"
        )
    height, width = cropped["height"], cropped["width"]
    if not shortest and (size["height"], size["width"]) != (height, width):
        raise CheckpointError(
            f"{path} resizes images to {dict(size)} and then crops them to {height} x {width}; "
            "clipkit crops only what was resized by its shortest edge"
        )
    if shortest and shortest < max(height, width):
        raise CheckpointError(
            f"{path} resizes the shortest edge to {shortest} and crops to {height} x {width}: "
            "what is missing would be black"
        )
    number = values.whole("resample", 2 if is_vit else 3, least=0, most=5)
    if number not in _FILTERS:
        raise CheckpointError(
            f"{path} resizes with Pillow's filter number {number}; clipkit has "
            f"{' and '.join(f'{key} ({name})' for key, name in _FILTERS.items())}"
        )
    mean, std = _normalization(values, is_openai=not (is_siglip or is_vit))
    config = {
        "size": height if height == width else [height, width],
        "mode": "RGB",
        "mean": mean,
        "std": std,
        "interpolation": _FILTERS[number],
        "resize_mode": "shortest" if shortest else "squash",
        "fill_color": 0,
    }
    if shortest:
        config["crop"] = "down"
        if shortest != height or height != width:
            config["resize_size"] = shortest
    return config


def _normalization(values: ConfigValues, *, is_openai: bool) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of values in 0..1, whatever the scale of the processor's.

    (x f - m) / s = (x / 255 - m / 255 f) / (s / 255 f), for levels x and its factor f.
    """
    content, halves = values.content, (0.5, 0.5, 0.5)
    mean = values.three("image_mean", _OPENAI_MEAN if is_openai else halves, above=-math.inf)
    std = values.three("image_std", _OPENAI_STD if is_openai else halves, above=0)
    if not content.get("do_normalize", True):
        mean, std = [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]
    rescales = content.get("do_rescale", True)
    scale = 255 * (values.positive("rescale_factor", 1 / 255) if rescales else 1)
    if abs(scale - 1) < 1e-9:
        return mean, std
    return [value / scale for value in mean], [value / scale for value in std]


def _size(values: ConfigValues, key: str, usual: Any, *, is_square: bool) -> dict[str, int]:
    """Return a size as newer configs spell it; older ones have one number or a pair."""
    value = values.content.get(key)
    value = usual if value is None else value
    if isinstance(value, dict):
        size = {edge: number for edge, number in value.items() if number is not None}
    elif isinstance(value, list) and len(value) == 2:
        size = {"height": value[0], "width": value[1]}
    else:
        size = {"height": value, "width": value} if is_square else {"shortest_edge": value}
    if not size or not all(_is_side(number) for number in size.values()):
        raise values.wrong(
            key, f"a number of pixels from 1 to {_MOST_PIXELS}, or an object of such"
        )
    if ("height" in size) != ("width" in size):
        raise values.wrong(key, "an object with both height and width, if it has one of them")
    return size


def _is_side(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _MOST_PIXELS
