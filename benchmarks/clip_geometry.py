"""Any number of image embeddings that lie as those of a real CLIP model do, from a few hundred.

An image is drawn between a real one and its neighbours, with noise of the covariance that real
images have around their neighbours, much of it for some images and little for others. How much is
fitted, so that drawn images are as far from the real ones as other real images are. `GeometryCheck`
tells what of the real geometry the drawn images have: it is measured on real images that the
geometry was not fitted on.

Shapes: N real images, M drawn images, D dimensions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings, normalize_rows

BLOCK = 1 << 14
_NEIGHBOURS = 8  # that an image is drawn between, itself among them
_EVENNESS = 3.0  # shape of the gamma distribution of an image's noise: some lie alone, some do not
_DIMENSION_BY = 10  # neighbours that the intrinsic dimension is estimated from
_NOISES = np.geomspace(0.1, 3, 30)


@dataclass(frozen=True)
class RealSet:
    """Embeddings of real images, and of texts about them, by one model."""

    name: str
    images: Embeddings  # (N, D)
    texts: Embeddings  # (N, D), the text of each


def read_sets(clip_data: Path) -> list[RealSet]:
    """Return the sets that have a text for each image, in a folder of stored embeddings."""
    with np.load(clip_data / "coco500_vitb16.npz") as stored:
        coco = RealSet(
            "COCO, ViT-B/16",
            normalize_rows(stored["image"]),
            normalize_rows(stored["caption_text"]),
        )
    with np.load(clip_data / "lvis1203_vitb32.npz") as stored:
        texts = stored["text_a_cname"].astype(np.float32)
        lvis = RealSet(
            "LVIS, ViT-B/32", normalize_rows(stored["image_prototype_k5"]), normalize_rows(texts)
        )
    return [coco, lvis]


@dataclass(frozen=True)
class ClipGeometry:
    """What images are drawn from."""

    images: Embeddings  # (N, D), real
    neighbours: NDArray[np.int64]  # (N, _NEIGHBOURS), nearest first, itself among them
    residuals: Embeddings  # (N, D), from the mean of an image's neighbours to itself
    noise: float  # of the residuals' standard deviation

    @classmethod
    def fitted(cls, images: Embeddings) -> "ClipGeometry":
        """Return the geometry of real images; the noise is fitted on halves of them."""
        order = np.random.default_rng(0).permutation(len(images))
        half, other = images[order[::2]], images[order[1::2]]
        target = np.median(nearest(other, half))
        distances = [
            abs(np.median(nearest(cls._of(half, noise).draw(1000, seed=1), half)) - target)
            for noise in _NOISES
        ]
        return cls._of(images, float(_NOISES[int(np.argmin(distances))]))

    @classmethod
    def _of(cls, images: Embeddings, noise: float) -> "ClipGeometry":
        neighbours = np.argsort(-(images @ images.T), axis=1)[:, :_NEIGHBOURS]
        residuals = images - images[neighbours[:, 1:]].mean(axis=1)
        return cls(images, neighbours, residuals, noise)

    def draw(self, number: int, *, seed: int) -> Embeddings:
        """Return drawn images, shape (M, D), rows of norm 1."""
        return np.concatenate([rows for _, rows in self.blocks(number, seed=seed)])

    def blocks(self, number: int, *, seed: int) -> Iterator[tuple[int, Embeddings]]:
        """Yield the number of a block's first image, and the block's embeddings."""
        num, _ = self.images.shape
        for first in range(0, number, BLOCK):
            rng = np.random.default_rng([seed, first])
            size = min(BLOCK, number - first)
            chosen = rng.integers(num, size=size)
            weights = np.zeros((size, num), dtype=np.float32)
            shares = rng.dirichlet(np.ones(_NEIGHBOURS), size=size).astype(np.float32)
            np.put_along_axis(weights, self.neighbours[chosen], shares, axis=1)
            amount = self.noise * rng.gamma(_EVENNESS, 1 / _EVENNESS, size=(size, 1))
            directions = rng.standard_normal((size, num)) * amount / np.sqrt(num)
            rows = weights @ self.images + directions.astype(np.float32) @ self.residuals
            yield first, normalize_rows(rows)


@dataclass(frozen=True)
class GeometryCheck:
    """What of real images' geometry drawn images have; the real ones took no part in the fit."""

    mean_cosine: tuple[float, float]  # of all pairs: real, drawn
    nearest_cosine: tuple[float, float]  # median, to the nearest of the fitted
    nearest_among: tuple[float, float]  # median, to the nearest of one another
    intrinsic_dimension: tuple[float, float]
    principal_dimensions: tuple[float, float]  # participation ratio of the covariance
    text_cosine: tuple[float, float]  # median over texts, of the nearest image

    @classmethod
    def of(cls, real: RealSet, *, seed: int = 2) -> "GeometryCheck":
        """Fit on half of a set and compare drawn images with the other half."""
        order = np.random.default_rng(seed).permutation(len(real.images))
        fitted, other = real.images[order[::2]], real.images[order[1::2]]
        drawn = ClipGeometry.fitted(fitted).draw(len(other), seed=seed)
        sides = (other, drawn)
        # Texts about the fitted half: none has its own image on either side.
        texts = real.texts[order[::2]]
        return cls(
            mean_cosine=_both(_mean_cosine, sides),
            nearest_cosine=_both(lambda rows: float(np.median(nearest(rows, fitted))), sides),
            nearest_among=_both(_nearest_among, sides),
            intrinsic_dimension=_both(intrinsic_dimension, sides),
            principal_dimensions=_both(principal_dimensions, sides),
            text_cosine=_both(lambda rows: float(np.median(nearest(texts, rows))), sides),
        )


def nearest(rows: Embeddings, images: Embeddings) -> NDArray[np.float32]:
    """Return the cosine of each row to the nearest image."""
    found: NDArray[np.float32] = (rows @ images.T).max(axis=1)
    return found


def intrinsic_dimension(rows: Embeddings) -> float:
    """Return Levina and Bickel's estimate (2004), averaged as MacKay and Ghahramani's note says."""
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -1)
    best = -np.sort(-cosines, axis=1)[:, :_DIMENSION_BY]
    distances = np.sqrt(np.maximum(2 - 2 * best, 1e-12))
    logs = np.log(distances[:, -1:] / distances[:, :-1])
    return float(1 / logs.mean())


def principal_dimensions(rows: Embeddings) -> float:
    """Return how many dimensions of equal variance would spread as the covariance does."""
    variances = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False) ** 2
    return float(variances.sum() ** 2 / (variances**2).sum())


def _mean_cosine(rows: Embeddings) -> float:
    num = len(rows)
    return float(((rows.sum(axis=0) ** 2).sum() - num) / (num * (num - 1)))


def _nearest_among(rows: Embeddings) -> float:
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -1)
    return float(np.median(cosines.max(axis=1)))


def _both(measure, sides):
    return measure(sides[0]), measure(sides[1])
