"""Ingestion of files into an index: each is hashed, then its embedding is reused or computed.

An image that was moved, renamed, copied or only touched costs one hash. New content costs one
forward pass, however many files hold it.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from clipkit.errors import ImageReadError
from clipkit.files import DIGEST_BYTES, sha256_of
from clipkit.inputs.crop_boxes import WHOLE, CropBox
from clipkit.inputs.read_errors import UnreadableError
from clipkit.inputs.safe_open import open_file
from clipkit.progress import map_ahead, usable_cores
from clipkit.search.changes import FileState, is_unchanged
from clipkit.search.crop_ingest import embed_crops
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.local.writer import LibraryWriter
from clipkit.search.store.records import ImageRow, IndexedFile, SkippedFile

if TYPE_CHECKING:
    from clipkit.bulk_embedding.embedding_files import EmbeddingFiles
    from clipkit.encoder.encoder import Encoder
    from clipkit.encoder.image_embedding import EncodedBatch
    from clipkit.inputs.metadata import ImageMetadata

COMMIT_SECONDS = 2.0  # the most work that a kill or a power cut can cost
FIRST_SECONDS = 1.0  # until the first commit: somebody may be waiting for what it makes visible

# A file changed twice within a tick of the coarsest file system clock (FAT) can keep its time.
_TICK_NS = 2_000_000_000
_MAX_BYTES_HASHED = 2**34  # no scanner makes larger files; hashing a sparse terabyte takes hours
_AHEAD = 4 * usable_cores()  # files read before they are needed

_NO_ROW = -1


@dataclass
class IngestCounts:
    """Counts of what a sync did with its files."""

    added: int = 0
    changed: int = 0
    moved: int = 0
    unchanged: int = 0  # touched, but of the same content
    from_files: int = 0  # of added and changed, those whose embeddings were there ready
    cropped: int = 0  # indexed before as they are, and given their crops
    failed: list[ImageReadError] = field(default_factory=list)

    @property
    def num_done(self) -> int:
        """How many files were processed in all."""
        done = self.added + self.changed + self.moved + self.unchanged + self.cropped
        return done + len(self.failed)


@dataclass(frozen=True)
class Inspection:
    """Digest and metadata of one file, read before it is encoded."""

    digest: bytes | None  # None if its header cannot be read: the encoder will say why
    details: "ImageMetadata | None"
    is_settled: bool  # whether a later change must show in its time


_InspectedFile = tuple[FileState, Inspection]


class ImageIngester:
    """Writes files into an index, commits every few seconds, and counts.

    Args:
        catalog: What is indexed already.
        writer: Writes images to the index.
        encoder: Makes embeddings.
        known: What was indexed under each path before, missing images among them.
        gone: Indexed paths that are not found: their rows may be given to moved images.
        locate: Maps a path in the catalog to the file.
        after_step: Called after every step with how many files are done.
        after_commit: Called after every commit on the way with how many of the files done were
            new: neither indexed before nor missing.
        embeddings: Ready ones, looked up by content; None: there are none.
        crops: The parts of each image that are embedded beside the whole.
        clock: Returns the time in seconds.
    """

    def __init__(  # noqa: PLR0913 - it joins these; only sync_library makes one
        self,
        catalog: Catalog,
        writer: LibraryWriter,
        encoder: "Encoder",
        *,
        known: Mapping[str, IndexedFile],
        gone: Collection[str],
        locate: Callable[[str], Path],
        after_step: Callable[[int], None],
        after_commit: Callable[[int], None],
        embeddings: "EmbeddingFiles | None" = None,
        crops: Sequence[CropBox] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts = IngestCounts()
        self.gone = set(gone)  # without those that were found under another path
        self._catalog = catalog
        self._writer = writer
        self._encoder = encoder
        self._embeddings = embeddings
        self._crops = crops
        self._known = known
        self._locate = locate
        self._after_step = after_step
        self._after_commit = after_commit
        self._clock = clock
        self._next_commit = clock() + FIRST_SECONDS
        self._num_new = 0  # files done that were not known
        # By digest: images that are being encoded, each with the files of equal content.
        self._in_flight: dict[bytes, list[_InspectedFile]] = {}

    def ingest(self, files: Sequence[FileState]) -> None:
        """Write files into the index, in this order."""
        left = files
        while left:
            sent: list[_InspectedFile] = []
            again: list[FileState] = []
            new = self._files_to_encode(left, sent)
            boxes = (WHOLE, *self._crops) if self._crops else None
            batches = self._encoder.stream_images(new, boxes=boxes)
            with closing(new), closing(batches):  # stops the threads, whatever fails here
                for batch in batches:
                    self._add_encoded(batch, sent, again)
                    self._finish_step()
            left = again

    def add_crops(self, images: Sequence[ImageRow]) -> None:
        """Embed the crops of indexed images, whose wholes stay; of equal content once.

        What cannot be read now, or has changed since it was looked at, stays without: the next
        sync tries again.

        Args:
            images: Of the catalog, with nothing left to commit.
        """
        with closing(embed_crops(self._encoder, images, self._crops, self._locate)) as batches:
            for batch in batches:
                for image, crops in batch.images:
                    self._writer.copy(image, image.row, crops)
                self.counts.cropped += len(batch.images)
                self.counts.failed += batch.failed
                self._finish_step()

    def _files_to_encode(
        self, files: Sequence[FileState], sent: list[_InspectedFile]
    ) -> Generator[Path]:
        """Yield the images that need the encoder; write the others on the way."""
        inspections = inspect_files(self._locate(file.path) for file in files)
        with closing(inspections):
            for file, inspection in zip(files, inspections, strict=True):
                if self._reuse_embedding(file, inspection):
                    self._finish_step()
                else:
                    sent.append((file, inspection))
                    yield self._locate(file.path)

    def _reuse_embedding(self, file: FileState, inspection: Inspection) -> bool:
        """Write an image without encoding it if its content is indexed; return whether it was."""
        digest = inspection.digest
        before = self._indexed_before(file)
        if before is not None and _has_same_content(file, digest, before):
            self._writer.keep(_image_row(file, inspection, before.row))
            self.counts.unchanged += 1
            return True
        if digest is None:
            return False
        if digest in self._in_flight:
            self._in_flight[digest].append((file, inspection))
            return True
        source = self._writer.find_content(digest)
        is_move = source is not None and (not source.path or source.path in self.gone)
        if source is None or not (is_move or self._writer.has_crops(source.row)):
            if self._take_from_files(file, inspection, digest):
                return True
            self._in_flight[digest] = []
            return False
        if is_move:  # the row now belongs to this path
            is_move = source.path in self.gone  # else its image was removed before
            self.gone.discard(source.path)
            self._writer.keep(_image_row(file, inspection, source.row))
        else:
            self._writer.copy(_image_row(file, inspection), source.row)
        self._count(file, is_move=is_move)
        return True

    def _take_from_files(self, file: FileState, inspection: Inspection, digest: bytes) -> bool:
        """Write an image with a ready embedding of its content; return whether there was one."""
        row = None if self._embeddings is None else self._embeddings.find(digest)
        if row is None:
            return False
        self._writer.add([_image_row(file, inspection)], row)
        self.counts.from_files += 1
        self._count(file)
        return True

    def _indexed_before(self, file: FileState) -> ImageRow | None:
        """Return what was indexed under a file's path before."""
        if file.path not in self._known:
            return None
        return self._catalog.find(file.path) or self._catalog.find_missing(file.path)

    def _add_encoded(
        self, batch: "EncodedBatch", sent: Sequence[_InspectedFile], again: list[FileState]
    ) -> None:
        """Write a batch of encoded images, and the files that waited for them."""
        images = []
        for position in batch.positions:
            file, inspection = sent[position]
            images.append(self._checked_row(file, inspection))
            self._count(file)
        rows = batch.embeddings.reshape(len(images), 1 + len(self._crops), self._encoder.embed_dim)
        self._writer.add(images, rows[:, 0], rows[:, 1:] if self._crops else None)
        for position in batch.positions:
            self._copy_to_waiting(sent[position][1], again)
        for position, error in batch.skipped:
            self._skip_with_waiting(*sent[position], error.reason, again)

    def _copy_to_waiting(self, inspection: Inspection, again: list[FileState]) -> None:
        """Give the embedding of an image to the files that have waited for it."""
        for file, its_inspection in self._pop_waiting(inspection):
            assert its_inspection.digest is not None
            source = self._writer.find_content(its_inspection.digest)
            # None: the first one changed while it was encoded.
            if source is None or not self._writer.has_crops(source.row):
                again.append(file)
            else:
                self._writer.copy(_image_row(file, its_inspection), source.row)
                self._count(file)

    def _skip_with_waiting(
        self, file: FileState, inspection: Inspection, reason: str, again: list[FileState]
    ) -> None:
        """Skip an image that cannot be read, with the files that must fail for the same reason."""
        self._skip(file, inspection, reason)
        waiting = self._pop_waiting(inspection)
        has_failed_by_content = bool(waiting) and self._still_holds(file, inspection)
        for other, its_inspection in waiting:
            # With another extension it may be read by another decoder.
            is_read_alike = PurePath(other.path).suffix == PurePath(file.path).suffix
            if has_failed_by_content and is_read_alike:
                self._skip(other, its_inspection, reason)
            else:
                again.append(other)

    def _pop_waiting(self, inspection: Inspection) -> list[_InspectedFile]:
        """Mark an image as no longer being encoded; return the files that waited for it."""
        if inspection.digest is None:
            return []
        return self._in_flight.pop(inspection.digest)

    def _checked_row(self, file: FileState, inspection: Inspection) -> ImageRow:
        """Return the row of an encoded image; with its digest only if that matches the embedding.

        Hash and pixels are read one after the other. A file that changed in between would give
        other files of the old content the embedding of the new content.
        """
        image = _image_row(file, inspection)
        path = self._locate(file.path)
        try:
            status = path.stat()
            is_as_before = (status.st_size, status.st_mtime_ns) == (file.size, file.mtime_ns)
            if inspection.is_settled and is_as_before:
                return image
            digest = hash_file(path)
        except (OSError, UnreadableError):  # gone since: the next sync will see
            return image._replace(digest=None, is_settled=False)
        if digest == inspection.digest:
            return image
        return image._replace(digest=None, is_settled=False)

    def _still_holds(self, file: FileState, inspection: Inspection) -> bool:
        """Return whether a file still has the bytes that were hashed."""
        try:
            return hash_file(self._locate(file.path)) == inspection.digest
        except (OSError, UnreadableError):
            return False

    def _skip(self, file: FileState, inspection: Inspection, reason: str) -> None:
        self._writer.skip(
            SkippedFile(file.path, file.size, file.mtime_ns, reason, inspection.is_settled)
        )
        self.counts.failed.append(ImageReadError(self._locate(file.path), reason))
        self._num_new += file.path not in self._known

    def _count(self, file: FileState, *, is_move: bool = False) -> None:
        self._num_new += file.path not in self._known
        if file.path in self._known:
            self.counts.changed += 1
        elif is_move:
            self.counts.moved += 1
        else:
            self.counts.added += 1

    def _finish_step(self) -> None:
        if self._clock() >= self._next_commit:
            self._writer.commit()
            self._after_commit(self._num_new)
            self._next_commit = self._clock() + COMMIT_SECONDS
        self._after_step(self.counts.num_done)


def inspect_files(paths: Iterable[Path]) -> Generator[Inspection]:
    """Return the digest and metadata of each file, in order, reading ahead in threads."""
    return map_ahead(inspect_file, paths, ahead=_AHEAD)


def inspect_file(path: Path) -> Inspection:
    """Return the digest and metadata of a file; an unreadable one has neither."""
    # Only here, with the decoders: a search whose index is up to date looks into no image.
    from clipkit.inputs.metadata import read_metadata

    is_settled = False
    try:
        is_settled = abs(time.time_ns() - path.stat().st_mtime_ns) > _TICK_NS
        details = read_metadata(path)  # first: a file that is no image may be endless
        return Inspection(hash_file(path), details, is_settled)
    except (OSError, ImageReadError, UnreadableError) as error:
        return Inspection(None, None, is_settled and not _may_pass(error))


def _may_pass(error: Exception) -> bool:
    """Return whether reading failed with a system error, which may not recur."""
    cause = error.__cause__ if isinstance(error, ImageReadError) else error
    return isinstance(cause, OSError) and cause.errno is not None  # Pillow's own have no errno


def hash_file(path: Path) -> bytes:
    """Return the digest of a file's bytes: equal for copies, whatever they are called.

    Args:
        path: The file.

    Returns:
        The first DIGEST_BYTES bytes of its SHA-256.

    Raises:
        OSError: If it cannot be read.
        UnreadableError: If it is no regular file, is empty, or has more than 16 GiB.
    """
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size > _MAX_BYTES_HASHED:
            raise UnreadableError("is too large: it has more than 16 GiB")
        return sha256_of(file)[:DIGEST_BYTES]


def _has_same_content(file: FileState, digest: bytes | None, before: ImageRow) -> bool:
    """Return whether a file still holds what it was indexed with."""
    if before.digest is None:  # of the first schema, which compared size and time only
        return is_unchanged(file, before)
    return digest == before.digest


def _image_row(file: FileState, inspection: Inspection, row: int = _NO_ROW) -> ImageRow:
    image = ImageRow(
        path=file.path,
        size=file.size,
        mtime_ns=file.mtime_ns,
        row=row,
        is_settled=inspection.is_settled,
        digest=inspection.digest,
    )
    if inspection.details is None:
        return image
    return image._replace(**dataclasses.asdict(inspection.details))
