"""Batches of pairs, read ahead in worker processes while the towers compute.

Shapes: B pairs, L context length, S image size, D dimensions of the shared space.
"""

import hashlib
import itertools
import multiprocessing
import signal
import warnings
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from clipkit.errors import ClipkitError
from clipkit.inputs.tokenizer import TextCutWarning, Tokenizer
from clipkit.progress import map_ahead
from clipkit.runtime.base import trim_padding
from clipkit.training.batch import Batch
from clipkit.training.pair_reader import Order, PairReader, ReadPairs


@dataclass(frozen=True)
class LoadedBatch:
    """One process's share of a step, and what was noticed while reading it."""

    batch: Batch
    captions: Sequence[str]
    teacher_levels: torch.Tensor | None  # the same view, in the size that the teacher takes
    bad: dict[str, str]  # pairs that could not be read: name -> reason


@dataclass(frozen=True, eq=False)
class Assembler:
    """Makes tensors of the pairs that were read."""

    tokenizer: Tokenizer
    padding_id: int | None  # what may be cut off the ends of token ids; None: they stay whole
    # Of every pair's image, from a locked image tower, (N, D); None: images are read.
    image_features: NDArray[np.float32] | None = None
    teacher_view: int | None = None  # which levels are the teacher's; None: there is none

    def assemble(self, read: ReadPairs) -> LoadedBatch:
        """Return pairs as the towers take them.

        Args:
            read: One process's share of a step.

        Returns:
            The share.
        """
        views = [torch.as_tensor(view) for view in read.levels]
        features = self.image_features
        batch = Batch(
            token_ids=caption_tokens(read.captions, self.tokenizer, self.padding_id),
            caption_keys=torch.tensor([text_key(caption) for caption in read.captions]),
            image_keys=torch.as_tensor(read.rows),
            levels=views[0] if features is None else None,
            image_features=None if features is None else torch.from_numpy(features[read.rows]),
        )
        teacher = None if self.teacher_view is None else views[self.teacher_view]
        return LoadedBatch(batch, read.captions, teacher, read.bad)


class PairBatches:
    """The batches of a run, each a function of its number.

    Args:
        reader: Reads the pairs of a share.
        order: Which pairs those are.
        assembler: Makes tensors of them.
        share: Which process this is, and how many there are.
        workers: Processes that read; 0: a thread of this one.
    """

    def __init__(
        self,
        reader: PairReader,
        order: Order,
        assembler: Assembler,
        *,
        share: tuple[int, int] = (0, 1),
        workers: int = 0,
    ) -> None:
        self._shares = _Shares(reader, order, *share)
        self._reader = reader
        self._order = order
        self._assembler = assembler
        self._workers = workers

    @property
    def num_pairs(self) -> int:
        """How many pairs there are."""
        return len(self._reader.source)

    @property
    def fingerprint(self) -> str:
        """What identifies the pairs and how often each is drawn."""
        return f"{self._reader.source.fingerprint} {self._order.weights}"

    @property
    def steps_per_epoch(self) -> int:
        """How many batches go through all the pairs once."""
        return self._order.steps_per_epoch

    def after(self, step: int) -> Generator[LoadedBatch]:
        """Yield the batches that follow the first so many, without end.

        Args:
            step: How many are done.

        Yields:
            This process's shares.

        Raises:
            TrainingError: If the pairs cannot be read.
        """
        with closing(self._read_ahead(itertools.count(step))) as shares:
            for share in shares:
                if isinstance(share, ClipkitError):
                    raise share
                yield self._assembler.assemble(share)

    def _read_ahead(self, steps: Iterable[int]) -> Generator[ReadPairs | ClipkitError]:
        if not self._workers:
            yield from map_ahead(self._shares.__getitem__, steps, ahead=2, workers=1)
            return
        with warnings.catch_warnings():
            # torch's about more workers than cores, Python's about a fork beside threads: the
            # number was asked for, and workers use no lock of the threads here.
            warnings.simplefilter("ignore")
            loader = DataLoader(
                self._shares,
                sampler=steps,
                batch_size=None,
                collate_fn=_as_tensors,  # type: ignore[arg-type]  # of one item, not of a list
                num_workers=self._workers,
                # Or it draws from torch's own, which dropout goes on with after an interruption.
                generator=torch.Generator(),
                worker_init_fn=_ignore_signals,
                multiprocessing_context=_context(),
            )
            shares = iter(loader)
        yield from shares


class _Shares(Dataset[ReadPairs | ClipkitError]):
    """The shares of one process by step, for worker processes; an error is a result like others.

    torch would make a traceback of it, and keep the workers as long as somebody looks at that.
    """

    def __init__(self, reader: PairReader, order: Order, rank: int, world_size: int) -> None:
        self._reader = reader
        self._order = order
        self._rank = rank
        self._world_size = world_size

    def __getitem__(self, step: int) -> ReadPairs | ClipkitError:
        share = self._order.share(step, rank=self._rank, world_size=self._world_size)
        try:
            return self._reader.read(share)
        except ClipkitError as error:
            return error


def _as_tensors(read: ReadPairs | ClipkitError) -> ReadPairs | ClipkitError:
    """Return pairs with tensors for arrays, which cross to another process in shared memory."""
    if isinstance(read, ClipkitError):
        return read
    views: list[Any] = [torch.from_numpy(view) for view in read.levels]
    return replace(read, levels=views)


def caption_tokens(
    captions: Sequence[str], tokenizer: Tokenizer, padding_id: int | None
) -> torch.Tensor:
    """Return token ids of captions, shape (B, L), without padding at the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TextCutWarning)  # the pre-flight counts them once
        return torch.from_numpy(trim_padding(tokenizer(captions), padding_id))


def text_key(caption: str) -> int:
    """Return a number that equal captions share, in every process."""
    digest = hashlib.blake2b(caption.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _ignore_signals(worker: int) -> None:
    """Leave a request to stop to the process that trains; a worker ends when that tells it to."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _context() -> str | None:
    """Return how workers begin: a fork shares the listing of pairs with them."""
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else None
