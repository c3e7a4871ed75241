"""Values of a sweep as the command line has them, and the names of folders of its runs."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from clipkit.errors import InputError
from clipkit.training.config import RunConfig
from clipkit.training.config_file import parse_override

_MOST_LETTERS = 100  # of a name; file systems take 255 bytes
_PLAIN_TEXT = re.compile(r"(?!(true|false|null)$)[a-z]([a-z0-9._-]{0,38}[a-z0-9_-])?")
_PLAIN_NUMBER = re.compile(r"true|false|-?[0-9][0-9.e+-]{0,38}")


def parse_sweeps(words: Sequence[str]) -> dict[str, list[Any]]:
    """Return the values of settings that the command line gives.

    Args:
        words: Like "optimizer.lr=1e-6,1e-5" or "data.crop_scale=[0.5, 1.0],[0.9, 1.0]": values are
            what --set takes, commas in brackets, braces and quotes are theirs.

    Returns:
        The values by key.

    Raises:
        InputError: If one is no KEY=VALUE,VALUE, or a key comes twice.

    Example:
        >>> parse_sweeps(["optimizer.lr=1e-6,1e-5", "data.crop_scale=[0.5,1.0],[0.9,1.0]"])
        {'optimizer.lr': [1e-06, 1e-05], 'data.crop_scale': [[0.5, 1.0], [0.9, 1.0]]}
    """
    found: dict[str, list[Any]] = {}
    for word in words:
        key, _, text = word.partition("=")
        key = key.strip()
        if key in found:
            raise InputError(f"--sweep {key} is given twice: give all of its values at once")
        parts = _split(text)
        if not key or not all(parts):
            raise InputError(
                f'--sweep "{word}" must be KEY=VALUE,VALUE, for example optimizer.lr=1e-6,1e-5'
            )
        found[key] = [_value(f"{key}={part}") for part in parts]
    return found


def folder_name(settings: Mapping[str, Any]) -> str:
    """Return a short name of a folder for some settings, safe in every file system.

    Args:
        settings: Values by key.

    Returns:
        As "lr=1e-05,batch_size=64". Keys lose their section if they still differ. Of a value that
        is no plain word a part is shown, and a hash of it, so that no two values have one name,
        also where capitals do not count.

    Example:
        >>> folder_name({"optimizer.lr": 1e-5, "compute.batch_size": 64})
        'lr=1e-05,batch_size=64'
    """
    short = [key.rpartition(".")[2] for key in settings]
    keys = short if len({key.casefold() for key in short}) == len(short) else list(settings)
    name = ",".join(
        f"{key}={_word(value)}" for key, value in zip(keys, settings.values(), strict=True)
    )
    if len(name) <= _MOST_LETTERS:
        return name
    return f"{name[: _MOST_LETTERS - 9].rstrip('.')}-{_hash(dict(settings))}"


def _word(value: Any) -> str:
    is_text = isinstance(value, str)
    text = value if is_text else json.dumps(value, default=str)
    if (_PLAIN_TEXT if is_text else _PLAIN_NUMBER).fullmatch(text):
        return text
    slug = re.sub(r"[^A-Za-z0-9_.+-]+", "-", text)[:20].strip("-.")
    return f"{slug}-{_hash(value)}" if slug else _hash(value)


def _hash(value: Any) -> str:
    text = json.dumps(value, default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _value(override: str) -> Any:
    """Return the value of KEY=VALUE, as --set would take it."""
    (part,) = parse_override(override, RunConfig).values()
    return next(iter(part.values())) if "." in override.partition("=")[0] else part


def _split(text: str) -> list[str]:
    """Return a text in parts, at commas outside of brackets, braces and quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        elif letter == "," and depth <= 0:
            parts.append("")
            continue
        parts[-1] += letter
    return [part.strip() for part in parts]
