"""Batches of a run with hard negatives: mined before each epoch, and kept."""

from collections.abc import Generator, Iterable
from contextlib import closing
from itertools import count, islice
from typing import Any, cast

import numpy as np

from clipkit.training.mined_batches import MinedBatches
from clipkit.training.near_misses import NearMisses


class _Batches:
    """Batches that note what they are told, three steps an epoch."""

    steps_per_epoch = 3

    def __init__(self) -> None:
        self.told: list[Any] = []

    def arrange(self, near_misses: NearMisses) -> None:
        self.told.append(f"arrange {near_misses.epoch}")

    def numbered(self, numbers: Iterable[int]) -> Generator[int]:
        for number in numbers:
            self.told.append(number)
            yield number


class _Miner:
    """Notes the epochs whose near misses it is asked for."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def __call__(self, epoch: int) -> NearMisses:
        self.epochs.append(epoch)
        return _misses(epoch)


def _misses(epoch: int) -> NearMisses:
    return NearMisses(epoch, np.zeros((1, 1), dtype=np.int32))


def _steps(mined: MinedBatches, after: int, most: int) -> list[int]:
    with closing(mined.numbered(count(after))) as batches:
        return cast(list[int], list(islice(batches, most)))


def test_each_epoch_is_mined_before_its_first_batch() -> None:
    batches, miner = _Batches(), _Miner()
    several = MinedBatches(cast(Any, batches), miner)
    assert _steps(several, 0, 3) == [0, 1, 2]
    assert miner.epochs == [0]  # the next epoch's by the model after the third step
    assert several.newest is not None
    assert several.newest.epoch == 0
    assert _steps(several, 3, 4) == [3, 4, 5, 6]
    assert miner.epochs == [0, 1, 2]
    assert batches.told == [
        "arrange 0", 0, 1, 2, "arrange 1", 3, 4, 5, "arrange 2", 6,
    ]  # fmt: skip


def test_a_run_resumed_within_an_epoch_takes_what_was_mined_before() -> None:
    batches, miner = _Batches(), _Miner()
    several = MinedBatches(cast(Any, batches), miner, _misses(1))
    assert _steps(several, 4, 3) == [4, 5, 6]
    assert miner.epochs == [2]
    assert batches.told == ["arrange 1", 4, 5, "arrange 2", 6]


def test_a_run_resumed_between_epochs_mines_anew() -> None:
    miner = _Miner()
    several = MinedBatches(cast(Any, _Batches()), miner, _misses(0))
    assert _steps(several, 3, 1) == [3]
    assert miner.epochs == [1]
