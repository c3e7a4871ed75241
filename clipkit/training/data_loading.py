"""Loading the batches of a run: pairs read ahead in worker processes, and made into tensors.

Shapes: B pairs of one rank, N pairs of the dataset, S image size, D dimensions of the shared space.
"""

import itertools
import multiprocessing
import os
import signal
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from clipkit.errors import ClipkitError, InputError
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.progress import map_ahead
from clipkit.runtime.base import trim_padding
from clipkit.training.batch import Batch, text_keys
from clipkit.training.near_misses import NearMisses
from clipkit.training.pair_reading import BatchReader, PairReader, ReadPairs


@dataclass(frozen=True)
class LoadedBatch:
    """One rank's part of a step's global batch, and what was noticed while reading it."""

    batch: Batch
    captions: Sequence[str]
    teacher_images: torch.Tensor | None  # the same views, in the size that the teacher takes
    bad: dict[str, str]  # pairs that could not be read: name -> reason


class NumberedBatches(Protocol):
    """The batches of a run by their numbers."""

    @property
    def steps_per_epoch(self) -> int:
        """How many batches go through all the pairs once."""

    def numbered(self, numbers: Iterable[int]) -> Generator[LoadedBatch]:
        """Yield this rank's part of batches by their numbers, from 0 over the whole run."""


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

    def arrange(self, near_misses: NearMisses) -> None:
        """Let the batches of an epoch that are read from now on hold near misses together.

        Args:
            near_misses: Of that epoch.
        """
        assert isinstance(self._reader, PairReader)  # the config refuses streams
        self._reader.arrange(near_misses)

    def after(self, step: int) -> Generator[LoadedBatch]:
        """Yield the batches after the first ``step`` ones, without end.

        Args:
            step: How many steps are done.

        Yields:
            This rank's part of each.

        Raises:
            TrainingError: If the pairs cannot be read.
        """
        yield from self.numbered(itertools.count(step))

    def numbered(self, numbers: Iterable[int]) -> Generator[LoadedBatch]:
        """Yield this rank's part of batches by their numbers, from 0 over the whole run."""
        with closing(self._read_ahead(numbers)) as batches:
            for read in batches:
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
            if _start_method() != "fork":
                _check_can_be_sent(self._reader)
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


class BatchGroups:
    """The steps of a run, each of several batches whose gradients are averaged.

    The batches of an epoch that fill no group are left out, as pairs are that fill no batch; the
    next epoch has another order.

    Args:
        batches: One by one.
        size: How many batches a step has.
    """

    def __init__(self, batches: NumberedBatches, size: int) -> None:
        self._batches = batches
        self._size = size

    @property
    def steps_per_epoch(self) -> int:
        """How many whole groups go through all the pairs once."""
        return self._batches.steps_per_epoch // self._size

    def after(self, step: int) -> Generator[tuple[LoadedBatch, ...]]:
        """Yield the batches of each step after the first ``step`` ones, without end.

        Args:
            step: How many steps are done.

        Yields:
            This rank's parts.

        Raises:
            TrainingError: If the pairs cannot be read.
        """
        with closing(self._batches.numbered(self._numbers(step))) as batches:
            while True:
                yield tuple(itertools.islice(batches, self._size))

    def _numbers(self, step: int) -> Iterator[int]:
        for one in itertools.count(step):
            epoch, group = divmod(one, self.steps_per_epoch)
            first = epoch * self._batches.steps_per_epoch + group * self._size
            yield from range(first, first + self._size)


def _as_tensors(read: ReadPairs | ClipkitError) -> ReadPairs | ClipkitError:
    """Return pairs with tensors for arrays, which cross to another process in shared memory."""
    if isinstance(read, ClipkitError):
        return read
    views: list[Any] = [torch.from_numpy(view) for view in read.views]
    return replace(read, views=views)


def _check_can_be_sent(reader: BatchReader) -> None:
    """Raise if worker processes that do not fork cannot be given what they read.

    Args:
        reader: It, with its dataset.

    Raises:
        InputError: If it cannot be pickled.
    """
    try:
        with Path(os.devnull).open("wb") as nowhere:
            ForkingPickler(nowhere).dump(reader)
    except Exception as error:
        raise InputError(
            f"the dataset cannot be sent to worker processes ({type(error).__name__}: {error}): "
            "this system starts them without a fork, so that it has to be pickled. Set "
            "data.workers = 0, or open files and the like in __getitem__ and define its class in a "
            "module"
        ) from error


def _ignore_signals(worker: int) -> None:
    """Ignore SIGTERM and SIGINT in a worker: the training process ends its workers itself."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _start_method() -> str | None:
    """Return how workers start: by a fork if there is one, as it shares the listing of pairs."""
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else None
