"""Reads of a Milvus collection, as a search makes them.

What is promised: every read sees at least what was acknowledged, to anybody, before the snapshot
was taken. Its first read waits for that (consistency level Strong, a tick of the server's clock:
0.2 s), and the others need not: the collection has one replica, whose state does not run back. What
is not: that later writes stay unseen. Milvus keeps no past states for its readers. So each image is
read once, and what a snapshot has handed out it keeps.

Shapes: K images, D dimensions.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.errors import InputError
from clipkit.search.filters import Selection
from clipkit.search.store.base import ALL, Candidates, Ids, Score
from clipkit.search.store.milvus.ann_index import AnnIndex
from clipkit.search.store.milvus.connection import MilvusConnection, in_requests
from clipkit.search.store.milvus.expressions import (
    Expression,
    expression_of,
    passes_the_rest,
    paths_expression,
)
from clipkit.search.store.milvus.schema import (
    RECORD_FIELDS,
    VECTOR,
    decode_path,
    record_of,
    share_of_keys,
)
from clipkit.search.store.records import CatalogMeta, ImageRow

MOST_ROWS = 16384  # of one answer: Milvus' own limit
_PATHS_A_QUESTION = 2048  # asked for by name at once
_SLICE = 8192  # rows of a listing at a time, about
_ALERT = 0.1  # how an index looks where a part of what it finds is dropped: ten times as hard
_MORE = 50  # candidates beyond those asked for, at least
# Ids are never given twice in a process: that of another snapshot is then an unknown one.
_numbers = itertools.count()


class _Image(NamedTuple):
    """One image that was read."""

    record: ImageRow
    vector: NDArray[np.float32]  # (D,)


class MilvusSnapshot:
    """A collection, from one moment on.

    Args:
        connection: To its server.
        meta: What is known of the whole.
        index: How vectors are found.
        cameras: All that images were taken with, None if that is not known.
        background: Reads the words that queries are weighed against.
    """

    def __init__(
        self,
        connection: MilvusConnection,
        meta: CatalogMeta,
        index: AnnIndex,
        cameras: frozenset[str] | None,
        background: Callable[[], Mapping[str, NDArray[np.float32]]],
    ) -> None:
        self._connection = connection
        self.meta = meta
        self._index = index
        self._cameras = cameras
        self._background = background
        self._images: dict[int, _Image] = {}
        self._ids: dict[str, int] = {}
        self._samples: dict[int, Embeddings] = {}
        self._is_caught_up = False  # whether the server has seen all that was acknowledged before

    @property
    def embed_dim(self) -> int:
        """D."""
        return self.meta.embed_dim

    @property
    def space_id(self) -> str:
        """Identity of the space the vectors are in."""
        return self.meta.space_id

    def candidates(self, score: Score, k: int, where: Selection = ALL) -> Candidates:
        """Return images near the score's first direction: those with the best scores, about.

        They are complete only where they are all that pass.
        """
        asked = self._expression(where)
        everything = replace(where, hidden=frozenset())  # hidden ones are counted
        # The other directions turn the order a little, so that more of the first are looked at.
        more = (2 if len(score.directions) == 1 else 4) * k + _MORE
        wanted = max(k, min(more, MOST_ROWS))
        if asked.is_exact:
            number = self._count(self._expression(everything))
            found = self._nearest(score.directions[0], asked.text, wanted, number)
        else:
            matching, num_asked = self._matching(everything)
            number = len(matching)
            shown = [path for path in matching if path not in where.hidden]
            share = len(shown) / max(num_asked, 1)
            found = self._nearest_of(score.directions[0], asked.text, shown, wanted, share)
        ids = np.fromiter(found, dtype=np.int64, count=len(found))
        paths = [self._images[one].record.path for one in found]
        return Candidates(ids, paths, is_complete=len(found) >= number, num_searched=number)

    def vectors(self, ids: Ids) -> Embeddings:
        """Return vectors, shape (K, D), in the order of the ids."""
        rows = [self._image(number).vector for number in ids]
        return np.stack(rows) if rows else np.empty((0, self.embed_dim), np.float32)

    def with_crops(self, ids: Ids) -> Embeddings:
        """Return the vectors of images, which have no crops here, shape (K, 1, D)."""
        return self.vectors(ids)[:, None]

    def records(self, ids: Ids) -> list[ImageRow]:
        """Return the records of images, in the order of the ids."""
        return [self._image(number).record for number in ids]

    def find(self, path: str) -> ImageRow | None:
        """Return the record of the image at a path, None if there is none."""
        if path not in self._ids:
            self._keep_all(self._query(paths_expression([path]), [*RECORD_FIELDS, VECTOR]))
        number = self._ids.get(path)
        return None if number is None else self._images[number].record

    def find_alike(self, size: int, mtime_ns: int) -> list[str]:
        """Return the paths of images whose files have this size and modification time."""
        same = f"size == {int(size)} and mtime_ns == {int(mtime_ns)}"
        return [decode_path(each["path"]) for each in self._query(same, ["path"])]

    def sample(self, size: int) -> Embeddings:
        """Return the vectors of the images with the smallest digests, each content once."""
        if size not in self._samples:
            self._samples[size] = self._read_sample(size)
        return self._samples[size]

    def count(self, where: Selection = ALL) -> int:
        """Return how many images there are."""
        asked = self._expression(where)
        if asked.is_exact:
            return self._count(asked)
        return sum(path not in where.hidden for path in self._matching(where)[0])

    def background(self) -> Mapping[str, NDArray[np.float32]]:
        """Return the embeddings of the words that queries are weighed against."""
        return self._background()

    def list_fields(self, fields: Sequence[str], expression: str = "") -> Iterator[dict[str, Any]]:
        """Yield fields of every image, in no order, without reading the vectors.

        Args:
            fields: Their names.
            expression: Only of images that pass it.

        Yields:
            The fields of one image.
        """
        number = self._count(Expression(expression, is_exact=True))
        waiting = _slices(number)
        while waiting:
            low, high = waiting.pop()
            inside = f"path_key >= {low} and path_key <= {high}"
            whole = f"({expression}) and {inside}" if expression else inside
            found = self._query(whole, fields)
            if len(found) < MOST_ROWS or low == high:
                yield from found
            else:  # there may be more
                middle = (low + high) // 2
                waiting += [(middle + 1, high), (low, middle)]

    def _expression(self, where: Selection) -> Expression:
        return expression_of(where, self._cameras)

    def _matching(self, where: Selection) -> tuple[list[str], int]:
        """Return the paths of a selection that no expression wholly says, and how many it says."""
        paths, number = [], 0
        for each in self.list_fields(["path", "camera"], self._expression(where).text):
            number += 1
            path = decode_path(each["path"])
            if passes_the_rest(path, decode_path(each["camera"]), where):
                paths.append(path)
        return paths, number

    def _nearest(
        self, direction: NDArray[np.float32], expression: str, wanted: int, number: int
    ) -> list[int]:
        """Return the ids of so many images that pass an expression, nearest first, about."""
        if number == 0:
            return []
        if wanted > MOST_ROWS:
            fields = [*RECORD_FIELDS, VECTOR]
            ids = self._keep_all(list(self.list_fields(fields, expression)))
            return self._sorted(ids, direction)[:wanted]
        share = number / max(self._count(Expression("", is_exact=True)), 1) if expression else 1.0
        fields = [*RECORD_FIELDS, VECTOR]
        found = self._search(direction, expression, wanted, share, fields)
        if len(found) < min(wanted, number) and self._index.can_miss:
            found = self._search(direction, expression, wanted, 0.0, fields)
        return self._keep_all(found)

    def _nearest_of(
        self,
        direction: NDArray[np.float32],
        expression: str,
        paths: Sequence[str],
        wanted: int,
        share: float,
    ) -> list[int]:
        """Return the ids of so many of these images, nearest first.

        Where many of those that pass the expression are among them, a few of the nearest of all
        are enough; else each is asked for by name. The rest of what is known is read of the best.
        """
        allowed, wanted = set(paths), min(wanted, len(paths))
        found: list[tuple[float, str]] = []
        limit = int(2 * wanted / share) if share else 0
        if len(paths) > _PATHS_A_QUESTION and limit <= MOST_ROWS:
            hits = self._search(direction, expression, limit, _ALERT, ["path"])
            found = [hit for hit in map(_by_product, hits) if hit[1] in allowed]
        if len(found) < wanted:
            found = []
            for part in in_requests(paths, _PATHS_A_QUESTION):
                most = min(wanted, len(part), MOST_ROWS)
                hits = self._search(direction, paths_expression(part), most, 0.0, ["path"])
                found += map(_by_product, hits)
        best = [path for _, path in sorted(found, reverse=True)[:wanted]]
        unseen = [path for path in best if path not in self._ids]
        for part in in_requests(unseen, _PATHS_A_QUESTION):
            self._keep_all(self._query(paths_expression(part), [*RECORD_FIELDS, VECTOR]))
        return [self._ids[path] for path in best if path in self._ids]  # or it is gone since

    def _search(
        self,
        direction: NDArray[np.float32],
        expression: str,
        limit: int,
        share: float,
        fields: Sequence[str],
    ) -> list[dict[str, Any]]:
        """Return fields of the nearest images, nearest first, and their "distance"."""
        (found,) = self._connection.call(
            "search",
            data=[direction.astype(np.float32)],
            filter=expression,
            limit=limit,
            output_fields=list(fields),
            search_params=self._index.search_parameters(limit, share),
            consistency_level=self._consistency(),
        )
        # The path is the key: servers give it as "id", Milvus Lite by its name.
        return [
            {"path": hit.get("path", hit.get("id")), **hit["entity"], "distance": hit["distance"]}
            for hit in found
        ]

    def _sorted(self, ids: Sequence[int], direction: NDArray[np.float32]) -> list[int]:
        products = self.vectors(ids) @ direction
        return [ids[place] for place in np.argsort(-products, kind="stable")]

    def _read_sample(self, size: int) -> Embeddings:
        number = self._count(Expression('digest != ""', is_exact=True))
        share = 1.2 * (size + 20) / max(number, 1)  # digests are evenly spread, nearly always
        while True:
            by_content: dict[str, Any] = {}
            bound = f'digest_key <= {share_of_keys(share)} and digest != ""'
            for each in self.list_fields(["digest", VECTOR], bound):
                by_content[each["digest"]] = each[VECTOR]
            if len(by_content) >= size or share >= 1:
                break
            share = min(4 * share, 1.0)
        rows = [by_content[digest] for digest in sorted(by_content)[:size]]
        return np.array(rows, np.float32).reshape(len(rows), self.embed_dim)

    def _count(self, asked: Expression) -> int:
        (found,) = self._query(asked.text, ["count(*)"])
        return int(found["count(*)"])

    def _query(self, expression: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        """Return fields of the images that pass an expression, MOST_ROWS of them at most."""
        limit = {} if "count(*)" in fields else {"limit": MOST_ROWS}
        found: list[dict[str, Any]] = list(
            self._connection.call(
                "query",
                filter=expression or ("" if not limit else 'path != ""'),
                output_fields=list(fields),
                consistency_level=self._consistency(),
                **limit,
            )
        )
        return found

    def _consistency(self) -> str:
        """Return which state the next read needs, as Milvus names it."""
        first, self._is_caught_up = not self._is_caught_up, True
        return "Strong" if first else "Session"

    def _keep_all(self, entities: Sequence[Mapping[str, Any]]) -> list[int]:
        return [self._keep(entity) for entity in entities]

    def _keep(self, entity: Mapping[str, Any]) -> int:
        """Return the id of an image that was read; what was read of it first stays."""
        path = decode_path(entity["path"])
        number = self._ids.get(path)
        if number is None:
            number = self._ids[path] = next(_numbers)
            vector = np.array(entity[VECTOR], np.float32)
            self._images[number] = _Image(record_of(entity, number), vector)
        return number

    def _image(self, number: int) -> _Image:
        try:
            return self._images[int(number)]
        except KeyError as error:
            raise InputError(f"there is no image with the id {number} in this snapshot") from error


def _by_product(hit: Mapping[str, Any]) -> tuple[float, str]:
    return float(hit["distance"]), decode_path(hit["path"])


def _slices(number: int) -> list[tuple[int, int]]:
    """Return ranges of path keys, both ends included, that hold about _SLICE of so many images."""
    parts = number // _SLICE + 1
    bounds = [share_of_keys(part / parts) for part in range(parts)]
    ends = [*(bound - 1 for bound in bounds[1:]), share_of_keys(1.0)]
    return list(zip(bounds, ends, strict=True))
