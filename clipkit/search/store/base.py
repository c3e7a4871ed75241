"""The vector store protocol: what a search needs of wherever embeddings and records are kept.

A store keeps one record and one vector an image (the local one also those of its crops) and knows
nothing of queries, encoders, relevance or re-ranking: it finds candidates by inner products, and
`clipkit.search.ranking` computes the exact scores from the candidates' vectors. So an approximate
index (Milvus, FAISS) can be a store: it answers with what it has found and says that there may be
better ones.

Who calls what: `PhotoLibrary.search` holds one snapshot; the query's own images are looked up by
`find`, `ranking` asks for `candidates` and their `with_crops`, relevance for the `sample` and the
`background`, the hits for `records`. Syncing writes; the local store has a batch writer of its own
for that.

What a snapshot holds differs between stores. The local one is of one moment: no later write is
seen. One in Milvus, which keeps no past states for its readers, sees all that was acknowledged
before it was taken, perhaps something later too, and keeps what it has read once.

An image's path names it for good. Its *id* is a number that holds within one snapshot: a store
may number its records anew when it compacts itself.

Shapes: N records, K of them, D dimensions, M directions, R rows an image: its whole and its crops.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.search.filters import Selection
from clipkit.search.store.records import CatalogMeta, ImageRow

ALL = Selection()
"""Every image."""
Ids = Sequence[int] | NDArray[np.int64]
"""Numbers of images, which hold within one snapshot."""


class Score(Protocol):
    """A number for every image, higher is better, made of inner products with a few directions."""

    @property
    def directions(self) -> NDArray[np.float32]:
        """Shape (M, D), norms up to 1; the first is where the best images lie, M >= 1.

        A store that searches by one direction takes the first.
        """

    def bounds(
        self, products: NDArray[np.floating], error: float
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return the bounds of the scores of images.

        Args:
            products: Inner products of the directions and K images, shape (M, K); of images with R
                rows each (`Snapshot.with_crops`), shape (M, K, R).
            error: The largest absolute error of a product.

        Returns:
            The lowest and the highest score that each image can have, shape (K,) each.
        """


class Candidates(NamedTuple):
    """Images that may be the best ones."""

    ids: NDArray[np.int64]  # shape (K,)
    paths: list[str]  # K
    is_complete: bool  # whether the best k by exact score are surely among them
    num_searched: int  # how many images they are the best of; hidden ones may be counted


class Snapshot(Protocol):
    """What was committed at one moment, at least; what was read of it once does not change."""

    @property
    def meta(self) -> CatalogMeta:
        """What is known of the whole."""

    @property
    def embed_dim(self) -> int:
        """D."""

    @property
    def space_id(self) -> str:
        """Identity of the space the vectors are in."""

    def candidates(self, score: Score, k: int, where: Selection = ALL) -> Candidates:
        """Return images that have the best scores, in any order.

        Args:
            score: What they are ranked by.
            k: How many of the best are wanted, k >= 1.
            where: Only these images.

        Returns:
            At least k images where there are that many, usually more: enough to find the best k
            among them by their exact scores.
        """

    def vectors(self, ids: Ids) -> Embeddings:
        """Return the vectors of images.

        Args:
            ids: K of them, of this snapshot.

        Returns:
            float32, shape (K, D), in the order of the ids, of norm 1 but for the store's rounding.

        Raises:
            InputError: If there is no image of an id.
        """

    def with_crops(self, ids: Ids) -> Embeddings:
        """Return the vectors of images and of their crops: what a search ranks images by.

        Tasks that are about whole images take `vectors`.

        Args:
            ids: K of them, of this snapshot.

        Returns:
            float32, shape (K, R, D), as those of `vectors`: first the whole, then the crops that
            `clipkit.inputs.crop_boxes` gives for `meta.crops`; the whole again in place of crops
            that are not embedded yet. R is 1 in a store without crops.

        Raises:
            InputError: If there is no image of an id.
        """

    def records(self, ids: Ids) -> list[ImageRow]:
        """Return the records of images.

        Args:
            ids: K of them, of this snapshot.

        Returns:
            Records, in the order of the ids; the `row` of each is its id.

        Raises:
            InputError: If there is no image of an id.
        """

    def find(self, path: str) -> ImageRow | None:
        """Return the record of the image at a path, None if there is none."""

    def find_alike(self, size: int, mtime_ns: int) -> list[str]:
        """Return the paths of images whose files have this size and modification time."""

    def sample(self, size: int) -> Embeddings:
        """Return the vectors of images that stand for all, shape (S, D), S <= size.

        No two are of equal content, and the sample depends on nothing but the images.
        """

    def count(self, where: Selection = ALL) -> int:
        """Return how many images there are."""

    def background(self) -> Mapping[str, NDArray[np.float32]]:
        """Return the embeddings of the words that queries are weighed against, shape (D,) each.

        They are kept beside the images, so that a search need not encode them; empty if none were
        stored.
        """


class VectorStore(Protocol):
    """Where the records and vectors of one library are kept."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Hold the last committed state for as long as the block runs.

        Returns:
            A context manager that gives the state.

        Raises:
            LibraryError: If there is no store yet, or it is damaged.
        """

    def meta(self) -> CatalogMeta | None:
        """Return what is known of the whole index, None if there is none yet."""

    def count(self, prefix: str = "") -> int:
        """Return how many images of a folder are indexed.

        Args:
            prefix: The folder in the indexed one, "" or "folder/".

        Returns:
            The number, 0 without an index.
        """

    def count_missing(self, prefix: str = "") -> int:
        """Return how many images of a folder were missing at the last sync.

        Args:
            prefix: The folder in the indexed one, "" or "folder/".

        Returns:
            The number, 0 without an index.
        """

    def upsert(self, records: Sequence[ImageRow], vectors: Embeddings) -> None:
        """Add images, or replace the records of their paths, as one change.

        A store behind a network makes one change of each request, and several requests of many
        images; any of them is there or reported.

        Args:
            records: K images; their `row` is ignored. Of one path given twice the last counts.
            vectors: Their embeddings, shape (K, D), rows of norm 1.

        Raises:
            InputError: If the shapes do not fit together.
            LibraryError: If it cannot be written; then nothing of that request is changed.
        """

    def remove(self, paths: Iterable[str]) -> None:
        """Forget images, as one change.

        Args:
            paths: Of the images; unknown paths are ignored.

        Raises:
            LibraryError: If it cannot be written; then nothing is changed.
        """
