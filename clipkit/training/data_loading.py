"""Loading the batches of a run: sampling pairs, reading and augmenting them, making tensors.

Pairs, captions and augmentations are a function of (seed, epoch, position), so a run that is
resumed in the middle of an epoch, with other workers or another world size, sees the same ones.

Shapes: B pairs of one rank, N pairs of the dataset, S image size, D dimensions of the shared space.
"""

import functools
import itertools
import multiprocessing
import signal
import warnings
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from clipkit.data.mixing import epoch_order
from clipkit.data.pair import Pair, PairDataset
from clipkit.errors import ClipkitError, ImageReadError, TrainingError
from clipkit.inputs.augmentation import Augmentation
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.progress import map_ahead
from clipkit.runtime.base import trim_padding
from clipkit.training.batch import Batch, class_key, text_keys

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

    sizes: tuple[int, ...]  # pairs of each dataset that is mixed in
    weights: tuple[float, ...]  # how often the pairs of each are drawn in an epoch
    seed: int
    batch_size: int  # over all ranks, a multiple of the world size
    rank: int = 0
    world_size: int = 1

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
        return epoch_order(self.sizes, self.weights, seed=self.seed, epoch=epoch)


@dataclass(frozen=True)
class ReadPairs:
    """The pairs of a step as they were read, before they are tensors."""

    rows: NDArray[np.int64]  # (B,), of the dataset
    image_keys: NDArray[np.int64]  # (B,), equal for pairs of one class and for a pair with itself
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

    @property
    def num_pairs(self) -> int:
        """N, the number of pairs of the dataset."""
        return len(self.dataset)

    @property
    def fingerprint(self) -> str:
        """What identifies the pairs and how often each is drawn."""
        return f"{self.dataset.fingerprint} {self.sampler.weights}"

    @property
    def steps_per_epoch(self) -> int:
        """How many batches go through all the pairs once."""
        return self.sampler.steps_per_epoch

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
        return row if name is None else class_key(name)

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


@dataclass(frozen=True)
class LoadedBatch:
    """One rank's part of a step's global batch, and what was noticed while reading it."""

    batch: Batch
    captions: Sequence[str]
    teacher_images: torch.Tensor | None  # the same views, in the size that the teacher takes
    bad: dict[str, str]  # pairs that could not be read: name -> reason


class PairBatches:
    """The batches of a run by step, read ahead in worker processes while the towers compute.

    Args:
        reader: Reads the pairs of a step.
        tokenizer: Of the text tower.
        padding_id: Token id that may be cut off the ends of rows; None: rows stay whole.
        image_features: Of every pair's image, from a frozen image tower, shape (N, D); None: images
            are read.
        teacher_view: Which of the reader's views is the teacher's; None: there is no teacher.
        workers: Processes that read; 0: a thread of this one.
    """

    def __init__(
        self,
        reader: BatchReader,
        tokenizer: Tokenizer,
        padding_id: int | None,
        *,
        image_features: NDArray[np.float32] | None = None,
        teacher_view: int | None = None,
        workers: int = 0,
    ) -> None:
        self._reader = reader
        self._tokenizer = tokenizer
        self._padding_id = padding_id
        self._image_features = image_features
        self._teacher_view = teacher_view
        self._workers = workers

    @property
    def num_pairs(self) -> int:
        """N, the number of pairs of the dataset."""
        return self._reader.num_pairs

    @property
    def fingerprint(self) -> str:
        """What identifies the pairs and how often each is drawn."""
        return self._reader.fingerprint

    @property
    def steps_per_epoch(self) -> int:
        """How many batches go through all the pairs once."""
        return self._reader.steps_per_epoch

    def after(self, step: int) -> Generator[LoadedBatch]:
        """Yield the batches after the first ``step`` ones, without end.

        Args:
            step: How many steps are done.

        Yields:
            This rank's part of each.

        Raises:
            TrainingError: If the pairs cannot be read.
        """
        with closing(self._read_ahead(itertools.count(step))) as steps:
            for read in steps:
                if isinstance(read, ClipkitError):
                    raise read
                yield self._collate(read)

    def _read_ahead(self, steps: Iterable[int]) -> Generator[ReadPairs | ClipkitError]:
        if not self._workers:
            yield from map_ahead(self._reader.__getitem__, steps, ahead=2, workers=1)
            return
        with warnings.catch_warnings():
            # Torch warns of more workers than cores, but the user chose the number; Python warns
            # of a fork beside threads, but workers use no lock of the threads here.
            warnings.simplefilter("ignore")
            loader: DataLoader[ReadPairs | ClipkitError] = DataLoader(
                self._reader,  # type: ignore[arg-type]  # needs no more than __getitem__
                sampler=steps,
                batch_size=None,
                collate_fn=_as_tensors,  # type: ignore[arg-type]  # of one item, not of a list
                num_workers=self._workers,
                # Without its own generator the loader draws from torch's global one, as dropout
                # does: a resumed run would differ.
                generator=torch.Generator(),
                worker_init_fn=_ignore_signals,
                multiprocessing_context=_start_method(),
            )
            results = iter(loader)
        yield from results

    def _collate(self, read: ReadPairs) -> LoadedBatch:
        """Return the pairs of a step as the towers take them."""
        views = [torch.as_tensor(view) for view in read.views]
        features = self._image_features
        # That captions are cut is counted by `clipkit train --check`.
        token_ids = self._tokenizer.tokenize_quietly(read.captions).token_ids
        batch = Batch(
            token_ids=torch.from_numpy(trim_padding(token_ids, self._padding_id)),
            caption_keys=text_keys(token_ids),
            image_keys=torch.from_numpy(read.image_keys),
            images=views[0] if features is None else None,
            image_features=None if features is None else torch.from_numpy(features[read.rows]),
        )
        teacher_images = None if self._teacher_view is None else views[self._teacher_view]
        return LoadedBatch(batch, read.captions, teacher_images, read.bad)


def _as_tensors(read: ReadPairs | ClipkitError) -> ReadPairs | ClipkitError:
    """Return pairs with tensors for arrays, which cross to another process in shared memory."""
    if isinstance(read, ClipkitError):
        return read
    views: list[Any] = [torch.from_numpy(view) for view in read.views]
    return replace(read, views=views)


def _ignore_signals(worker: int) -> None:
    """Ignore SIGTERM and SIGINT in a worker: the training process ends its workers itself."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _start_method() -> str | None:
    """Return how workers start: by a fork if there is one, as it shares the listing of pairs."""
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else None
