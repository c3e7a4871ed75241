"""Image embeddings of a dataset in a directory, computed once and resumed where they stopped.

Shapes: N pairs, D dimensions of the shared space.
"""

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.data.pair import PairDataset
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.pairs import UnreadPair
from clipkit.errors import CheckpointError, ImageReadError
from clipkit.files import read_json_object, write_text
from clipkit.inputs.image_input import ImageInput
from clipkit.progress import Progress

_SAVE_SECONDS = 10.0  # of work that has to be done again after a kill
_ROWS_NAME, _STATE_NAME = "image_features.npy", "state.json"
# For each row a hash of its file's size and time when it was computed, (N,).
_STAMPS_NAME = "stamps.npy"
_NO_STAMP = 0  # the row is not computed, or its image cannot be read


@dataclass(frozen=True)
class StoredImages:
    """The embedding of every pair's image."""

    rows: NDArray[np.float32]  # (N, D), norm 1; zeros where the image cannot be read
    is_bad: NDArray[np.bool_]  # (N,)
    skipped: Sequence[UnreadPair] = ()  # those, with the reasons, where images have been embedded


def embed_and_store(
    encoder: Encoder,
    dataset: PairDataset,
    directory: Path,
    *,
    key: str,
    progress: Progress | None = None,
) -> StoredImages:
    """Return the embeddings of all images, computed once and kept in a directory.

    Work that was interrupted is resumed. Images whose files have changed since, and those that
    could not be read, are computed again.

    Args:
        encoder: The model.
        dataset: The pairs.
        directory: Where they are kept; made if needed.
        key: What identifies model and pairs; what is kept under another is computed anew.
        progress: Called with (done, total).

    Returns:
        The embeddings, mapped from the disk.

    Raises:
        OSError: If there is no room for them, before any is computed.
    """
    files = [directory / name for name in (_ROWS_NAME, _STAMPS_NAME)]
    _begin(directory, {"key": key}, files, (len(dataset), encoder.embed_dim))
    rows, stamps = (np.load(file, mmap_mode="r+") for file in files)
    now = np.array([_stamp(dataset, row) for row in range(len(dataset))], dtype=np.uint64)
    stale = np.flatnonzero((stamps != now) & (stamps != _NO_STAMP))
    stamps[stale] = _NO_STAMP
    rows[stale] = 0
    missing = np.flatnonzero(stamps == _NO_STAMP)
    given: list[int] = []  # rows whose images were handed to the encoder
    unsaved: list[int] = []  # rows that are computed and not yet on the disk
    skipped: list[UnreadPair] = []
    num_done = len(dataset) - len(missing)
    saved = time.monotonic()
    with closing(encoder.stream_images(_images(dataset, missing, given, skipped))) as batches:
        for batch in batches:
            computed = [given[position] for position in batch.positions]
            rows[computed] = batch.embeddings
            unsaved += computed
            skipped += [UnreadPair(given[at], error) for at, error in batch.skipped]
            if time.monotonic() - saved >= _SAVE_SECONDS:
                _save(rows, stamps, now, unsaved)
                saved = time.monotonic()
            num_done += len(batch.positions) + len(batch.skipped)
            if progress:
                progress(num_done, len(dataset))
    _save(rows, stamps, now, unsaved)
    if progress and num_done < len(dataset):  # the other pairs have no image to embed
        progress(len(dataset), len(dataset))
    return dataclasses.replace(read_stored(directory), skipped=sorted(skipped))


def read_stored(directory: Path) -> StoredImages:
    """Return the embeddings that are kept in a directory, mapped from the disk."""
    rows = np.load(directory / _ROWS_NAME, mmap_mode="r")
    return StoredImages(rows, np.load(directory / _STAMPS_NAME) == _NO_STAMP)


def _begin(directory: Path, state: Any, files: Sequence[Path], shape: tuple[int, int]) -> None:
    """Create the files of the store, unless they hold embeddings of the same key already."""
    directory.mkdir(parents=True, exist_ok=True)
    state_path = directory / _STATE_NAME
    if _read_state(state_path) == state and all(map(Path.is_file, files)):
        return
    state_path.unlink(missing_ok=True)  # before the rows that it describes are overwritten
    _write_zeros(files[0], np.float32, shape)
    _write_zeros(files[1], np.uint64, shape[:1])
    write_text(state_path, json.dumps(state))


def _write_zeros(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape).flush()
    if hasattr(os, "posix_fallocate"):
        # Zeros take no room until they are written over, and a disk that is full by then ends the
        # process by a signal (SIGBUS).
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _stamp(dataset: PairDataset, row: int) -> int:
    """Return a hash of a pair's stamp: never _NO_STAMP, unless its file is not there."""
    stamp = dataset.stamp(row)
    if not stamp:
        return _NO_STAMP
    return int.from_bytes(hashlib.blake2b(stamp, digest_size=8).digest(), "big") | 1


def _images(
    dataset: PairDataset, missing: NDArray[np.intp], given: list[int], skipped: list[UnreadPair]
) -> Iterator[ImageInput]:
    """Yield the images of rows; append to `given` which rows have one, the others to `skipped`."""
    for row in missing.tolist():
        try:
            image = dataset[row].image
        except ImageReadError as error:
            skipped.append(UnreadPair(row, error))
            continue
        given.append(row)
        yield image


def _save(
    rows: NDArray[np.float32],
    stamps: NDArray[np.uint64],
    now: NDArray[np.uint64],
    unsaved: list[int],
) -> None:
    """Write rows to the disk, and after that the stamps that say that they are there."""
    rows.flush()  # type: ignore[attr-defined]
    stamps[unsaved] = now[unsaved]
    stamps.flush()  # type: ignore[attr-defined]
    unsaved.clear()


def _read_state(path: Path) -> dict[str, Any] | None:
    try:
        return read_json_object(path, CheckpointError)
    except CheckpointError:
        return None
