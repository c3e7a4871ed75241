"""The modality gap in mixed queries: texts and images, each centred on its own modality.

Texts and images of a shared space lie in two separate cones. What all images (or all texts) have in
common says nothing about any one of them, but contributes to a plain sum, where the images
dominate. So the centre of its modality is subtracted from every part before the sum, and the centre
of the library's images from every image before the cosine.

The subtracted parts of a query are left out of the sum. A bird shares most of its direction with a
toucan, so "bird - toucan" as a difference of vectors would lose the bird too. Instead an image is
penalized by how far its cosine to the subtracted part stands out: little for another bird, much for
a toucan.

A query of one part needs none of this: its plain cosine ranks as well, and is a similarity people
know. ``docs/composition.md`` has the figures.

Shapes: N rows, P parts of a query, S scanned images, D dimensions.

Source: GR-CLIP (arXiv 2507.19054) subtracts each modality's mean; the shrinking is our own.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipkit.embeddings import Embeddings, mix_embeddings, normalize_rows
from clipkit.errors import InputError

Direction = NDArray[np.float32]
"""float32, shape (D,), norm 1, from a centre: what `centered_similarities` ranks by."""

# From how many spreads on a subtracted part is penalized. Of the values that rank no worse than
# before in each development half of benchmarks/subtraction.py, this leaves little of it in the top.
_UNRELATED_SPREADS = 2.0
# Cosine of two directions. The starter has "a cat" and "cat" at .87, "couch" and "sofa" at .79,
# "dog" and "puppy" at .53; with OpenAI's ViT-B/32 two prompts for one name have .91.
_SAME_MEANING = 0.85
_ITSELF = 0.9999  # the cosine of an image to itself, but for rounding
_SMALLEST_NORM = 1e-3  # a row nearer to its centre is on it: half precision errs by about 5e-4


def estimate_center(mean: ArrayLike, num_rows: int) -> NDArray[np.float32]:
    """Return the centre of one modality's embeddings, shrunk from the mean of a sample.

    The mean of few rows is mostly those rows themselves: of one row, all of it. So it is shrunk by
    the factor with the least expected square error: the mean cosine of two different rows, which
    is what they share, over the mean's own squared norm. The centre of one row is 0; that of
    thousands is their mean.

    Args:
        mean: Mean of the embeddings, shape (D,): of a library's images, or of a bank of texts.
        num_rows: Of how many embeddings, at least 1.

    Returns:
        The centre, float32, shape (D,), norm at most 1.

    Raises:
        InputError: If mean is not finite and one-dimensional, or of no rows.

    Example:
        >>> estimate_center([0.5, 0.5], num_rows=2).tolist()  # two rows at a right angle
        [0.0, 0.0]
    """
    center = np.asarray(mean, dtype=np.float64)
    if center.ndim != 1 or not np.isfinite(center).all() or num_rows < 1:
        raise InputError(
            "a centre needs the mean of 1 or more embeddings, finite and of shape (D,), "
            f"got a mean of {num_rows} rows of shape {center.shape}"
        )
    square = float(center @ center)
    if num_rows == 1 or square == 0:
        return np.zeros(len(center), dtype=np.float32)
    # |mean|^2 = 1/N + (1 - 1/N) * (mean cosine of two different rows), for rows of norm 1
    mean_cosine = (num_rows * square - 1) / (num_rows - 1)
    shrunk: NDArray[np.float64] = center * np.clip(mean_cosine / square, 0.0, 1.0)
    return shrunk.astype(np.float32)


def center_rows(embeddings: ArrayLike, centers: ArrayLike) -> Embeddings:
    """Return embeddings as seen from their centre, of norm 1 again.

    Args:
        embeddings: Shape (N, D), rows of norm 1.
        centers: One for all rows, shape (D,), or one a row, shape (N, D).

    Returns:
        Shape (N, D), rows of norm 1; a row that lies on its centre is 0, for it says nothing.

    Raises:
        InputError: If the shapes do not fit together, or a value is not finite.
    """
    rows, origin = np.asarray(embeddings, np.float32), np.asarray(centers, np.float32)
    if rows.ndim != 2 or origin.shape not in (rows.shape, rows.shape[1:]):
        raise InputError(
            "embeddings must have shape (N, D) and their centres (D,) or (N, D), "
            f"got {rows.shape} and {origin.shape}"
        )
    differences = rows - origin
    at_center = np.linalg.norm(differences, axis=1) < _SMALLEST_NORM
    centered = np.zeros_like(differences)
    centered[~at_center] = normalize_rows(differences[~at_center])
    return centered


def mix_parts(embeddings: ArrayLike, weights: Sequence[float], centers: ArrayLike) -> Direction:
    """Return the direction of a query of texts and images, each centred on its modality.

    Args:
        embeddings: One part a row, shape (P, D), rows of norm 1, P >= 1.
        weights: One finite weight a part; negative ones point away, in full.
        centers: The centre of each part's modality, shape (P, D), or one for all, shape (D,).

    Returns:
        A direction, float32, shape (D,), norm 1, for `centered_similarities`.

    Raises:
        InputError: If the counts differ, or the parts cancel out.

    Example:
        >>> mix_parts([[1, 0, 0], [0, 1, 0]], [1.0, 1.0], [[1, 0, -1], [0, 0, 0]]).round(3).tolist()
        [0.0, 0.7070000171661377, 0.7070000171661377]
    """
    rows = center_rows(embeddings, centers)
    direction: Direction = mix_embeddings(rows, weights)[0]
    return direction


def estimate_spread(directions: ArrayLike, images: ArrayLike) -> float:
    """Return the root mean square cosine of unrelated texts, or images, to images.

    Images score higher on images than texts do. Divided by this, the scores of both kinds can
    be compared.

    Args:
        directions: Texts or images, as seen from their centre: shape (N, D), rows of norm 1.
        images: Images as seen from theirs, shape (S, D). An image and itself do not count.

    Returns:
        A number above 0; 1 if there is nothing to compare.
    """
    rows, others = np.asarray(directions, np.float32), np.asarray(images, np.float32)
    if not (rows.size and others.size):
        return 1.0
    cosines = (rows @ others.T).astype(np.float64)
    cosines = cosines[cosines < _ITSELF]
    return max(float(np.sqrt((cosines**2).mean())), _SMALLEST_NORM) if cosines.size else 1.0


def check_remains(added: Direction, subtracted: Direction) -> None:
    """Raise if a query subtracts what it searches for.

    Args:
        added: The direction searched for, shape (D,), norm 1, from the centre of its modality.
        subtracted: The direction subtracted from it, likewise.

    Raises:
        InputError: If the two mean the same.
    """
    cosine = float(added @ subtracted)
    if cosine >= _SAME_MEANING:
        raise InputError(
            "the parts of the query cancel out: to this model, what is subtracted means the same "
            f"as what is sought (cosine {cosine:.2f}, and {_SAME_MEANING} or more is the same), "
            "so nothing is left to search for; subtract something narrower, or leave it out"
        )


def subtraction_loss(spreads: ArrayLike) -> NDArray[np.float64]:
    """Return the penalty of images for showing something that is subtracted.

    Args:
        spreads: How far each image's cosine to it stands out: cosines divided by `estimate_spread`,
            or z-scores. Any shape.

    Returns:
        The excess over unrelated images, in the same unit and shape.

    Example:
        >>> subtraction_loss([-2.0, 2.0, 5.5]).tolist()
        [0.0, 0.0, 3.5]
    """
    loss: NDArray[np.float64] = np.maximum(np.asarray(spreads, np.float64) - _UNRELATED_SPREADS, 0)
    return loss


def centered_similarities(
    scores: ArrayLike, direction: Direction, center: ArrayLike
) -> NDArray[np.float32]:
    """Return the cosine of images, seen from their centre, to a direction.

    A library stores its rows uncentred, so two inner products a row are all this needs:
    (x - m) . q / |x - m| = (x.q - m.q) / sqrt(1 - 2 x.m + m.m).

    Args:
        scores: Inner products of each row x with the direction q and with the centre m, in this
            order, shape (S, 2).
        direction: The direction q, shape (D,), norm 1.
        center: The centre m of the library's images, shape (D,).

    Returns:
        float32, shape (S,), in [-1, 1]. Higher is closer; 0 for an image on the centre.

    Raises:
        InputError: If the shapes do not fit together.
    """
    products, origin = np.asarray(scores), np.asarray(center, dtype=np.float64)
    if products.ndim != 2 or products.shape[1] != 2 or origin.shape != direction.shape:
        raise InputError(
            "scores must have shape (S, 2), and direction and centre the same (D,), "
            f"got {products.shape}, {direction.shape} and {origin.shape}"
        )
    along, squared = products[:, 0] - origin @ direction, 1 - 2 * products[:, 1] + origin @ origin
    norms = np.sqrt(np.maximum(squared, _SMALLEST_NORM**2))
    return np.clip(along / norms, -1.0, 1.0).astype(np.float32)
