"""The directories where clipkit keeps its data and its caches."""

import os
import re
from pathlib import Path

from clipkit.arguments import check_path


def data_directory() -> Path:
    """Return the directory for data that takes work to make again, such as indexes.

    Returns:
        ``$CLIPKIT_HOME`` if that is set, else the system's directory for a user's
        data, such as ``~/.local/share/clipkit``. It need not exist.
    """
    home = _home()
    if home is not None:
        return home
    from platformdirs import user_data_dir  # only here: it takes longer than a search

    return Path(user_data_dir("clipkit", appauthor=False))


def concepts_directory() -> Path:
    """Return the directory of the concepts that the user has taught; it need not exist."""
    return data_directory() / "concepts"


def cache_directory() -> Path:
    """Return the directory for caches, which are made again when they are missing.

    Returns:
        ``$CLIPKIT_HOME/cache`` if that variable is set, else the system's directory
        for caches, such as ``~/.cache/clipkit``. It need not exist.
    """
    home = _home()
    if home is not None:
        return home / "cache"
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("clipkit", appauthor=False))


def expand_home(path: str | Path) -> Path:
    """Return a path with ``~`` or ``~name`` at its start replaced by that home directory.

    Where this machine has no user of that name, ``~name`` is taken for the name of a folder;
    Path.expanduser would raise RuntimeError.
    """
    return Path(os.path.expanduser(check_path(path, "a file or folder")))  # noqa: PTH111


def readable_name(text: str, *, fallback: str) -> str:
    """Return a part of a text that can begin a file name on any system.

    Args:
        text: Anything.
        fallback: What to return if nothing of it is left.

    Returns:
        1 to 40 letters, digits, dots, dashes and underscores.
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:40].strip("-.") or fallback


def _home() -> Path | None:
    home = os.environ.get("CLIPKIT_HOME")
    return expand_home(home).absolute() if home else None
