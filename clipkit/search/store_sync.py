"""Bringing a store of its own in step with a folder's index: what is new or changed is sent.

What is in the store is compared with the index by path, content, size and time, so that it does not
matter where an earlier run has ended: the next one sends what is missing. Then the vectors get the
index that suits their number, and its recall is measured with queries that are texts: those lie
elsewhere than images do, and an index that finds the neighbours of images may miss theirs.

Shapes: N images, D dimensions, Q queries.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.progress import Progress
from clipkit.search.filters import IndexFilter
from clipkit.search.location import LibraryPlace
from clipkit.search.relevance import stored_background
from clipkit.search.store.local.store import LocalSnapshot
from clipkit.search.store.milvus.ann_index import AnnIndex, IndexKind
from clipkit.search.store.milvus.schema import decode_path
from clipkit.search.store.milvus.store import MilvusStore
from clipkit.search.store.records import ImageRow
from clipkit.search.stored_embeddings import stream_contents

RECALL_AT = 50
_QUERIES = 64
_ENOUGH_RECALL = 0.97  # below it searches look harder, as long as that helps
_GROWN = 2  # clusters suit up to so many times as many vectors


@dataclass(frozen=True)
class StoreReport:
    """What bringing a store in step did: after it, sent + unchanged images are there."""

    url: str
    sent: int  # new or changed
    removed: int
    unchanged: int
    index: IndexKind
    # Of the 50 nearest images to texts, the share that the index finds; None if it was not built.
    recall: float | None = None

    @property
    def has_news(self) -> bool:
        """Whether the store has changed."""
        return bool(self.sent or self.removed or self.recall is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        recall = None if self.recall is None else round(self.recall, 4)
        return {
            "url": self.url,
            "sent": self.sent,
            "removed": self.removed,
            "unchanged": self.unchanged,
            "index": self.index,
            f"recall_at_{RECALL_AT}": recall,
        }


class _Seen(NamedTuple):
    """What tells whether an image in the store is as it is in the index."""

    digest: bytes | None
    size: int
    mtime_ns: int


def sync_store(
    place: LibraryPlace,
    store: MilvusStore,
    *,
    kind: IndexKind | None = None,
    progress: Progress | None = None,
) -> StoreReport:
    """Send what a folder's index has to a store, and remove from it what the folder has no more.

    Images that are missing, as when a disk is away, stay in the store.

    Args:
        place: The folder and its index, in step with each other.
        store: The store; its collection is made if there is none.
        kind: The index that its vectors are to have; None for the one that suits their number.
        progress: Called with how many images are compared, and how many there are.

    Returns:
        What was done. Ctrl-C ends it after a request; the next run goes on.

    Raises:
        NotIndexedError: If the folder has no index.
        SpaceMismatchError: If the store is of another space.
        LibraryError: If the server refuses or is lost for long; what was sent stays there.
    """
    with place.store.snapshot() as snapshot:
        words = snapshot.background()
        store.create(snapshot.meta)
        with store.snapshot() as remote:
            if not _equal_words(remote.background(), words):
                names = sorted(words)
                store.write_background(names, np.stack([words[name] for name in names]))
            there = _listed(remote.list_fields(["path", "digest", "size", "mtime_ns"]))
        number = snapshot.count()
        num_sent = num_seen = 0
        for images, rows in _requests(snapshot, store.rows_a_request(snapshot.embed_dim)):
            seen = [there.pop(image.path, None) for image in images]
            new = [place for place, image in enumerate(images) if seen[place] != _seen(image)]
            if new:
                store.upsert([images[place] for place in new], rows[new])
            num_sent, num_seen = num_sent + len(new), num_seen + len(images)
            if progress:
                progress(num_seen, number)
        gone = (
            there.keys() - snapshot.catalog.missing().keys()
        )  # those may be reached from elsewhere
        store.remove(sorted(gone))
        index, recall = _settle_index(snapshot, store, number, kind)
    return StoreReport(
        url=str(store.address),
        sent=num_sent,
        removed=len(gone),
        unchanged=num_seen - num_sent,
        index=index.kind,
        recall=recall,
    )


def _equal_words(
    stored: Mapping[str, NDArray[np.float32]], words: Mapping[str, NDArray[np.float32]]
) -> bool:
    return stored.keys() == words.keys() and all(
        np.allclose(stored[name], words[name], atol=1e-6) for name in words
    )


def _listed(found: Iterator[dict[str, Any]]) -> dict[str, _Seen]:
    """Return what a store has, by path."""
    return {
        decode_path(each["path"]): _Seen(
            bytes.fromhex(each["digest"]) or None, each["size"], each["mtime_ns"]
        )
        for each in found
    }


def _seen(image: ImageRow) -> _Seen:
    return _Seen(image.digest, image.size, image.mtime_ns)


def _requests(snapshot: LocalSnapshot, size: int) -> Iterator[tuple[list[ImageRow], Embeddings]]:
    """Yield all images and their embeddings, as many at a time as go into one request."""
    for images, rows in stream_contents(snapshot, "", IndexFilter()):
        for start in range(0, len(images), size):
            yield images[start : start + size], rows[start : start + size]


def _settle_index(
    snapshot: LocalSnapshot, store: MilvusStore, number: int, kind: IndexKind | None
) -> tuple[AnnIndex, float | None]:
    """Build the index that suits so many vectors, unless it is there; return it, and its recall."""
    if kind is not None:
        store.request_kind(kind)
    now, asked = store.index(), kind or store.requested_kind()
    suited = AnnIndex.suited(number, asked, is_file=store.address.is_file)
    has_grown = suited.num_clusters > _GROWN * now.num_clusters
    if now.kind == suited.kind and not has_grown:
        return now, None
    store.build_index(suited)
    words = stored_background(snapshot.background())
    if words is None or not number or suited.kind == "flat":
        return suited, 1.0 if suited.kind == "flat" else None
    queries = words[:: max(1, len(words) // _QUERIES)]
    exact = exact_neighbours(snapshot, queries, RECALL_AT)
    recall = measure_recall(store, suited, queries, exact)
    while recall < _ENOUGH_RECALL and suited.can_try_harder:
        suited = suited.harder()
        recall = measure_recall(store, suited, queries, exact)
    store.set_effort(suited)
    return suited, recall


def exact_neighbours(snapshot: LocalSnapshot, queries: Embeddings, k: int) -> list[set[str]]:
    """Return the paths of the k images nearest to each query, by comparing with all of them.

    Args:
        snapshot: The folder's own index.
        queries: Shape (Q, D).
        k: How many, all if there are fewer.

    Returns:
        Q sets.
    """
    live = snapshot.catalog.rows()
    best = np.full((len(queries), 0), 0, np.int64)
    scores = np.full((len(queries), 0), -np.inf, np.float32)
    for rows, products in snapshot.vector_file.scan(queries, live):
        best = np.concatenate([best, np.broadcast_to(rows, products.shape)], axis=1)
        scores = np.concatenate([scores, products.astype(np.float32)], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(best, order, axis=1)
        scores = np.take_along_axis(scores, order, axis=1)
    paths = snapshot.catalog.paths({*best.ravel().tolist()})
    return [{paths[row] for row in rows} for rows in best.tolist()]


def measure_recall(
    store: MilvusStore, index: AnnIndex, queries: Embeddings, exact: list[set[str]]
) -> float:
    """Return the share of the nearest images that a store finds, over all queries.

    Args:
        store: The store.
        index: How it is searched.
        queries: Shape (Q, D).
        exact: What it should find for each.

    Returns:
        From 0 to 1.
    """
    most = max(map(len, exact))
    if not most:
        return 1.0
    found = store.nearest_paths(queries, most, index)
    num_right = sum(len(right & {*paths}) for right, paths in zip(exact, found, strict=True))
    return num_right / sum(map(len, exact))
