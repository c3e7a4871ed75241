"""Licence, data and limits of a model, as far as files on this machine state them.

Nothing is fetched, and nothing is guessed: what no file states is not known.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipkit.models.hub_cache import cached_file
from clipkit.models.known_models import recommended_models
from clipkit.models.sources import DirectorySource, HubSource, PretrainedSource, Source

MADE_BY = (
    "<!-- Made by clipkit card: what it says was measured, or is quoted from where it says. -->"
)
_CARD_FILES = ("README.md", "CARD.md", "MODEL_CARD.md")
_HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*\s*")
_TOLD = re.compile(
    r"licen[cs]e|data|made of|limit|cannot|bias|risk|intended|out-of-scope|\buses?\b", re.IGNORECASE
)


@dataclass(frozen=True)
class ModelOrigin:
    """What is known of where a model comes from; empty is not known."""

    address: str = ""  # of its repository on the hub
    license: str = ""  # as the header of a model card names it
    license_source: str = ""  # who says so
    base_models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    own_card: str = ""  # the file that the model came with
    sections: dict[str, str] = field(default_factory=dict)  # of it, on these matters, by heading


def read_origin(source: Source, *, cache_dir: Path | None = None) -> ModelOrigin:
    """Return what the files of a model state of its origin.

    Args:
        source: Of its weights.
        cache_dir: The hub cache; the usual one if None.

    Returns:
        What is known.
    """
    repo = _repo(source)
    address = f"https://huggingface.co/{repo}" if repo else ""
    license_of = {entry.name: entry.license for entry in recommended_models()}
    known = license_of.get(source.name, "")
    for path in _card_files(source, repo, cache_dir):
        text = path.read_text(encoding="utf-8", errors="replace")
        if MADE_BY not in text:
            return _stated(text, path.name, address, known)
    return ModelOrigin(
        address, known, license_source="clipkit's list of published models" if known else ""
    )


def _repo(source: Source) -> str:
    if isinstance(source, HubSource):
        return source.repo
    return source.entry.repo if isinstance(source, PretrainedSource) else ""


def _card_files(source: Source, repo: str, cache_dir: Path | None) -> Iterator[Path]:
    if isinstance(source, DirectorySource):
        yield from filter(Path.is_file, (source.directory / name for name in _CARD_FILES))
    elif repo:
        revision = source.revision if isinstance(source, HubSource) else None
        path = cached_file(repo, "README.md", revision=revision, cache_dir=cache_dir)
        if path is not None:
            yield path


def _stated(text: str, file: str, address: str, known: str) -> ModelOrigin:
    header = _header(text)
    named = _words(header.get("license_name")) or _words(header.get("license"))
    stated = ", ".join(named).removesuffix("unknown")
    by_list = "clipkit's list of published models" if known else ""
    return ModelOrigin(
        address,
        license=stated or known,
        license_source=f"the header of its {file}" if stated else by_list,
        base_models=_words(header.get("base_model")),
        datasets=_words(header.get("datasets")),
        languages=_words(header.get("language")),
        own_card=file,
        sections=dict(_sections(text)),
    )


def _header(text: str) -> dict[str, Any]:
    """Return the fields of a card's YAML header; none where there is no header that can be read."""
    from huggingface_hub import ModelCard  # only here: it takes a quarter of a second

    if not text.startswith("---"):
        return {}
    try:
        data = ModelCard(text, ignore_metadata_errors=True).data
        return dict(data.to_dict())  # type: ignore[no-untyped-call] # the hub's client
    except Exception:  # noqa: BLE001 - a person wrote it, and YAML fails in many ways
        return {}


def _words(value: object) -> tuple[str, ...]:
    """Return what a field of a header lists, which may be one thing without a list."""
    values = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(str(entry) for entry in values if isinstance(entry, str | int | float))


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Yield heading and text of the sections on licence, data, uses and limits."""
    heading, level, is_code = "", 0, False
    lines: list[str] = []
    for line in [*text.splitlines(), "# "]:
        is_code ^= line.lstrip().startswith("```")
        found = None if is_code else _HEADING.fullmatch(line) or (line == "# ")
        if found and heading and (found is True or len(found[1]) <= level):
            if "\n".join(lines).strip():
                yield heading, "\n".join(lines).strip()
            heading, lines = "", []
        if found and found is not True and not heading and _TOLD.search(found[2]):
            heading, level = found[2], len(found[1])
        elif heading:
            lines.append(line)
