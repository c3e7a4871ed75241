"""Embeddings of files: from the index where they are unchanged, else from the encoder.

Shapes: K images of a batch, D dimensions.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import check_kind
from clipkit.embeddings import EmbeddingArray, normalize_rows
from clipkit.encoder.image_embedding import EncodedBatch
from clipkit.inputs.read_errors import UnreadableError
from clipkit.search.changes import FileState, is_unchanged
from clipkit.search.ingest import hash_file
from clipkit.search.location import LibraryPlace
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.records import IndexedFile

if TYPE_CHECKING:
    from clipkit.encoder.encoder import Encoder

_FILE_RULE = (
    "each file must have path (relative to the folder), size and mtime_ns, as a clipkit.FileState"
)
_CHUNK = 1024  # images a batch, where none has to be encoded


class IndexedFiles:
    """The embeddings that an index has of given files, where they are unchanged.

    A file of the same size and time as when it was indexed is looked up by its path, one that was
    moved or touched by its content. Nothing is written. The embeddings that are found are held in
    half precision, as they are stored: 1 kB a file at 512 dimensions.

    Args:
        place: The folder and its index.
        files: Files of the folder, their paths relative to it.

    Raises:
        InputError: If a file has not the fields of a FileState.
        LibraryError: If the folder has not been indexed, or the index is damaged.
    """

    def __init__(self, place: LibraryPlace, files: Sequence[FileState]) -> None:
        for file in files:
            for name in ("path", "size", "mtime_ns"):
                check_kind(file, name, _FILE_RULE)
        self._place = place
        self._files = files
        with place.store.snapshot() as snapshot:
            catalog = snapshot.catalog
            images = catalog.images(place.prefix)
            sizes = {image.size for image in images.values()}
            rows = {
                position: row
                for position, file in enumerate(files)
                if file.size in sizes
                and (row := _find_row(place, catalog, images, file)) is not None
            }
            self._space_id = snapshot.space_id
            self._stored = snapshot.vector_file.stored(np.array([*rows.values()], dtype=np.int64))
            snapshot.vector_file.check(self._stored)
        self._known = np.array([*rows], dtype=np.intp)  # positions, ascending

    @property
    def num_known(self) -> int:
        """How many of the files need no decoding."""
        return len(self._known)

    def stream(self, encoder: "Encoder") -> Iterator[EncodedBatch]:
        """Yield the embeddings of all files, in their order; the unknown ones are encoded.

        Args:
            encoder: Of the index's space.

        Yields:
            Batches; each position, counted from 0, is in exactly one.

        Raises:
            InputError: If the encoder's weights were changed, and some file is not indexed.
        """
        done = 0  # of the known ones
        for batch in self._encode_unknown(encoder):
            last = max(*batch.positions, *(place for place, _ in batch.skipped), -1, -1)
            upto = int(np.searchsorted(self._known, last))
            yield from self._merged(self._known[done:upto], batch)
            done = upto
        none = EncodedBatch([], self._empty_rows(0), [])
        yield from self._merged(self._known[done:], none)

    def _empty_rows(self, count: int) -> EmbeddingArray:
        rows = np.empty((count, self._stored.shape[1]), dtype=np.float32)
        return EmbeddingArray(rows, self._space_id)

    def _encode_unknown(self, encoder: "Encoder") -> Iterator[EncodedBatch]:
        known = set(self._known.tolist())
        unknown = [position for position in range(len(self._files)) if position not in known]
        if not unknown:
            return  # the image encoder is not even loaded
        encoder.check_weights()
        images = [self._place.folder / self._files[position].path for position in unknown]
        with closing(encoder.stream_images(images)) as batches:
            for batch in batches:
                yield EncodedBatch(
                    [unknown[position] for position in batch.positions],
                    batch.embeddings,
                    [(unknown[position], error) for position, error in batch.skipped],
                )

    def _merged(self, known: NDArray[np.intp], made: EncodedBatch) -> Iterator[EncodedBatch]:
        """Yield known embeddings and an encoded batch together, in the order of their positions."""
        new = np.array(made.positions, dtype=np.intp)
        positions = np.sort(np.concatenate([known, new]))
        skipped = made.skipped
        for start in range(0, max(len(positions), len(skipped) and 1), _CHUNK):
            part = positions[start : start + _CHUNK]
            is_new = np.isin(part, new)
            rows = self._empty_rows(len(part))
            rows[is_new] = made.embeddings[np.searchsorted(new, part[is_new])]
            stored = self._stored[np.searchsorted(self._known, part[~is_new])]
            rows[~is_new] = normalize_rows(stored.astype(np.float32))
            yield EncodedBatch(part.tolist(), rows, skipped)
            skipped = []


def _find_row(
    place: LibraryPlace, catalog: Catalog, images: Mapping[str, IndexedFile], file: FileState
) -> int | None:
    """Return the row of a file's embedding, by its path or else its content; None if not known."""
    image = images.get(place.prefix + file.path)
    if image is not None and is_unchanged(file, image):
        return image.row
    with suppress(OSError, UnreadableError):  # the encoder says what is wrong with it
        found = catalog.find_content(hash_file(place.folder / file.path))
        return found.row if found else None
    return None
