"""Image features that a locked tower gives once and training takes in every epoch.

Shapes: N pairs, D dimensions of the shared space.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.data.pair import PairDataset
from clipkit.encoder.encoder import Encoder
from clipkit.errors import ImageReadError, TrainingError
from clipkit.inputs.images import ImageInput
from clipkit.progress import Progress

_SAVE_EVERY = 1000  # images; what a kill costs
_ROWS_NAME, _STATE_NAME = "image_features.npy", "state.json"
_STAMPS_NAME = "stamps.npy"  # for each row the state of the file that it was computed from, (N,)
_NOTHING = 0  # instead of a stamp: the row is not computed, or its image cannot be read


@dataclass(frozen=True)
class ImageFeatures:
    """Features of every pair's image."""

    rows: NDArray[np.float32]  # (N, D), norm 1; zeros where the image cannot be read
    is_bad: NDArray[np.bool_]  # (N,)


def compute_image_features(
    encoder: Encoder,
    source: PairDataset,
    directory: Path,
    *,
    key: str,
    progress: Progress | None = None,
) -> ImageFeatures:
    """Return the features of all images, computed once and kept in a directory.

    Work that was interrupted goes on where it stopped. Images whose files have changed since,
    and those that could not be read, are computed again.

    Args:
        encoder: With the tower that is locked.
        source: The pairs.
        directory: Where they are kept; made if needed.
        key: What identifies tower and pairs; features kept under another are computed anew.
        progress: Called with (done, total).

    Returns:
        The features, mapped from the disk.

    Raises:
        TrainingError: If there is no room for them.
    """
    files = [directory / name for name in (_ROWS_NAME, _STAMPS_NAME)]
    try:
        _begin(directory, {"key": key}, files, (len(source), encoder.embed_dim))
    except OSError as error:
        raise TrainingError(
            f"the features of {len(source)} images cannot be kept in {directory}: "
            f"{error.strerror or error}. Make room and give the same command to go on"
        ) from error
    rows, stamps = (np.load(file, mmap_mode="r+") for file in files)
    now = np.array([_stamp(source, row) for row in range(len(source))], dtype=np.uint64)
    stale = np.flatnonzero((stamps != now) & (stamps != _NOTHING))
    stamps[stale] = _NOTHING
    rows[stale] = 0
    wanted = np.flatnonzero(stamps == _NOTHING)
    given: list[int] = []  # rows whose images were handed over
    fresh: list[int] = []  # rows that are computed and not yet safe
    num_done = len(source) - len(wanted)
    with closing(encoder.stream_images(_images(source, wanted, given))) as batches:
        for batch in batches:
            places = [given[place] for place in batch.positions]
            rows[places] = batch.embeddings
            fresh += places
            if len(fresh) >= _SAVE_EVERY:
                _save(rows, stamps, now, fresh)
            num_done += len(batch.positions) + len(batch.skipped)
            if progress:
                progress(num_done, len(source))
    _save(rows, stamps, now, fresh)
    if progress and num_done < len(source):  # the rest had no image to hand over
        progress(len(source), len(source))
    return read_image_features(directory)


def read_image_features(directory: Path) -> ImageFeatures:
    """Return the features that are kept in a directory, mapped from the disk."""
    rows = np.load(directory / _ROWS_NAME, mmap_mode="r")
    return ImageFeatures(rows, np.load(directory / _STAMPS_NAME) == _NOTHING)


def _begin(directory: Path, state: Any, files: Sequence[Path], shape: tuple[int, int]) -> None:
    """Make room for features, unless there are some already, of the same state."""
    directory.mkdir(parents=True, exist_ok=True)
    state_path = directory / _STATE_NAME
    if _read_state(state_path) == state and all(map(Path.is_file, files)):
        return
    state_path.unlink(missing_ok=True)  # before the rows that it is of are overwritten
    _write_zeros(files[0], np.float32, shape)
    _write_zeros(files[1], np.uint64, shape[:1])
    draft = state_path.with_suffix(".part")
    draft.write_text(json.dumps(state), encoding="utf-8")
    draft.replace(state_path)


def _write_zeros(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape).flush()
    if hasattr(os, "posix_fallocate"):
        # Zeros take no room until they are written over, and a disk that is full by then ends the
        # process by a signal (SIGBUS).
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _stamp(source: PairDataset, row: int) -> int:
    """Return a number for the state of a pair's file: never _NOTHING, unless it is not there."""
    stamp = source.stamp(row)
    if not stamp:
        return _NOTHING
    return int.from_bytes(hashlib.blake2b(stamp, digest_size=8).digest(), "big") | 1


def _images(
    source: PairDataset, wanted: NDArray[np.intp], given: list[int]
) -> Iterator[ImageInput]:
    """Yield the images of rows; say which rows those were that have one."""
    for row in wanted.tolist():
        try:
            image = source[row].image
        except ImageReadError:
            continue
        given.append(row)
        yield image


def _save(
    rows: NDArray[np.float32], stamps: NDArray[np.uint64], now: NDArray[np.uint64], fresh: list[int]
) -> None:
    """Write down which rows are there, once they are on the disk."""
    rows.flush()  # type: ignore[attr-defined]
    stamps[fresh] = now[fresh]
    stamps.flush()  # type: ignore[attr-defined]
    fresh.clear()


def _read_state(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
