"""Embedding of a query: its texts, its images and the images marked as feedback, as vectors.

Shapes: L and M marked images, D dimensions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import NORM_TOLERANCE, Embeddings, normalize_rows
from clipkit.errors import InputError, SpaceMismatchError
from clipkit.inputs.image_input import ImageInput, check_image_list, image_name
from clipkit.search.location import SearchedPlace
from clipkit.search.query import Query, QueryPart, SearchQuery, is_embedding, read_query
from clipkit.search.relevance import stored_background
from clipkit.search.store.base import Snapshot

if TYPE_CHECKING:
    from clipkit.encoder.encoder import Encoder


_SAME = 1e-6  # an image and a copy of it that was saved again differ by more
_COMPARED = 64  # images that show which cone an embedding lies in


class PartVector(NamedTuple):
    """One text or image of a query."""

    embedding: NDArray[np.float32]  # shape (D,), norm 1
    weight: float = 1.0  # a negative one subtracts
    is_image: bool = False


@dataclass(frozen=True)
class QueryVectors:
    """A query as vectors: its texts and images, and the images that were marked."""

    parts: tuple[PartVector, ...]  # none if only images are marked
    liked: Embeddings  # shape (L, D)
    disliked: Embeddings  # shape (M, D)
    hidden: frozenset[str]  # paths of the query's own images, which are no results

    @property
    def is_plain(self) -> bool:
        """Whether it is one text or image and nothing else."""
        return len(self.parts) == 1 and not (len(self.liked) or len(self.disliked))

    def split(self) -> tuple[list[PartVector], list[PartVector]]:
        """Return the added and the subtracted parts.

        Returns:
            Added and subtracted parts. If nothing is added and no image is liked, the query points
            away from the subtracted parts, and they are returned as the first.
        """
        added = [part for part in self.parts if part.weight > 0]
        subtracted = [part for part in self.parts if part.weight < 0]
        if not added and not len(self.liked):
            return subtracted, []
        return added, subtracted

    def with_marks(self) -> list[PartVector]:
        """Return the parts and the marked images, weighted as for relevance."""
        # Disliked images count only if there is nothing else: the opposite of what is wrong is
        # vague.
        is_away = not (len(self.parts) or len(self.liked))
        rows, sign = (self.disliked, -1.0) if is_away else (self.liked, 1.0)
        # All marked images weigh as much as one part of the query, if any part is added.
        has_added = any(part.weight > 0 for part in self.parts)
        weight = sign / len(rows) if has_added and len(rows) else sign
        return [*self.parts, *(PartVector(row, weight, is_image=True) for row in rows)]


def embed_once(query: Query, encoder: "Encoder") -> Query:
    """Return a query that can be searched for again and again: nothing of it is fetched twice.

    Args:
        query: The query.
        encoder: Embeds its texts, and its images that are no local files. Those that are stay:
            what is indexed of them is looked up.

    Returns:
        The same query.

    Raises:
        ImageReadError: If an image cannot be read.
    """
    return Query(tuple(_embedded(part, encoder) for part in query.parts))


def _embedded(part: QueryPart, encoder: "Encoder") -> QueryPart:
    """Return a part with its embedding as the content, unless it is an embedding or a file."""
    if is_embedding(part.content) or part.path is not None:
        return part
    if part.is_image:
        image = cast(ImageInput, part.content)
        rows = encoder.encode_images([image], allow_urls=part.allow_urls)
    else:
        rows = encoder.encode_texts([str(part.content)])
    return replace(part, content=rows[0])


def needed_encoder(encoder: "Encoder | None") -> "Encoder":
    """Return the encoder of a library; raise if it was opened without one.

    Args:
        encoder: What the library was opened with.

    Returns:
        The same.

    Raises:
        InputError: If there is none, or its weights were changed through its towers.
    """
    if encoder is None:
        raise InputError(
            "this needs a model: open the library with one, as in "
            "PhotoLibrary.open(folder, clipkit.load())"
        )
    encoder.check_weights()
    return encoder


class QueryEmbedder:
    """Embeds queries; images that are indexed as they are now are looked up instead.

    Args:
        snapshot: The library that is searched, of the encoder's space.
        place: Where its images lie.
        encoder: Embeds; only needed for what is not indexed.
    """

    def __init__(self, snapshot: Snapshot, place: SearchedPlace, encoder: "Encoder | None") -> None:
        self._snapshot = snapshot
        self._place = place
        self._encoder = encoder

    def embed(
        self,
        query: SearchQuery | None,
        *,
        more_like: Iterable[ImageInput] = (),
        less_like: Iterable[ImageInput] = (),
    ) -> QueryVectors:
        """Return a query as vectors.

        Args:
            query: The query.
            more_like: Images like what is sought; a string is a path.
            less_like: Images unlike what is sought.

        Returns:
            The vectors.

        Raises:
            InputError: If there is nothing to search for, an embedding has another shape or
                norm, or an encoder is needed and missing.
            ImageReadError: If an image cannot be read.
            SpaceMismatchError: If an embedding is of another space than the index.
        """
        liked, disliked = _marked(more_like), _marked(less_like)
        images = [*liked, *disliked]
        parts: tuple[PartVector, ...] = ()
        if query is not None:
            asked = read_query(query)
            if isinstance(asked, Query):
                parts = tuple(self._embed_part(part) for part in asked.parts)
                images += asked.parts
            else:
                parts = (self._ready_part(asked),)
        elif not images:
            raise InputError("there is nothing to search for: give a query, or mark images")
        paths = (part.path for part in images if part.path is not None)
        hidden = (name for path in paths for name in self._inner_names(path))
        goods, bads = self._embed_images(liked), self._embed_images(disliked)
        _check_marks(liked, goods, bads)
        return QueryVectors(parts, liked=goods, disliked=bads, hidden=frozenset(hidden))

    def _ready_part(self, embedding: NDArray[np.floating]) -> PartVector:
        """Return a part that is an embedding already.

        It is taken for that of a text or of an image by which it is closer to: the two lie in
        separate cones.
        """
        row = self._own_row(embedding)
        images = self._snapshot.sample(_COMPARED)
        words = stored_background(self._snapshot.background())
        if words is None or not len(images) or words.shape[1:] != row.shape:
            return PartVector(row)
        is_image = bool((images @ row).mean() > (words @ row).mean())
        return PartVector(row, is_image=is_image)

    def _own_row(self, embedding: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return an embedding of the index's space, shape (D,)."""
        index_space = self._snapshot.space_id
        space_id = getattr(embedding, "space_id", None)
        if space_id not in (None, index_space):
            raise SpaceMismatchError(
                f"the embedding to search for is of space {space_id}, and the index of "
                f"{self._place.indexed_folder} of space {index_space}: embed the query with the "
                "model that the index was built with"
            )
        return _one_row(embedding)

    def _embed_part(self, part: QueryPart) -> PartVector:
        if is_embedding(part.content):
            return PartVector(self._own_row(part.content), float(part.weight), part.is_image)
        if part.is_image:
            row = self._embed_image(part)
        else:
            row = needed_encoder(self._encoder).encode_texts([str(part.content)])
        return PartVector(row[0], float(part.weight), part.is_image)

    def _embed_images(self, parts: Sequence[QueryPart]) -> Embeddings:
        rows = [self._embed_image(part) for part in parts]
        return np.concatenate(rows) if rows else np.empty((0, 0), dtype=np.float32)

    def _embed_image(self, part: QueryPart) -> Embeddings:
        """Return the embedding of an image, shape (1, D)."""
        if part.path is not None:
            known = self._known_embedding(part.path)
            if known is not None:
                return known
        encoder = needed_encoder(self._encoder)
        image = cast(ImageInput, part.path or part.content)
        return encoder.encode_images([image], allow_urls=part.allow_urls)

    def _inner_names(self, path: Path) -> set[str]:
        """Return the catalog's names for a file; of one with hard links, the other ones' too."""
        try:
            names = self._place.inner_paths(path)
            status = path.stat()
        except (OSError, RuntimeError, ValueError):  # links in a circle, a null character
            return set()  # reading it will say what is wrong
        if status.st_nlink > 1:
            alike = self._snapshot.find_alike(status.st_size, status.st_mtime_ns)
            names |= {name for name in alike if _is_same_file(path, self._place.path(name))}
        return names

    def _known_embedding(self, path: Path) -> Embeddings | None:
        """Return the embedding of an image that is indexed as it is now, shape (1, D).

        It spares loading the image encoder, which costs more than the search.
        """
        names = self._inner_names(path)
        if not names or not path.is_file():
            return None
        status = path.stat()
        for name in names:
            image = self._snapshot.find(name)
            if image and (image.size, image.mtime_ns) == (status.st_size, status.st_mtime_ns):
                return normalize_rows(self._snapshot.vectors([image.row]))
        return None


def _is_same_file(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def _marked(images: Iterable[ImageInput]) -> list[QueryPart]:
    """Return images that were marked; a string among them is a path."""
    check_image_list(images)
    return [QueryPart(image, is_image=True) for image in images]


def _check_marks(liked: Sequence[QueryPart], goods: Embeddings, bads: Embeddings) -> None:
    """Refuse an image that is marked as right and as wrong."""
    if not (len(goods) and len(bads)):
        return
    is_both = (goods @ bads.T).max(axis=1) > 1 - _SAME
    if is_both.any():
        name = image_name(cast(ImageInput, liked[int(is_both.argmax())].content))
        raise InputError(
            f"{name} is marked both as like and as unlike what is sought, which cancels out: mark "
            "it once"
        )


def _one_row(embedding: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return a query that is an embedding already as float32, shape (D,)."""
    row = embedding[0] if embedding.ndim == 2 and len(embedding) == 1 else embedding
    norm = float(np.linalg.norm(row))
    if row.ndim != 1 or not abs(norm - 1) < NORM_TOLERANCE:
        raise InputError(
            "an embedding to search for must have shape (D,) or (1, D) and norm 1, got shape "
            f"{embedding.shape} and norm {norm:.6g}: normalize_rows does that"
        )
    return row.astype(np.float32)
