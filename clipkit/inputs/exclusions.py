"""What a scan of an image folder leaves out on purpose: hidden names, caches, ignore files.

Paths are relative to the scanned folder, with / between their parts.
"""

import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from clipkit.inputs.globs import IgnoreRule, deciding_rule, matches_glob, parse_ignore_file
from clipkit.inputs.read_errors import UnreadableError, reason_for
from clipkit.inputs.safe_open import open_file

IGNORE_FILE = ".clipkitignore"
"""Name of the file that says, in the syntax of .gitignore, what to leave out of its folder."""

NO_MEDIA_FILE = ".nomedia"
"""Name of the file that keeps its folder, and the folders in it, out of galleries on Android."""

VECTOR_EXTENSIONS = frozenset({
    ".svg", ".svgz", ".eps", ".ai", ".wmf", ".emf", ".ico", ".cur", ".icns", ".xpm", ".xbm", ".dds",
    ".pcx",
})  # fmt: skip
"""Lower-case endings of drawings, icons and textures, none of which are read."""

_CACHE_FOLDERS = frozenset(
    {
        "#recycle",  # Synology
        "#snapshot",
        "$recycle.bin",
        "@eadir",  # Synology's thumbnails
        "@recently-snapshot",  # QNAP
        "@recycle",
        "@tmp",
        "__macosx",  # what a Mac adds to a ZIP file
        "__pycache__",
        "lost+found",
        "node_modules",
        "recycler",
        "system volume information",
        "thumbnails",
        ".thumbnails",
    }
)
# Lightroom's previews, which lie beside its catalogs.
_CACHE_ENDINGS = (".lrdata", ".lrcat-data")
_MAX_IGNORE_BYTES = 1 << 20


class Exclusions:
    """The rules by which files and folders are left out of one scan.

    Args:
        root: The scanned folder.
        exclude: Patterns of what to leave out, as `matches_glob` takes them.
        include_hidden: Whether names that start with a dot count, and folders that hold a
            NO_MEDIA_FILE.
    """

    def __init__(self, root: Path, exclude: tuple[str, ...], *, include_hidden: bool) -> None:
        self._root = root
        self._exclude = exclude
        self._include_hidden = include_hidden
        self._ignore_rules: dict[str, list[IgnoreRule]] = {}  # by folder

    def read_ignore_file(self, folder: str) -> None:
        """Add the rules of a folder's ignore file, if it has one that says anything.

        Args:
            folder: Its path; "" for the root.

        Raises:
            UnreadableError: If the file cannot be read. What it would leave out may be private, so
                the folder must not be read without it.
        """
        path = self._root / folder / IGNORE_FILE
        try:
            if path.stat().st_size:
                with open_file(path) as file:
                    rules = parse_ignore_file(os.fsdecode(file.read(_MAX_IGNORE_BYTES)))
                self._ignore_rules[folder] = rules
        except FileNotFoundError:
            return
        except (OSError, UnreadableError) as error:
            raise UnreadableError(f"its {IGNORE_FILE}: {reason_for(error, b'')}") from error

    def reason(self, path: str, *, is_folder: bool) -> str:
        """Return why a file or folder is left out.

        The ignore files of the folders above it must have been read.

        Args:
            path: Its path.
            is_folder: Whether it is a folder.

        Returns:
            A clause without a full stop; "" if it is not left out.
        """
        name = path.rpartition("/")[2]
        if name.startswith("._"):
            return "is what macOS keeps about another file"
        if name.startswith(".") and not self._include_hidden:
            return "is hidden: its name starts with a dot"
        if is_folder and _is_cache(name.casefold()):
            return "is a folder that programs fill: thumbnails, caches, deleted files"
        if is_folder and not self._include_hidden and self._has_no_media(path):
            return f"is kept out of galleries: it holds a file named {NO_MEDIA_FILE}"
        for pattern in self._exclude:
            if matches_glob(path + "/" if is_folder else path, pattern):
                return f"matches the exclude pattern {_printable(pattern)}"
        if self._ignore_rules and (reason := self._why_ignored(path, is_folder=is_folder)):
            return reason
        # Source code and programs come with thousands, so they are no errors to list one by one.
        if not is_folder and has_extension(name, VECTOR_EXTENSIONS):
            return "is a drawing, an icon or a texture, of which none are read"
        return ""

    def _has_no_media(self, folder: str) -> bool:
        return os.path.lexists(self._root / folder / NO_MEDIA_FILE)

    def _why_ignored(self, path: str, *, is_folder: bool) -> str:
        """Return which rule of an ignore file leaves a path out; the nearest file decides."""
        for folder, _ in reversed(list(steps_to(path))):
            inner = path.removeprefix(f"{folder}/") if folder else path
            rule = deciding_rule(self._ignore_rules.get(folder, []), inner, is_folder=is_folder)
            if rule is not None:
                name = f"{folder}/{IGNORE_FILE}" if folder else IGNORE_FILE
                if rule.is_kept:
                    return ""
                return f"matches {_printable(rule.line)} in {_printable(name)}"
        return ""


def steps_to(path: str) -> Iterator[tuple[str, str]]:
    """Yield each folder on the way to a path, from the root "" down, with its next one.

    Args:
        path: The path.

    Yields:
        Pairs of a folder and what lies in it, the last of which is the path itself.

    Example:
        >>> list(steps_to("trips/rome"))
        [('', 'trips'), ('trips', 'trips/rome')]
    """
    parent = ""
    for name in path.split("/") if path else []:
        inner = f"{parent}/{name}" if parent else name
        yield parent, inner
        parent = inner


def has_extension(name: str, extensions: AbstractSet[str]) -> bool:
    """Return whether a file's name has one of some lower-case endings, in upper or lower case."""
    stem, dot, ending = name.rpartition(".")
    # A blank at the end is invisible to whoever named the file.
    return stem != "" and (dot + ending).rstrip().lower() in extensions


def _is_cache(lowered: str) -> bool:
    return (
        lowered in _CACHE_FOLDERS
        or lowered.startswith(".trash")
        or lowered.endswith(_CACHE_ENDINGS)
    )


def _printable(name: str) -> str:
    """Return a name without letters that move a cursor, for a reason that is one line."""
    return name if name.isprintable() else repr(name)[1:-1]
