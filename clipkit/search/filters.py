"""Which images of a library may be results at all: by path, date, size, shape and camera."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any, Literal, TypedDict

from clipkit.arguments import check_whole
from clipkit.errors import InputError
from clipkit.search.store.local.schema import PATH_ERRORS

Orientation = Literal["portrait", "landscape", "square"]
Moment = str | int | date
"""A year, month, day or moment: "2024", 2024, "2024-06", "2024-06-01", "2024-06-01T12:30"."""

Condition = tuple[str, str | bytes | int]
"""An SQL condition with one question mark, and what that stands for."""

# An image without a date counts as taken when its file was last changed.
_TAKEN_AT = (
    "COALESCE(taken_at, strftime('%Y-%m-%dT%H:%M:%S', mtime_ns / 1000000000, 'unixepoch',"
    " 'localtime'))"
)
_SHAPES = {
    "portrait": "height > width",
    "landscape": "width > height",
    "square": "width = height",
}
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
    """What an image must be like; None and 0 leave a question open.

    An image whose file does not say something does not pass a filter on it, but passes one on what
    it must not be.

    Raises:
        InputError: If a value is one that no image could be compared with.
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
        """Refuse what no image could be compared with."""
        for name, value in (("after", self.after), ("before", self.before)):
            if value is not None:
                _start(value, name)
        for name in ("path", "camera"):
            text = getattr(self, name)
            if text is not None and not isinstance(text, str):
                raise InputError(f"{name} must be a string, got {text!r}")
        for name in ("not_path", "not_camera"):
            object.__setattr__(self, name, _texts(getattr(self, name), name))
        if self.orientation is not None and self.orientation not in list(_SHAPES):
            raise InputError(
                f'orientation must be "portrait", "landscape" or "square", got {self.orientation!r}'
            )
        for name in ("min_width", "min_height"):
            pixels = check_whole(getattr(self, name), name, least=0)
            object.__setattr__(self, name, pixels)  # SQLite takes no NumPy numbers

    def conditions(self, prefix: str = "") -> list[Condition]:
        """Return SQL conditions on a row of the catalog, each with its one value.

        Args:
            prefix: Of the folder that is searched: "" or "folder/". Globs are about what is
                behind it.

        Returns:
            Pairs of a condition with one question mark, and what that stands for.
        """
        found = [*self._path_conditions(prefix), *self._camera_conditions()]
        if self.after is not None:
            found.append((f"{_TAKEN_AT} >= ?", _start(self.after, "after")))
        if self.before is not None:
            found.append((f"{_TAKEN_AT} < ?", _start(self.before, "before")))
        for side, pixels in (("width", self.min_width), ("height", self.min_height)):
            if pixels:
                found.append((f"{side} >= ?", pixels))
        if self.orientation is not None:
            found.append((f"{_SHAPES[self.orientation]} AND ?", 1))
        return found

    def _path_conditions(self, prefix: str) -> list[Condition]:
        found: list[Condition] = []
        inside = len(prefix.encode("utf-8", PATH_ERRORS)) + 1  # SQL counts from 1
        matches = f"matches_glob(substr(CAST(path AS BLOB), {inside}), ?)"
        if self.path is not None:
            start = (prefix + _literal_start(self.path)).encode("utf-8", PATH_ERRORS)
            if start and start[-1] < 0xFF:  # an index finds these; a million globs take .7 s
                behind = start[:-1] + bytes([start[-1] + 1])
                found.append(("path >= CAST(? AS TEXT)", start))
                found.append(("path < CAST(? AS TEXT)", behind))
            found.append((matches, self.path.encode("utf-8", PATH_ERRORS)))
        for pattern in self.not_path or ():
            found.append((f"NOT {matches}", pattern.encode("utf-8", PATH_ERRORS)))
        return found

    def _camera_conditions(self) -> list[Condition]:
        found: list[Condition] = []
        place = "instr(lower(COALESCE(camera, '')), lower(CAST(? AS TEXT)))"
        if self.camera is not None:
            found.append((f"{place} > 0", self.camera.encode("utf-8", PATH_ERRORS)))
        for part in self.not_camera or ():
            found.append((f"{place} = 0", part.encode("utf-8", PATH_ERRORS)))
        return found


def read_filter(options: Mapping[str, Any]) -> IndexFilter:
    """Return the filter that keyword arguments describe.

    Args:
        options: By name, as FilterOptions has them.

    Returns:
        The filter.

    Raises:
        InputError: If there is no filter of such a name, or a value is out of range.
    """
    names = [field.name for field in fields(IndexFilter)]
    for name in options:
        if name not in names:
            raise InputError(f"there is no filter {name!r}; there are {', '.join(names)}")
    return IndexFilter(**options)


def _texts(given: str | Sequence[str] | None, name: str) -> tuple[str, ...] | None:
    """Return one text or several as several."""
    if given is None:
        return None
    texts = (given,) if isinstance(given, str) else given
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{name} must be a string or a list of strings, got {given!r}")
    return tuple(texts) or None


def _literal_start(pattern: str) -> str:
    """Return what every path that matches a pattern begins with."""
    parts = pattern.rstrip("/").split("/")
    if len(parts) == 1:
        return ""
    if parts[0] in ("", "."):
        parts = parts[1:]
    # Letters outside ASCII may be composed in another way on the disk than in the pattern.
    composed = unicodedata.normalize("NFC", "/".join(parts))
    return re.split(r"[*?[]|[^\0-\x7f]", composed, maxsplit=1)[0]


def _start(moment: Moment, name: str) -> str:
    """Return a moment as the catalog writes it; midnight without a time.

    An image of which only the day is known then is not earlier than that day.
    """
    return _written(moment, name).removesuffix("T00:00:00")


def _written(moment: Moment, name: str) -> str:
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
