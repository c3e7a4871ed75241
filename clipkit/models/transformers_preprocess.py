"""The image processor of a checkpoint in transformers' layout, as a preprocess config.

open_clip's keys, and two of its own: "crop", for a crop whose odd pixel is taken from the other
side, and "resize_size", for a shortest side other than what is cropped to.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipkit.errors import CheckpointError
from clipkit.files import read_json_object

PROCESSOR_CONFIGS = (
    "preprocessor_config.json",
    "processor_config.json",
)  # since version 5 one file
_OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
_OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
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
            try:
                return _preprocess(content.get("image_processor") or content, path)
            except (TypeError, KeyError, ValueError, IndexError, AttributeError) as error:
                raise CheckpointError(
                    f"{path} has a setting of another kind than image processors have: {error!r}"
                ) from error
    raise CheckpointError(
        f"{directory} has no {PROCESSOR_CONFIGS[0]}: without it nobody knows how its images are "
        "resized and normalized; copy the file of the model that it was trained from"
    )


def _preprocess(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
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
    size = _size(content.get("size") or usual, is_square=is_siglip or is_vit)
    shortest = size.get("shortest_edge")
    cropped = _size(content.get("crop_size") or 224, is_square=True) if crops else size
    if (shortest and not crops) or "height" not in cropped or "longest_edge" in size:
        raise CheckpointError(
            f"{path} resizes images to {dict(size)} and does not crop them to one shape, "
            "which the encoder needs"
        )
    height, width = int(cropped["height"]), int(cropped["width"])
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
    number = content.get("resample", 2 if is_vit else 3)
    if number not in _FILTERS:
        raise CheckpointError(
            f"{path} resizes with Pillow's filter number {number}; clipkit has "
            f"{' and '.join(f'{key} ({name})' for key, name in _FILTERS.items())}"
        )
    mean, std = _normalization(content, is_openai=not (is_siglip or is_vit))
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
            config["resize_size"] = int(shortest)
    return config


def _normalization(
    content: Mapping[str, Any], *, is_openai: bool
) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of values in 0..1, whatever the scale of the processor's.

    (x f - m) / s = (x / 255 - m / 255 f) / (s / 255 f), for levels x and its factor f.
    """
    mean = content.get("image_mean") or (_OPENAI_MEAN if is_openai else (0.5, 0.5, 0.5))
    std = content.get("image_std") or (_OPENAI_STD if is_openai else (0.5, 0.5, 0.5))
    if not content.get("do_normalize", True):
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    factor = float(content.get("rescale_factor", 1 / 255)) if content.get("do_rescale", True) else 1
    scale = 255 * factor
    if abs(scale - 1) < 1e-9:
        return list(mean), list(std)
    return [value / scale for value in mean], [value / scale for value in std]


def _size(value: Any, *, is_square: bool) -> Mapping[str, Any]:
    """Return a size as newer configs spell it; older ones have one number or a pair."""
    if isinstance(value, Mapping):
        return {key: number for key, number in value.items() if number is not None}
    if isinstance(value, list | tuple):
        return {"height": value[0], "width": value[-1]}
    return {"height": value, "width": value} if is_square else {"shortest_edge": value}
