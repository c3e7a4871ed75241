"""Schedules that rise too long, or never to their height, are named, of an extension as well."""

from pathlib import Path
from typing import Any

import pytest

from clipkit.runs.preflight import check
from clipkit.runs.rate_warnings import schedule_warnings
from clipkit.runs.run import train
from clipkit.training.config import OptimizerConfig, RunConfig
from clipkit.training.optimizer import learning_rate
from tests.runs.conftest import WriteRun
from tests.runs.test_extension import changed


def _only(num_steps: int, **settings: Any) -> str:
    (sentence,) = schedule_warnings(OptimizerConfig(lr=1e-5, **settings), num_steps)
    return sentence


def test_a_warmup_that_takes_most_of_the_run_is_named() -> None:
    assert "warmup_fraction 0.6 makes the run end soon" in _only(390, warmup_fraction=0.6)
    assert list(schedule_warnings(OptimizerConfig(lr=1e-5, warmup_fraction=0.5), 390)) == []
    constant = _only(390, warmup_fraction=0.6, schedule="constant")
    assert constant == (
        "optimizer.warmup_fraction 0.6 lets the learning rate rise for 60% of the steps; 0.1 would "
        "be usual"
    )


def test_a_warmup_that_never_ends_is_named_so() -> None:
    # open_clip's default of 10 000 steps, of which 390 reach 390 / 10 000 of lr
    assert _only(390, warmup_steps=10_000) == (
        "optimizer.warmup_steps 10000 is more than the 390 steps in which the learning rate is to "
        "rise and fall: it is 3.9e-07 at most, and never reaches lr 1e-05; 39 would be usual"
    )


@pytest.mark.parametrize(("warmup", "cooldown"), [(0.6, 0.6), (0.3, 0.9), (0.9, 0.3), (1.0, 1.0)])
@pytest.mark.parametrize("num_steps", [7, 10, 101])
def test_a_cooldown_that_begins_in_the_warmup_is_named(
    num_steps: int, warmup: float, cooldown: float
) -> None:
    settings: dict[str, Any] = {
        "warmup_fraction": warmup,
        "cooldown_fraction": cooldown,
        "schedule": "constant",
    }
    config = OptimizerConfig(lr=1e-5, **settings)
    rates = [learning_rate(step, num_steps=num_steps, config=config) for step in range(num_steps)]
    (sentence,) = schedule_warnings(config, num_steps)
    assert f"warmup_fraction {warmup:g} and cooldown_fraction {cooldown:g} overlap" in sentence
    assert f"is {max(rates):.2g} at most" in sentence


def test_a_cooldown_after_the_warmup_passes_in_silence() -> None:
    settings: dict[str, Any] = {
        "warmup_fraction": 0.1,
        "cooldown_fraction": 0.9,
        "schedule": "constant",
    }
    assert list(schedule_warnings(OptimizerConfig(lr=1e-5, **settings), 100)) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::clipkit.errors.ClipkitWarning")
def test_the_warmup_of_an_extension_is_measured_by_its_own_steps(write_run: WriteRun) -> None:
    config = RunConfig.from_toml(write_run())
    train(config)
    # 10 steps are done, and of 15 its own are 5: by the whole run 7 of 15 would pass
    longer = changed(config, compute={"epochs": 3}, optimizer={"warmup_steps": 7})

    said = "warmup_steps 7 is more than the 5 steps in which"
    assert any(said in line for line in check(longer, extend=True).warnings)
    assert any(said in line for line in train(longer, extend=True).warnings)
    assert Path(config.output, "final").is_dir()
