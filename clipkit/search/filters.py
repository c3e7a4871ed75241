"""Which pictures of a library may be results at all: by path, date, size, shape and camera."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, TypedDict

from clipkit.errors import InputError
from clipkit.search.schema import PATH_ERRORS

Orientation = Literal["portrait", "landscape", "square"]

# A picture without an EXIF date counts as taken when its file was last changed.
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
    """The fields of PictureFilter as keyword arguments."""

    path: str | None
    after: str | date | None
    before: str | date | None
    min_width: int
    min_height: int
    orientation: Orientation | None
    camera: str | None


@dataclass(frozen=True)
class PictureFilter:
    """What a picture must be like; None and 0 leave a question open.

    A picture whose file does not say something does not pass a filter on it.
    """

    path: str | None = None  # glob on the path inside the folder, as `matches_glob` has it
    after: str | date | None = None  # taken then or later: "2024", "2024-06", "2024-06-01", ...
    before: str | date | None = None  # taken earlier than that
    min_width: int = 0  # pixels, upright
    min_height: int = 0
    orientation: Orientation | None = None
    camera: str | None = None  # a part of "Make Model", in upper or lower case

    def __post_init__(self) -> None:
        """Refuse what no picture could be compared with."""
        for name, value in (("after", self.after), ("before", self.before)):
            if value is not None:
                _start(value, name)
        if self.orientation is not None and self.orientation not in _SHAPES:
            raise InputError(
                f'orientation must be "portrait", "landscape" or "square", got {self.orientation!r}'
            )
        for name, pixels in (("min_width", self.min_width), ("min_height", self.min_height)):
            if pixels < 0:
                raise InputError(f"{name} must be 0 pixels or more, got {pixels}")

    def conditions(self, prefix: str = "") -> list[tuple[str, str | bytes | int]]:
        """Return SQL conditions on a row of the catalog, each with its one value.

        Args:
            prefix: Of the folder that is searched: "" or "folder/". Globs are about what is
                behind it.

        Returns:
            Pairs of a condition with one question mark, and what that stands for.
        """
        found: list[tuple[str, str | bytes | int]] = []
        if self.path is not None:
            inside = len(prefix.encode("utf-8", PATH_ERRORS)) + 1  # SQL counts from 1
            start = (prefix + _literal_start(self.path)).encode("utf-8", PATH_ERRORS)
            if start and start[-1] < 0xFF:  # an index finds these; a million globs take .7 s
                behind = start[:-1] + bytes([start[-1] + 1])
                found.append(("path >= CAST(? AS TEXT)", start))
                found.append(("path < CAST(? AS TEXT)", behind))
            pattern = self.path.encode("utf-8", PATH_ERRORS)
            found.append((f"matches_glob(substr(CAST(path AS BLOB), {inside}), ?)", pattern))
        if self.after is not None:
            found.append((f"{_TAKEN_AT} >= ?", _start(self.after, "after")))
        if self.before is not None:
            found.append((f"{_TAKEN_AT} < ?", _start(self.before, "before")))
        if self.min_width:
            found.append(("width >= ?", self.min_width))
        if self.min_height:
            found.append(("height >= ?", self.min_height))
        if self.orientation is not None:
            found.append((f"{_SHAPES[self.orientation]} AND ?", 1))
        if self.camera is not None:
            part = self.camera.encode("utf-8", PATH_ERRORS)
            found.append(("instr(lower(camera), lower(CAST(? AS TEXT))) > 0", part))
        return found


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


def _start(moment: str | date, name: str) -> str:
    """Return a moment as the catalog writes it; midnight without a time.

    An image of which only the day is known then is not earlier than that day.
    """
    return _written(moment, name).removesuffix("T00:00:00")


def _written(moment: str | date, name: str) -> str:
    """Return a moment, or the first second of a year, month or day, in ISO form."""
    if isinstance(moment, datetime):
        return moment.replace(tzinfo=None).isoformat(timespec="seconds")
    if isinstance(moment, date):
        return f"{moment.isoformat()}T00:00:00"
    text = moment.strip()
    if _PARTIAL_DATE.fullmatch(text):
        text = f"{text}{'-01-01'[len(text) - 4 :]}"
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None).isoformat(timespec="seconds")
    except ValueError as error:
        raise InputError(
            f"{name} must be a year, month, day or moment such as 2024, 2024-06, 2024-06-01 or "
            f"2024-06-01T12:30, got {moment!r}"
        ) from error
