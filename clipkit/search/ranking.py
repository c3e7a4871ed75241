"""The best pictures for a query: a fast scan of every row, then exact scores for the few.

The order does not depend on the library's history: a library that grew, shrank and was compacted
ranks as one built from scratch. Equal similarities are in the order of the paths.

Shapes: N rows of the vectors file, K of them, D dimensions.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import top_k
from clipkit.search.catalog import Catalog
from clipkit.search.filters import PictureFilter
from clipkit.search.mixing import centered_similarities
from clipkit.search.vectors import SCAN_ERROR, VectorReader


class Target(NamedTuple):
    """What pictures should be close to."""

    direction: NDArray[np.float32]  # shape (D,), norm 1
    # Where angles are measured from, shape (D,): the mean of the pictures for a query in which
    # modalities were mixed; None for the plain cosine.
    center: NDArray[np.float32] | None = None


class Candidates(NamedTuple):
    """Which pictures may be results."""

    prefix: str = ""  # only paths under it: "" or "folder/"
    accepted: PictureFilter = PictureFilter()
    hidden: Collection[str] = ()  # paths to leave out


_ALL = Candidates()


class Ranked(NamedTuple):
    """One of the best pictures."""

    row: int
    similarity: float  # cosine to the target, -1..1
    path: str


def rank(
    catalog: Catalog,
    vectors: VectorReader,
    target: Target,
    *,
    k: int,
    candidates: Candidates = _ALL,
) -> list[Ranked]:
    """Return the k pictures closest to a target.

    Filters come before the ranking: k pictures come back whenever k pass them.

    Args:
        catalog: Inside the snapshot that named the vectors file.
        vectors: That file.
        target: What to look for.
        k: How many, k >= 1.
        candidates: Which pictures to rank.

    Returns:
        At most k, best first.
    """
    lowest, highest = _scan(vectors, target)
    pool = np.arange(len(lowest))  # dead rows included, which is cheaper than to ask for the others
    if candidates.prefix or candidates.accepted != PictureFilter():
        pool = catalog.rows(candidates.prefix, candidates.accepted)
        lowest, highest = lowest[pool], highest[pool]
    threshold = _threshold(catalog, lowest, pool, k, candidates.hidden)
    rows = pool[highest >= threshold]
    paths = catalog.paths(rows)
    exact = _exact(vectors, rows, target)
    found = [
        Ranked(row, float(similarity), paths[row])
        for row, similarity in zip(rows.tolist(), exact, strict=True)
        if row in paths and paths[row] not in candidates.hidden
    ]
    return sorted(found, key=lambda hit: (-hit.similarity, hit.path))[:k]


class Bounds(NamedTuple):
    """Between what the cosine of every row to a target lies, shape (N,) each."""

    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]


def _scan(vectors: VectorReader, target: Target) -> Bounds:
    """Return about how close every row is to the target."""
    if target.center is None:
        plain = vectors.similarities(target.direction[None, :])[0]
        return Bounds(plain - SCAN_ERROR, plain + SCAN_ERROR)
    products = vectors.similarities(np.stack([target.direction, target.center]))
    cosines = centered_similarities(products.T, target.direction, target.center)
    # The nearer a row is to the center, the more a small error of a product turns its angle.
    squared = np.maximum(1 - 2 * products[1] + target.center @ target.center, 1e-6)
    errors = SCAN_ERROR * (1 / np.sqrt(squared) + np.abs(cosines) / squared)
    errors = np.where(squared < 10 * SCAN_ERROR, 2.0, errors)  # it may be anywhere
    return Bounds(cosines - errors, cosines + errors)


def _exact(vectors: VectorReader, rows: NDArray[np.int64], target: Target) -> NDArray[Any]:
    """Return the cosine of chosen rows to the target, the same wherever a row lies."""
    similarities = vectors.exact_similarities(rows, target.direction)
    if target.center is None:
        return similarities
    products = np.stack([similarities, vectors.exact_similarities(rows, target.center)], axis=1)
    return centered_similarities(products, target.direction, target.center)


def _threshold(
    catalog: Catalog,
    lowest: NDArray[np.float32],
    pool: NDArray[np.int64],
    k: int,
    hidden: Collection[str],
) -> float:
    """Return a cosine that k pictures reach, or minus infinity if there are not that many."""
    wanted = k + len(hidden)
    while wanted < len(lowest):
        best = top_k(lowest, wanted)
        paths = catalog.paths(pool[best])  # dead rows have none
        if sum(path not in hidden for path in paths.values()) >= k:
            return float(lowest[best[-1]])
        wanted *= 4
    return -np.inf
