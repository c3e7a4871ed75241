"""Markdown that clipkit writes for people: tables."""

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
