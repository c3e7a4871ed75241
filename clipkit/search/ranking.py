"""The best pictures for a query: a fast scan of every row, then exact scores for the few.

The order does not depend on the library's history: a library that grew, shrank and was compacted
ranks as one built from scratch. Equal similarities are in the order of the paths.

Shapes: N rows of the vectors file, K of them, D dimensions.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import top_k
from clipkit.search.catalog import Catalog
from clipkit.search.filters import PictureFilter
from clipkit.search.mixing import centered_similarities, subtraction_loss
from clipkit.search.vectors import SCAN_ERROR, VectorReader


class Subtracted(NamedTuple):
    """What pictures should not show."""

    direction: NDArray[np.float32]  # shape (D,), norm 1
    spread: float = 1.0  # of its cosines to unrelated pictures
    strength: float = 1.0  # times the usual loss


class Target(NamedTuple):
    """What pictures should be close to."""

    direction: NDArray[np.float32]  # shape (D,), norm 1
    # Where angles are measured from, shape (D,): the mean of the pictures for a query in which
    # modalities were mixed; None for the plain cosine.
    center: NDArray[np.float32] | None = None
    spread: float = 1.0  # of its cosines to unrelated pictures
    subtracted: tuple[Subtracted, ...] = ()


class Candidates(NamedTuple):
    """Which pictures may be results."""

    prefix: str = ""  # only paths under it: "" or "folder/"
    accepted: PictureFilter = PictureFilter()
    hidden: Collection[str] = ()  # paths to leave out


_ALL = Candidates()


class Ranked(NamedTuple):
    """One of the best pictures."""

    row: int
    similarity: float  # cosine to the target, less what was lost for what is subtracted; -1..1
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
    """Between what the score of every row lies, shape (N,) each."""

    lowest: NDArray[np.floating]
    highest: NDArray[np.floating]


def _scan(vectors: VectorReader, target: Target) -> Bounds:
    """Return about how close every row is to the target."""
    directions = np.stack([target.direction, *(part.direction for part in target.subtracted)])
    errors: NDArray[np.floating] | np.float32
    if target.center is None:
        cosines = vectors.similarities(directions)
        errors = np.float32(SCAN_ERROR)
    else:
        *products, centers = vectors.similarities(np.stack([*directions, target.center]))
        cosines = _centered(products, centers, directions, target.center)
        # The nearer a row is to the center, the more a small error of a product turns its angle.
        squared = np.maximum(1 - 2 * centers + target.center @ target.center, 1e-6)
        errors = SCAN_ERROR * (1 / np.sqrt(squared) + np.abs(cosines) / squared)
        errors = np.where(squared < 10 * SCAN_ERROR, 2.0, errors)  # it may be anywhere
    lowest, highest = cosines - errors, cosines + errors
    # The more a picture shows what is subtracted, the lower its score.
    return Bounds(_score(lowest[0], highest[1:], target), _score(highest[0], lowest[1:], target))


def _exact(vectors: VectorReader, rows: NDArray[np.int64], target: Target) -> NDArray[np.floating]:
    """Return how close chosen rows are to the target, the same wherever a row lies."""
    directions = [target.direction, *(part.direction for part in target.subtracted)]
    cosines: NDArray[np.floating] = np.stack(
        [vectors.exact_similarities(rows, one) for one in directions]
    )
    if target.center is not None:
        centers = vectors.exact_similarities(rows, target.center)
        cosines = _centered(cosines, centers, directions, target.center)
    return _score(cosines[0], cosines[1:], target)


def _centered(
    products: Iterable[NDArray[np.floating]],
    centers: NDArray[np.floating],
    directions: Iterable[NDArray[np.float32]],
    center: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the cosine of each row, seen from the centre, to each direction: shape (M, K)."""
    return np.stack(
        [
            centered_similarities(np.stack([product, centers], axis=1), direction, center)
            for product, direction in zip(products, directions, strict=True)
        ]
    )


def _score(
    cosines: NDArray[np.floating], subtracted: NDArray[np.floating], target: Target
) -> NDArray[np.floating]:
    """Return cosines to the target, less what is lost for each subtracted part."""
    scores = cosines
    for part, likeness in zip(target.subtracted, subtracted, strict=True):
        loss = subtraction_loss(likeness / part.spread)
        scores = scores - target.spread * part.strength * loss
    return np.maximum(scores, -1.0) if target.subtracted else scores


def _threshold(
    catalog: Catalog,
    lowest: NDArray[np.floating],
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
