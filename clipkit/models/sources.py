"""Resolving the name of a model, as people write it, to the source of its weights.

Reads no weights, uses no network and imports no torch.

What names mean, first match wins:

    starter                          the model that comes with clipkit
    local-dir:PATH, or a directory   a checkpoint directory in open_clip's layout, or as
                                     transformers' or sentence-transformers' CLIP is saved
    hf-hub:ORG/REPO[@REVISION]       such a directory on the Hugging Face hub
    ORG/REPO                         the same, if it is in the hub's cache on this machine
    a DIRECTORY with a lora.safetensors, or such a file
                                     an adapter (LoRA) and the base model that it names; where that
                                     is a path, DIRECTORY/base is the base model, or a link to it
    ARCHITECTURE=FILE                a weights file and its architecture: "ViT-B-32=epoch_32.pt", or
                                     "mine.json=epoch_32.pt" by a config in open_clip's words
    a weights FILE                   only if the config of such a directory lies beside it
    ARCHITECTURE/TAG                 published weights, "ViT-B-32/laion2b_s34b_b79k"; case and
                                     separators do not matter, and "open_clip:", OpenAI's
                                     "ViT-B/32" and hub names of known weights work as well, also
                                     "clip-ViT-B-32" and "openai/clip-vit-base-patch32"

Published weights get the activation their tag was trained with, whatever the spelling. A weights
file gets its architecture's: write "ViT-B-32-quickgelu=FILE" for one trained from QuickGELU
weights, unless it is a published file, which is recognised by its hash or name.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from clipkit.arguments import check_path
from clipkit.errors import CheckpointError
from clipkit.files import read_json_object
from clipkit.models.hub_cache import cached_file
from clipkit.models.known_models import Tag
from clipkit.models.lora_info import LORA_NAME, read_info
from clipkit.models.near_names import suggest_for_repository, suggest_models
from clipkit.models.published_names import find_published, openai_alias, resolve_architecture
from clipkit.models.safetensors_header import read_metadata
from clipkit.models.transformers_layout import (
    INNER_CONFIG,
    MODEL_CONFIG,
    WEIGHTS,
    is_dual_encoder,
    model_directory,
)
from clipkit.paths import expand_home

CONFIG_NAME = "open_clip_config.json"
_BASE_NAME = "base"  # beside an adapter, whose base model is not public
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_REPO = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class DirectorySource:
    """A checkpoint directory on this machine."""

    name: str
    directory: Path
    weights: Path | None = None  # one file of the directory; None: the usual one


@dataclass(frozen=True)
class HubSource:
    """A checkpoint directory on the Hugging Face hub."""

    name: str
    repo: str
    revision: str | None = None  # a branch, tag or commit; None: the main branch


@dataclass(frozen=True)
class PretrainedSource:
    """Published weights of one of open_clip's architectures."""

    name: str
    architecture: str
    tag: str
    entry: Tag


@dataclass(frozen=True)
class FileSource:
    """A weights file whose architecture the name says."""

    name: str
    architecture: str  # a name of open_clip's, or the path of a JSON file
    path: Path


@dataclass(frozen=True)
class AdapterSource:
    """An adapter (LoRA) file and the base model that it is merged into."""

    name: str
    path: Path
    base: "Source"


Source = DirectorySource | HubSource | PretrainedSource | FileSource | AdapterSource


def resolve_source(name: str | Path, *, cache_dir: Path | None = None) -> Source:
    """Return where the weights that a name means come from.

    Args:
        name: Any spelling in the list above; a Path is always a directory or file.
        cache_dir: The hub cache where a repository is looked for; the usual one if None.

    Returns:
        The source; its own name is the canonical spelling of the one given.

    Raises:
        CheckpointError: If the name is not known, is ambiguous, or names a path without a model.

    Example:
        >>> resolve_source("vit-b/32:LAION2B-s34b-b79k").name
        'ViT-B-32/laion2b_s34b_b79k'
        >>> resolve_source("ViT-B/32").name
        'ViT-B-32/openai'
    """
    if not isinstance(name, str):
        name = check_path(name, "the name of a model")
    try:
        return _resolve(name, cache_dir)
    except OSError as error:  # a name too long, a directory that may not be read
        raise CheckpointError(f"{name} cannot be read: {error.strerror or error}") from error


def starter_directory() -> Path:
    """Return the checkpoint directory of the model that comes with clipkit.

    Returns:
        Inside an installed package, or in the checkout that clipkit runs from.
    """
    package = Path(__file__).parents[1]
    installed = package / "weights" / "starter"
    return installed if installed.is_dir() else package.parent / "weights" / "starter"


def _resolve(name: str | Path, cache_dir: Path | None) -> Source:
    if not isinstance(name, str):
        return _resolve_path(name)
    text = name.strip()
    if text == "starter":
        return DirectorySource("starter", starter_directory())
    if text.startswith("local-dir:"):
        return _resolve_path(Path(text.removeprefix("local-dir:")))
    if text.startswith("hf-hub:"):
        return _resolve_hub(text.removeprefix("hf-hub:"))
    path = expand_home(text)
    if _holds_model(path):
        return _resolve_path(path)
    if "=" in text:
        return _resolve_file(*text.split("=", 1))
    if _looks_like_path(text):
        return _resolve_path(path)
    return _resolve_name(text.removeprefix("open_clip:"), path, cache_dir)


def _holds_model(path: Path) -> bool:
    is_weights = path.suffix in WEIGHT_SUFFIXES and path.is_file()
    named = any((path / name).is_file() for name in (CONFIG_NAME, LORA_NAME))
    return is_weights or named or model_directory(path) is not None


def _looks_like_path(text: str) -> bool:
    is_marked = text.startswith(("/", "./", "../", "~", ".\\", "..\\")) or "\\" in text
    return bool(text) and (is_marked or text.endswith(WEIGHT_SUFFIXES) or text in {".", ".."})


def _resolve_path(path: Path) -> Source:
    path = expand_home(path)
    absolute = path.absolute()  # not resolve(): a symlink's name is the user's
    if absolute.is_dir():
        if (absolute / CONFIG_NAME).is_file():
            return DirectorySource(f"local-dir:{absolute}", absolute)
        theirs = model_directory(absolute)
        if theirs is not None:
            return DirectorySource(f"local-dir:{absolute}", theirs)
        if (absolute / LORA_NAME).is_file():
            return _resolve_adapter(f"local-dir:{absolute}", absolute / LORA_NAME)
        if (absolute / MODEL_CONFIG).is_file():
            read_json_object(absolute / MODEL_CONFIG, CheckpointError)  # or say that it is damaged
        inner = [child.parent for child in sorted(absolute.glob(f"*/{CONFIG_NAME}"))]
        raise CheckpointError(
            f"the directory {absolute} is not a checkpoint: it holds no {CONFIG_NAME}, and no "
            f"{MODEL_CONFIG} of a model of transformers' with an image and a text encoder"
            f"{f'; {inner[0]} does' if inner else ''}"
        )
    if absolute.is_file():
        return _resolve_named_file(path, absolute)
    raise CheckpointError(f"there is no file or directory {absolute}")


def _resolve_named_file(path: Path, absolute: Path) -> Source:
    """Return the source of a file, which errors call as the user has."""
    if absolute.suffix == ".json":
        raise CheckpointError(
            f"{absolute} holds no weights: give the directory of the model, {absolute.parent}"
        )
    kind = _own_kind(absolute)
    if absolute.name == LORA_NAME or kind == "lora":
        return _resolve_adapter(str(absolute), absolute)
    if kind:
        raise CheckpointError(
            f"the file {absolute} is a {kind} of clipkit's and no model: clipkit doctor {path} "
            "says of which model it is"
        )
    config = absolute.with_name(CONFIG_NAME)
    if config.is_file() or is_dual_encoder(absolute.with_name(MODEL_CONFIG)):
        return DirectorySource(str(absolute), absolute.parent, weights=absolute)
    raise CheckpointError(
        f"the file {absolute} does not say its architecture: write "
        f'"ARCHITECTURE={path}", for example "ViT-B-32={path}", '
        f"or put its {CONFIG_NAME} beside it"
    )


def _own_kind(path: Path) -> str:
    """Return what a safetensors file of clipkit's own holds, such as "head"; "" if it is none."""
    if path.suffix.lower() != ".safetensors":
        return ""
    try:
        marks = (key for key in read_metadata(path) if key.startswith("clipkit_"))
        return next(marks, "").removeprefix("clipkit_")
    except (OSError, ValueError, RecursionError):
        return ""


def _resolve_adapter(name: str, path: Path) -> AdapterSource:
    """Return the source of an adapter: its base model lies beside it, or has a public name."""
    beside = path.parent / _BASE_NAME
    if beside.is_dir():
        return AdapterSource(name, path, _resolve_path(beside))
    info = read_info(path)
    if info.is_base_local:
        raise CheckpointError(
            f"{path} belongs to a base model that has no public name, {info.base}: put the "
            f"directory of that model, or a link to it, at {beside}"
        )
    return AdapterSource(name, path, _resolve(info.base, None))


def _resolve_hub(text: str) -> HubSource:
    repo, _, revision = text.partition("@")
    if not _REPO.fullmatch(repo) or (not revision and "@" in text):
        raise CheckpointError(
            f'"hf-hub:{text}" must be hf-hub:ORG/REPO or hf-hub:ORG/REPO@REVISION, '
            'for example "hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K"'
        )
    return HubSource(f"hf-hub:{text}", repo, revision or None)


def _resolve_file(architecture: str, file: str) -> FileSource:
    absolute = expand_home(file).absolute()
    if not absolute.is_file():
        raise CheckpointError(f"there is no file {absolute}")
    if architecture.endswith(".json"):
        name = str(expand_home(architecture).absolute())
        if not Path(name).is_file():
            raise CheckpointError(f"there is no file {name}, which is to describe {absolute}")
    else:
        name = resolve_architecture(architecture)
    return FileSource(f"{name}={absolute}", name, absolute)


def _resolve_name(text: str, path: Path, cache_dir: Path | None) -> Source:
    """Return the source of a name that is neither marked as one kind nor the path of a model."""
    is_repo = _REPO.fullmatch(text) is not None
    repo = openai_alias(text) or text
    if _REPO.fullmatch(repo) and _is_transformers_repo(repo, cache_dir):
        return HubSource(f"hf-hub:{repo}", repo)
    published = find_published(text)
    if published is not None:
        return PretrainedSource(f"{published.architecture}/{published.tag}", *published)
    if is_repo and _is_cached_repo(text, cache_dir):
        return HubSource(f"hf-hub:{text}", text)
    if text and path.exists():
        return _resolve_path(path)  # which says what is wrong with it
    where = f'; if it is a repository on the hub, write "hf-hub:{text}"' if is_repo else ""
    near = suggest_for_repository(text) if is_repo else suggest_models(text)
    raise CheckpointError(
        f'no model is called "{text}"{near}{where}; "clipkit models" lists the names'
    )


def _is_cached_repo(repo: str, cache_dir: Path | None) -> bool:
    """Return whether a repository of the hub is in the cache; the network needs "hf-hub:"."""
    for name in (CONFIG_NAME, MODEL_CONFIG, INNER_CONFIG):
        path = cached_file(repo, name, cache_dir=cache_dir)
        if path is not None and (name == CONFIG_NAME or is_dual_encoder(path)):
            return True
    return False


def _is_transformers_repo(repo: str, cache_dir: Path | None) -> bool:
    """Return whether a repository is in the cache with transformers' weights, and not open_clip's.

    So transformers or sentence-transformers leaves it there; one of open_clip's is known by a tag.
    """
    for name in (MODEL_CONFIG, INNER_CONFIG):
        path = cached_file(repo, name, cache_dir=cache_dir)
        if path is not None and is_dual_encoder(path):
            has_weights = any(path.with_name(weights).is_file() for weights in WEIGHTS)
            return has_weights and not any(path.parent.glob("open_clip_*"))
    return False
