"""A vector store in memory, the shortest one that keeps the protocol: to hold the local one to it.

It finds candidates as an approximate index does: by the inner product with one direction.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.errors import InputError
from clipkit.search.filters import Selection
from clipkit.search.store.base import ALL, Candidates, Ids, Score
from clipkit.search.store.records import CatalogMeta, ImageRow
from tests.search.store.slow_filter import passes


@dataclass
class MemorySnapshot:
    """What was written until a moment."""

    embed_dim: int
    space_id: str
    images: dict[int, ImageRow] = field(default_factory=dict)
    rows: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    words: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def meta(self) -> CatalogMeta:
        return CatalogMeta("", self.space_id, self.embed_dim, "", "", "", "", "")

    def candidates(self, score: Score, k: int, where: Selection = ALL) -> Candidates:
        direction = score.directions[0]
        found = [number for number, image in self.images.items() if passes(image, where)]
        num_searched = len(found)
        found.sort(key=lambda number: -float(self.rows[number] @ direction))
        found = found[: 2 * k]  # an approximate store looks for some more
        paths = [self.images[number].path for number in found]
        return Candidates(np.array(found, np.int64), paths, False, num_searched)

    def vectors(self, ids: Ids) -> Embeddings:
        self._check(ids)
        rows = [self.rows[int(number)] for number in ids]
        return np.stack(rows) if rows else np.empty((0, self.embed_dim), np.float32)

    def with_crops(self, ids: Ids) -> Embeddings:
        return self.vectors(ids)[:, None]

    def records(self, ids: Ids) -> list[ImageRow]:
        self._check(ids)
        return [self.images[int(number)] for number in ids]

    def find(self, path: str) -> ImageRow | None:
        return next((image for image in self.images.values() if image.path == path), None)

    def find_alike(self, size: int, mtime_ns: int) -> list[str]:
        return [
            image.path
            for image in self.images.values()
            if (image.size, image.mtime_ns) == (size, mtime_ns)
        ]

    def sample(self, size: int) -> Embeddings:
        by_content = {image.digest: number for number, image in self.images.items()}
        return self.vectors(
            [by_content[digest] for digest in sorted(filter(None, by_content))[:size]]
        )

    def count(self, where: Selection = ALL) -> int:
        return sum(passes(image, where) for image in self.images.values())

    def background(self) -> Mapping[str, NDArray[np.float32]]:
        return self.words

    def _check(self, ids: Ids) -> None:
        if unknown := {int(number) for number in ids} - self.images.keys():
            raise InputError(f"there is no image with the id {min(unknown)}")


class MemoryStore:
    """Everything in two dictionaries, copied for each snapshot."""

    def __init__(self, embed_dim: int, space_id: str) -> None:
        self._now = MemorySnapshot(embed_dim, space_id)
        self._next = 0

    @contextmanager
    def snapshot(self) -> Iterator[MemorySnapshot]:
        yield copy.deepcopy(self._now)

    def meta(self) -> CatalogMeta | None:
        return self._now.meta

    def count(self, prefix: str = "") -> int:
        return self._now.count(Selection(prefix))

    def count_missing(self, prefix: str = "") -> int:
        return 0  # nothing vanishes from here

    def upsert(self, records: Sequence[ImageRow], vectors: Embeddings) -> None:
        if vectors.shape != (len(records), self._now.embed_dim):
            raise InputError(f"{len(records)} records and vectors of shape {vectors.shape}")
        for record, vector in zip(records, vectors, strict=True):
            self.remove([record.path])
            self._now.images[self._next] = record._replace(row=self._next)
            self._now.rows[self._next] = np.asarray(vector, np.float32)
            self._next += 1

    def remove(self, paths: Iterable[str]) -> None:
        for path in paths:
            found = self._now.find(path)
            if found is not None:
                del self._now.images[found.row], self._now.rows[found.row]
