"""What a folder of embeddings has already: which images, as they were, and which shards.

By hashes instead of names: 16 bytes for each of many millions of images.
"""

import hashlib
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipkit.bulk_embedding.output_folder import OutputFolder
from clipkit.bulk_embedding.part_files import (
    Layout,
    StoredPart,
    error_numbers,
    part_numbers,
    read_errors_of,
    read_part,
)
from clipkit.progress import map_ahead

_READERS_FAR = 16  # threads that wait for a store of objects
_Told = tuple[str, int | None, int | None]  # id, size, mtime_ns


@dataclass(frozen=True)
class DoneWork:
    """The parts of a folder."""

    numbers: frozenset[int]  # of the parts that are done
    containers: frozenset[str]  # keys of shards and of rows of tables: name, tab, state, tab, rows
    num_vectors: int
    num_unread: int
    # Of the images that are files a hash of the id, and one of id, size and time.
    keys: NDArray[np.uint64]
    states: NDArray[np.uint64]

    def split(self, images: Sequence[_Told]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return of each image whether it is done as it is now, and whether as it was once.

        Args:
            images: Each with its size and time.

        Returns:
            Two arrays of shape (number of images,).
        """
        states = hash_states(images)
        is_done = np.isin(states, self.states)
        is_known = np.isin(hash_ids(image[0] for image in images), self.keys)
        return is_done, is_known & ~is_done

    def has_other_state(self, keys: Iterable[str]) -> bool:
        """Return whether a shard or table was done in another state than one of these keys says."""
        known: dict[str, set[str]] = {}
        for done in self.containers:
            name, _, rest = done.partition("\t")
            known.setdefault(name, set()).add(rest.partition("\t")[0])
        for key in keys:
            name, _, rest = key.partition("\t")
            if known.get(name, set()) - {rest.partition("\t")[0]}:
                return True
        return False


def hash_ids(ids: Iterable[str]) -> NDArray[np.uint64]:
    """Return 64 bits of each id."""
    return np.fromiter((_hash(each) for each in ids), dtype=np.uint64)


def hash_states(images: Iterable[_Told]) -> NDArray[np.uint64]:
    """Return 64 bits of each image's id, size and time."""
    return np.fromiter((_hash(f"{size} {time} {id}") for id, size, time in images), dtype=np.uint64)


def read_done_work(folder: OutputFolder, layout: Layout, *, with_errors: bool = True) -> DoneWork:
    """Read what a folder has.

    Args:
        folder: The folder.
        layout: Its layout.
        with_errors: Whether images that could not be read count as done.

    Returns:
        What is done.

    Raises:
        LibraryError: If a file is damaged.
        MissingExtraError: If pyarrow is not installed.
    """
    names = folder.names()
    numbers = set(part_numbers(names, layout))
    containers: set[str] = set()
    keys, states = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    num_vectors = num_unread = 0

    def add(images: list[_Told], container: str) -> None:
        if container:
            containers.add(container)
            return
        keys.append(hash_ids(image[0] for image in images))
        states.append(hash_states(images))

    for part in read_parts(folder, layout, sorted(numbers)):
        num_vectors += len(part.ids)
        add(list(zip(part.ids, part.sizes, part.mtimes, strict=True)), part.container)
    for number in error_numbers(names):
        errors = read_errors_of(folder, number)
        # One whose vectors are missing was written just before a kill: that part is not done.
        if errors.has_vectors and number not in numbers:
            continue
        numbers.add(number)
        num_unread += len(errors.unread)
        if with_errors:
            add([(each.id, each.size, each.mtime_ns) for each in errors.unread], errors.container)
    return DoneWork(
        frozenset(numbers),
        frozenset(containers),
        num_vectors,
        num_unread,
        np.concatenate(keys),
        np.concatenate(states),
    )


def read_parts(
    folder: OutputFolder, layout: Layout, numbers: Sequence[int]
) -> Generator[StoredPart]:
    """Yield parts without their vectors, read ahead in threads: a store of objects is far away."""

    def read(number: int) -> StoredPart:
        return read_part(folder, layout, number, has_vectors=False)

    workers = _READERS_FAR if folder.is_remote else 1
    with closing(map_ahead(read, numbers, ahead=2 * workers, workers=workers)) as parts:
        yield from parts


def _hash(text: str) -> int:
    content = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
