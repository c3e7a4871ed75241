"""Names of published weights: open_clip's architectures and tags, in any usual spelling."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from clipkit.errors import CheckpointError
from clipkit.models.known_models import (
    Architecture,
    Tag,
    installed_architectures,
    known_architectures,
)
from clipkit.models.near_names import normalize_name, suggest_architectures

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


class Published(NamedTuple):
    """Weights that open_clip knows by a tag."""

    architecture: str
    tag: str
    entry: Tag


def find_published(text: str) -> Published | None:
    """Return the published weights that a name means, None if it means none.

    Args:
        text: An architecture with or without a tag, another library's name of OpenAI's weights, or
            the repository of the hub that weights lie in.

    Returns:
        The first that it means in the table of known models, else in the installed open_clip's.

    Raises:
        CheckpointError: If several are meant, or the architecture has none of such a tag.
    """
    alias = openai_alias(text)
    for table in _tables():
        openai = _OPENAI_NAMES[alias] if alias else _openai_architecture(text, table)
        if openai is not None:
            return _published(openai, "openai", table)
        of_repo = _tag_of_repo(text, table)
        if of_repo is not None:
            return _published(*of_repo, table)
        readings = list(_readings(normalize_name(text), table))
        exact = [(name, tags[0]) for name, rest, tags in readings if rest and len(tags) == 1]
        if exact:
            return _published(*exact[0], table)
        alone = [name for name, rest, _ in readings if not rest]
        if alone and len(table[alone[0]].tags) == 1:
            return _published(alone[0], next(iter(table[alone[0]].tags)), table)
        if readings:
            raise CheckpointError(_which_tag(text, readings, table))
    return None


def openai_alias(text: str) -> str | None:
    """Return another library's name of OpenAI's weights as it is spelt there, or None."""
    wanted = (text.lower(), f"{_SENTENCE_TRANSFORMERS}{text.lower()}")
    return next((name for name in _OPENAI_NAMES if name.lower() in wanted), None)


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
    raise CheckpointError(
        f'open_clip has no architecture "{name}"{suggest_architectures(name)}; one of your own is '
        f'a JSON file, as in "{name}.json"'
    )


def _tables() -> Iterator[Mapping[str, Architecture]]:
    yield known_architectures()
    installed = installed_architectures()
    if installed:
        yield installed


def _tag_of_repo(repo: str, table: Mapping[str, Architecture]) -> tuple[str, str] | None:
    """Return the architecture and the tag whose weights a repository of the hub has."""
    for name, architecture in table.items():
        for tag, entry in architecture.tags.items():
            if repo == entry.repo and not name.endswith(_QUICK_GELU_SUFFIX):
                return name, tag
    return None


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


def _published(name: str, tag: str, table: Mapping[str, Architecture]) -> Published:
    # The tag says its activation, so both spellings of the architecture are one model.
    plain_name = name.removesuffix(_QUICK_GELU_SUFFIX)
    if plain_name in table and tag in table[plain_name].tags:
        name = plain_name
    return Published(name, tag, table[name].tags[tag])


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
