"""The kinds of datasets of pairs, and which settings of a layout each of them uses."""

from collections.abc import Iterator, Mapping
from typing import Literal

from clipkit.data.pair import PairLayout, any_of, list_some

SourceKind = Literal["folder", "classes", "metadata", "table", "shards"]

_DESCRIBED: dict[SourceKind, str] = {
    "folder": "a folder of images with caption files",
    "classes": "a folder of class folders",
    "metadata": "a folder with tables",
    "table": "a table",
    "shards": "shards",
}
_CLASSES: tuple[SourceKind, ...] = ("classes", "shards")
_TABLES: tuple[SourceKind, ...] = ("table", "metadata")
_CAPTION_FILES: tuple[SourceKind, ...] = ("folder", "shards")
# The option of the commands that read pairs, if there is one, and the kinds that use a setting.
_USED_BY: dict[str, tuple[str, tuple[SourceKind, ...]]] = {
    "image_column": ("--image-column", _TABLES),
    "caption_column": ("--caption-column", _TABLES),
    "caption_ending": ("--caption-ending", _CAPTION_FILES),
    "class_names": ("--class-names", _CLASSES),
    "templates": ("", _CLASSES),
}


def unused_settings(layout: PairLayout, kinds: Mapping[str, SourceKind]) -> Iterator[str]:
    """Yield a sentence on each setting that is given and that none of the datasets uses.

    Args:
        layout: The settings that all of the datasets were opened with.
        kinds: What each dataset is, by its path.

    Yields:
        The setting, what it is for, and what the datasets are.
    """
    usual = PairLayout()
    for setting, (option, users) in _USED_BY.items():
        if getattr(layout, setting) == getattr(usual, setting) or set(users) & set(kinds.values()):
            continue
        name = f"data.{setting}" + (f" in RUN.toml or {option}" if option else "")
        read = list_some(f"{path} is read as {_DESCRIBED[kind]}" for path, kind in kinds.items())
        yield (
            f"{name} is not used: it is for {any_of([_DESCRIBED[kind] for kind in users])}, and "
            f"{read}"
        )
