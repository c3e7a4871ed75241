"""A query -> embeddings: of its words, its pictures, and the pictures a person marked.

Shapes: L and M marked pictures, D dimensions.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import NORM_TOLERANCE, Embeddings, normalize_rows
from clipkit.errors import InputError, SpaceMismatchError
from clipkit.search.background import stored_background
from clipkit.search.location import LibraryPlace
from clipkit.search.query import Query, QueryPart
from clipkit.search.snapshot import committed
from clipkit.search.sync import check_space

if TYPE_CHECKING:
    from clipkit.encoder import Encoder

_COMPARED = 64  # pictures that show which cone an embedding lies in


class EmbeddedPart(NamedTuple):
    """One text or picture of a query."""

    embedding: NDArray[np.float32]  # shape (D,), norm 1
    weight: float = 1.0  # a negative one subtracts
    is_picture: bool = False


@dataclass(frozen=True)
class Question:
    """What is sought, as vectors."""

    parts: tuple[EmbeddedPart, ...]  # none if only pictures are marked
    liked: Embeddings  # shape (L, D)
    disliked: Embeddings  # shape (M, D)
    hidden: frozenset[str]  # paths in the catalog to leave out


def needed_encoder(encoder: "Encoder | None") -> "Encoder":
    """Return the encoder of a library, for what cannot be done without one.

    Args:
        encoder: What the library was opened with.

    Returns:
        The same.

    Raises:
        InputError: If there is none.
    """
    if encoder is None:
        raise InputError(
            "this needs a model: open the library with one, as in "
            "PhotoLibrary.open(folder, clipkit.load())"
        )
    return encoder


class QueryEmbedder:
    """Embeds queries; pictures that are indexed as they are now are looked up instead.

    Args:
        place: The library that is searched.
        encoder: Embeds; only needed for what is not indexed.
    """

    def __init__(self, place: LibraryPlace, encoder: "Encoder | None") -> None:
        self._place = place
        self._encoder = encoder

    def embed(
        self,
        query: Query | Embeddings | None,
        *,
        more_like: Sequence[str | os.PathLike[str]] = (),
        less_like: Sequence[str | os.PathLike[str]] = (),
    ) -> Question:
        """Return what is sought, as vectors.

        Args:
            query: What was asked: parts, or one ready embedding, shape (D,) or (1, D), norm 1.
            more_like: Pictures like what is sought.
            less_like: Pictures unlike what is sought.

        Returns:
            The question.

        Raises:
            InputError: If there is nothing to search for, an embedding has another shape or
                norm, or an encoder is needed and missing.
            ImageReadError: If a picture cannot be read.
            SpaceMismatchError: If the index was built with another model.
        """
        liked, disliked = [Path(path) for path in more_like], [Path(path) for path in less_like]
        pictures = [*liked, *disliked]
        parts: tuple[EmbeddedPart, ...] = ()
        if isinstance(query, np.ndarray):
            parts = (self._ready_part(query),)
        elif query is not None:
            parts = tuple(self._embed_part(part) for part in query.parts)
            pictures += [part.path for part in query.parts if part.path is not None]
        elif not pictures:
            raise InputError("there is nothing to search for: give a query, or mark pictures")
        hidden = (name for path in pictures for name in self._place.inner_paths(path))
        return Question(
            parts,
            liked=self._embed_pictures(liked),
            disliked=self._embed_pictures(disliked),
            hidden=frozenset(hidden),
        )

    def _ready_part(self, embedding: NDArray[np.float32]) -> EmbeddedPart:
        """Return a part that is an embedding already.

        Whether it is of a text or of a picture shows in what it is closer to: the two kinds lie
        in two cones.
        """
        row = _one_row(embedding)
        with committed(self._place) as snapshot:
            pictures = snapshot.vectors.take(snapshot.catalog.sample(_COMPARED))
            words = stored_background(snapshot.catalog)
            index_space = snapshot.meta.space_id
        space_id = getattr(embedding, "space_id", None)
        if space_id not in (None, index_space):
            raise SpaceMismatchError(
                f"the embedding to search for is of space {space_id}, and the index of "
                f"{self._place.indexed_folder} of space {index_space}: embed the query with the "
                "model that the index was built with"
            )
        if words is None or not len(pictures) or words.shape[1:] != row.shape:
            return EmbeddedPart(row)
        is_picture = bool((pictures @ row).mean() > (words @ row).mean())
        return EmbeddedPart(row, is_picture=is_picture)

    def _embed_part(self, part: QueryPart) -> EmbeddedPart:
        if part.is_picture:
            row = self._embed_picture(part.path or part.content)
        else:
            row = needed_encoder(self._encoder).encode_texts([part.content])
        return EmbeddedPart(row[0], part.weight, part.is_picture)

    def _embed_pictures(self, paths: Sequence[Path]) -> Embeddings:
        rows = [self._embed_picture(path) for path in paths]
        return np.concatenate(rows) if rows else np.empty((0, 0), dtype=np.float32)

    def _embed_picture(self, picture: Path | str) -> Embeddings:
        """Return the embedding of a picture file, or of one on the web, shape (1, D)."""
        if isinstance(picture, Path):
            known = self._known_embedding(picture)
            if known is not None:
                return known
            return needed_encoder(self._encoder).encode_images([picture])
        return needed_encoder(self._encoder).encode_images([picture], allow_urls=True)

    def _known_embedding(self, path: Path) -> Embeddings | None:
        """Return the embedding of a picture that is indexed as it is now, shape (1, D).

        It spares loading the image tower, which costs more than the search.
        """
        names = self._place.inner_paths(path)
        if not names or not path.is_file():
            return None
        status = path.stat()
        with committed(self._place) as (catalog, meta, vectors):
            if self._encoder is not None:
                check_space(meta, self._encoder, self._place)
            for name in names:
                image = catalog.find(name)
                if image and (image.size, image.mtime_ns) == (status.st_size, status.st_mtime_ns):
                    return normalize_rows(vectors.take(np.array([image.row])))
        return None


def _one_row(embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a query that is an embedding already as float32, shape (D,)."""
    row = embedding[0] if embedding.ndim == 2 and len(embedding) == 1 else embedding
    norm = float(np.linalg.norm(row))
    if row.ndim != 1 or not abs(norm - 1) < NORM_TOLERANCE:
        raise InputError(
            "an embedding to search for must have shape (D,) or (1, D) and norm 1, got shape "
            f"{embedding.shape} and norm {norm:.6g}: normalize_rows does that"
        )
    return row.astype(np.float32)
