"""File names on stdout, byte for byte, and in notes for people, however strange."""

import io
import json
import re
import sys
import unicodedata
from pathlib import Path


def use_file_system_encoding() -> None:
    """Make stdout write a file's name as the very bytes that the file system has.

    A name that is no valid text reaches Python with its odd bytes as lone surrogates, which
    printing refuses unless stdout follows the file system's rules.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # not so in a notebook
        sys.stdout.reconfigure(
            encoding=sys.getfilesystemencoding(), errors=sys.getfilesystemencodeerrors()
        )


def to_json(value: object) -> str:
    r"""Return a value as one line of JSON that is valid UTF-8 once it is printed.

    Characters stay as they are, but an odd byte of a file name, 0xff say, becomes ``\udcff``:
    ``os.fsencode(json.loads(line)["path"])`` is the name as the file system has it.

    Args:
        value: What json.dumps takes.

    Returns:
        The JSON, without a line break.

    Example:
        >>> print(to_json({"path": "caf\udce9 ☕.jpg"}))
        {"path": "caf\udce9 ☕.jpg"}
    """
    is_utf8 = sys.getfilesystemencoding() == "utf-8"  # ASCII is valid UTF-8 on any other stdout
    text = json.dumps(value, ensure_ascii=not is_utf8)
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def visible(text: str) -> str:
    r"""Return a text with escapes for what nobody can see, or what would command a terminal.

    Args:
        text: Such as a file's name, which may hold anything.

    Returns:
        The same on one line.

    Example:
        >>> print(visible("new\nline \x1b[31m.jpg"))
        new\nline \x1b[31m.jpg
    """
    return "".join(
        repr(char)[1:-1] if unicodedata.category(char) in ("Cc", "Cs") else char for char in text
    )


def path_start(folder: str) -> str:
    """Return what to print before paths in a folder so that no program takes one for an option.

    As find does it: what lies in "." can be used as a query, too.

    Args:
        folder: As the user wrote it; the paths begin with it, as pathlib has it.

    Returns:
        "./" or nothing.

    Example:
        >>> path_start("photos"), path_start("."), path_start("./-f")
        ('', './', './')
    """
    path = Path(folder)
    return "./" if path == Path() or str(path).startswith("-") else ""


# Odd bytes of names, and what JSON itself would let through to a terminal.
_ESCAPED = re.compile("[\x7f-\x9f\ud800-\udfff]")
