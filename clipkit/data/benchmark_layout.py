"""Datasets in CLIP_benchmark's layout: shards, with class names and templates beside them.

    ROOT/classnames.txt                           one class a line, in the order of the numbers
    ROOT/zeroshot_classification_templates.txt    one template a line, with {c} for the class
    ROOT/dataset_type.txt                         "retrieval": captions instead of classes
    ROOT/SPLIT/nshards.txt                        how many shards
    ROOT/SPLIT/0.tar, 1.tar, …

ROOT is a folder or an address, also that of a dataset's page on the Hugging Face hub. Source:
LAION-AI/CLIP_benchmark, README and ``datasets/builder.py``.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from clipkit.data.shard_files import fetch_shard, is_remote
from clipkit.errors import InputError

_CLASSES = "classnames.txt"
_TEMPLATES = "zeroshot_classification_templates.txt"
_TYPE = "dataset_type.txt"
_COUNT = "nshards.txt"
_HUB_PAGE = re.compile(r"(https://[^/]+/datasets/[^/]+/[^/]+)(?:/(?:tree|resolve)/([^/]+))?/?")


@dataclass(frozen=True)
class BenchmarkSet:
    """A split of a dataset in CLIP_benchmark's layout."""

    shards: str  # as webdataset spells several
    class_names: tuple[str, ...]  # by number; none for retrieval
    templates: tuple[str, ...]  # with {} for the class; none for retrieval


def find_benchmark_set(root: str, split: str) -> BenchmarkSet | None:
    """Return a split of a dataset in CLIP_benchmark's layout.

    Args:
        root: A folder, or an address that ends in no shard.
        split: The name of its folder, such as "test".

    Returns:
        None if it is no such dataset.

    Raises:
        InputError: If it is one and lacks a file or the split, or is of another kind.
    """
    place = _address(root)
    counted = _read(f"{place}/{split}/{_COUNT}")
    if counted is None:
        if _read(f"{place}/{_CLASSES}") is None or is_remote(place):
            return None
        found = sorted(path.parent.name for path in Path(place).glob(f"*/{_COUNT}"))
        if not found:
            return None
        raise InputError(
            f'{root} has no split "{split}": {split}/{_COUNT} is not there; it has '
            f"{', '.join(found)}"
        )
    if not counted.strip().isdecimal() or int(counted) < 1:
        raise InputError(
            f"{root}/{split}/{_COUNT} must hold a number of shards, got {counted!r:.40}"
        )
    shards = f"{place}/{split}/{{0..{int(counted) - 1}}}.tar"
    kind = (_read(f"{place}/{_TYPE}") or "").strip()
    if kind == "retrieval":
        return BenchmarkSet(shards, (), ())
    if kind not in ("", "classification"):
        raise InputError(
            f"{root} is a {kind} dataset by its {_TYPE}; clipkit evaluates classification with one "
            "class an image, and retrieval"
        )
    names = _lines(_read(f"{place}/{_CLASSES}"))
    if not names:
        raise InputError(f"{root} has no {_CLASSES}, which names the classes of its .cls members")
    templates = _lines(_read(f"{place}/{_TEMPLATES}"))
    return BenchmarkSet(shards, names, tuple(line.replace("{c}", "{}") for line in templates))


def _address(root: str) -> str:
    """Return where the files of a dataset lie: a page of the hub is not where its files are."""
    page = _HUB_PAGE.fullmatch(root)
    if page is None:
        return root.rstrip("/")
    return f"{page[1]}/resolve/{page[2] or 'main'}"


def _read(path: str) -> str | None:
    """Return the text of a small file, None if it is not there."""
    try:
        file = fetch_shard(path) if is_remote(path) else Path(path)
        return file.read_text(encoding="utf-8-sig")
    except (InputError, OSError):
        return None
    except ValueError as error:
        raise InputError(f"{path} is no text in UTF-8: {error}") from error


def _lines(text: str | None) -> tuple[str, ...]:
    return tuple(line.strip() for line in (text or "").splitlines() if line.strip())
