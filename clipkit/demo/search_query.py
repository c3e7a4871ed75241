"""What a visitor asks for, within bounds: words, an image, names of taught concepts."""

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

import clipkit
from clipkit.demo.image_store import ImageStore, Upload
from clipkit.demo.messages import refuse

MAX_QUERY = 500  # characters; the model reads about 70 words

Named = dict[str, NDArray[np.floating]]
"""Embeddings by the names of taught concepts."""

_SIGN = re.compile(r" ([+-]) ")  # as the command line has it: "Rex + beach - night"
_WEIGHT = re.compile(r"(?P<weight>(?:\d+(?:\.\d*)?|\.\d+):)?(?P<words>.*)", re.DOTALL)


@dataclass(frozen=True)
class SearchRequest:
    """A visitor's query: words, an image, or both; without either, the whole library."""

    words: str = ""
    image: str | None = None  # the id of an image
    diversity: float = 0
    sort: str = "best"
    filters: clipkit.FilterOptions = field(default_factory=clipkit.FilterOptions)

    def asks_as(self, other: "SearchRequest") -> bool:
        """Return whether two requests differ in no more than what is shown, and in which order."""
        return (self.words, self.image) == (other.words, other.image)


def read_typed(words: str | None) -> str:
    """Return the words that a visitor has typed, within bounds."""
    words = (words or "").strip()
    if len(words) > MAX_QUERY:
        raise refuse(f"A query may have up to {MAX_QUERY} characters")
    return words


def read_query(
    request: SearchRequest, images: ImageStore, space_id: str
) -> tuple[clipkit.Query | None, list[str]]:
    """Return a visitor's request as a query of the library.

    Args:
        request: The request.
        images: Knows the image of an id.
        space_id: Of the model that is searched with: concepts of others are words.

    Returns:
        The query, None without words and image; and the names in it that are taught concepts.

    Raises:
        gr.Error: If the page has forgotten the image.
        ClipkitError: If a part is empty, or the image may not be shown any more.
    """
    parts = list(read_words(request.words, concepts(space_id)).parts) if request.words else []
    names = [part.name for part in parts if part.name is not None]
    if request.image is not None:
        source = images.source(request.image)
        parts.append(clipkit.QueryPart(source.rendering if isinstance(source, Upload) else source))
    return (clipkit.Query(tuple(parts)) if parts else None), names


def concepts(space_id: str) -> Named:
    """Return the concepts that were taught with a model, as they are kept at this moment."""
    stored = clipkit.ConceptStore().load().concepts
    return {concept.name: concept.embedding for concept in stored if concept.space_id == space_id}


def read_words(words: str, named: Named) -> clipkit.Query:
    """Return typed words as a query, as the command line reads them, but never as a path.

    Args:
        words: What a visitor has typed.
        named: If a part between " + " and " - " is one of these names, the words are read as their
            parts, which may have weights, as in "2:Rex + beach"; else they are one text.

    Returns:
        The query.

    Raises:
        InputError: If a part is empty, or its weight is 0.
    """
    pieces = _SIGN.split(words)
    parsed = [_WEIGHT.fullmatch(piece) for piece in pieces[::2]]
    if not any(match and match["words"].rstrip() in named for match in parsed):
        return clipkit.Query((clipkit.QueryPart(words),))
    # A space in front keeps a part from being taken for an image file.
    pieces[::2] = [
        match[0]
        if match["words"].rstrip() in named
        else f"{match['weight'] or ''} {match['words']}"
        for match in parsed
        if match
    ]
    return clipkit.parse_query(*pieces, named=named)
