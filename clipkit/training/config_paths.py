"""Settings in RUN.toml that are paths: marked in their types, made absolute from a folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from clipkit.paths import expand_home
from clipkit.training.config_values import Text


@dataclass(frozen=True)
class Anchor:
    """Marks a setting that may be a path, in the annotation of its type."""

    absolute: Callable[[Any, Path], Any]  # the value, with paths in it absolute from a folder


def absolute_path(path: Any, folder: Path) -> Any:
    """Return a path or an address, made absolute if it is a relative path."""
    if not isinstance(path, str) or not path:
        return path
    is_remote = "://" in path or path.startswith("pipe:")  # webdataset reads from these
    return path if is_remote or Path(path).is_absolute() else str(folder / expand_home(path))


def absolute_model(name: Any, folder: Path) -> Any:
    """Return a model's name with its path made absolute, if there is something at that path."""
    if not isinstance(name, str) or name == "starter":
        return name
    architecture, is_named, file = name.partition("=")
    if is_named and architecture.endswith(".json"):
        return f"{absolute_path(architecture, folder)}={absolute_path(file, folder)}"
    for prefix in ("", "local-dir:", f"{architecture}="):
        path = name.removeprefix(prefix)
        if path and name.startswith(prefix) and _exists(folder / expand_home(path)):
            return prefix + absolute_path(path, folder)
    return name


def absolute_sources(value: Any, folder: Path) -> list[dict[str, Any]]:
    """Return the tables that a path, a list of paths, or tables with a path stand for."""
    return [
        table | {"path": absolute_path(table["path"], folder)} for table in source_tables(value)
    ]


def source_tables(value: Any) -> list[dict[str, Any]]:
    """Return the tables that a path, a list of paths, or tables with a path stand for.

    Args:
        value: As a file has it.

    Returns:
        Tables, each with one path.

    Raises:
        ValueError: If it is something else; the message is the end of a sentence.
    """
    tables = []
    for item in value if isinstance(value, list | tuple) else [value]:
        table = {"path": item} if isinstance(item, str) else item
        if not isinstance(table, dict) or not isinstance(table.get("path"), str):
            raise ValueError(
                'must be a path, a list of paths, or tables like {path = "photos", weight = 2}, in '
                f'Python SourceConfig("photos", 2), got {item}'
            )
        tables += [table | {"path": path} for path in table["path"].split("::")]  # "a::b" are two
    return tables


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for a path is not one
        return False


FilePath = Annotated[Text, Anchor(absolute_path)]
ModelName = Annotated[Text, Anchor(absolute_model)]
