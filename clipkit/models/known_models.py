"""The table of open_clip's models: names, tags, activation, preprocess and published accuracy.

The tables are data files beside this module, so that names resolve and models are listed without
importing torch. Should another open_clip be installed than the one they were made from, names
that the tables lack are looked up in the installed one.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from clipkit.errors import MissingExtraError
from clipkit.files import file_sha256

_TABLE = Path(__file__).with_name("known_models.json")
_PUBLISHED = Path(__file__).with_name("published.json")
_PREPROCESS_KEYS = ("mean", "std", "interpolation", "resize_mode")


@dataclass(frozen=True)
class Tag:
    """One set of published weights of an architecture."""

    repo: str  # on the Hugging Face hub
    filename: str  # in that repo; empty: open_clip's standard names
    url: str  # of an older copy outside the hub; may be empty
    is_quick_gelu: bool  # trained with QuickGELU in its native towers
    preprocess: Mapping[str, Any]  # mean, std, interpolation, resize_mode


@dataclass(frozen=True)
class Architecture:
    """One model configuration that open_clip ships."""

    parameters: int | None  # both towers; None where a Hugging Face text tower decides
    image_size: int | tuple[int, int]  # pixels
    is_quick_gelu: bool
    tags: Mapping[str, Tag]


@cache
def known_architectures() -> dict[str, Architecture]:
    """Return open_clip's architectures by name, as the table beside this module has them."""
    return _parse(json.loads(_TABLE.read_text(encoding="utf-8"))["architectures"])


@cache
def installed_architectures() -> dict[str, Architecture]:
    """Return the architectures of an installed open_clip that differs from the table's.

    Returns:
        Architectures by name; empty when open_clip is missing or is the table's own version.
    """
    from importlib.metadata import PackageNotFoundError, version  # only here: it takes 30 ms

    made_from = json.loads(_TABLE.read_text(encoding="utf-8"))["open_clip_version"]
    try:
        is_same = version("open_clip_torch") == made_from
    except PackageNotFoundError:
        is_same = True
    return {} if is_same else _parse(read_open_clip_table())


def published_accuracy() -> dict[str, float]:
    """Return published ImageNet zero-shot top-1 by model name, as fractions.

    Returns:
        Fractions in [0, 1] by "architecture/tag"; the data file names the sources.
    """
    table = json.loads(_PUBLISHED.read_text(encoding="utf-8"))
    return {str(name): float(value) for name, value in table["imagenet_top1"].items()}


def published_tag(architecture: str, weights: Path) -> Tag | None:
    """Return the tag whose published file this is, known by the hash or name of its URL.

    Args:
        architecture: A name of open_clip's, with or without "-quickgelu".
        weights: The file.

    Returns:
        The tag; None if the file is none that was published.

    Raises:
        OSError: If the file cannot be read.
    """
    table = known_architectures() | installed_architectures()
    plain_name = architecture.removesuffix("-quickgelu")
    digest = ""
    for tag in (table.get(plain_name) or table[architecture]).tags.values():
        filename = tag.url.rpartition("/")[2]
        hash_start = re.search(r"-([0-9a-f]{8})\.pth?$", filename)
        if hash_start:
            digest = digest or file_sha256(weights)
            if digest.startswith(hash_start[1]):
                return tag
        elif filename == weights.name and "openaipublic" not in tag.url:
            return tag
    return None


@dataclass(frozen=True)
class ModelRecommendation:
    """One published model to begin with."""

    purpose: str  # "small", "balanced", "best" or "multilingual"
    name: str  # "architecture/tag"
    license: str  # of the weights, as their model card says
    image_gflops: float  # 10⁹ floating-point operations for one image


def recommended_models() -> list[ModelRecommendation]:
    """Return the models to begin with, the smallest first; the data file names the sources."""
    table = json.loads(_PUBLISHED.read_text(encoding="utf-8"))
    return [ModelRecommendation(**entry) for entry in table["recommended"]]


def is_open_clip_installed() -> bool:
    """Return whether open_clip is there, without importing it."""
    return find_spec("open_clip") is not None


def open_clip_directory() -> Path:
    """Return where open_clip is installed, without importing it.

    Returns:
        The directory of the package.

    Raises:
        MissingExtraError: If open_clip is not installed.
    """
    spec = find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("torch", "Loading an open_clip model")
    return Path(next(iter(spec.submodule_search_locations)))


def architecture_config(name: str) -> dict[str, Any]:
    """Return the model config that open_clip ships under a name.

    Args:
        name: An architecture as open_clip spells it.

    Returns:
        A fresh dict: embed_dim, vision_cfg, text_cfg and more.

    Raises:
        MissingExtraError: If open_clip is not installed.
    """
    path = open_clip_directory() / "model_configs" / f"{name}.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


def clip_vocabulary() -> Path:
    """Return the vocabulary file of CLIP's own tokenizer, which open_clip ships.

    Returns:
        The path of ``bpe_simple_vocab_16e6.txt.gz``.

    Raises:
        MissingExtraError: If open_clip is not installed.
    """
    return open_clip_directory() / "bpe_simple_vocab_16e6.txt.gz"


def read_open_clip_table() -> dict[str, Any]:
    """Return the table's content as the installed open_clip has it; imports torch.

    Returns:
        What ``known_models.json`` holds under "architectures", without the parameter counts.
        Configs that describe no dual encoder of images and texts are left out.
    """
    from open_clip.factory import get_model_config, list_models
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    table: dict[str, Any] = {}
    for name in list_models():
        config = get_model_config(name)
        if not _is_dual_encoder(config):
            continue
        tags: dict[str, Any] = {}
        for tag in list_pretrained_tags_by_model(name):
            entry = get_pretrained_cfg(name, tag)
            repo, _, filename = entry["hf_hub"].rpartition("/")
            tags[tag] = {
                "repo": repo,
                "filename": filename,
                "url": entry["url"],
                "quick_gelu": bool(entry.get("quick_gelu", False)),
                "preprocess": {key: entry[key] for key in _PREPROCESS_KEYS},
            }
        table[name] = {
            "parameters": None,
            "image_size": config["vision_cfg"].get("image_size", 224),
            "quick_gelu": bool(config.get("quick_gelu", False)),
            "tags": tags,
        }
    return table


def _is_dual_encoder(config: object) -> bool:
    """Return whether a model config has both towers that clipkit builds, by their own keys."""
    if not isinstance(config, Mapping):
        return False
    return all(isinstance(config.get(key), Mapping) for key in ("vision_cfg", "text_cfg"))


def _parse(table: Mapping[str, Any]) -> dict[str, Architecture]:
    return {
        name: Architecture(
            parameters=entry["parameters"],
            image_size=entry["image_size"],
            is_quick_gelu=entry["quick_gelu"],
            tags={
                tag: Tag(
                    repo=item["repo"],
                    filename=item["filename"],
                    url=item["url"],
                    # A tag is silent where its only architecture is a QuickGELU one already.
                    is_quick_gelu=item["quick_gelu"] or entry["quick_gelu"],
                    preprocess=item["preprocess"],
                )
                for tag, item in entry["tags"].items()
            },
        )
        for name, entry in table.items()
    }
