"""Choosing the final weights of a run once more, in Python and on the command line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import clipkit
from clipkit.errors import InputError
from clipkit.runs.report import read_report
from clipkit.training.checkpoints import RunCheckpoints
from clipkit.training.config import RunConfig
from tests.runs.conftest import Train

# Tiny runs are warned of: few steps, small batches, few pairs to validate on.
pytestmark = pytest.mark.filterwarnings("ignore::clipkit.errors.ClipkitWarning")


@pytest.mark.slow
def test_final_weights_can_be_chosen_again_without_training(
    fine_tune: Callable[..., Path], tmp_path: Path
) -> None:
    config = RunConfig.from_toml(fine_tune())
    first = clipkit.train(config)
    moved = Path(config.output).rename(tmp_path / "moved")
    log = (moved / "metrics.jsonl").read_bytes()
    checkpoint = RunCheckpoints(moved / "checkpoints").path(first.best_step or first.step)

    second = clipkit.choose_again(moved, ["watch.wise_ft=false"])

    assert second.alpha is None
    assert second.end == first.end == second.final
    assert (second.step, second.seconds, second.best_step) == (
        first.step,
        first.seconds,
        first.best_step,
    )
    name = "open_clip_model.safetensors"
    trained, final = load_file(checkpoint / name), load_file(moved / "final" / name)
    for key, tensor in trained.items():
        np.testing.assert_array_equal(final[key], tensor)
    assert read_report(moved) == second
    assert not RunConfig.from_toml(moved / "run.toml").watch.wise_ft
    assert (moved / "metrics.jsonl").read_bytes() == log
    third = clipkit.choose_again(moved, ["watch.wise_ft=true"])
    assert (third.alpha, third.interpolations) == (first.alpha, first.interpolations)


def test_only_the_choice_can_be_made_again(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run that has ended: give the directory of one"):
        clipkit.choose_again(tmp_path)
    with pytest.raises(InputError, match=r"settings of watch, got 'optimizer\.lr=1'"):
        clipkit.choose_again(tmp_path, ["optimizer.lr=1"])


@pytest.mark.slow
def test_the_command_chooses_again(train: Train, fine_tune: Callable[..., Path]) -> None:
    path = fine_tune()
    assert train(path).status == 0
    run = path.with_suffix("")
    outcome = train("--finalize", run, "--set", "watch.wise_ft=false")
    assert outcome.status == 0, outcome.err
    assert "trained" in outcome.out
    assert str(run / "final") in outcome.out
    outcome = train("--finalize", run, "--set", "optimizer.lr=1")
    assert outcome.status == 2
    assert "settings of watch" in outcome.err
