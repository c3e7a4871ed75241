"""Bringing a store of its own in step with a folder's index: what is new or changed is sent.

What is in the store is compared with the index by path, content, size and time, so that it does not
matter where an earlier run has ended: the next one sends what is missing. Then the vectors get the
index that suits their number, and its recall is measured with queries that are texts: those lie
elsewhere than images do, and an index that finds the neighbours of images may miss theirs.

Shapes: N images, D dimensions, Q queries.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.errors import InputError
from clipkit.progress import Callbacks
from clipkit.search.filters import IndexFilter
from clipkit.search.location import LibraryPlace
from clipkit.search.relevance import stored_background
from clipkit.search.store.local.store import LocalSnapshot
from clipkit.search.store.milvus.ann_index import AnnIndex, IndexKind
from clipkit.search.store.milvus.schema import path_key
from clipkit.search.store.milvus.store import MilvusStore
from clipkit.search.store.records import ImageRow
from clipkit.search.stored_embeddings import stream_contents

RECALL_AT = 50
_QUERIES = 64
_ENOUGH_RECALL = 0.97  # below it searches look harder, as long as that helps
LISTED_FIELDS = ("path_key", "digest", "size", "mtime_ns")
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


class StoreListing:
    """What a store has, by numbers instead of paths: 17 bytes for each of millions of images.

    Args:
        found: The LISTED_FIELDS of every image.
    """

    def __init__(self, found: Iterable[Mapping[str, Any]]) -> None:
        numbers = (
            number
            for each in found
            for number in (
                each["path_key"],
                _state(bytes.fromhex(each["digest"]), each["size"], each["mtime_ns"]),
            )
        )
        table = np.fromiter(numbers, dtype=np.int64).reshape(-1, 2)
        table = table[np.argsort(table[:, 0], kind="stable")]
        self._keys, self._states = table[:, 0].copy(), table[:, 1].copy()
        self._is_left = np.ones(len(table), dtype=bool)

    def is_known(self, images: Sequence[ImageRow]) -> list[bool]:
        """Return which images are there as they are in the index; they are gone from `left`."""
        places = self._take(image.path for image in images)
        states = [_state(image.digest or b"", image.size, image.mtime_ns) for image in images]
        return [
            place >= 0 and bool(self._states[place] == state)
            for place, state in zip(places, states, strict=True)
        ]

    def keep(self, paths: Iterable[str]) -> None:
        """Take images from `left`."""
        self._take(paths)

    def left(self) -> list[int]:
        """Return the keys of the images that nobody has asked for."""
        return [int(key) for key in self._keys[self._is_left]]

    def _take(self, paths: Iterable[str]) -> list[int]:
        """Return the place of each image, -1 if it is not there."""
        keys = np.fromiter(map(path_key, paths), dtype=np.int64)
        places = np.searchsorted(self._keys, keys)
        is_there = places < len(self._keys)
        is_there[is_there] = self._keys[places[is_there]] == keys[is_there]
        self._is_left[places[is_there]] = False
        found: list[int] = np.where(is_there, places, -1).tolist()
        return found


def _state(digest: bytes, size: int, mtime_ns: int) -> int:
    """Return a number that tells whether an image is as it was."""
    told = digest + b"%d %d" % (size, mtime_ns)
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "big", signed=True)


def sync_store(
    place: LibraryPlace,
    store: MilvusStore,
    *,
    kind: IndexKind | None = None,
    callbacks: Callbacks | None = None,
) -> StoreReport:
    """Send what a folder's index has to a store, and remove from it what the folder has no more.

    Images that are missing, as when a disk is away, stay in the store.

    Args:
        place: The folder and its index, in step with each other.
        store: The store; its collection is made if there is none.
        kind: The index that its vectors are to have; None for the one that suits their number.
        callbacks: Told how far sending is, and building an index.

    Returns:
        What was done. Ctrl-C ends it after a request; the next run resumes there.

    Raises:
        NotIndexedError: If the folder has no index.
        InputError: If that has crops.
        SpaceMismatchError: If the store is of another space.
        LibraryError: If the server refuses or is lost for long; what was sent stays there.
    """
    callbacks = callbacks or Callbacks()
    with place.store.snapshot() as snapshot:
        check_one_row(snapshot.meta.crops)
        words = snapshot.background()
        store.create(snapshot.meta)
        with store.snapshot() as remote:
            write_words(store, remote.background(), words)
            listing = StoreListing(remote.list_fields(LISTED_FIELDS))
        number = snapshot.count()
        num_sent = num_seen = 0
        with callbacks.progress_for("sending") as progress:
            for images, rows in _requests(snapshot, store.rows_a_request(snapshot.embed_dim)):
                known = listing.is_known(images)
                new = [place for place, is_known in enumerate(known) if not is_known]
                if new:
                    store.upsert([images[place] for place in new], rows[new])
                num_sent, num_seen = num_sent + len(new), num_seen + len(images)
                progress(num_seen, number)
        listing.keep(snapshot.catalog.missing())  # those may be reached from elsewhere
        gone = listing.left()
        store.remove_keys(gone)
        index, recall = settle_index(
            store,
            number,
            stored_background(words),
            lambda queries: exact_neighbours(snapshot, queries, RECALL_AT),
            kind=kind,
            callbacks=callbacks,
        )
    return StoreReport(
        url=str(store.address),
        sent=num_sent,
        removed=len(gone),
        unchanged=num_seen - num_sent,
        index=index.kind,
        recall=recall,
    )


def check_one_row(crops: int) -> None:
    """Raise InputError if an index has more rows an image than a store, which has one."""
    if crops > 1:
        raise InputError(
            f"a store has one embedding an image, and the index {crops}: search the folder's own "
            "index (leave out --store), or drop the crops (--crops 1)"
        )


def write_words(
    store: MilvusStore,
    stored: Mapping[str, NDArray[np.float32]],
    words: Mapping[str, NDArray[np.float32]],
) -> None:
    """Write everyday words to a store, unless they are there.

    Args:
        store: The store.
        stored: Its words, with their embeddings.
        words: What they are to be.
    """
    are_equal = stored.keys() == words.keys() and all(
        np.allclose(stored[name], words[name], atol=1e-6) for name in words
    )
    if not are_equal:
        names = sorted(words)
        store.write_background(names, np.stack([words[name] for name in names]))


def _requests(snapshot: LocalSnapshot, size: int) -> Iterator[tuple[list[ImageRow], Embeddings]]:
    """Yield all images and their embeddings, as many at a time as go into one request."""
    for images, rows in stream_contents(snapshot, "", IndexFilter()):
        for start in range(0, len(images), size):
            yield images[start : start + size], rows[start : start + size]


def settle_index(
    store: MilvusStore,
    number: int,
    words: Embeddings | None,
    exact_paths: Callable[[Embeddings], list[set[str]]],
    *,
    kind: IndexKind | None,
    callbacks: Callbacks,
) -> tuple[AnnIndex, float | None]:
    """Build the index that suits a number of vectors, unless it is there.

    Args:
        store: Holds the vectors.
        number: How many there are.
        words: Embeddings of everyday words, queries to measure the recall with, shape (B, D); None:
            it is not measured.
        exact_paths: Returns the paths of the images nearest to each query, compared with all.
        kind: Of index, as asked for; None: as it was, or what suits the number.
        callbacks: Told how far building is.

    Returns:
        The index, and its recall if it was built.

    Raises:
        LibraryError: If the server cannot build it.
    """
    now, asked = store.index(), kind or store.requested_kind()
    suited = AnnIndex.suited(number, asked, is_file=store.address.is_file)
    has_grown = suited.num_clusters > _GROWN * now.num_clusters
    recall = None
    if now.kind != suited.kind or has_grown:
        with callbacks.progress_for("building the index") as progress:
            store.build_index(suited, progress)
        now = suited
        if words is not None:
            now, recall = _tuned(
                store, suited, words[:: max(1, len(words) // _QUERIES)], exact_paths
            )
    if kind is not None:
        store.request_kind(kind)
    return now, recall


def _tuned(
    store: MilvusStore,
    index: AnnIndex,
    queries: Embeddings,
    exact_paths: Callable[[Embeddings], list[set[str]]],
) -> tuple[AnnIndex, float]:
    """Let searches look harder until they find enough; return how hard, and how much they find."""
    exact = exact_paths(queries)
    recall = measure_recall(store, index, queries, exact)
    while recall < _ENOUGH_RECALL and index.can_try_harder:
        index = index.harder()
        recall = measure_recall(store, index, queries, exact)
    store.set_effort(index)
    return index, recall


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
