"""Re-ranking: relevance feedback, diversity (MMR), and one hit for the RAW and JPEG of a shot.

Relevance feedback (`refit_direction`) is ridge regression with the query as its prior: a direction
that starts at the query and gives liked images a score of 1, disliked ones a score of 0, which is
what an average image of the library scores, seen from its centre. A negative target would be
wrong: the images a person rejects come from the top of a ranking and share most of their direction
with the right ones, so pushing away from them pushes away from what is sought. The more images are
marked, the more the order is that of this direction and not of the evidence (`weigh_scores`).
``docs/composition.md`` has the figures.

Diversity (`diversify`) is maximal marginal relevance: the best first, then always the one that is
relevant and unlike all that were taken.

Shapes: P liked images, Q disliked ones, K candidates, D dimensions.

Source: Carbonell and Goldstein 1998, "The Use of MMR, Diversity-Based Reranking"; the regression is
our own.
"""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipkit.arguments import check_share, check_whole
from clipkit.embeddings import normalize_rows
from clipkit.errors import InputError
from clipkit.inputs.extensions import RAW_EXTENSIONS
from clipkit.search.modality_gap import Direction, center_rows

_QUERY_WEIGHT = 0.4  # about the centred cosine of a text to an image that it describes
_EQUAL_MARKS = 8  # with as many marks, the refitted direction and the evidence weigh the same
_MARKS_OF_A_SUM = 4  # a query of several parts begins with as many: a third for its score
_USUAL = 200  # of the candidates; more are looked at if more are asked for, and change nothing
_ROUNDING = 1e-6  # smaller deviations are rounding errors of the embeddings
_NOISE = 4.0  # variance of a mark beside the prior's 1 a dimension: no single mark is trusted far


def refit_direction(
    liked: ArrayLike,
    disliked: ArrayLike,
    center: ArrayLike,
    query: Direction | None = None,
) -> Direction:
    """Return the direction that fits a query and a person's marks on images.

    Args:
        liked: Embeddings of images to find more like, shape (P, D), rows of norm 1; may be
            empty.
        disliked: Embeddings of images to find less like, shape (Q, D); may be empty. P + Q of
            a few hundred take milliseconds.
        center: The centre of the library's images, shape (D,).
        query: The direction the search began with, shape (D,), norm 1, seen from its own centre
            as `mix_parts` gives it; None if it began with images alone.

    Returns:
        A direction, float32, shape (D,), norm 1, for `centered_similarities`.

    Raises:
        InputError: If shapes do not fit together, nothing is given, or what is given cancels out.
    """
    origin = np.asarray(center, dtype=np.float32)
    goods, bads = (_rows(given, origin) for given in (liked, disliked))
    marks = np.concatenate([goods, bads])
    prior = np.zeros_like(origin) if query is None else _QUERY_WEIGHT * query
    if prior.shape != origin.shape:
        raise InputError(
            f"the query must have the shape of the centre, {origin.shape}, got {prior.shape}"
        )
    # With disliked images alone, the direction points away from them.
    is_away = query is None and not len(goods)
    counts = [len(goods), len(bads)]
    targets = np.repeat([1.0, -1.0 if is_away else 0.0], counts)
    # The disliked together weigh no more than the liked: there are always more wrong images.
    noise = _NOISE * np.repeat([1.0, max(1.0, len(bads) / max(1, len(goods)))], counts)
    # The dual form: as many equations as marks, not as dimensions.
    surprise = np.linalg.solve(marks @ marks.T + np.diag(noise), targets - marks @ prior)
    direction = prior + marks.T @ surprise
    if np.linalg.norm(direction) < 1e-6:
        raise InputError(
            "there is nothing to search for: give a query, or mark an image that is not like "
            "every other"
        )
    refitted: Direction = normalize_rows(direction[None, :])[0]
    return refitted


def weigh_scores(
    evidence: ArrayLike, scores: ArrayLike, *, num_parts: int, num_marks: int
) -> NDArray[np.float64]:
    """Return the evidence for the candidates of a query, weighed against their scores.

    Evidence alone orders best for one text or image. It does not learn from what is disliked, and
    little from many marks; the refitted direction does, and the scores are made of it. For a sum
    the two together are better than either, or as good, with every model that was measured.

    Args:
        evidence: Of the K candidates, best scores first, for what the query adds and the liked
            images, shape (K,).
        scores: What the candidates score for that, shape (K,).
        num_parts: How many texts and images the query adds.
        num_marks: How many images are marked, liked or not.

    Returns:
        float64, shape (K,), with the mean and deviation that the evidence has over the first 200,
        so that as many images count as relevant; of one part alone, the evidence itself.

    Example:
        >>> weigh_scores([5.0, 3.0], [0.1, 0.3], num_parts=1, num_marks=24).tolist()
        [3.0, 5.0]
    """
    values, fits = np.asarray(evidence, np.float64), np.asarray(scores, np.float64)
    count = num_marks + (_MARKS_OF_A_SUM if num_parts > 1 else 0)
    usual, usual_fits = values[:_USUAL], fits[:_USUAL]
    if not count or not fits.size or min(usual_fits.std(), usual.std()) < _ROUNDING:
        return values  # one part alone, or scores that tell nothing apart
    share = count / (count + _EQUAL_MARKS)
    mixed = (1 - share) * _standard(values) + share * _standard(fits)
    weighed: NDArray[np.float64] = usual.mean() + usual.std() * _standard(mixed)
    return weighed


def _standard(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return numbers as distances from the mean of the first 200, in their deviations."""
    usual = numbers[:_USUAL]
    distances: NDArray[np.float64] = numbers - usual.mean()
    return distances / max(float(usual.std()), _ROUNDING)


def _rows(embeddings: ArrayLike, center: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return marked images as seen from the centre, shape (P, D)."""
    rows = np.asarray(embeddings, dtype=np.float32)
    return center_rows(rows if rows.size else np.empty((0, len(center))), center).astype(float)


def diversify(
    scores: ArrayLike, embeddings: ArrayLike, *, k: int, tradeoff: float = 0.7
) -> NDArray[np.intp]:
    """Return candidates in an order that weighs relevance against repetition.

    Each step takes the candidate with the highest
    ``tradeoff * score - (1 - tradeoff) * (highest cosine to one taken before)``.

    Args:
        scores: Relevance of each candidate, shape (K,), on the scale of a cosine between
            images: [0, 1], 1 for what could not be more relevant. Plain cosines of a text to
            images are too small for this; a search's relevance is not.
        embeddings: The candidates, shape (K, D), rows of norm 1.
        k: How many to return, k >= 1. More than K gives all K.
        tradeoff: From 0, only variety, to 1, only relevance.

    Returns:
        Positions of the candidates, shape (min(k, K),). Equal values keep their order.

    Raises:
        InputError: If the shapes do not fit together, a score is not finite, or k or tradeoff is
            out of range.

    Example:
        >>> rows = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]  # the first two are the same
        >>> diversify([0.9, 0.8, 0.5], rows, k=3).tolist()
        [0, 2, 1]
    """
    relevance, rows = np.asarray(scores, np.float64), np.asarray(embeddings, np.float32)
    if relevance.ndim != 1 or rows.ndim != 2 or len(rows) != len(relevance):
        raise InputError(
            "scores must have shape (K,) and embeddings (K, D), "
            f"got {relevance.shape} and {rows.shape}"
        )
    if not np.isfinite(relevance).all():
        raise InputError("scores must be finite numbers")
    k = check_whole(k, "k")
    tradeoff = check_share(tradeoff, "tradeoff")
    gains = tradeoff * relevance
    closest = np.full(len(rows), -np.inf)  # highest cosine to one taken
    order = np.empty(min(k, len(rows)), dtype=np.intp)
    for place in range(len(order)):
        values = gains - (1 - tradeoff) * closest if place else relevance.copy()
        values[order[:place]] = -np.inf
        order[place] = np.argmax(values)
        np.maximum(closest, rows @ rows[order[place]], out=closest)
    return order


_DEVELOPED = {".jpg", ".jpeg", ".heic", ".heif", ".hif"}  # what cameras write beside a RAW file


def raw_files(paths: Iterable[str], shown: Iterable[str] = ()) -> Mapping[str, str]:
    """Return which RAW files are represented by another file of the same shot.

    That is one in the same folder, of the same name but for its ending, in upper or lower case.

    Args:
        paths: Candidates, as the catalog writes them, best first.
        shown: Further files that RAW files may belong to, such as a query's own.

    Returns:
        The file that stands for it, by the RAW file's path.
    """
    candidates = list(paths)
    developed = {
        _shot(path): path for path in (*reversed(candidates), *shown) if _ending(path) in _DEVELOPED
    }
    return {
        path: developed[_shot(path)]
        for path in candidates
        if _ending(path) in RAW_EXTENSIONS and _shot(path) in developed
    }


def _ending(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _shot(path: str) -> str:
    """Return what files of one shot share: folder and name, in lower case and without extension."""
    place = PurePosixPath(path)
    return str(place.with_name(place.stem.lower()))
