"""Checks of a dataclass of settings by pydantic, with messages that say what would be right.

A message names the key, what it must be and what was got. For an unknown key it names the key that
was probably meant; names of open_clip_train's are recognised too.
"""

import difflib
import functools
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import numpy as np
import pydantic

from clipkit.errors import InputError
from clipkit.training.key_names import OTHER_TRAINERS

_Class = TypeVar("_Class")
# What pydantic calls a value out of range, and what is in range.
_RANGES = {
    "greater_than": "above {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than_equal": "at most {le:g}",
    "less_than": "below {lt:g}",
}


def checked_settings(section: str) -> Callable[[type[_Class]], type[_Class]]:
    """Return a decorator for a dataclass of settings: wrong values raise InputError.

    Args:
        section: Its name in RUN.toml, for messages; empty: the whole file.

    Returns:
        The decorator. Types and ranges are those of the annotations; unknown names are refused.
        Values are taken as :func:`plain_values` has them; None is the default.
    """

    def decorate(kind: type[_Class]) -> type[_Class]:
        checked: Any = pydantic.dataclasses.dataclass(
            kind, frozen=True, config=pydantic.ConfigDict(extra="forbid")
        )
        check = checked.__init__

        @functools.wraps(check)
        def init(self: object, *values: object, **named: object) -> None:
            names = list(checked.__pydantic_fields__)
            if len(values) > len(names):
                raise TypeError(f"{kind.__name__} takes {len(names)} values, got {len(values)}")
            given = dict(zip(names, values, strict=False))
            if twice := given.keys() & named.keys():
                raise TypeError(f"{kind.__name__} got {min(twice)} by position and by name")
            plain = {
                name: value if is_dataclass(value) else plain_values(value)
                for name, value in (given | named).items()
                if value is not None
            }
            try:  # by name, so that a message can name it
                check(self, **plain)
            except pydantic.ValidationError as error:
                problems = [_problem(item, checked, section) for item in error.errors()]
                raise InputError("; ".join(problems)) from error

        checked.__init__, checked.__doc__ = init, kind.__doc__  # pydantic makes a subclass
        return typing.cast(type[_Class], checked)

    return decorate


def plain_values(value: Any) -> Any:
    """Return a copy as a file would have it.

    Args:
        value: Of settings: a value, or any structure of them.

    Returns:
        Paths as texts, NumPy's numbers as Python's, dataclasses as dicts; without what is None.
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = {each.name: getattr(value, each.name) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain_values(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [plain_values(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if isinstance(value, np.generic) else value


def field_types(kind: Any) -> dict[str, Any]:
    """Return the bare type of every setting of a class by its name; of "X | None" the X."""
    hints = typing.get_type_hints(kind)
    return {name: _without_none(hints[name]) for name in kind.__pydantic_fields__}


def section_types(schema: Any) -> dict[str, Any]:
    """Return the class of every section by its name."""
    return {name: hint for name, hint in field_types(schema).items() if is_dataclass(hint)}


def _problem(found: Mapping[str, Any], kind: Any, section: str) -> str:
    """Return one of pydantic's findings as a sentence: the key, what is right, what was got."""
    location, what, got = found["loc"], found["type"], found["input"]
    keys = ([section] if section else []) + [part for part in location if isinstance(part, str)]
    name = ".".join(keys)
    if what == "value_error":  # of __post_init__, which names the key, or of a check of one value
        error = found["ctx"]["error"]
        return str(error) if isinstance(error, InputError) else f"{name} {error}"
    if what == "unexpected_keyword_argument":
        return _unknown_key(keys, found, kind)
    if what == "dataclass_type":
        needed = _described(_type_at(kind, location))
        return f"{name} is a section: write [{name}] and its keys below it; in Python {needed}"
    if what in _RANGES:
        return f"{name} must be {_RANGES[what].format(**found['ctx'])}, got {got:g}"
    if what == "missing" and isinstance(location[-1], int):  # an item of a list
        location = location[:-1]
    needed = _described(_type_at(kind, location))
    if what == "missing" and location == found["loc"]:
        return f"{name} is missing: it must be {needed}"
    if len(keys) == 1 and isinstance(got, dict):
        return f"{name} is no section: write {name} = … above the first section"
    return f"{name} must be {needed}, got {_shown(got)}"


def _type_at(kind: Any, location: Sequence[str | int]) -> Any:
    """Return the type of a setting, or of an item of one that is a list."""
    for part in location:
        kind = field_types(kind)[part] if isinstance(part, str) else typing.get_args(kind)[0]
    return kind


def _without_none(hint: Any) -> Any:
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return typing.get_args(hint)[0] if is_union else hint


def _described(hint: Any) -> str:
    options = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(f'"{option}"' for option in options)
    if typing.get_origin(hint) is tuple:
        size = "" if options[-1] is Ellipsis else f"{len(options)} items, each "
        return f"a list of {size}{_described(options[0])}"
    names = {str: 'a text, as in "this"', bool: "true or false", int: "a whole number"}
    if is_dataclass(hint):
        return f"a {getattr(hint, '__name__', '')} or a dict of its keys"
    return names.get(hint, "a number")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 64:  # it may be too long to be printed
        return f"a whole number of {value.bit_length()} bits"
    return f'the text "{value}"' if isinstance(value, str) else f"{value}"


def _unknown_key(keys: list[str], found: Mapping[str, Any], kind: Any) -> str:
    """Return what is wrong with a key that no section has, and what it was probably meant to be."""
    *section, key = keys
    sections = section_types(kind)
    if not section and isinstance(found["input"], dict):
        close = difflib.get_close_matches(key, sections, n=1)
        lead = f"did you mean [{close[0]}]? Sections" if close else "sections"
        return f"there is no section [{key}]; {lead} are {', '.join(sections)}"
    if not section:
        return f"there is no {key} outside of sections{_advice(key, '', kind)}"
    if len(section) == 1:
        return f"[{section[0]}] has no {key}{_advice(key, section[0], kind)}"
    own = field_types(_type_at(kind, found["loc"][:-1]))  # of tables in a list
    return f"{'.'.join(section)} has no {key}; its keys are {', '.join(own)}"


def _advice(key: str, section: str, kind: Any) -> str:
    """Return what an unknown key probably means, as the end of a sentence."""
    sections = section_types(kind)
    homes: dict[str, list[str]] = {}
    for name, holder in {"" if sections else section: kind, **sections}.items():
        for known in field_types(holder):
            if known not in sections:
                homes.setdefault(known, []).append(name)
    plain = key.lower().replace("-", "_")
    meant = OTHER_TRAINERS.get(plain, plain)
    if meant not in homes:
        own = [known for known, names in homes.items() if section in names]
        close = difflib.get_close_matches(plain, own, n=1) or difflib.get_close_matches(
            plain, homes, n=1
        )
        if not close:
            return f"; its keys are {', '.join(own)}"
        meant = close[0]
    if section in homes[meant]:
        return f"; did you mean {meant}?"
    home = " or ".join(f"[{name}]" if name else "the top of the file" for name in homes[meant])
    return f"; {meant} belongs to {home}" if meant == key else f"; did you mean {meant} of {home}?"
