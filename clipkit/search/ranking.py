"""The best pictures for one embedding: a fast scan of every row, then exact scores for the few.

The order does not depend on the library's history: a library that grew, shrank and was compacted
ranks as one built from scratch. Equal similarities are in the order of the paths.

Shapes: N rows of the vectors file, D dimensions.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import top_k
from clipkit.search.catalog import Catalog
from clipkit.search.vectors import VectorReader

_SCAN_ERROR = 1e-5  # more than the scan's rounding can be at any D in use


def rank(
    catalog: Catalog,
    vectors: VectorReader,
    embedding: NDArray[np.float32],
    *,
    k: int,
    prefix: str = "",
    hidden: Collection[str] = (),
) -> list[tuple[str, float]]:
    """Return the k pictures closest to an embedding.

    Args:
        catalog: Inside the snapshot that named the vectors file.
        vectors: That file.
        embedding: Shape (D,), norm 1.
        k: How many, k >= 1.
        prefix: Search only paths under it: "" or "folder/".
        hidden: Paths to leave out.

    Returns:
        At most k pairs of path and cosine, best first.
    """
    scores = vectors.similarities(embedding)
    pool = catalog.rows(prefix) if prefix else np.arange(len(scores))
    if prefix:
        scores = scores[pool]
    threshold = _threshold(catalog, scores, pool, k, hidden)
    rows = pool[scores >= threshold - 2 * _SCAN_ERROR]
    paths = catalog.paths(rows)
    exact = vectors.exact_similarities(rows, embedding)
    found = [
        (paths[row], float(similarity))
        for row, similarity in zip(rows.tolist(), exact, strict=True)
        if row in paths and paths[row] not in hidden
    ]
    return sorted(found, key=lambda hit: (-hit[1], hit[0]))[:k]


def _threshold(
    catalog: Catalog,
    scores: NDArray[np.float32],
    pool: NDArray[np.int64],
    k: int,
    hidden: Collection[str],
) -> float:
    """Return a score that k pictures reach, or minus infinity if there are not that many."""
    wanted = k + len(hidden)
    while wanted < len(scores):
        best = top_k(scores, wanted)
        paths = catalog.paths(pool[best])  # dead rows have none
        if sum(path not in hidden for path in paths.values()) >= k:
            return float(scores[best[-1]])
        wanted *= 4
    return -np.inf
