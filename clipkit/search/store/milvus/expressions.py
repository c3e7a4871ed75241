"""Search filters as Milvus expressions, and what of a filter no expression can say.

Every server since 2.3 takes these: comparisons, membership, and no patterns but beginnings. So a
folder, dates, sizes, orientation, globs of whole folders and, where all cameras are known by name,
those are said exactly; of any other glob only the letters it begins with. What such an expression
lets pass is checked again by `passes_the_rest`.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

from clipkit.inputs.globs import literal_start, matches_glob
from clipkit.search.filters import IndexFilter, Selection, iso_start
from clipkit.search.store.milvus.schema import encode_path

_SHAPES = {
    "portrait": "height > width and width >= 0",  # -1 stands for what is not known
    "landscape": "width > height and height >= 0",
    "square": "width == height and width >= 0",
}

_NONE = "size < -1"  # passed by no image
_LAST = 2**63 - 1  # whole number that Milvus takes


class Expression(NamedTuple):
    """What a server is asked of a selection."""

    text: str  # "" for every image
    is_exact: bool  # whether it lets pass no image that the selection does not


def expression_of(where: Selection, cameras: Collection[str] | None = None) -> Expression:
    """Return the expression of a selection.

    Args:
        where: Which images.
        cameras: All that images in the store were taken with, or more; None if that is not known.

    Returns:
        An expression that every image of the selection passes.
    """
    accepted = where.accepted
    conditions = [
        *_folder_conditions(where.prefix),
        *_path_conditions(where.prefix, accepted),
        *_date_conditions(accepted),
        *(
            f"{side} >= {pixels}"
            for side, pixels in (("width", accepted.min_width), ("height", accepted.min_height))
            if pixels
        ),
        *_camera_conditions(accepted, cameras),
    ]
    if accepted.orientation is not None:
        conditions.append(_SHAPES[accepted.orientation])
    if where.hidden:
        conditions.append(f"path not in {text_list(map(encode_path, sorted(where.hidden)))}")
    globs = [*([] if accepted.path is None else [accepted.path]), *(accepted.not_path or ())]
    has_camera = bool(accepted.camera or accepted.not_camera)
    is_exact = all(map(_folder_of, globs)) and not (has_camera and cameras is None)
    return Expression(" and ".join(f"({each})" for each in conditions), is_exact)


def passes_the_rest(path: str, camera: str, where: Selection) -> bool:
    """Return whether an image that passes the expression passes what that does not say.

    Args:
        path: Of the image, the prefix included.
        camera: Maker and model, "" if not known.
        where: The selection.

    Returns:
        Whether the selection has it.
    """
    accepted, lower = where.accepted, camera.lower()
    inner = path.removeprefix(where.prefix)
    if accepted.path is not None and not matches_glob(inner, accepted.path):
        return False
    if any(matches_glob(inner, pattern) for pattern in accepted.not_path or ()):
        return False
    if accepted.camera is not None and accepted.camera.lower() not in lower:
        return False
    return not any(part.lower() in lower for part in accepted.not_camera or ())


def paths_expression(paths: Iterable[str]) -> str:
    """Return the expression of some images, by their paths."""
    return f"path in {text_list(map(encode_path, paths))}"


def text_list(texts: Iterable[str]) -> str:
    """Return texts as a list in an expression."""
    return f"[{', '.join(map(quoted, texts))}]"


def quoted(text: str) -> str:
    r"""Return a text as an expression has it.

    Args:
        text: Any.

    Returns:
        It, between quotation marks.

    Example:
        >>> print(quoted('a "b" \\'))
        "a \"b\" \\"
    """
    for letter, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(letter, escape)
    return f'"{text}"'


def _folder_conditions(prefix: str) -> list[str]:
    if not prefix:
        return []
    assert prefix.endswith("/"), prefix
    start = encode_path(prefix)
    behind = f"{start[:-1]}0"  # "0" comes right after "/"
    return [f"path >= {quoted(start)}", f"path < {quoted(behind)}"]


def _path_conditions(prefix: str, accepted: IndexFilter) -> list[str]:
    found = []
    if accepted.path is not None:
        folder = _folder_of(accepted.path)
        if folder is not None:
            found.append(_is_in(prefix, folder))
        else:
            found += _start_conditions(prefix, literal_start(accepted.path))
    for pattern in accepted.not_path or ():
        folder = _folder_of(pattern)
        if folder is not None:
            found.append(f"not ({_is_in(prefix, folder)})")
    return found


class _Folder(NamedTuple):
    """What a glob without patterns in its letters matches."""

    path: str
    is_below: bool  # whether only what lies in it, not itself


def _folder_of(pattern: str) -> _Folder | None:
    """Return the one path that a glob is about, as "trips/2019" or "trips/**"; None of others."""
    parts = pattern.rstrip("/").split("/")
    if len(parts) == 1:
        return None  # any part of a path
    is_below = parts[-1] in ("*", "**")
    name = "/".join(parts[:-1] if is_below else parts).removeprefix("./").removeprefix("/")
    is_plain = bool(name) and name not in (".", "..") and literal_start(f"/{name}") == name
    return _Folder(name, is_below) if is_plain else None


def _is_in(prefix: str, folder: _Folder) -> str:
    """Return the condition that a path is in a folder, or is that itself."""
    whole = encode_path(prefix + folder.path)
    below = " and ".join(_folder_conditions(f"{prefix}{folder.path}/"))
    return below if folder.is_below else f"path == {quoted(whole)} or ({below})"


def _start_conditions(prefix: str, start: str) -> list[str]:
    """Return the conditions that a path begins with some letters, which are ASCII."""
    if not start or not "\x02" < start[-1] < "\x7f":
        return []
    whole = encode_path(prefix + start)
    return [
        f"path >= {quoted(whole)}",
        f"path < {quoted(whole[:-1] + chr(ord(whole[-1]) + 1))}",
    ]


def _camera_conditions(accepted: IndexFilter, cameras: Collection[str] | None) -> list[str]:
    if cameras is None:
        return ['camera != ""'] if accepted.camera else []
    found = []
    if accepted.camera:
        wanted = sorted(name for name in cameras if accepted.camera.lower() in name.lower())
        found.append(f"camera in {text_list(map(encode_path, wanted))}" if wanted else _NONE)
    for part in accepted.not_camera or ():
        unwanted = sorted(name for name in cameras if part.lower() in name.lower())
        if not part:  # in every name, also in that of no camera
            found.append(_NONE)
        elif unwanted:
            found.append(f"camera not in {text_list(map(encode_path, unwanted))}")
    return found


def _date_conditions(accepted: IndexFilter) -> list[str]:
    """Return conditions on when images were taken, or else their files were last changed."""
    found = []
    for moment, name, sign in (
        (accepted.after, "after", ">="),
        (accepted.before, "before", "<"),
    ):
        if moment is not None:
            start = iso_start(moment, name)
            found.append(
                f'(taken_at != "" and taken_at {sign} {quoted(start)}) or '
                f'(taken_at == "" and mtime_ns {sign} {_nanoseconds(start)})'
            )
    return found


def _nanoseconds(moment: str) -> int:
    """Return a moment of local time in nanoseconds since 1970, as far as 64 bits go."""
    start = datetime.fromisoformat(moment)
    if not 1678 <= start.year <= 2261:  # as no file was changed then, all are later, or earlier
        return _LAST if start.year > 1970 else -_LAST
    return int(start.timestamp()) * 10**9
