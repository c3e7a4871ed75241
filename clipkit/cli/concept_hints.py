"""Hints on names of taught concepts that stand in words without being taken for the concept."""

import re
from collections.abc import Iterable

from clipkit.cli.quoting import quoted
from clipkit.plain_text import visible
from clipkit.search.query import SIGN_BETWEEN

# English words before a name and at the beginning of the rest that mean nothing without it.
_BEFORE = r"(?:\b(?:of|with|and|by|the|a|an|my|our)\s+)*"
_LEADING = re.compile(r"(?:(?:in|on|at|and|with|near|by|of)\s+)+", re.IGNORECASE)


def hint_for_text(text: str, names: Iterable[str]) -> str:
    """Return how to use a concept whose name stands in a text of a query.

    Args:
        text: A text that is taken for words, without a weight.
        names: Of concepts.

    Returns:
        A sentence; "" if no name stands in it as whole words, in any case.

    Example:
        >>> hint_for_text("a photo of rex in snow", ["Rex"])
        'rex is taken for words, though there is a concept Rex: write  "Rex + a photo in snow"'
    """
    pieces = SIGN_BETWEEN.split(text)  # texts, with a sign between two of them
    for place in range(0, len(pieces), 2):
        name, match = _find(pieces[place], names)
        if match is None:
            continue
        found = re.compile(f"{_BEFORE}{_whole(match)}", re.IGNORECASE)
        rest = " ".join(found.sub("", pieces[place], count=1).split())
        if leading := _LEADING.match(rest):
            rest = rest[leading.end() :]
        sign = pieces[place - 1] if place else "+"
        pieces[place] = f"{name} {sign} {rest}" if rest else name
        return _sentence(match, name, quoted(" ".join(pieces)))
    return ""


def hint_for_label(label: str, names: Iterable[str]) -> str:
    """Return how to use a concept whose name stands in a label.

    Args:
        label: One that is taken for words.
        names: Of concepts.

    Returns:
        A sentence; "" if no name stands in it as whole words, in any case.
    """
    name, match = _find(label, names)
    return "" if match is None else _sentence(match, name, f"{quoted(name)} as the label")


def _find(text: str, names: Iterable[str]) -> tuple[str, str | None]:
    """Return the longest name that stands in a text as whole words, and how it is written there."""
    for name in sorted(names, key=len, reverse=True):
        if match := re.search(_whole(name), text, re.IGNORECASE):
            return name, match[0]
    return "", None


def _whole(name: str) -> str:
    """Return a pattern of a name as whole words."""
    return rf"(?<!\w){re.escape(name)}(?!\w)"


def _sentence(match: str, name: str, typed: str) -> str:
    return (
        f"{visible(match)} is taken for words, though there is a concept {visible(name)}: write  "
        f"{visible(typed)}"
    )
