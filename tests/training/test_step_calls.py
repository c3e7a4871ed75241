"""Callbacks of a run's steps: they draw what they like, and may stop the run."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from clipkit.progress import Callbacks, StopTraining
from clipkit.training.step_calls import StepCalls


def test_each_is_told_what_was_done() -> None:
    told: list[object] = []
    calls = StepCalls(
        Callbacks(
            on_step=lambda *told_of: told.append(told_of),
            on_validation=lambda *told_of: told.append(told_of),
            on_checkpoint=lambda *told_of: told.append(told_of),
        )
    )
    metrics = {"loss": 2.0}
    calls.on_step(1, metrics)
    calls.on_validation(2, 0.5, metrics)
    calls.on_validation(3, None, metrics)
    calls.on_checkpoint(3, Path("a"))

    assert told == [
        (1, {"loss": 2.0}),
        (2, {"score": 0.5, "loss": 2.0}),
        (3, {"loss": 2.0}),
        (3, Path("a")),
    ]
    assert told[0][1] is not metrics  # type: ignore[index]  # it may be changed
    assert not calls.is_stop_asked and calls.error is None


def test_random_numbers_stay_where_they_were() -> None:
    def draw(*_: object) -> None:
        random.random(), np.random.rand(), torch.rand(())

    def seeded() -> None:
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)

    def numbers() -> list[float]:
        return [random.random(), float(np.random.rand()), float(torch.rand(()))]

    calls = StepCalls(Callbacks(on_step=draw, on_validation=draw, on_checkpoint=draw))
    seeded()
    expected = numbers()
    seeded()
    calls.on_step(1, {})
    calls.on_validation(1, None, {})
    calls.on_checkpoint(1, Path())

    assert numbers() == expected


def test_one_may_ask_to_stop_or_fail() -> None:
    def stop(*_: object) -> None:
        raise StopTraining

    def fail(*_: object) -> None:
        raise OSError("no room")

    calls = StepCalls(Callbacks(on_step=stop, on_checkpoint=fail))
    calls.on_step(1, {})
    assert calls.is_stop_asked
    with pytest.raises(OSError, match="no room") as raised:
        calls.on_checkpoint(1, Path())
    assert calls.error is raised.value
