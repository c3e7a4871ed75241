"""Embeddings laid out in two dimensions, so that what is similar comes to lie close together."""

import contextlib
import hashlib
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import top_k
from clipkit.files import write_bytes
from clipkit.paths import cache_directory
from clipkit.progress import Progress

NUM_NEIGHBORS = 15  # UMAP's default: larger keeps more of the whole, smaller more of the detail
_MIN_DISTANCE = 0.1  # likewise
_LEAST = 10  # images that have neighbourhoods to speak of
_BLOCK = 1024  # rows whose cosines to all others are held at once
_VERSION = b"1"  # of the settings below; another one lays out anew


def lay_out(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a place on a map for each embedding, by UMAP with the cosine.

    The same embeddings get the same places, and are laid out once: places are kept in the user's
    cache. Distances on the map mean little; who lies beside whom does. Fewer than 10 images are
    placed by their first two principal components instead.

    Args:
        embeddings: Rows of norm 1, shape (N, D).

    Returns:
        Places, shape (N, 2).
    """
    if (places := find_places(embeddings)) is not None:
        return places
    with warnings.catch_warnings():  # that TensorFlow is missing, for a part that is not used
        warnings.simplefilter("ignore", ImportWarning)
        from umap import UMAP  # compiles some of itself: seconds

    places = np.asarray(
        UMAP(
            n_neighbors=min(NUM_NEIGHBORS, len(embeddings) - 1),
            min_dist=_MIN_DISTANCE,
            metric="cosine",
            init="pca",
            random_state=0,
            n_jobs=1,  # several would not give the same places again
        ).fit_transform(embeddings),
        dtype=np.float32,
    )
    kept = _kept_places(embeddings)
    with contextlib.suppress(OSError):  # a full or read-only disk costs the next start its time
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(kept, places.tobytes())
    return places


def find_places(embeddings: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return the places of embeddings that need no layout: few ones, or laid out before.

    Args:
        embeddings: Rows of norm 1, shape (N, D).

    Returns:
        Places, shape (N, 2); None if they are still to be laid out.
    """
    if len(embeddings) < _LEAST:
        return _principal_components(embeddings)
    return _read_places(_kept_places(embeddings), len(embeddings))


def nearest(
    embeddings: NDArray[np.float32],
    count: int,
    progress: Progress = lambda done, total: None,
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the rows that are closest to each row, by the cosine, closest first.

    Args:
        embeddings: Rows of norm 1, shape (N, D).
        count: K, how many; of fewer rows, all others.
        progress: Called with how many rows are done, after every block of them.

    Returns:
        Numbers of rows and 1 - cosine, both of shape (N, K); a row is not its own neighbour.
    """
    count = min(count, max(len(embeddings) - 1, 0))
    rows = np.empty((len(embeddings), count), dtype=np.intp)
    distances = np.empty((len(embeddings), count), dtype=np.float32)
    for start in range(0, len(embeddings) if count else 0, _BLOCK):
        cosines = embeddings[start : start + _BLOCK] @ embeddings.T
        for offset, row in enumerate(cosines):
            row[start + offset] = -np.inf
            best = top_k(row, count)
            rows[start + offset] = best
            distances[start + offset] = 1 - row[best]
        progress(start + len(cosines), len(embeddings))
    return rows, distances


def _principal_components(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the first two principal components, shape (N, 2); 0 where there is no second."""
    places = np.zeros((len(embeddings), 2), dtype=np.float32)
    if len(embeddings):
        centred = embeddings - embeddings.mean(axis=0)
        left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
        found = (left * sizes)[:, :2]
        places[:, : found.shape[1]] = found
    return places


def _kept_places(embeddings: NDArray[np.float32]) -> Path:
    digest = hashlib.sha256(_VERSION + np.ascontiguousarray(embeddings).tobytes())
    return cache_directory() / "maps" / f"{digest.hexdigest()[:32]}.float32"


def _read_places(kept: Path, count: int) -> NDArray[np.float32] | None:
    """Return places that were kept; None if there are none, or the file is damaged."""
    try:
        places = np.frombuffer(kept.read_bytes(), dtype=np.float32)
    except (OSError, ValueError):
        return None
    if places.size != 2 * count or not np.isfinite(places).all():
        return None
    return places.reshape(count, 2)
