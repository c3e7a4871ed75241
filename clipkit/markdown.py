"""Markdown that clipkit writes: tables, and texts of others that stay data wherever they stand."""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, num_text: int = 1) -> list[str]:
    """Return a table in GitHub's Markdown.

    Args:
        header: A title a column.
        rows: A cell a column; bars and line breaks in them are kept from ending a cell.
        num_text: How many of the first columns are text, on the left; the others are numbers, on
            the right.

    Returns:
        Its lines.

    Example:
        >>> table(["class", "images"], [["cat", "12"]])
        ['| class | images |', '|---|--:|', '| cat | 12 |']
    """
    rules = ["---" if column < num_text else "--:" for column in range(len(header))]
    return [_line(header), f"|{'|'.join(rules)}|", *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())


# What could end a code span, a fence or a tag around the JSON; and all that is not ASCII, of which
# `_escaped` escapes what nobody sees.
_NOT_PLAIN = re.compile("[`<>\x00-\x1f\x7f]|[^\x00-\x7f]")
_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Marks and letters that show nothing: variation selectors, fillers, the grapheme joiner.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0]|[\U000e0000-\U000e0fff]"
)


def data_json(value: object) -> str:
    r"""Return a value as one line of JSON that is data wherever it is pasted.

    Nothing in a text can end a code span, a fence of backticks, a tag such as ``</context>`` or a
    line: backticks, ``<``, ``>``, line breaks and whatever nobody sees (zero-width, bidirectional,
    tag characters) are JSON's escapes. Nothing is lost: ``json.loads`` gives the value back, an odd
    byte of a file name, 0xff say, as the lone surrogate that ``os.fsencode`` takes.

    Args:
        value: What json.dumps takes.

    Returns:
        The JSON; valid UTF-8 once it is encoded.

    Example:
        >>> print(data_json("a `cat`\n</context>"))
        "a \u0060cat\u0060\n\u003c/context\u003e"
    """
    return _NOT_PLAIN.sub(_escaped, json.dumps(value, ensure_ascii=False))


def data_span(text: str) -> str:
    r"""Return a text as data in Markdown: a JSON string, `data_json`, in a code span.

    Args:
        text: Any.

    Returns:
        One code span on one line; what is between the backticks is JSON.

    Example:
        >>> print(data_span("](x) | **now**"))
        `"](x) | **now**"`
    """
    return f"`{data_json(text)}`"


def _escaped(match: re.Match[str]) -> str:
    letter = match[0]
    is_seen = unicodedata.category(letter) not in _UNSEEN_CATEGORIES and not _UNSEEN.match(letter)
    if is_seen and letter not in "`<>":
        return letter
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
