"""Reading the pairs of one step: captions drawn, images augmented to pixel values.

Everything is a function of (seed, epoch, position), so a run that goes on in the middle of an
epoch, with other workers or on other processes, sees the same pairs. No torch here: this runs in
worker processes too.

Shapes: B pairs, S image size, D dimensions of the shared space.
"""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clipkit.data.mixing import epoch_order
from clipkit.data.pair import PairDataset
from clipkit.errors import ImageReadError, TrainingError
from clipkit.inputs.augmentation import Augmentation
from clipkit.inputs.preprocess import Preprocess

_MOST_TRIES = 100


@dataclass(frozen=True)
class ReadPairs:
    """One process's share of a step."""

    rows: NDArray[np.int64]  # (B,), of the pairs in their source
    captions: list[str]
    levels: list[NDArray[np.uint8]]  # (B, 3, S, S) for each image tower that sees them
    bad: dict[str, str] = field(default_factory=dict)  # name -> reason; others took their places


@dataclass(frozen=True)
class Order:
    """Which pairs each step of a run learns from.

    The pairs of a step are the same however many processes share them.
    """

    sizes: tuple[int, ...]  # pairs of each place
    weights: tuple[float, ...]  # how often each place's pairs are drawn an epoch
    seed: int
    batch_size: int  # over all processes

    @functools.cached_property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch; the rest of its pairs waits for the next."""
        return len(self._rows(0)) // self.batch_size

    def share(self, step: int, *, rank: int = 0, world_size: int = 1) -> "Share":
        """Return what one process reads for a step.

        Args:
            step: Counted from 0 over the whole run.
            rank: Which process.
            world_size: How many there are; the batch size is a multiple of it.

        Returns:
            Epoch, positions and rows.
        """
        epoch, number = divmod(step, self.steps_per_epoch)
        size = self.batch_size // world_size
        start = number * self.batch_size + rank * size
        return Share(epoch, start, self._rows(epoch)[start : start + size])

    @functools.lru_cache(maxsize=2)  # noqa: B019 - one order a run, which lives as long
    def _rows(self, epoch: int) -> NDArray[np.int64]:
        return epoch_order(self.sizes, self.weights, seed=self.seed, epoch=epoch)


@dataclass(frozen=True)
class Share:
    """What one process reads for one step."""

    epoch: int
    start: int  # position of the first in the epoch
    rows: NDArray[np.int64]


class PairReader:
    """Reads the pairs of a share.

    Args:
        source: Where they are.
        preprocesses: One for each image tower that sees the images; none: none are read.
        augmentation: How much an image changes from time to time.
        seed: Of the run.
        known_bad: Whose images need not be tried, shape (number of pairs,); None: none.
    """

    def __init__(
        self,
        source: PairDataset,
        preprocesses: Sequence[Preprocess],
        augmentation: Augmentation,
        *,
        seed: int,
        known_bad: NDArray[np.bool_] | None = None,
    ) -> None:
        self.source = source
        self._preprocesses = list(preprocesses)
        self._augmentation = augmentation
        self._seed = seed
        self._known_bad = known_bad

    def read(self, share: Share) -> ReadPairs:
        """Return the pairs of a share; where one cannot be read, another takes its place.

        Args:
            share: Epoch, positions and rows.

        Returns:
            As many pairs as the share has rows.

        Raises:
            TrainingError: If a hundred pairs in a row cannot be read.
        """
        rows, captions, views = [], [], []
        bad: dict[str, str] = {}
        for position, row in enumerate(share.rows, share.start):
            generator = np.random.default_rng([self._seed, share.epoch, position])
            row, caption, view = self._read_one(int(row), generator, bad)
            rows.append(row)
            captions.append(caption)
            views.append(view)
        return ReadPairs(
            np.array(rows, dtype=np.int64),
            captions,
            [np.stack(values) for values in zip(*views, strict=True)],
            bad,
        )

    def _read_one(
        self, row: int, generator: np.random.Generator, bad: dict[str, str]
    ) -> tuple[int, str, list[NDArray[np.uint8]]]:
        for attempt in itertools.count(1):
            try:
                return row, *self._view(row, generator)
            except ImageReadError as error:
                bad[error.path] = error.reason
                if attempt == _MOST_TRIES:
                    raise TrainingError(
                        f"{attempt} pairs in a row cannot be read, the last one is {error}: "
                        "see that the images are where the data says"
                    ) from error
                row = int(generator.integers(len(self.source)))
        raise AssertionError  # count never ends

    def _view(
        self, row: int, generator: np.random.Generator
    ) -> tuple[str, list[NDArray[np.uint8]]]:
        pair = self.source[row]
        if self._known_bad is not None and self._known_bad[row]:
            raise ImageReadError(pair.name, "it could not be read when features were computed")
        caption = pair.captions[int(generator.integers(len(pair.captions)))]
        if not self._preprocesses:
            return caption, []
        try:
            views = self._augmentation.levels(pair.image, self._preprocesses, generator)
        except ImageReadError as error:
            # Bytes out of a shard do not know where they come from.
            raise ImageReadError(pair.name, error.reason) from error
        return caption, views
