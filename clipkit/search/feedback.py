"""What a person meant, from pictures marked "more like this" and "less like this".

Ridge regression with the query as its prior: a direction that starts at the query, gives pictures
that were liked a score of 1 and those that were not a score of 0. 0 is what an average picture of
the library scores, seen from its centre. A negative target would be wrong: the pictures a person
rejects come from the top of a ranking and share most of their direction with the right ones, so
pushing away from them pushes away from what is sought. ``docs/composition.md`` has the figures.

Shapes: P liked pictures, Q disliked ones, D dimensions.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipkit.embeddings import normalize_rows
from clipkit.errors import InputError
from clipkit.search.mixing import Direction, center_rows

_QUERY_WEIGHT = 0.4  # about the centred cosine of a text to a picture that it describes
_NOISE = 4.0  # variance of a mark beside the prior's 1 a dimension: no single mark is trusted far


def refit_direction(
    liked: ArrayLike,
    disliked: ArrayLike,
    center: ArrayLike,
    query: Direction | None = None,
) -> Direction:
    """Return the direction that fits a query and a person's marks on pictures.

    Args:
        liked: Embeddings of pictures to find more like, shape (P, D), rows of norm 1; may be
            empty.
        disliked: Embeddings of pictures to find less like, shape (Q, D); may be empty. P + Q of
            a few hundred take milliseconds.
        center: The centre of the library's pictures, shape (D,).
        query: The direction the search began with, shape (D,), norm 1, seen from its own centre
            as `mix_parts` gives it; None if it began with pictures alone.

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
    # With nothing to go towards, the only way is away.
    is_away = query is None and not len(goods)
    counts = [len(goods), len(bads)]
    targets = np.repeat([1.0, -1.0 if is_away else 0.0], counts)
    # The disliked together weigh no more than the liked: there is no end of wrong pictures.
    noise = _NOISE * np.repeat([1.0, max(1.0, len(bads) / max(1, len(goods)))], counts)
    # The dual form: as many equations as marks, not as dimensions.
    surprise = np.linalg.solve(marks @ marks.T + np.diag(noise), targets - marks @ prior)
    direction = prior + marks.T @ surprise
    if np.linalg.norm(direction) < 1e-6:
        raise InputError(
            "there is nothing to search for: give a query, or mark a picture that is not like "
            "every other"
        )
    refitted: Direction = normalize_rows(direction[None, :])[0]
    return refitted


def _rows(embeddings: ArrayLike, center: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return marked pictures as seen from the centre, shape (P, D)."""
    rows = np.asarray(embeddings, dtype=np.float32)
    return center_rows(rows if rows.size else np.empty((0, len(center))), center).astype(float)
