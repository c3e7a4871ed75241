"""RUN.toml and a run's config, both ways."""

import os
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipkit.arguments import items_of
from clipkit.errors import InputError, MissingExtraError
from clipkit.paths import expand_home
from clipkit.training.config import RunConfig, check_number, default_output
from clipkit.training.config_keys import check_keys, field_types, section_types
from clipkit.training.config_paths import anchor_paths

# These change neither the weights after a step, but for rounding, nor what is measured of them; or
# they say where pairs are found, which are compared themselves.
_FREE_KEYS = frozenset(
    {
        "output",
        "data.image_column",
        "data.caption_column",
        "data.caption_ending",
        "data.class_names",
        "data.workers",
        "data.max_bad_fraction",
        "model.gradient_checkpointing",
        "loss.row_chunk",
        "compute.chunk_size",
        "compute.device",
        "compute.sharding",
        "compute.compile",
        "watch.every_epochs",
        "watch.patience",
        "watch.max_forgetting",
        "watch.average_with_start",
        "watch.checkpoint_minutes",
        "watch.keep",
        "watch.log_steps",
    }
)


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Return the run that a file describes.

    Paths in the file count from the file's folder, paths in overrides from the working directory;
    all of them come out absolute.

    Args:
        path: A TOML file whose sections and keys are those of RunConfig.
        overrides: Replacements like "optimizer.lr=1e-5" or "seed=3"; a value that is not TOML is
            a text.

    Returns:
        The config, not resolved yet. Without an output, that is a folder beside the file.

    Raises:
        InputError: If the file cannot be read, a key is unknown or in the wrong section, or a
            value has the wrong type or range.
    """
    place = expand_home(path).absolute()
    try:
        content = tomllib.loads(place.read_text(encoding="utf-8-sig"))  # Notepad writes the mark
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:  # as for numbers of thousands of digits
        raise InputError(f"{path} is not valid TOML: {error}") from error
    content.setdefault("output", default_output(place))
    try:
        return parse_config(content, overrides, folder=place.parent)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def parse_config(
    content: Mapping[str, Any], overrides: Sequence[str] = (), *, folder: Path | None = None
) -> RunConfig:
    """Return the run that sections and keys describe, as a RUN.toml has them.

    Args:
        content: For example ``{"output": "run", "model": {"start": "starter"}, "data": {"train":
            "photos"}}``.
        overrides: As for :func:`read_config`.
        folder: Where relative paths count from; None: the working directory.

    Returns:
        The config, not resolved yet.

    Raises:
        InputError: If a key is unknown or in the wrong section, something that is needed is
            missing, or a value has the wrong type or range.
    """
    if not isinstance(content, Mapping):
        raise InputError(f"a run must be a dict of sections and keys, got {type(content).__name__}")
    parts = _as_toml(content)
    check_keys(parts)
    anchor_paths(parts, folder or Path.cwd())
    for override in items_of(overrides, 'overrides must be a list such as ["seed=3"]'):
        _merge(parts, _parse_override(override))
    return typing.cast(RunConfig, _build(RunConfig, parts, ""))


def write_config(config: RunConfig, path: Path) -> None:
    """Write a run's config as a file that reads back equal.

    Paths that are not absolute count from the working directory, and are written absolute.

    Args:
        config: The config; what is None is left out.
        path: Where to.

    Raises:
        InputError: If the file cannot be written.
        MissingExtraError: If tomli-w is not installed.
    """
    try:
        import tomli_w
    except ImportError as error:
        raise MissingExtraError("torch", "Writing a run's config") from error

    content = _without_none(asdict(config))
    anchor_paths(content, Path.cwd())
    draft = path.with_suffix(".part")
    try:
        draft.write_text(tomli_w.dumps(content), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error}") from error


def differing_keys(first: RunConfig, second: RunConfig) -> list[str]:
    """Return the keys that make two configs two different runs.

    A run may go on under other settings of what leaves the weights after each step as they would
    have been but for rounding, and their measurements comparable: where it writes, on which
    device and in which portions it computes, how often it measures and saves, when it stops.

    Args:
        first: A resolved config.
        second: Another.

    Returns:
        Keys like "optimizer.lr", sorted; empty if one run can go on as the other.
    """
    one, two = _flat(asdict(first)), _flat(asdict(second))
    return sorted(key for key in one if one[key] != two[key] and key not in _FREE_KEYS)


def _as_toml(value: Any) -> Any:
    """Return a copy as a file would have it: paths as texts, NumPy's numbers as Python's."""
    if isinstance(value, Mapping):
        return {key: _as_toml(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_toml(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if isinstance(value, np.generic) else value


def _parse_override(override: object) -> dict[str, Any]:
    """Return an override as the part of a file that it stands for."""
    if not isinstance(override, str):
        raise InputError(f"an override must be a string such as seed=3, got {override!r}")
    dotted, sign, text = override.partition("=")
    section, dot, key = dotted.strip().partition(".")
    if not sign or not section or (dot and not key):
        raise InputError(f'"{override}" must be KEY=VALUE, for example optimizer.lr=1e-5')
    value = _parse_value(text.strip())
    part: dict[str, Any] = {section: {key: value}} if dot else {section: value}
    check_keys(part)
    hint = field_types(section_types()[section])[key] if dot else field_types(RunConfig)[section]
    if hint is str and not isinstance(value, str):  # output=2026 is a name as well
        part = {section: {key: text.strip()}} if dot else {section: text.strip()}
    anchor_paths(part, Path.cwd())
    return part


def _parse_value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _merge(content: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        if isinstance(value, dict):
            content.setdefault(name, {}).update(value)
        else:
            content[name] = value


def _build(kind: Any, content: Mapping[str, Any], name: str) -> Any:
    """Return a dataclass from the table that describes it."""
    hints = field_types(kind)
    for key in content:
        if key not in hints:  # of a source; _check_keys has seen all others
            raise InputError(f"{name} has no {key}; its keys are {', '.join(hints)}")
    given = {}
    for item in fields(kind):
        label = f"{name}.{item.name}" if name else item.name
        if item.name in content:
            given[item.name] = _convert(hints[item.name], content[item.name], label)
        elif item.default is MISSING and item.default_factory is MISSING:
            given[item.name] = _convert(hints[item.name], {}, label)
    return kind(**given)


def _convert(hint: Any, value: Any, name: str) -> Any:
    """Return a value of TOML as the type of its field, or refuse it."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):  # only ever "X | None"; TOML has no None
        return _convert(options[0], value, name)
    if origin is typing.Literal:
        if value not in options:
            choices = ", ".join(f'"{option}"' for option in options)
            raise InputError(f"{name} must be one of {choices}, got {_shown(value)}")
        return value
    if origin is tuple and isinstance(value, list | tuple):
        if options[-1] is Ellipsis:
            return tuple(_convert(options[0], item, name) for item in value)
        if len(value) == len(options):
            pairs = zip(options, value, strict=True)
            return tuple(_convert(option, item, name) for option, item in pairs)
    elif is_dataclass(hint) and isinstance(value, dict):
        return _build(hint, value, name)
    elif hint is float and type(value) is int:
        check_number(name, value)  # of hundreds of digits, it has no float
        return float(value)
    elif type(value) is hint:  # not isinstance: True is an int to Python
        return value
    raise InputError(f"{name} must be {_described(hint)}, got {_shown(value)}")


def _described(hint: Any) -> str:
    options = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        size = "" if options[-1] is Ellipsis else f"{len(options)} items, each "
        return f"a list of {size}{_described(options[0])}"
    names = {str: 'a text, as in "this"', bool: "true or false", int: "a whole number"}
    return names.get(hint, "a number" if hint is float else "a table")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'the text "{value}"' if isinstance(value, str) else f"{value}"


def _without_none(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in content.items()
        if value is not None
    }


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": item for key, item in value.items()}
        else:
            flat[name] = value
    return flat
