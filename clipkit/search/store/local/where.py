"""Search filters as SQL: the WHERE clause for a filter on the catalog's images."""

from clipkit.inputs.globs import literal_start, matches_glob
from clipkit.search.filters import IndexFilter, iso_start
from clipkit.search.store.local.rows import encode_text
from clipkit.search.store.local.schema import PATH_ERRORS

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
EVERY_IMAGE = IndexFilter()


def where_clause(
    prefix: str, accepted: IndexFilter = EVERY_IMAGE
) -> tuple[str, tuple[str | bytes | int, ...]]:
    """Return the WHERE clause, with its values, for images in a folder that pass a filter.

    Args:
        prefix: Of the folder that is searched: "" or "folder/".
        accepted: The filter; its globs match the path after the prefix.

    Returns:
        SQL that begins with a space, or "" if every image passes; and the values of its question
        marks, in order.
    """
    conditions = [
        *_folder_conditions(prefix),
        *_path_conditions(prefix, accepted),
        *_camera_conditions(accepted),
        *_date_conditions(accepted),
        *_size_conditions(accepted),
    ]
    sql = " AND ".join(condition for condition, _ in conditions)
    return f" WHERE {sql}" if sql else "", tuple(value for _, value in conditions)


def _folder_conditions(prefix: str) -> list[Condition]:
    if not prefix:
        return []
    assert prefix.endswith("/"), prefix
    behind = encode_text(prefix[:-1]) + b"0"  # "0" comes right after "/"
    return [
        ("path >= CAST(? AS TEXT)", encode_text(prefix)),
        ("path < CAST(? AS TEXT)", behind),
    ]


def _path_conditions(prefix: str, accepted: IndexFilter) -> list[Condition]:
    found: list[Condition] = []
    inside = len(encode_text(prefix)) + 1  # SQL counts from 1
    matches = f"matches_glob(substr(CAST(path AS BLOB), {inside}), ?)"
    if accepted.path is not None:
        start = encode_text(prefix + literal_start(accepted.path))
        if start and start[-1] < 0xFF:  # an index finds these; a million globs take .7 s
            behind = start[:-1] + bytes([start[-1] + 1])
            found.append(("path >= CAST(? AS TEXT)", start))
            found.append(("path < CAST(? AS TEXT)", behind))
        found.append((matches, encode_text(accepted.path)))
    for pattern in accepted.not_path or ():
        found.append((f"NOT {matches}", encode_text(pattern)))
    return found


def _camera_conditions(accepted: IndexFilter) -> list[Condition]:
    found: list[Condition] = []
    place = "instr(lower(COALESCE(camera, '')), lower(CAST(? AS TEXT)))"
    if accepted.camera is not None:
        found.append((f"{place} > 0", encode_text(accepted.camera)))
    for part in accepted.not_camera or ():
        found.append((f"{place} = 0", encode_text(part)))
    return found


def _date_conditions(accepted: IndexFilter) -> list[Condition]:
    found: list[Condition] = []
    if accepted.after is not None:
        found.append((f"{_TAKEN_AT} >= ?", iso_start(accepted.after, "after")))
    if accepted.before is not None:
        found.append((f"{_TAKEN_AT} < ?", iso_start(accepted.before, "before")))
    return found


def _size_conditions(accepted: IndexFilter) -> list[Condition]:
    sides = (("width", accepted.min_width), ("height", accepted.min_height))
    found: list[Condition] = [(f"{side} >= ?", pixels) for side, pixels in sides if pixels]
    if accepted.orientation is not None:
        found.append((f"{_SHAPES[accepted.orientation]} AND ?", 1))
    return found


def matches_glob_sql(path: bytes, pattern: bytes) -> bool:
    """Return whether a path matches a glob, for SQLite, whose names need not be valid Unicode."""
    return matches_glob(path.decode("utf-8", PATH_ERRORS), pattern.decode("utf-8", PATH_ERRORS))
