"""Reading and augmenting the pairs of a run's steps from a map-style dataset.

Pairs, captions and augmentations are a function of (seed, epoch, position), so a run that is
resumed in the middle of an epoch, with other workers or another world size, sees the same ones.

Shapes: B pairs of one rank, N pairs of the dataset, S image size.
"""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from clipkit.data.epoch_draws import EpochDraws
from clipkit.data.pair import Pair, PairDataset
from clipkit.errors import ClipkitError, ImageReadError, TrainingError
from clipkit.inputs.augmentation import Augmentation
from clipkit.inputs.preprocess import Preprocess
from clipkit.training.batch import class_key
from clipkit.training.near_misses import NearMisses

_MAX_TRIES = 100


class StepRows(NamedTuple):
    """The pairs that one rank reads for one step."""

    epoch: int
    start: int  # position of the first in the epoch's order
    rows: NDArray[np.int64]  # (B,), of the dataset


@dataclass(frozen=True)
class PairSampler:
    """Which pairs each step of a run trains on, and which of them this rank reads.

    The global batch of a step is the same for every world size.
    """

    draws: EpochDraws
    seed: int
    batch_size: int  # over all ranks, a multiple of the world size
    rank: int = 0
    world_size: int = 1
    hard_negatives: float = 0.0  # share of each batch, 0..1
    near_misses: NearMisses | None = None  # of an epoch, whose batches hold them

    @functools.cached_property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch; the rest of its pairs is left out."""
        return len(self._order(0)) // self.batch_size

    def rows_of(self, step: int) -> StepRows:
        """Return what this rank reads for a step, counted from 0 over the whole run."""
        epoch, number = divmod(step, self.steps_per_epoch)
        size = self.batch_size // self.world_size
        start = number * self.batch_size + self.rank * size
        return StepRows(epoch, start, self._order(epoch)[start : start + size])

    @functools.lru_cache(maxsize=2)  # noqa: B019 - one sampler a run, which lives as long
    def _order(self, epoch: int) -> NDArray[np.int64]:
        order = self.draws.order(seed=self.seed, epoch=epoch)
        if self.near_misses is None or self.near_misses.epoch != epoch:
            return order
        return self.near_misses.arrange(
            order, batch_size=self.batch_size, share=self.hard_negatives
        )


@dataclass(frozen=True)
class ReadPairs:
    """The pairs of a step as they were read, before they are tensors."""

    rows: NDArray[np.int64]  # (B,), of the dataset
    image_keys: NDArray[
        np.int64
    ]  # (B,), equal for pairs of one class or image, for a pair with itself
    captions: list[str]
    views: list[NDArray[np.uint8]]  # (B, 3, S, S) for each image tower that sees them
    bad: dict[str, str] = field(default_factory=dict)  # name -> reason; replaced by others


class BatchReader(Protocol):
    """Reads the pairs of steps: of a map-style dataset, or of a stream."""

    @property
    def num_pairs(self) -> int:
        """N, how many pairs there are."""

    @property
    def fingerprint(self) -> str:
        """What identifies the pairs and how often each is drawn."""

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""

    def __getitem__(self, step: int) -> ReadPairs | ClipkitError:
        """Return this rank's pairs of a step, or the error that they cannot be read by."""


class PairReader:
    """Reads and augments the pairs of a step; a map-style dataset of steps for a DataLoader.

    Args:
        dataset: The pairs.
        sampler: Which of them a step takes.
        preprocesses: One for each image tower that sees the images; none: no image is read.
        augmentation: How much an image changes from epoch to epoch.
        known_bad: Which pairs are known to have no readable image, shape (N,); None: not known.
    """

    def __init__(
        self,
        dataset: PairDataset,
        sampler: PairSampler,
        preprocesses: Sequence[Preprocess],
        augmentation: Augmentation,
        *,
        known_bad: NDArray[np.bool_] | None = None,
    ) -> None:
        self.dataset = dataset
        self.sampler = sampler
        self._preprocesses = list(preprocesses)
        self._augmentation = augmentation
        self._known_bad = known_bad
        self._first_rows = dataset.first_rows()

    @property
    def num_pairs(self) -> int:
        """N, the number of pairs of the dataset."""
        return len(self.dataset)

    @property
    def fingerprint(self) -> str:
        """What identifies the pairs and how often each is drawn."""
        return f"{self.dataset.fingerprint} {self.sampler.draws.fingerprint}"

    @property
    def steps_per_epoch(self) -> int:
        """How many batches go through all the pairs once."""
        return self.sampler.steps_per_epoch

    def arrange(self, near_misses: NearMisses) -> None:
        """Let the batches of an epoch hold near misses together."""
        self.sampler = replace(self.sampler, near_misses=near_misses)

    def __getitem__(self, step: int) -> ReadPairs | ClipkitError:
        """Return the pairs of a step, or the error that :meth:`read` raises.

        It is returned and not raised: of an error that a worker process raises, a DataLoader makes
        a traceback, which keeps the workers alive for as long as it is referenced.
        """
        try:
            return self.read(self.sampler.rows_of(step))
        except ClipkitError as error:
            return error

    def read(self, wanted: StepRows) -> ReadPairs:
        """Return pairs; where one cannot be read, another that is drawn at random replaces it.

        Args:
            wanted: Which ones.

        Returns:
            As many pairs as there are rows.

        Raises:
            TrainingError: If a hundred pairs in a row cannot be read.
        """
        rows, captions, views = [], [], []
        bad: dict[str, str] = {}
        for position, row in enumerate(wanted.rows, wanted.start):
            generator = np.random.default_rng([self.sampler.seed, wanted.epoch, position])
            row, caption, view = self._read_one(int(row), generator, bad)
            rows.append(row)
            captions.append(caption)
            views.append(view)
        return ReadPairs(
            np.array(rows, dtype=np.int64),
            np.array([self._image_key(row) for row in rows], dtype=np.int64),
            captions,
            [np.stack(values) for values in zip(*views, strict=True)],
            bad,
        )

    def _image_key(self, row: int) -> int:
        name = self.dataset.class_name(row)
        if name is not None:
            return class_key(name)
        return row if self._first_rows is None else int(self._first_rows[row])

    def _read_one(
        self, row: int, generator: np.random.Generator, bad: dict[str, str]
    ) -> tuple[int, str, list[NDArray[np.uint8]]]:
        for attempt in itertools.count(1):
            try:
                return row, *self._augmented(row, generator)
            except ImageReadError as error:
                bad[error.path] = error.reason
                if attempt == _MAX_TRIES:
                    raise TrainingError(
                        f"{attempt} pairs in a row cannot be read, the last one is {error}: "
                        "see that the images are where the data says"
                    ) from error
                row = int(generator.integers(len(self.dataset)))
        raise AssertionError  # count never ends

    def _augmented(
        self, row: int, generator: np.random.Generator
    ) -> tuple[str, list[NDArray[np.uint8]]]:
        """Return one of a pair's captions, and its image for each image tower."""
        pair = self.dataset[row]
        if self._known_bad is not None and self._known_bad[row]:
            raise ImageReadError(pair.name, "it could not be read when features were computed")
        return augmented(pair, self._preprocesses, self._augmentation, generator)


def augmented(
    pair: Pair,
    preprocesses: Sequence[Preprocess],
    augmentation: Augmentation,
    generator: np.random.Generator,
) -> tuple[str, list[NDArray[np.uint8]]]:
    """Return one of a pair's captions, and its image for each image tower.

    Args:
        pair: The pair.
        preprocesses: One for each image tower that sees the image; none: it is not read.
        augmentation: How much it changes from epoch to epoch.
        generator: Chooses the caption and the change.

    Returns:
        The caption and a view of shape (3, S, S) for each tower.

    Raises:
        ImageReadError: If the image cannot be read; it names the pair.
    """
    caption = pair.captions[int(generator.integers(len(pair.captions)))]
    if not preprocesses:
        return caption, []
    try:
        views = augmentation.levels(pair.image, list(preprocesses), generator)
    except ImageReadError as error:
        # Bytes that were read from a shard carry no file name.
        raise ImageReadError(pair.name, error.reason) from error
    return caption, views
