"""The loop on a module of two numbers whose gradients are known."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clipkit.training.config import OptimizerConfig, WatchConfig
from clipkit.training.loop import Hooks, TrainingLoop
from clipkit.training.progression import Progression


class Pair(nn.Module):
    """Two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Parameter(torch.zeros(1))
        self.fast = nn.Parameter(torch.zeros(1))


class SlopeStep:
    """A loss that rises by one for each number."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    def backward(self, batch: int) -> dict[str, Tensor]:
        torch.autograd.backward((self._pair.plain + self._pair.fast).sum())
        return {"loss": torch.tensor(1.0)}


class Numbers:
    """Two batches an epoch."""

    steps_per_epoch = 2

    def after(self, step: int) -> Iterator[int]:
        return itertools.count(step)


def test_a_group_learns_at_the_rate_times_its_factor() -> None:
    """Four steps of plain descent at 0.1: 0.4 along a slope of one, 1.2 with a factor of 3."""
    pair = Pair()
    groups: list[dict[str, Any]] = [
        {"params": [pair.plain]},
        {"params": [pair.fast], "rate_factor": 3.0},
    ]
    rates = []
    hooks = Hooks(
        log=lambda step, metrics: rates.append(metrics["lr"]),
        log_validation=lambda step, validation: None,
        validate=lambda: None,
        save=lambda: None,
        after_step=lambda: None,
    )
    loop = TrainingLoop(pair, SlopeStep(pair), Numbers(), torch.optim.SGD(groups), hooks)
    config = OptimizerConfig(lr=0.1, clip_norm=0, schedule="constant", warmup_fraction=0)
    watch = WatchConfig(log_steps=1)
    assert loop.run(Progression(), epochs=2, config=config, watch=watch)
    assert pair.plain.item() == pytest.approx(-0.4)
    assert pair.fast.item() == pytest.approx(-1.2)
    assert rates == [0.1] * 4  # what is written down is the rate without factors
