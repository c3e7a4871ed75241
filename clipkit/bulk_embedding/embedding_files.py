"""clipkit.open_embedding_files: reading what clipkit embed wrote, for searches or anything else.

Shapes: N images, K images of a part, D dimensions.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.bulk_embedding.done_work import hash_ids, read_parts
from clipkit.bulk_embedding.manifest import NAME, Manifest
from clipkit.bulk_embedding.output_folder import OutputFolder
from clipkit.bulk_embedding.part_files import (
    StoredPart,
    error_numbers,
    part_numbers,
    read_errors_of,
    read_part,
)
from clipkit.embeddings import EmbeddingArray, Embeddings, normalize_rows
from clipkit.errors import ImageReadError, LibraryError

_KEPT_BYTES = 1 << 30  # of parts that were read last


class EmbeddingBlock(NamedTuple):
    """The images of a part."""

    ids: list[str]  # K: path in the folder, shard and key, or table and row
    embeddings: EmbeddingArray  # (K, D), norm 1
    digests: list[bytes]  # K: the first 16 bytes of the SHA-256 of each file
    sizes: list[int | None]  # K, bytes
    mtimes: list[int | None]  # K, nanoseconds since 1970; None: it is no file of a disk


class StoredEmbeddings(NamedTuple):
    """All images of a folder of embeddings."""

    ids: list[str]  # N
    embeddings: EmbeddingArray  # (N, D), norm 1


class EmbeddingFiles:
    """A folder that clipkit embed wrote; :func:`clipkit.open_embedding_files` opens it.

    Args:
        folder: The folder.
        manifest: What it says of itself.
    """

    def __init__(self, folder: OutputFolder, manifest: Manifest) -> None:
        self._folder = folder
        self._manifest = manifest
        self._numbers = part_numbers(folder.names(), manifest.layout)
        self._digests: _DigestTable | None = None
        self._kept: OrderedDict[int, StoredPart] = OrderedDict()

    @property
    def location(self) -> str:
        """The path or URL of the folder."""
        return str(self._folder)

    @property
    def source(self) -> str:
        """What was embedded, as it was named."""
        return self._manifest.source

    @property
    def model(self) -> str:
        """The name of the model that made the embeddings."""
        return self._manifest.model

    @property
    def space_id(self) -> str:
        """The space of the embeddings."""
        return self._manifest.space_id

    @property
    def embed_dim(self) -> int:
        """D, the size of the shared space."""
        return self._manifest.embed_dim

    def blocks(self) -> Iterator[EmbeddingBlock]:
        """Yield the images part by part, in memory that does not grow with their number.

        Of a file that has changed and was embedded again, only the last embedding.
        """
        last = self._last_parts() if self._manifest.has_changed else None
        for number in self._numbers:
            part = read_part(self._folder, self._manifest.layout, number)
            places = range(len(part.ids))
            if last is not None:
                keys = hash_ids(part.ids)
                places = np.flatnonzero(  # type: ignore[assignment]
                    last[1][np.searchsorted(last[0], keys)] == number
                )
            yield EmbeddingBlock(
                [part.ids[place] for place in places],
                EmbeddingArray(normalize_rows(part.vectors[list(places)]), self.space_id),
                [part.digests[place] for place in places],
                [part.sizes[place] for place in places],
                [part.mtimes[place] for place in places],
            )

    def read(self) -> StoredEmbeddings:
        """Return all images with their embeddings."""
        ids: list[str] = []
        rows: list[NDArray[np.float32]] = [np.empty((0, self.embed_dim), dtype=np.float32)]
        for block in self.blocks():
            ids += block.ids
            rows.append(block.embeddings)
        return StoredEmbeddings(ids, EmbeddingArray(np.concatenate(rows), self.space_id))

    def errors(self) -> list[ImageReadError]:
        """Return which images could not be read, and why."""
        found: dict[str, ImageReadError] = {}
        there = {*self._numbers}
        for number in error_numbers(self._folder.names()):
            errors = read_errors_of(self._folder, number)
            if number in there or not errors.has_vectors:
                found |= {each.id: ImageReadError(each.id, each.reason) for each in errors.unread}
        return list(found.values())

    def find(self, digest: bytes) -> Embeddings | None:
        """Return the embedding of an image by the hash of its bytes.

        Args:
            digest: The first 16 bytes of their SHA-256.

        Returns:
            Shape (1, D), as it is stored in half precision; None if there is none.
        """
        if self._digests is None:
            self._digests = _DigestTable(self._folder, self._manifest, self._numbers)
        for number, row in self._digests.places(digest):
            part = self._part(number)
            if part.digests[row] == digest:
                found: Embeddings = part.vectors[row : row + 1].astype(np.float32)
                return found
        return None

    def _part(self, number: int) -> StoredPart:
        """Return a part, from memory if it was asked for lately."""
        if number not in self._kept:
            part = read_part(self._folder, self._manifest.layout, number)
            self._kept[number] = part
            held = sum(each.vectors.nbytes for each in self._kept.values())
            while held > _KEPT_BYTES and len(self._kept) > 1:
                held -= self._kept.popitem(last=False)[1].vectors.nbytes
        self._kept.move_to_end(number)
        return self._kept[number]

    def _last_parts(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return hashes of all ids, sorted, and of each the last part that has it."""
        keys, numbers = [], []
        for part in read_parts(self._folder, self._manifest.layout, self._numbers):
            keys.append(hash_ids(part.ids))
            numbers.append(np.full(len(part.ids), part.number, dtype=np.int64))
        all_keys, all_numbers = np.concatenate(keys), np.concatenate(numbers)
        # np.unique takes the first of equal ones: the last, seen from behind.
        unique, first = np.unique(all_keys[::-1], return_index=True)
        return unique, all_numbers[::-1][first]


class _DigestTable:
    """Where each content lies: 16 bytes an image, for many millions.

    Args:
        folder: The folder.
        manifest: What it says of itself.
        numbers: Of its parts.
    """

    def __init__(self, folder: OutputFolder, manifest: Manifest, numbers: Sequence[int]) -> None:
        heads, places = [np.empty(0, np.uint64)], [np.empty((0, 2), np.int32)]
        for part in read_parts(folder, manifest.layout, numbers):
            heads.append(np.frombuffer(b"".join(each[:8] for each in part.digests), dtype=">u8"))
            rows = np.arange(len(part.digests), dtype=np.int32)
            places.append(np.stack([np.full_like(rows, part.number), rows], axis=1))
        all_heads = np.concatenate([each.astype(np.uint64) for each in heads])
        order = np.argsort(all_heads, kind="stable")
        self._heads, self._places = all_heads[order], np.concatenate(places)[order]

    def places(self, digest: bytes) -> Iterator[tuple[int, int]]:
        """Return the part and the row of each image whose hash begins like one."""
        head = np.uint64(int.from_bytes(digest[:8], "big"))
        first = np.searchsorted(self._heads, head, side="left")
        last = np.searchsorted(self._heads, head, side="right")
        return iter(self._places[first:last].tolist())


def open_embedding_files(out: str | os.PathLike[str]) -> EmbeddingFiles:
    """Open a folder that ``clipkit embed`` or :func:`clipkit.embed_source` wrote.

    Args:
        out: The folder, or its URL.

    Returns:
        What is in it.

    Raises:
        LibraryError: If it is no such folder, or damaged.
        MissingExtraError: If pyarrow is not installed; raised when something is read.
    """
    folder = OutputFolder(os.fspath(out))
    manifest = Manifest.read(folder)
    if manifest is None:
        raise LibraryError(
            f"{folder} holds no embeddings: there is no {NAME}; make them with  clipkit embed "
            f"SOURCE {folder}"
        )
    return EmbeddingFiles(folder, manifest)
