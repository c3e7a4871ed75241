"""A small model trained on the labels alone, without a base model: what the base has to beat.

Shapes: N images, F features, C classes.
"""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.rung import Measured
from clipkit.adaptation.splits import Split
from clipkit.errors import ImageReadError, MissingExtraError
from clipkit.inputs.image_input import ImageInput
from clipkit.inputs.thumbnails import read_square_thumbnail
from clipkit.progress import Progress

BASELINE, BASELINE_TITLE = "pixels", "a small model without the base"
_SIDE = 32  # pixels of a side that features are made of
_COLOUR_SIDE = 8
_CELLS, _DIRECTIONS = 4, 8  # of a side; of edges, over half a turn
_TREES, _FEWEST_TREES = 300, 50
# Trees have a number a class in every node: with 2000 classes of two images 300 would take 37 GB.
_MOST_BYTES = 1 << 30  # of trees in memory at once
_MOST_GROWN = 4 << 30  # bytes of all trees, before there are fewer of them
_SMOOTHING = 1e-3  # a class that no tree names is not impossible
NUM_FEATURES = 3 * _COLOUR_SIDE**2 + _CELLS**2 * _DIRECTIONS


@dataclass(frozen=True)
class PixelBaseline:
    """Extremely randomised trees on colours and edges of the images at 32 pixels a side."""

    features: NDArray[np.float32]  # shape (N, F)
    labels: NDArray[np.intp]  # shape (N,)
    num_classes: int  # C

    def measure(self, split: Split) -> Measured:
        """Fit it on the training images of a split and return what it says of the others.

        Args:
            split: Rows of the images.

        Returns:
            The logits are logarithms of its votes.

        Raises:
            MissingExtraError: If scikit-learn is not installed.
        """
        try:
            from sklearn.ensemble import ExtraTreesClassifier
        except ImportError as error:
            raise MissingExtraError("evaluate", "The small model to compare with") from error
        random = np.random.RandomState(split.seed % 2**32)
        shares = np.zeros((len(split.test), self.num_classes))
        seconds, size = 0.0, 0
        parts = self._parts(len(split.train))
        for count in parts:
            start = perf_counter()
            model = ExtraTreesClassifier(count, random_state=random, n_jobs=-1)
            with warnings.catch_warnings():  # of one image a class: is this a regression?
                warnings.filterwarnings("ignore", message="The number of unique classes")
                model.fit(self.features[split.train], self.labels[split.train])
            seconds += perf_counter() - start
            votes = model.predict_proba(self.features[split.test])
            shares[:, model.classes_] += count / sum(parts) * votes
            size += sum(tree.tree_.node_count for tree in model.estimators_)
        return Measured(
            logits=np.log(shares + _SMOOTHING),
            scale=1.0,
            retention=None,
            seconds=seconds,
            num_bytes=8 * size * self.num_classes,
        )

    def _parts(self, num_images: int) -> list[int]:
        """Return how many trees are held at once, part by part."""
        size = 8 * 2 * num_images * self.num_classes  # bytes of a tree
        trees = min(_TREES, max(_FEWEST_TREES, _MOST_GROWN // size))
        most = max(1, _MOST_BYTES // size)
        whole, rest = divmod(trees, most)
        return [most] * whole + [rest] * (rest > 0)


def read_features(images: Sequence[ImageInput], progress: Progress) -> NDArray[np.float32]:
    """Return simple features of images: colours on a grid, and directions of edges in cells.

    Args:
        images: N images that can be read.
        progress: Called after every image with (done, total).

    Returns:
        Shape (N, F); zeros for an image that cannot be read any more.
    """
    features = np.zeros((len(images), NUM_FEATURES), dtype=np.float32)
    for place, image in enumerate(images):
        with suppress(ImageReadError):  # it was readable when it was embedded
            features[place] = image_features(read_square_thumbnail(image, side=_SIDE))
        progress(place + 1, len(images))
    return features


def image_features(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the features of one image.

    Args:
        pixels: RGB, shape (32, 32, 3).

    Returns:
        Shape (F,): colours of an 8 x 8 grid, 0..1, then for each of 4 x 4 cells the share of its
        edge strength in each of 8 directions.
    """
    values = pixels.astype(np.float32) / 255
    step = _SIDE // _COLOUR_SIDE
    colours = values.reshape(_COLOUR_SIDE, step, _COLOUR_SIDE, step, 3).mean(axis=(1, 3))
    rows, columns = np.gradient(values.mean(axis=2))
    strength = np.hypot(rows, columns)
    turn = np.arctan2(rows, columns) % np.pi / np.pi * _DIRECTIONS
    direction = turn.astype(np.intp) % _DIRECTIONS
    cell = np.arange(_SIDE) // (_SIDE // _CELLS)
    number = (cell[:, None] * _CELLS + cell) * _DIRECTIONS + direction
    edges = np.bincount(number.ravel(), strength.ravel(), _CELLS**2 * _DIRECTIONS)
    cells = edges.reshape(-1, _DIRECTIONS)
    shares = cells / (cells.sum(axis=1, keepdims=True) + 1e-3)  # a cell without edges has none
    return np.concatenate([colours.ravel(), shares.ravel()]).astype(np.float32)
