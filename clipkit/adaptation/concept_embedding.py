"""A concept's embedding: what some images have in common, as a text would say it.

The mean of images lies among the images, in a cone apart from that of the texts, and holds much
that no text says. In a mixture it therefore outweighs every word. So what the images show is
turned into what a text of it could be, in four steps:

1. A direction that tells the images from others: ridge regression on the images and, if there are
   some, on images of other things and a name for the kind of thing. It is what a search refits to
   marked images (clipkit.search.rerank), and trusts a single image least.
2. What all images and all texts have in common is taken out of it.
3. What texts do not vary in is shrunk, by a ridge filter with the covariance of everyday words;
   and the words that fit are added, each by how well it fits.
4. From the words' mean, about as far out as a word lies.

Step 2 needs the centre of some images. Without one, only the words that fit are left of step 3.

Shapes: P images, Q images of other things, B everyday words, D dimensions.

Source: own; benchmarks/concepts.py measures each step and fits the constants. Steps 1 and 2 are
those of GR-CLIP (arXiv 2507.19054) where there is nothing but images.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipkit.embeddings import Embeddings, as_floats, check_embeddings, normalize_rows
from clipkit.errors import InputError
from clipkit.search.rerank import refit_direction

Vector = NDArray[np.float64]

# Fitted by benchmarks/concepts.py --fit on every second class of its sets.
FILTER_RIDGE = 0.3  # of the mean variance of the words in a dimension
WORDS_WEIGHT = 0.6  # of the words that fit, beside the filtered direction's 1
RADIUS = 1.2  # how far out, in the root mean square distance of a word from the words' mean

_NOTHING = (
    "the images have nothing in common that tells them from all others, so there is nothing to "
    "teach: give images that show one thing"
)
_SMALLEST_NORM = 1e-3  # a direction shorter than that says nothing


def embed_concept(
    images: ArrayLike,
    words: ArrayLike,
    *,
    others: ArrayLike | None = None,
    image_center: ArrayLike | None = None,
    kind: ArrayLike | None = None,
) -> Embeddings:
    """Return the embedding of what images have in common, to be used like that of a text.

    Args:
        images: What shows it, shape (P, D), rows of norm 1, P >= 1.
        words: Everyday words (clipkit.background_words), shape (B, D), rows of norm 1, B >= 2.
        others: Images that do not show it, shape (Q, D), rows of norm 1.
        image_center: The centre of the images that it is to be found among, shape (D,); None if
            there are none yet: it is then told from others less well.
        kind: The embedding of a text that says what kind of thing it is, shape (D,).

    Returns:
        float32, shape (D,), norm 1, in the cone of the texts.

    Raises:
        InputError: If the shapes do not fit together, or the images show nothing that tells them
            from all others.
    """
    rows = check_embeddings(words, "the words").astype(np.float64)
    shape = rows.shape[1:]
    text_center = rows.mean(axis=0)
    rows -= text_center
    shown = check_embeddings(images, "the images")
    hidden = np.empty((0, *shape), np.float32) if others is None else check_embeddings(others)
    prior = None
    if kind is not None:
        prior = _direction(as_floats(kind, "the kind") - text_center).astype(np.float32)
    center = np.zeros(shape) if image_center is None else as_floats(image_center, "the centre")
    if {shown.shape[1:], hidden.shape[1:], center.shape} != {shape}:
        raise InputError(
            f"the words have shape (B, {shape[0]}), so images must have shape (P, {shape[0]}) and "
            f"their centre ({shape[0]},), got {shown.shape}, {hidden.shape} and {center.shape}"
        )
    try:
        found = refit_direction(shown, hidden, center, prior)
    except InputError as error:  # what is left of them is 0
        raise InputError(_NOTHING) from error
    direction = found.astype(np.float64)
    if image_center is None:
        said = _fitting_words(direction, rows)
    else:
        direction = _direction(_without(direction, [text_center, center]))
        filtered = _direction(_filtered(direction, rows))
        said = _direction(filtered + WORDS_WEIGHT * _fitting_words(direction, rows))
    spread = float(np.sqrt((rows**2).sum(axis=1).mean()))
    embedding = text_center + RADIUS * spread * said
    row: Embeddings = normalize_rows(embedding[None, :])[0]
    return row


def _without(direction: Vector, centers: list[Vector]) -> Vector:
    """Return a direction without what it has of the centres' directions."""
    spanned = np.stack([center for center in centers if center.any()] or [np.zeros_like(direction)])
    basis, sizes, _ = np.linalg.svd(spanned.T, full_matrices=False)
    basis = basis[:, sizes > _SMALLEST_NORM]
    rest: Vector = direction - basis @ (basis.T @ direction)
    return rest


def _filtered(direction: Vector, rows: Vector) -> Vector:
    """Return a direction, shrunk where the words vary less than on average.

    Each principal axis of the words, of variance v, keeps v / (v + ridge x mean variance).
    """
    covariance = rows.T @ rows / len(rows)
    rank = min(len(rows) - 1, len(direction))
    ridge = FILTER_RIDGE * float(np.trace(covariance)) / rank
    kept: Vector = covariance @ np.linalg.solve(
        covariance + ridge * np.eye(len(direction)), direction
    )
    return kept


def _fitting_words(direction: Vector, rows: Vector) -> Vector:
    """Return the mean direction of the words, weighted by how well each fits: norm 1."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    directions = rows / np.maximum(norms, _SMALLEST_NORM)
    fits = directions @ direction
    powers = np.exp((fits - fits.max()) / max(float(fits.std()), _SMALLEST_NORM))
    return _direction(powers @ directions)


def _direction(vector: Vector) -> Vector:
    norm = float(np.linalg.norm(vector))
    if not norm > _SMALLEST_NORM:
        raise InputError(_NOTHING)
    scaled: Vector = vector / norm
    return scaled
