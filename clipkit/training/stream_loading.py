"""Reading the pairs of a run's steps from shards that are streamed.

Which pairs a step sees is a function of (seed, epoch, position), the number of processes and that
of the workers: a resumed run reads again what its epoch has read before, and goes on behind it.

Shapes: B pairs of one rank, S image size.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from clipkit.data.shard_stream import Lane, ShardStream, StreamedPair
from clipkit.errors import ClipkitError, ImageReadError, InputError, TrainingError
from clipkit.inputs.augmentation import Augmentation
from clipkit.inputs.preprocess import Preprocess
from clipkit.training.batch import class_key
from clipkit.training.pair_reading import ReadPairs, augmented

_AUGMENT = 0x6175  # a part of seeds: these random numbers differ from others of the run's seed


@dataclass(frozen=True)
class StreamSampler:
    """How the pairs of a stream are dealt out to steps, ranks and workers."""

    samples_per_epoch: int
    seed: int
    batch_size: int  # over all ranks, a multiple of the world size
    workers: int  # of each rank that read side by side, at least 1
    rank: int = 0
    world_size: int = 1

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return self.samples_per_epoch // self.batch_size

    def check_shards(self, num_shards: int) -> None:
        """Raise InputError if there are fewer shards than readers."""
        if num_shards < self.world_size:
            raise InputError(
                f"{num_shards} shards cannot be shared by {self.world_size} processes: start "
                "fewer, or pack the pairs into more shards"
            )
        num_lanes = self.world_size * self.workers
        if num_shards < num_lanes:
            raise InputError(
                f"{num_shards} shards cannot be shared by {num_lanes} readers, {self.workers} in "
                f"each of {self.world_size} processes: set data.workers = "
                f"{num_shards // self.world_size} or less, or pack the pairs into more shards"
            )

    def place_of(self, step: int) -> tuple[int, Lane, int]:
        """Return the epoch of a step, which lane it reads, and how many steps that has read."""
        epoch, number = divmod(step, self.steps_per_epoch)
        turn, worker = divmod(number, self.workers)
        lane = Lane(self.rank * self.workers + worker, self.world_size * self.workers)
        return epoch, lane, turn


class StreamReader:
    """Reads and augments the pairs of a step from a stream; each worker process has its own.

    Args:
        stream: The shards.
        sampler: How pairs are dealt out.
        preprocesses: One for each image tower that sees the images.
        augmentation: How much an image changes from epoch to epoch.
    """

    def __init__(
        self,
        stream: ShardStream,
        sampler: StreamSampler,
        preprocesses: Sequence[Preprocess],
        augmentation: Augmentation,
    ) -> None:
        sampler.check_shards(stream.num_read)
        self._stream = stream
        self._sampler = sampler
        self._preprocesses = list(preprocesses)
        self._augmentation = augmentation
        self._pairs: Generator[StreamedPair, None, None] | None = None
        self._next: tuple[int, Lane, int] | None = None  # the place that _pairs is at

    @property
    def num_pairs(self) -> int:
        """How many pairs an epoch has."""
        return self._sampler.samples_per_epoch

    @property
    def fingerprint(self) -> str:
        """What identifies the shards and how much of them is an epoch."""
        return f"{self._stream.fingerprint} {self._sampler.samples_per_epoch}"

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return self._sampler.steps_per_epoch

    def __getitem__(self, step: int) -> ReadPairs | ClipkitError:
        """Return the pairs of a step, or the error that they cannot be read by."""
        try:
            return self._read(step)
        except InputError as error:
            return TrainingError(f"{error}. The same command resumes this run")
        except ClipkitError as error:
            return error

    def _read(self, step: int) -> ReadPairs:
        size = self._sampler.batch_size // self._sampler.world_size
        epoch, lane, turn = self._sampler.place_of(step)
        if self._pairs is None or self._next != (epoch, lane, turn):
            if self._pairs is not None:
                self._pairs.close()
            self._pairs = self._stream.pairs(self._sampler.seed, epoch, lane)
            for _ in islice(self._pairs, turn * size):
                pass
        self._next = None  # unknown, should reading fail
        batch = self._augmented(list(islice(self._pairs, size)), step)
        self._next = (epoch, lane, turn + 1)
        return batch

    def _augmented(self, items: Sequence[StreamedPair], step: int) -> ReadPairs:
        """Return a batch; where a pair cannot be read, another one of the batch replaces it.

        So it takes as many pairs from the stream in any case, and a resumed run need not look at
        the images that it leaves out.
        """
        bad = {error.path: error.reason for item in items for error in item.skipped}
        good: list[int] = []
        read: list[tuple[str, list[NDArray[np.uint8]]]] = []
        for number, item in enumerate(items):
            try:
                read.append(self._augmented_pair(item, step, number))
                good.append(number)
            except ImageReadError as error:
                bad[error.path] = error.reason
        if not good:
            name, reason = list(bad.items())[-1]
            raise TrainingError(
                f"none of the {len(items)} pairs of a batch can be read, the last one is {name}: "
                f"{reason}: see that the shards hold images"
            )
        for place in range(len(items) - len(good)):  # as copies, which are no negatives
            good.append(good[place])
            read.append(read[place])
        captions, views = zip(*read, strict=True)
        return ReadPairs(
            np.full(len(items), -1, dtype=np.int64),  # a stream has no rows
            np.array([_image_key(items[number]) for number in good], dtype=np.int64),
            list(captions),
            [np.stack(values) for values in zip(*views, strict=True)],
            bad,
        )

    def _augmented_pair(
        self, item: StreamedPair, step: int, number: int
    ) -> tuple[str, list[NDArray[np.uint8]]]:
        seeds = [self._sampler.seed, step, self._sampler.rank, number, _AUGMENT]
        generator = np.random.default_rng(seeds)
        return augmented(item.pair, self._preprocesses, self._augmentation, generator)


def _image_key(item: StreamedPair) -> int:
    return class_key(item.class_name or f"pair {item.pair.name}")
