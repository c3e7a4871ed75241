"""Glob patterns for paths, by the rules of .gitignore, and ignore files made of them.

Letters that Unicode can write in two ways, such as é, are equal in both: macOS and Linux name one
file differently.
"""

import fnmatch
import functools
import re
import unicodedata
from typing import Literal, NamedTuple

NORMAL_FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
"""The two ways in which Unicode writes a letter with its accents: as one character, or several."""


def matches_glob(path: str, pattern: str) -> bool:
    """Return whether a pattern matches a path, or a folder that the path lies in.

    As in .gitignore and rsync: ``*`` matches any letters, ``?`` one letter, ``[abc]``, ``[a-c]``
    and ``[!abc]`` one of some, none of them a /. A pattern without / is compared with every part
    of the path; one with /, if only in front as in /name or ./name, with the path from its start,
    and ``**`` in it stands for any number of folders, also none. Case matters. A / at the end
    changes nothing.

    Args:
        path: A relative path with / between its parts. A folder with a / at its end matches also
            if all that can be in it does.
        pattern: The pattern.

    Returns:
        Whether it matches; an empty pattern matches nothing.

    Example:
        >>> matches_glob("trips/2019/rome.jpg", "trips/**/*.jpg")
        True
        >>> matches_glob("trips/2019/rome.jpg", "2019")
        True
        >>> matches_glob("trips/2019/rome.jpg", "/2019")
        False
    """
    return _glob(pattern).match(_composed(path)) is not None


def literal_start(pattern: str) -> str:
    """Return what every path that matches a glob begins with: ASCII, perhaps nothing."""
    parts = pattern.rstrip("/").split("/")
    if len(parts) == 1:
        return ""
    if parts[0] in ("", "."):
        parts = parts[1:]
    # Letters outside ASCII may be composed in another way on the disk than in the pattern.
    composed = _composed("/".join(parts))
    return re.split(r"[*?[]|[^\0-\x7f]", composed, maxsplit=1)[0]


@functools.lru_cache
def _glob(pattern: str) -> re.Pattern[str]:
    """Return what a path must start with to match a pattern."""
    parts = _composed(pattern).rstrip("/").split("/")
    if not parts[-1]:
        return re.compile("(?!)")
    if len(parts) == 1:
        parts = ["**", *parts]
    elif parts[0] in ("", "."):
        parts = parts[1:]
    # Of several ** in a row one says as much, and nothing is tried in every way to share folders.
    parts = [
        part
        for place, part in enumerate(parts)
        if part != "**" or part not in parts[place - 1 : place]
    ]
    steps = ["(?:[^/]+/)*" if part == "**" else _glob_part(part) + "/" for part in parts]
    if parts[-1] != "**":
        steps[-1] = steps[-1][:-1] + "(?:/|\\Z)"
    return re.compile("".join(steps))


def _glob_part(part: str) -> str:
    """Return the regular expression of a pattern between two slashes.

    A star that is not the last takes as little as will do, for good (an atomic group): what follows
    has a fixed length, so nothing is lost, and a name is compared in time that grows with its
    length. Patterns come from strangers too, and a dozen stars tried in every way take for ever.
    """
    pieces = [""]
    for token in re.findall(r"\*+|\?|\[!?\]?[^]]*\]|.", part, re.DOTALL):
        if token[0] == "*":
            pieces.append("")
        else:
            pieces[-1] += "[^/]" if token == "?" else _glob_letter(token)
    first, *others = pieces
    if not others:
        return first
    *inner, last = others
    return f"{first}{''.join(f'(?>[^/]*?{piece})' for piece in inner)}[^/]*{last}"


def _glob_letter(token: str) -> str:
    if len(token) == 1:
        return re.escape(token)
    # What fnmatch makes of brackets, without the end of text it adds: \z since Python 3.14.
    return "(?!/)" + re.sub(r"\\[Zz]$", "", fnmatch.translate(token))


class IgnoreRule(NamedTuple):
    """One line of an ignore file."""

    line: str  # as it was written
    pattern: str  # as `matches_glob` takes it
    is_kept: bool  # whether what matches is kept, because the line starts with !
    is_for_folders: bool  # whether the line ends with /


def parse_ignore_file(text: str) -> list[IgnoreRule]:
    """Return the rules of an ignore file, in the syntax of .gitignore.

    Blank lines and those that start with # are ignored; ! keeps what an earlier line leaves out; a
    / at the end means folders only; a backslash takes the next letter as it is.

    Args:
        text: The file.

    Returns:
        One rule a line that says something, in their order.

    Source:
        https://git-scm.com/docs/gitignore, "Pattern format".
    """
    rules = []
    for line in text.removeprefix("\ufeff").splitlines():
        pattern = re.sub(r"(?<!\\)[ \t]+$", "", line)
        if not pattern or pattern.startswith("#"):
            continue
        is_kept = pattern.startswith("!")
        # A letter in brackets stands for itself, except those that mean something there.
        literal = re.sub(r"\\([*?\[])", r"[\1]", pattern.removeprefix("!"))
        literal = re.sub(r"\\(.)", r"\1", literal)
        rules.append(IgnoreRule(line, literal, is_kept, literal.endswith("/")))
    return rules


def deciding_rule(rules: list[IgnoreRule], path: str, *, is_folder: bool) -> IgnoreRule | None:
    """Return the rule that decides whether a path is left out: the last one that matches.

    A folder that is left out is not entered, so only the path itself is compared with the
    patterns, not the folders that it lies in.

    Args:
        rules: Of one ignore file.
        path: Relative to the folder of that file, with / between its parts.
        is_folder: Whether it is a folder.

    Returns:
        The rule; None if none is about the path.
    """
    composed = _composed(path)
    for rule in reversed(rules):
        if rule.is_for_folders and not is_folder:
            continue
        match = _glob(rule.pattern).match(composed)
        # "trips/**" is about all that lies in trips, any other pattern about what it matches whole.
        if match and (match.end() == len(composed) or rule.pattern.split("/")[-1] == "**"):
            return rule
    return None


def _composed(text: str) -> str:
    """Return a path with each letter and its accents as one character, where Unicode has it."""
    return unicodedata.normalize("NFC", text)
