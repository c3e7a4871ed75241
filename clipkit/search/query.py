"""What a person searches for: words and pictures, added and subtracted with weights.

The grammar is rclip's, so that its users keep their habits:

    horse                              words
    ./cat.jpg                          a picture; also /a/b.jpg, ../b.jpg, ~/b.jpg, https://...
    photos/cat.jpg                     words for rclip; here an image, and an error if there is none
    horse + stripes                    both
    apple - fruit                      one without the other
    2:dog + ./pool.jpg - 0.5:night     with weights
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from clipkit.errors import InputError
from clipkit.inputs.folders import IMAGE_EXTENSIONS

_WEIGHTED = re.compile(r"(?P<weight>\d+(?:\.\d*)?|\.\d+):(?P<content>.+)", re.DOTALL)
_LOCAL_PICTURE = re.compile(r"/|\.\.?/|~[^/\s]*/|file://|(?:[A-Za-z]:|\.\.?)\\")
_WEB_PICTURE = re.compile(r"https?://\S+", re.IGNORECASE)
_SIGNS = {"+": 1.0, "-": -1.0}


@dataclass(frozen=True)
class QueryPart:
    """One text or picture of a query."""

    content: str  # words, the path of a picture, or its address on the web
    weight: float = 1.0  # never 0; a negative one subtracts
    is_picture: bool = False

    @property
    def path(self) -> Path | None:
        """The picture file, None for words and for a picture on the web."""
        if not self.is_picture or _WEB_PICTURE.fullmatch(self.content):
            return None
        return Path(self.content)


@dataclass(frozen=True)
class Query:
    """A weighted sum of texts and pictures; `parse_query` makes one from words."""

    parts: tuple[QueryPart, ...]  # at least one

    def __post_init__(self) -> None:
        """Refuse a query of nothing."""
        if not self.parts:
            raise InputError("the query is empty: give words, or a picture such as ./cat.jpg")


def parse_query(*words: str) -> Query:
    """Return the query a person wrote.

    Each word is one argument of a command line, spaces included: "+" and "-" alone between two
    others add and subtract, inside a longer text they mean nothing.

    Args:
        *words: A text or picture, then any number of pairs of a sign and a text or picture.
            Either may begin with a weight and a colon; ``1:`` shields a text that begins so.

    Returns:
        The query, its parts in the order given.

    Raises:
        InputError: If a part is missing or empty, a sign is not "+" or "-", a weight is not
            above 0, or an image file does not exist.

    Example:
        >>> [(part.content, part.weight) for part in parse_query("dog", "-", "2:cat").parts]
        [('dog', 1.0), ('cat', -2.0)]
    """
    if len(words) % 2 == 0:
        raise InputError(
            "a query is a text or picture, then pairs of + or - and another, "
            f"got {len(words)} words: {' '.join(words)!r}"
        )
    parts = [_parse_part(words[0], 1.0)]
    for sign, word in zip(words[1::2], words[2::2], strict=True):
        if sign not in _SIGNS:
            raise InputError(f"between the parts of a query must be + or -, got {sign!r}")
        parts.append(_parse_part(word, _SIGNS[sign]))
    return Query(tuple(parts))


def picture_argument(path: str) -> str:
    """Return a picture's path or address as a word that `parse_query` takes for a picture."""
    is_clear = _WEB_PICTURE.fullmatch(path) or _LOCAL_PICTURE.match(path)
    return path if is_clear else f"./{path}"


def _parse_part(word: str, sign: float) -> QueryPart:
    """Return one part with its weight."""
    weight, content = 1.0, word
    if match := _WEIGHTED.fullmatch(word):
        weight, content = float(match["weight"]), match["content"]
    if weight == 0:
        raise InputError(f"the weight in {word!r} is 0, so it says nothing: leave this part out")
    # A space in front keeps words that look like a path words.
    may_be_picture = not content[:1].isspace()
    is_exact = may_be_picture and _names_a_picture(content)  # blanks at the end of a name included
    content = content if is_exact else content.strip()
    if not content:
        raise InputError("a part of the query is empty: give words, or a picture such as ./cat.jpg")
    if may_be_picture and _WEB_PICTURE.fullmatch(content):
        return QueryPart(content, sign * weight, is_picture=True)
    if may_be_picture and (_LOCAL_PICTURE.match(content) or _names_a_picture(content)):
        return QueryPart(str(_existing_picture(content)), sign * weight, is_picture=True)
    if may_be_picture and _names_a_missing_picture(content):
        raise InputError(
            f"{content}: there is no such image file; to search for it as words, put a space in "
            f'front, as in " {content}"'
        )
    return QueryPart(content, sign * weight)


def _names_a_picture(content: str) -> bool:
    """Return whether words are the path of an image file, though they do not begin like one."""
    try:
        return _ends_like_a_picture(content) and Path(content).is_file()
    except (OSError, ValueError):  # too long for a path, or with a null inside
        return False


def _names_a_missing_picture(content: str) -> bool:
    """Return whether words are a path that an image file could have, and nothing is there."""
    try:
        if _ends_like_a_picture(content):
            Path(content).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        pass
    return False


def _ends_like_a_picture(content: str) -> bool:
    return Path(content).suffix.strip().lower() in IMAGE_EXTENSIONS


def _existing_picture(content: str) -> Path:
    """Return the file a part of the query names."""
    if content.startswith("file://"):
        content = unquote(urlsplit(content).path)
    path = Path(content)
    if content.startswith("~"):
        try:
            path = path.expanduser()
        except RuntimeError as error:
            raise InputError(f"{content}: there is no such user's home: {error}") from error
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError as error:
        raise InputError(f"{content}: cannot be read as a picture: {error.strerror}") from error
    if is_folder:
        raise InputError(f"{content}: this is a folder, and a query needs a picture file")
    if not exists:
        raise InputError(
            f"{content}: there is no such picture; words that begin like a path can be "
            'written with a space in front, as in " /r/cats"'
        )
    return path
