"""The batches of a run with hard negatives: near misses are mined before each epoch."""

import itertools
from collections.abc import Callable, Generator, Iterable
from contextlib import closing

from clipkit.training.data_loading import LoadedBatch, PairBatches
from clipkit.training.near_misses import NearMisses


class MinedBatches:
    """The batches of a run, each epoch's arranged by near misses that are mined before it.

    Args:
        batches: As they are without.
        mine: Returns the near misses of an epoch, by the model as it is.
        newest: Those of the epoch that a resumed run is in; None: it begins one.
    """

    def __init__(
        self,
        batches: PairBatches,
        mine: Callable[[int], NearMisses],
        newest: NearMisses | None = None,
    ) -> None:
        self._batches = batches
        self._mine = mine
        self.newest = newest

    @property
    def steps_per_epoch(self) -> int:
        """How many batches go through all the pairs once."""
        return self._batches.steps_per_epoch

    def numbered(self, numbers: Iterable[int]) -> Generator[LoadedBatch]:
        """Yield this rank's part of batches by their numbers, ascending from 0 over the run.

        Args:
            numbers: Of the batches.

        Yields:
            Each, after the near misses of its epoch have been found.
        """
        for epoch, several in itertools.groupby(numbers, lambda at: at // self.steps_per_epoch):
            if self.newest is None or self.newest.epoch != epoch:
                self.newest = self._mine(epoch)
            self._batches.arrange(self.newest)
            with closing(self._batches.numbered(several)) as batches:
                yield from batches
