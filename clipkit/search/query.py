"""Search queries: words and images, added and subtracted with weights.

In Python a string is always text; images are paths, bytes, arrays and the like.
The command line has a language for both, and so has `parse_query`. Its grammar is rclip's, so that
its users keep their habits:

    horse                              words
    ./cat.jpg                          an image; also /a/b.jpg, ../b.jpg, ~/b.jpg, https://...
    photos/cat.jpg                     words for rclip; here an image, and an error if there is none
    horse + stripes                    both
    apple - fruit                      one without the other
    2:dog + ./pool.jpg - 0.5:night     with weights
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import InputError
from clipkit.inputs.extensions import IMAGE_EXTENSIONS
from clipkit.inputs.image_input import ImageInput, check_is_image

_WEIGHTED = re.compile(r"(?P<weight>\d+(?:\.\d*)?|\.\d+):(?P<content>.+)", re.DOTALL)
_LOCAL_IMAGE = re.compile(r"/|\.\.?/|~[^/\s]*/|file://|(?:[A-Za-z]:|\.\.?)\\")
_WEB_IMAGE = re.compile(r"https?://\S+", re.IGNORECASE)
_SIGNS = {"+": 1.0, "-": -1.0}
SIGN_BETWEEN = re.compile(r" ([+-]) ")  # a quoted "Rex + beach - night"
_EMPTY_PART = "a part of the query is empty: give words, or an image such as ./cat.jpg"
_KINDS = (
    "a query is words (a string), an image (a pathlib.Path, bytes, an open binary file, a PIL "
    "image or a uint8 array), a Query, or one embedding (a floating-point array of shape (D,))"
)


@dataclass(frozen=True)
class QueryPart:
    """One text or image of a query, or one embedding.

    Raises:
        InputError: If it is none of these, or the weight is no number or 0.
    """

    # A string is words, unless is_image says that it is an image. An embedding is a floating-point
    # array of shape (D,) or (1, D) and norm 1, such as that of a clipkit.Concept.
    content: ImageInput | NDArray[np.floating]
    weight: float = 1.0  # never 0; a negative one subtracts
    # Of a string: whether it is the path or the address of an image. Of an embedding: whether it is
    # one of an image; else it is one of a text, or like one of a text.
    is_image: bool = False
    allow_urls: bool = False  # whether an image with an http or https address is fetched
    name: str | None = None  # of an embedding: what it is called where the query is printed

    def __post_init__(self) -> None:
        """Refuse invalid content and weights."""
        if isinstance(self.content, str):
            if not self.content.strip():
                raise InputError(_EMPTY_PART)
        elif not is_embedding(self.content):
            check_is_image(self.content)
            object.__setattr__(self, "is_image", True)
        is_number = isinstance(self.weight, int | float | np.integer | np.floating)
        if isinstance(self.weight, bool) or not is_number or not math.isfinite(self.weight):
            raise InputError(f"a weight must be a finite number, got {self.weight!r}")
        if self.weight == 0:
            raise InputError("a weight of 0 says nothing: leave this part out")

    @property
    def path(self) -> Path | None:
        """The image file, None for words and for images that are no local file."""
        is_words = isinstance(self.content, str) and not self.is_image
        if is_words or not isinstance(self.content, str | os.PathLike):
            return None
        if isinstance(self.content, str) and _WEB_IMAGE.fullmatch(self.content):
            return None
        return Path(self.content)


@dataclass(frozen=True)
class Query:
    """Weighted texts and images; `parse_query` makes one from what a person types."""

    parts: tuple[QueryPart, ...]  # at least one

    def __post_init__(self) -> None:
        """Refuse an empty query, and parts of a wrong type."""
        if isinstance(self.parts, list):
            object.__setattr__(self, "parts", tuple(self.parts))
        if not self.parts:
            raise InputError("the query is empty: give words, or an image such as ./cat.jpg")
        if not isinstance(self.parts, tuple) or not all(
            isinstance(part, QueryPart) for part in self.parts
        ):
            raise InputError(
                f"the parts of a query must be a tuple of QueryPart, got {self.parts!r:.80}"
            )


SearchQuery = str | ImageInput | Query | QueryPart | NDArray[np.floating]
"""Words (a string), an image (anything else that `Encoder.encode_images` takes), parts of both, or
one embedding: a floating-point array of shape (D,) or (1, D) and norm 1."""


def read_query(query: SearchQuery) -> Query | NDArray[np.floating]:
    """Return a query of any type, as parts or as an embedding.

    Args:
        query: Words, an image, parts, or an embedding. A uint8 array is an image, one of
            floating-point numbers an embedding.

    Returns:
        Parts; an embedding as it is.

    Raises:
        InputError: If it is none of these.
    """
    if isinstance(query, Query):
        return query
    if isinstance(query, QueryPart):
        return Query((query,))
    if isinstance(query, np.ndarray):
        return _read_array(query)
    if isinstance(query, str | bytes | os.PathLike) or _is_image(query):
        return Query((QueryPart(query),))
    raise InputError(f"{_KINDS}, got {type(query).__name__}{_hint(query)}")


def _is_image(query: object) -> bool:
    try:
        check_is_image(query)
    except InputError:
        return False
    return True


def _hint(query: object) -> str:
    """Return a hint for a value that is no query, "" if there is none."""
    if isinstance(query, list | tuple):
        return ": search for one thing at a time, or give a Query of parts"
    return ""


def is_embedding(content: object) -> TypeGuard[NDArray[np.floating]]:
    """Return whether a value is a floating-point array of shape (D,) or (1, D), so no image."""
    if not isinstance(content, np.ndarray) or not np.issubdtype(content.dtype, np.floating):
        return False
    return content.ndim == 1 or (content.ndim == 2 and len(content) == 1)


def _read_array(array: NDArray[Any]) -> Query | NDArray[np.floating]:
    """Return an array as an image or as an embedding, as its numbers say."""
    if array.dtype == np.uint8 and array.ndim in (2, 3):
        return Query((QueryPart(array),))
    if is_embedding(array):
        return array
    raise InputError(
        "an array to search for is an image, uint8 of shape (H, W) or (H, W, 3), or one embedding, "
        f"floating-point of shape (D,) or (1, D); got {array.dtype} of shape {array.shape}"
    )


def parse_query(
    *words: str, allow_urls: bool = False, named: Mapping[str, NDArray[np.floating]] | None = None
) -> Query:
    """Parse a query as the command line reads it: words and images with +, - and weights.

    Each word is one argument of a command line, spaces included: "+" and "-" alone between two
    others add and subtract, inside a longer text they mean nothing. Only if a part of the first
    one, between " + " and " - ", is the name of an embedding, it is read as its parts.

    Args:
        *words: A text or image, then any number of pairs of a sign and a text or image.
            Either may begin with a weight and a colon; ``1:`` shields a text that begins so.
        allow_urls: Whether an image's http or https address may be fetched when the query is
            searched for.
        named: Embeddings by names that stand for them, such as those of taught concepts. A name
            with a space in front is text.

    Returns:
        The query, its parts in the order given.

    Raises:
        InputError: If a part is missing or empty, a sign is not "+" or "-", a weight is not
            above 0, an image file does not exist, or there is an address that is not allowed.

    Example:
        >>> [(part.content, part.weight) for part in parse_query("dog", "-", "2:cat").parts]
        [('dog', 1.0), ('cat', -2.0)]
    """
    for word in words:
        if not isinstance(word, str):
            raise InputError(f"each part of a typed query must be a string, got {word!r}")
    known = named or {}
    words = tuple(_split(words[0], known)) + words[1:] if words else words
    if len(words) % 2 == 0:
        raise InputError(
            "a query is a text or image, then pairs of + or - and another, "
            f"got {len(words)} words: {' '.join(words)!r}"
        )
    parts = [_parse_part(words[0], 1.0, known, allow_urls=allow_urls)]
    for sign, word in zip(words[1::2], words[2::2], strict=True):
        if sign not in _SIGNS:
            raise InputError(f"between the parts of a query must be + or -, got {sign!r}")
        parts.append(_parse_part(word, _SIGNS[sign], known, allow_urls=allow_urls))
    return Query(tuple(parts))


def image_argument(path: str) -> str:
    """Return an image's path or URL as a word that `parse_query` takes for an image."""
    is_clear = _WEB_IMAGE.fullmatch(path) or _LOCAL_IMAGE.match(path)
    return path if is_clear else f"./{path}"


def _split(word: str, named: Mapping[str, Any]) -> list[str]:
    """Return a typed text as parts and signs if one of the parts is a name, else as it is.

    The part after a sign keeps a second space before it, which makes it a text.
    """
    pieces = SIGN_BETWEEN.split(word)
    is_named = any(_weighted(piece)[1].rstrip() in named for piece in pieces[::2])
    return pieces if is_named else [word]


def _weighted(word: str) -> tuple[float, str]:
    """Return the weight of a typed part, 1 if there is none, and the rest."""
    match = _WEIGHTED.fullmatch(word)
    return (float(match["weight"]), match["content"]) if match else (1.0, word)


def _parse_part(
    word: str, sign: float, named: Mapping[str, NDArray[np.floating]], *, allow_urls: bool
) -> QueryPart:
    """Return one part with its weight."""
    weight, content = _weighted(word)
    if weight == 0:
        raise InputError(f"the weight in {word!r} is 0, so it says nothing: leave this part out")
    if (embedding := named.get(content.rstrip())) is not None:
        return QueryPart(embedding, sign * weight, name=content.rstrip())
    # A space in front marks a text that looks like a path.
    may_be_image = not content[:1].isspace()
    is_exact = may_be_image and _names_an_image(content)  # blanks at the end of a name included
    content = content if is_exact else content.strip()
    if not content:
        raise InputError(_EMPTY_PART)
    if may_be_image and _WEB_IMAGE.fullmatch(content):
        if not allow_urls:
            raise InputError(f"{content}: nothing is fetched unless allow_urls=True is set")
        return QueryPart(content, sign * weight, is_image=True, allow_urls=True)
    if may_be_image and (_LOCAL_IMAGE.match(content) or _names_an_image(content)):
        return QueryPart(str(_existing_image(content)), sign * weight, is_image=True)
    if may_be_image and _names_a_missing_image(content):
        raise InputError(
            f"{content}: there is no such image file; to search for it as words, put a space in "
            f'front, as in " {content}"'
        )
    return QueryPart(content, sign * weight)


def _names_an_image(content: str) -> bool:
    """Return whether words are the path of an image file, though they do not begin like one."""
    try:
        return _ends_like_an_image(content) and Path(content).is_file()
    except (OSError, ValueError):  # too long for a path, or with a null inside
        return False


def _names_a_missing_image(content: str) -> bool:
    """Return whether words are a path that an image file could have, and nothing is there."""
    try:
        if _ends_like_an_image(content):
            Path(content).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        pass
    return False


def _ends_like_an_image(content: str) -> bool:
    return Path(content).suffix.strip().lower() in IMAGE_EXTENSIONS


def _existing_image(content: str) -> Path:
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
        raise InputError(f"{content}: cannot be read as an image: {error.strerror}") from error
    if is_folder:
        raise InputError(f"{content}: this is a folder, and a query needs an image file")
    if not exists:
        raise InputError(
            f"{content}: there is no such image; words that begin like a path can be "
            'written with a space in front, as in " /r/cats"'
        )
    return path
