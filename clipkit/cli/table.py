"""Rows of text on stdout: aligned on a terminal, separated by tabs in a pipe."""

import os
import sys
import unicodedata
from collections.abc import Collection, Sequence

from clipkit.cli.stdout import visible

_BOLD, _PLAIN = "\033[1m", "\033[0m"


def table_lines(
    rows: Sequence[Sequence[str]], *, has_heading: bool = True, right: Collection[int] = ()
) -> list[str]:
    """Return rows as lines to print.

    Args:
        rows: Cells; control characters are escaped. On a terminal the last column is not padded.
        has_heading: Whether the first row names the columns.
        right: Which columns are aligned at their right, counted from 0.

    Returns:
        One line a row.
    """
    cells = [[visible(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        return ["\t".join(row) for row in cells]
    widths = [max(map(display_width, column)) for column in zip(*cells, strict=True)]
    lines = [_aligned(row, widths, right) for row in cells]
    if has_heading and lines and shows_colors():
        lines[0] = f"{_BOLD}{lines[0]}{_PLAIN}"
    return lines


def display_width(text: str) -> int:
    """Return how many columns of a terminal a text takes.

    Args:
        text: Without control characters.

    Returns:
        Columns: 2 for wide characters such as Chinese ones, 0 for accents put upon the one before.

    Source:
        Unicode Standard Annex 11, East Asian Width.
    """
    return sum(map(_width, text))


def _width(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def shows_colors() -> bool:
    """Return whether stdout is a terminal that shows colours and whose user wants some.

    Source:
        https://no-color.org for NO_COLOR.
    """
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    # An old console of Windows prints the codes; what understands them sets one of these.
    return os.name != "nt" or any(name in os.environ for name in ("WT_SESSION", "ANSICON", "TERM"))


def _aligned(row: Sequence[str], widths: Sequence[int], right: Collection[int]) -> str:
    padded = []
    for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
        blanks = " " * (width - display_width(cell))
        is_last = place == len(row) - 1
        padded.append(blanks + cell if place in right else cell if is_last else cell + blanks)
    return "  ".join(padded)
