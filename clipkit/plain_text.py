"""Text of others, such as names of files, as one line in which nothing hides."""

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
