"""Search filters: which images of a library may be results, by path, date, size and camera."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from typing import Any, Literal, TypedDict, get_args

from clipkit.arguments import check_whole, near_name
from clipkit.errors import InputError
from clipkit.inputs.globs import matches_glob

Orientation = Literal["portrait", "landscape", "square"]
Moment = str | int | date
"""A year, month, day or moment: "2024", 2024, "2024-06", "2024-06-01", "2024-06-01T12:30"."""

_PARTIAL_DATE = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")


class FilterOptions(TypedDict, total=False):
    """The fields of IndexFilter as keyword arguments."""

    path: str | None
    not_path: str | Sequence[str] | None
    after: Moment | None
    before: Moment | None
    min_width: int
    min_height: int
    orientation: Orientation | None
    camera: str | None
    not_camera: str | Sequence[str] | None


@dataclass(frozen=True)
class IndexFilter:
    """Conditions that an image must meet to be a result; None and 0 set no condition.

    An image without a value fails a filter that requires the value, and passes one that excludes
    it.

    Raises:
        InputError: If a value is invalid, such as a date that does not exist.
    """

    path: str | None = None  # glob on the path inside the folder, as `matches_glob` has it
    not_path: str | Sequence[str] | None = None  # one glob or several, none of which may match
    after: Moment | None = None  # taken then or later
    before: Moment | None = None  # taken earlier than that
    min_width: int = 0  # pixels, upright
    min_height: int = 0
    orientation: Orientation | None = None
    camera: str | None = None  # a part of "Make Model", in upper or lower case
    not_camera: str | Sequence[str] | None = None  # one part or several, none of which it may have

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        for name, value in (("after", self.after), ("before", self.before)):
            if value is not None:
                iso_start(value, name)
        for name in ("path", "camera"):
            text = getattr(self, name)
            if text is not None and not isinstance(text, str):
                raise InputError(f"{name} must be a string, got {text!r}")
        for name in ("not_path", "not_camera"):
            object.__setattr__(self, name, _texts(getattr(self, name), name))
        if self.orientation is not None and self.orientation not in get_args(Orientation):
            raise InputError(
                f'orientation must be "portrait", "landscape" or "square", got {self.orientation!r}'
            )
        for name in ("min_width", "min_height"):
            pixels = check_whole(getattr(self, name), name, least=0)
            object.__setattr__(self, name, pixels)  # databases take no NumPy numbers


@dataclass(frozen=True)
class Selection:
    """Which images of an index a search, a count or an export covers."""

    prefix: str = ""  # only paths under this folder: "" for all, or "folder/"
    # Its globs match the path after the prefix.
    accepted: IndexFilter = field(default_factory=IndexFilter)
    hidden: frozenset[str] = frozenset()  # paths to leave out, the prefix included


def read_filter(options: Mapping[str, Any], others: Sequence[str] = ()) -> IndexFilter:
    """Return the filter that keyword arguments describe.

    Args:
        options: By name, as FilterOptions has them.
        others: What else the caller takes by name, for the message.

    Returns:
        The filter.

    Raises:
        InputError: If there is no filter of such a name, or a value is out of range.
    """
    names = [each.name for each in fields(IndexFilter)]
    for name in options:
        if name not in names:
            near = near_name(name, [*names, *others])
            listed = f"did you mean {near}? Filters" if near else "filters"
            beside = f"; beside filters there are {', '.join(others)}" if others else ""
            raise InputError(
                f"there is no filter {name!r}; {listed} are {', '.join(names)}{beside}"
            )
    return IndexFilter(**options)


def may_pass(path: str, accepted: IndexFilter) -> bool:
    """Return whether an image that nobody has read yet can pass a filter, by its path alone.

    Args:
        path: Relative to the folder that is searched, with / between its parts.
        accepted: The filter; what it says of dates, sizes and cameras shows only in the image.

    Returns:
        False if it surely fails.
    """
    if accepted.path is not None and not matches_glob(path, accepted.path):
        return False
    return not any(matches_glob(path, pattern) for pattern in accepted.not_path or ())


def _texts(given: str | Sequence[str] | None, name: str) -> tuple[str, ...] | None:
    """Return one text or several as several."""
    if given is None:
        return None
    texts = (given,) if isinstance(given, str) else given
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{name} must be a string or a list of strings, got {given!r}")
    return tuple(texts) or None


def iso_start(moment: Moment, name: str) -> str:
    """Return a moment, or the first second of a year, month or day, as ISO 8601 text.

    Texts of this form are in the order of time, and midnight is left out: an image of which only
    the day is known then is not earlier than that day.

    Args:
        moment: A year, month, day or moment.
        name: What the caller calls it, for the message.

    Returns:
        Local time, as in 2024-06-01T12:30:00, or the day alone.

    Raises:
        InputError: If it is none of these.
    """
    return _to_second(moment, name).removesuffix("T00:00:00")


def _to_second(moment: Moment, name: str) -> str:
    """Return a moment, or the first second of a year, month or day, in ISO form."""
    if isinstance(moment, datetime):
        return moment.replace(tzinfo=None).isoformat(timespec="seconds")
    if isinstance(moment, date):
        return f"{moment.isoformat()}T00:00:00"
    text = str(moment).strip()
    if _PARTIAL_DATE.fullmatch(text):
        text = f"{text}{'-01-01'[len(text) - 4 :]}"
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None).isoformat(timespec="seconds")
    except ValueError as error:
        raise InputError(
            f"{name} must be a year, month, day or moment such as 2024, 2024-06, 2024-06-01 or "
            f"2024-06-01T12:30, got {moment!r}"
        ) from error
