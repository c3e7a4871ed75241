"""Resolving the name of a model, as people write it, to the source of its weights.

Reads no weights, uses no network and imports no torch.

What names mean, first match wins:

    starter                          the model that comes with clipkit
    local-dir:PATH, or a directory   a checkpoint directory in open_clip's layout, or as
                                     transformers' or sentence-transformers' CLIP is saved
    hf-hub:ORG/REPO[@REVISION]       such a directory on the Hugging Face hub
    ORG/REPO                         the same, if it is in the hub's cache on this machine
    ARCHITECTURE=FILE                a weights file and its architecture: "ViT-B-32=epoch_32.pt"
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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from clipkit.arguments import check_path
from clipkit.errors import CheckpointError
from clipkit.models.hub_cache import cached_file
from clipkit.models.known_models import (
    Architecture,
    Tag,
    installed_architectures,
    known_architectures,
)
from clipkit.models.near_names import (
    normalize_name,
    suggest_architectures,
    suggest_for_repository,
    suggest_models,
)
from clipkit.models.transformers_layout import (
    INNER_CONFIG,
    MODEL_CONFIG,
    WEIGHTS,
    is_dual_encoder,
    model_directory,
)
from clipkit.paths import expand_home

CONFIG_NAME = "open_clip_config.json"
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_REPO = re.compile(r"[\w.-]+/[\w.-]+")
_QUICK_GELU_SUFFIX = "-quickgelu"
_SENTENCE_TRANSFORMERS = "sentence-transformers/"  # is put before names that are no repository
# Names of OpenAI's own weights elsewhere: openai/CLIP, sentence-transformers, transformers.
_OPENAI_NAMES = {
    "ViT-L/14@336px": "ViT-L-14-336",
    "sentence-transformers/clip-ViT-B-32": "ViT-B-32",
    "sentence-transformers/clip-ViT-B-16": "ViT-B-16",
    "sentence-transformers/clip-ViT-L-14": "ViT-L-14",
    "openai/clip-vit-base-patch32": "ViT-B-32",
    "openai/clip-vit-base-patch16": "ViT-B-16",
    "openai/clip-vit-large-patch14": "ViT-L-14",
    "openai/clip-vit-large-patch14-336": "ViT-L-14-336",
}


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
    architecture: str
    path: Path


Source = DirectorySource | HubSource | PretrainedSource | FileSource


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
        return _resolve_path(check_path(name, "the name of a model"))
    text = name.strip()
    if text == "starter":
        return DirectorySource("starter", starter_directory())
    if text.startswith("local-dir:"):
        return _resolve_path(Path(text.removeprefix("local-dir:")))
    if text.startswith("hf-hub:"):
        return _resolve_hub(text.removeprefix("hf-hub:"))
    path = expand_home(text)
    if (path / CONFIG_NAME).is_file() or (path.is_file() and path.suffix in WEIGHT_SUFFIXES):
        return _resolve_path(path)
    if model_directory(path) is not None:
        return _resolve_path(path)
    if "=" in text:
        return _resolve_file(*text.split("=", 1))
    if _looks_like_path(text):
        return _resolve_path(path)
    return _resolve_pretrained(text.removeprefix("open_clip:"), cache_dir)


def resolve_architecture(name: str) -> str:
    """Return an architecture as open_clip spells it.

    Args:
        name: The architecture; case and separators do not matter.

    Returns:
        A name of open_clip's.

    Raises:
        CheckpointError: If open_clip has no such architecture.

    Example:
        >>> resolve_architecture("vit-b/32")
        'ViT-B-32'
    """
    wanted = normalize_name(name)
    for table in _tables():
        for spelling in table:
            if normalize_name(spelling) == wanted:
                return spelling
    raise CheckpointError(f'open_clip has no architecture "{name}"{suggest_architectures(name)}')


def starter_directory() -> Path:
    """Return the checkpoint directory of the model that comes with clipkit.

    Returns:
        Inside an installed package, or in the checkout that clipkit runs from.
    """
    package = Path(__file__).parents[1]
    installed = package / "weights" / "starter"
    return installed if installed.is_dir() else package.parent / "weights" / "starter"


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
        inner = [child.parent for child in sorted(absolute.glob(f"*/{CONFIG_NAME}"))]
        raise CheckpointError(
            f"the directory {absolute} is not a checkpoint: it holds no {CONFIG_NAME}, and no "
            f"{MODEL_CONFIG} of a model of transformers' with an image and a text encoder"
            f"{f'; {inner[0]} does' if inner else ''}"
        )
    if absolute.is_file():
        if (absolute.parent / CONFIG_NAME).is_file() or is_dual_encoder(
            absolute.with_name(MODEL_CONFIG)
        ):
            return DirectorySource(str(absolute), absolute.parent, weights=absolute)
        raise CheckpointError(
            f"the file {absolute} does not say its architecture: write "
            f'"ARCHITECTURE={path}", for example "ViT-B-32={path}", '
            f"or put its {CONFIG_NAME} beside it"
        )
    raise CheckpointError(f"there is no file or directory {absolute}")


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
    name = resolve_architecture(architecture)
    return FileSource(f"{name}={absolute}", name, absolute)


def _resolve_pretrained(text: str, cache_dir: Path | None) -> PretrainedSource | HubSource:
    alias = _openai_alias(text)
    repo = alias or text
    if _REPO.fullmatch(repo) and _is_transformers_repo(repo, cache_dir):
        return HubSource(f"hf-hub:{repo}", repo)
    for table in _tables():
        openai = _OPENAI_NAMES[alias] if alias else _openai_architecture(text, table)
        if openai is not None:
            return _pretrained(openai, "openai", table)
        published = _tag_of_repo(text, table)
        if published is not None:
            return _pretrained(*published, table)
        readings = list(_readings(normalize_name(text), table))
        exact = [(name, tags[0]) for name, rest, tags in readings if rest and len(tags) == 1]
        if exact:
            return _pretrained(*exact[0], table)
        alone = [name for name, rest, _ in readings if not rest]
        if alone and len(table[alone[0]].tags) == 1:
            return _pretrained(alone[0], next(iter(table[alone[0]].tags)), table)
        if readings:
            raise CheckpointError(_which_tag(text, readings, table))
    if _REPO.fullmatch(text):
        return _resolve_repo(text, cache_dir)
    raise CheckpointError(
        f'no model is called "{text}"{suggest_models(text)}; "clipkit models" lists the names'
    )


def _resolve_repo(text: str, cache_dir: Path | None) -> HubSource:
    """Return a repository of the hub that is in the cache; the network needs an explicit name."""
    for name in (CONFIG_NAME, MODEL_CONFIG, INNER_CONFIG):
        path = cached_file(text, name, cache_dir=cache_dir)
        if path is not None and (name == CONFIG_NAME or is_dual_encoder(path)):
            return HubSource(f"hf-hub:{text}", text)
    raise CheckpointError(
        f'no model is called "{text}"{suggest_for_repository(text)}; if it is a repository '
        f'on the hub, write "hf-hub:{text}"; "clipkit models" lists the names'
    )


def _tables() -> Iterator[Mapping[str, Architecture]]:
    yield known_architectures()
    installed = installed_architectures()
    if installed:
        yield installed


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


def _tag_of_repo(repo: str, table: Mapping[str, Architecture]) -> tuple[str, str] | None:
    """Return the architecture and the tag whose weights a repository of the hub has."""
    for name, architecture in table.items():
        for tag, entry in architecture.tags.items():
            if repo == entry.repo and not name.endswith(_QUICK_GELU_SUFFIX):
                return name, tag
    return None


def _openai_alias(text: str) -> str | None:
    """Return another library's name of OpenAI's weights as it is spelt there, or None."""
    wanted = (text.lower(), f"{_SENTENCE_TRANSFORMERS}{text.lower()}")
    return next((name for name in _OPENAI_NAMES if name.lower() in wanted), None)


def _openai_architecture(text: str, table: Mapping[str, Architecture]) -> str | None:
    # OpenAI writes the patch size after a slash, which open_clip never does.
    match = re.fullmatch(r"(ViT-[A-Za-z])/(\d+)", text, flags=re.IGNORECASE)
    if match:
        for name, architecture in table.items():
            if normalize_name(name) == normalize_name(text) and "openai" in architecture.tags:
                return name
    return None


def _readings(text: str, table: Mapping[str, Architecture]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield (architecture, rest, tags the rest may mean) for every way to split a plain name."""
    for name, architecture in table.items():
        head = normalize_name(name)
        if text != head and not text.startswith(f"{head}-"):
            continue
        rest = text[len(head) + 1 :]
        tags = [tag for tag in architecture.tags if normalize_name(tag) == rest]
        if not tags:
            # "datacomp" for "datacomp_xl_s13b_b90k", as far as it is the only one.
            start = f"{rest}-"
            tags = [tag for tag in architecture.tags if f"{normalize_name(tag)}-".startswith(start)]
        if not rest or tags:
            yield name, rest, tags
        elif name.endswith(_QUICK_GELU_SUFFIX):
            _refuse_other_activation(name, rest, table)


def _refuse_other_activation(name: str, rest: str, table: Mapping[str, Architecture]) -> None:
    plain_name = name.removesuffix(_QUICK_GELU_SUFFIX)
    for tag in table[plain_name].tags if plain_name in table else ():
        if normalize_name(tag) == rest:
            raise CheckpointError(
                f'the weights "{tag}" were trained with GELU, not QuickGELU: '
                f'write "{plain_name}/{tag}"'
            )


def _pretrained(name: str, tag: str, table: Mapping[str, Architecture]) -> PretrainedSource:
    # The tag says its activation, so both spellings of the architecture are one model.
    plain_name = name.removesuffix(_QUICK_GELU_SUFFIX)
    if plain_name in table and tag in table[plain_name].tags:
        name = plain_name
    return PretrainedSource(f"{name}/{tag}", name, tag, table[name].tags[tag])


def _which_tag(
    text: str, readings: list[tuple[str, str, list[str]]], table: Mapping[str, Architecture]
) -> str:
    name, _, tags = max(readings, key=lambda reading: len(reading[0]))
    choices = tags or list(table[name].tags)
    if not choices:
        return (
            f'open_clip publishes no weights for "{name}": load a file of yours with "{name}=FILE"'
        )
    listed = ", ".join(f"{name}/{tag}" for tag in choices)
    return f'"{text}" has {len(choices)} sets of weights: add one of {listed}'
