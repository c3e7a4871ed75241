"""The batches of a run with hard negatives: near misses are mined before each epoch."""

import itertools
from collections.abc import Callable, Generator
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

    def after(self, step: int) -> Generator[LoadedBatch]:
        """Yield the batches after the first ``step`` ones, without end.

        Args:
            step: How many steps are done.

        Yields:
            This rank's part of each.
        """
        for epoch in itertools.count(step // self.steps_per_epoch):
            if self.newest is None or self.newest.epoch != epoch:
                self.newest = self._mine(epoch)
            self._batches.arrange(self.newest)
            end = (epoch + 1) * self.steps_per_epoch
            with closing(self._batches.between(max(step, end - self.steps_per_epoch), end)) as some:
                yield from some
