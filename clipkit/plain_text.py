"""Text for people: that of others, such as names of files, in which nothing hides, and figures."""

import unicodedata


def visible(text: str) -> str:
    r"""Return a text with escapes for invisible characters and those that control a terminal.

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


def rounded(number: float, digits: int = 2) -> str:
    """Return a number of so many digits that count, without a power of ten where it is large.

    Args:
        number: Any.
        digits: How many count; all in front of the point are written.

    Returns:
        As in "0.012", "1.2" or "1,234".

    Example:
        >>> rounded(120.0), rounded(9.96), rounded(0.0123)
        ('120', '10', '0.012')
    """
    if abs(number) >= 10 ** (digits - 1):
        return f"{number:,.0f}"
    return f"{number:.{digits}g}"
