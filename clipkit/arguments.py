"""Checks of arguments, with one error message for each kind of mistake, and how it names texts."""

import inspect
import os
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from clipkit.errors import InputError

ENCODER_RULE = "the encoder must be an Encoder, as clipkit.load(NAME) returns it"
_NAMED = 5  # texts in a message
_LONG = 80  # characters of each of them


def check_whole(value: object, name: str, *, least: int = 1) -> int:
    """Return a count as Python's own whole number.

    Args:
        value: A whole number of any kind, NumPy's too.
        name: What to call it in a message.
        least: The smallest that is allowed.

    Returns:
        The number.

    Raises:
        InputError: If it is no whole number, or less than that.

    Example:
        >>> check_whole(3, "k")
        3
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{name} must be a whole number of {least} or more, got {value!r}")
    count = int(value)
    if count < least:
        raise InputError(f"{name} must be at least {least}, got {count}")
    return count


def check_callable(function: object, name: str, *arguments: str) -> None:
    """Raise unless a value can be called with so many values, one after another.

    Called before work begins that would call it late. What does not tell what it takes, as some
    functions of C, passes.

    Args:
        function: The value.
        name: What to call it in a message.
        *arguments: What it will be called with, for the message.

    Raises:
        InputError: If it is no function, or one of more or fewer values.

    Example:
        >>> check_callable(print, "say", "line")
    """
    try:
        inspect.signature(function).bind(*arguments)  # type: ignore[arg-type]  # TypeError says so
    except ValueError:
        return
    except TypeError:
        rule = f"{name} must be a function of ({', '.join(arguments)})"
        raise InputError(f"{rule}, got {type(function).__name__} {function!r:.80}") from None


def check_progress(progress: object, called_with: str = "(done, total)") -> None:
    """Raise unless a callback for progress is a function, or None.

    Called before the work begins: a switch, as other libraries have it, would fail only after the
    first batch.

    Args:
        progress: The callback.
        called_with: What it is called with.

    Raises:
        InputError: If it cannot be called.

    Example:
        >>> check_progress(print)
    """
    if progress is not None and not callable(progress):
        raise InputError(
            f"progress must be a function of {called_with}, as print is one, or None, got "
            f"{progress!r}"
        )


def check_share(value: object, name: str) -> float:
    """Return a number between 0 and 1, both included.

    Args:
        value: A number of any kind, NumPy's too.
        name: What to call it in a message.

    Returns:
        The number.

    Raises:
        InputError: If it is no number, or outside.

    Example:
        >>> check_share(0.5, "diversity")
        0.5
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise InputError(f"{name} must be between 0 and 1, got {value!r}")
    return float(value)


def items_of(values: object, rule: str) -> Iterator[Any]:
    """Return an iterator over several values; refuse what only looks like several.

    A string can be iterated over letter by letter, a table by column name, an array of two
    dimensions row by row: none of these is what the caller meant.

    Args:
        values: A list, a tuple, a generator, a NumPy array, a pandas Series or the like.
        rule: What it must be, as the start of a sentence: "texts must be a list of strings".

    Returns:
        Its items.

    Raises:
        InputError: If it is one string, no list at all, or a table.

    Example:
        >>> list(items_of(("a", "b"), "texts must be a list of strings"))
        ['a', 'b']
    """
    kind = type(values).__name__
    if isinstance(values, str | bytes):
        raise InputError(f"{rule}, got the single {kind} {values!r}; put it in a list")
    num_axes = getattr(values, "ndim", 1)
    if not isinstance(values, Iterable) or num_axes == 0:
        raise InputError(f"{rule}, got {kind}")
    if num_axes != 1:
        raise InputError(f"{rule}, got {kind} of {num_axes} dimensions; take one column or row")
    return iter(values)


def check_path(path: object, name: str) -> Path:
    """Return a path as pathlib's.

    Args:
        path: A string or anything that stands for a path.
        name: What to call it in a message.

    Returns:
        The path, unchanged.

    Raises:
        InputError: If it is no path.

    Example:
        >>> check_path("photos", "folder").name
        'photos'
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"{name} must be a path (a string or a Path), got {type(path).__name__}")
    return Path(path)


def near_name(name: str, known: Iterable[str]) -> str:
    """Return the known name that a misspelt one is closest to, "" if it is close to none.

    Args:
        name: As it was given.
        known: All names that are right.

    Returns:
        One of them, or "".

    Example:
        >>> near_name("exlude", ["exclude", "order"])
        'exclude'
    """
    from difflib import get_close_matches  # only here: names that are right need none

    return next(iter(get_close_matches(name, known, n=1)), "")


def check_kind(value: object, attribute: str, rule: str) -> None:
    """Raise unless an argument has an attribute; where a name is often given for an object.

    Args:
        value: The argument.
        attribute: The attribute that objects of the right kind have.
        rule: What it must be and where to get one, as the start of a sentence.

    Raises:
        InputError: If it has no such attribute.

    Example:
        >>> check_kind(3, "real", "the seed must be a number")
    """
    if not hasattr(value, attribute):
        raise InputError(f"{rule}, got {type(value).__name__} {value!r:.80}")


def quoted(texts: Sequence[str], separator: str = ", ") -> str:
    """Return texts for a message: the first few, and how many more there are."""
    named = separator.join(map(_short, texts[:_NAMED]))
    return f"{named} and {len(texts) - _NAMED} more" if len(texts) > _NAMED else named


def _short(text: str) -> str:
    return repr(text if len(text) <= _LONG else f"{text[:_LONG]}…")
