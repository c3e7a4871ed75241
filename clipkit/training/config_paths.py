"""The paths of RUN.toml, which count from a folder."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from clipkit.errors import InputError
from clipkit.paths import expand_home
from clipkit.training.config import SAMPLES


def anchor_paths(content: dict[str, Any], folder: Path) -> None:
    """Make every path absolute, and give places with pairs one form.

    Args:
        content: What a file holds; it is changed.
        folder: Where its paths count from.

    Raises:
        InputError: If a place with pairs is described in no known form.
    """

    def change(section: str, key: str, rule: Callable[[str, Path], str]) -> None:
        part = content.get(section) if section else content
        if isinstance(part, dict) and isinstance(part.get(key), str) and part[key]:
            part[key] = rule(part[key], folder)

    change("", "output", _absolute)
    change("model", "start", _absolute_model)
    change("model", "architecture", _absolute_architecture)
    change("model", "tokenizer", _absolute)
    change("loss", "teacher", _absolute_model)
    change("watch", "tripwire", _absolute_tripwire)
    change("watch", "tripwire_class_names", _absolute)
    change("data", "class_names", _absolute)
    data = content.get("data")
    for key in ("train", "validation"):
        if isinstance(data, dict) and key in data:
            data[key] = list(_sources(data[key], folder, f"data.{key}"))


def _absolute(path: str, folder: Path) -> str:
    is_remote = "://" in path or path.startswith("pipe:")  # webdataset reads from these
    return path if is_remote or Path(path).is_absolute() else str(folder / expand_home(path))


def _absolute_model(name: str, folder: Path) -> str:
    """Return a model's name with its path made absolute, if there is something at that path."""
    if name == "starter":
        return name
    for prefix in ("", "local-dir:", f"{name.partition('=')[0]}="):
        path = name.removeprefix(prefix)
        if path and name.startswith(prefix) and _is_there(folder / expand_home(path)):
            return prefix + _absolute(path, folder)
    return name


def _absolute_architecture(name: str, folder: Path) -> str:
    return _absolute(name, folder) if name.endswith(".json") else name


def _absolute_tripwire(name: str, folder: Path) -> str:
    return name if name == SAMPLES else _absolute(name, folder)


def _is_there(place: Path) -> bool:
    try:
        return place.exists()
    except OSError:  # a name too long for a path is not one
        return False


def _sources(value: Any, folder: Path, name: str) -> Iterable[dict[str, Any]]:
    """Yield the tables that a place, a list of places, or tables stand for."""
    for item in value if isinstance(value, list | tuple) else [value]:
        table = {"path": item} if isinstance(item, str) else item
        if not isinstance(table, dict) or not isinstance(table.get("path"), str):
            raise InputError(
                f"{name} must be a path, a list of paths, or tables like "
                f'{{path = "photos", weight = 2}}, got {item}'
            )
        for path in table["path"].split("::"):
            yield table | {"path": _absolute(path, folder) if path else ""}
