"""Image features that a locked tower gives once and training takes in every epoch.

Shapes: N pairs, D dimensions of the shared space.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.encoder import Encoder
from clipkit.errors import ImageReadError
from clipkit.inputs.images import ImageInput
from clipkit.pairs.pair import PairSource
from clipkit.progress import Progress

_SAVE_EVERY = 1000  # pictures; what a kill costs


@dataclass(frozen=True)
class ImageFeatures:
    """Features of every pair's picture."""

    rows: NDArray[np.float32]  # (N, D), norm 1; zeros where the picture cannot be read
    is_bad: NDArray[np.bool_]  # (N,)


def compute_image_features(
    encoder: Encoder,
    source: PairSource,
    directory: Path,
    *,
    key: str,
    progress: Progress | None = None,
) -> ImageFeatures:
    """Return the features of all pictures, computed once and kept in a directory.

    Work that was interrupted goes on where it stopped.

    Args:
        encoder: With the tower that is locked.
        source: The pairs.
        directory: Where they are kept; made if needed.
        key: What identifies tower and pairs; features kept under another are computed anew.
        progress: Called with (done, total).

    Returns:
        The features, mapped from the disk.
    """
    directory.mkdir(parents=True, exist_ok=True)
    state_path, rows_path = directory / "state.json", directory / "image_features.npy"
    state = _read_state(state_path)
    is_same = state.get("key") == key and rows_path.is_file()
    done = int(state["done"]) if is_same else 0
    bad: list[int] = list(state["bad"]) if is_same else []
    if not is_same:
        state_path.unlink(missing_ok=True)  # before the rows that it is of are overwritten
    rows = np.lib.format.open_memmap(
        rows_path,
        mode="r+" if is_same else "w+",
        dtype=np.float32,
        shape=None if is_same else (len(source), encoder.embed_dim),
    )
    if done < len(source):
        given: list[int] = []  # rows whose pictures were handed over
        seen, saved = 0, done
        pictures = _pictures(source, done, given, bad)
        with closing(encoder.stream_images(pictures)) as batches:
            for batch in batches:
                rows[[given[place] for place in batch.positions]] = batch.embeddings
                bad += [given[place] for place, _ in batch.skipped]
                done = 1 + given[len(batch.positions) + len(batch.skipped) + seen - 1]
                seen += len(batch.positions) + len(batch.skipped)
                if done - saved >= _SAVE_EVERY:
                    _save(rows, state_path, {"key": key, "done": done, "bad": bad})
                    saved = done
                if progress:
                    progress(done, len(source))
        _save(rows, state_path, {"key": key, "done": len(source), "bad": bad})
    is_bad = np.zeros(len(source), dtype=np.bool_)
    is_bad[bad] = True
    return ImageFeatures(np.load(rows_path, mmap_mode="r"), is_bad)


def _pictures(
    source: PairSource, start: int, given: list[int], bad: list[int]
) -> Iterator[ImageInput]:
    """Yield pictures from a row on; say which rows they are of, and which have none."""
    for row in range(start, len(source)):
        try:
            image = source[row].image
        except ImageReadError:
            bad.append(row)
            continue
        given.append(row)
        yield image


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _save(rows: NDArray[np.float32], path: Path, state: dict[str, Any]) -> None:
    """Write down how far the rows are, once they are on the disk."""
    rows.flush()  # type: ignore[attr-defined]
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(state), encoding="utf-8")
    draft.replace(path)
