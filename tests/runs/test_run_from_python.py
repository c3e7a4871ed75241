"""What a run does to the process that called it: it warns, and leaves random numbers alone."""

import json
import random
import shutil
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import clipkit
from clipkit.progress import Callbacks
from clipkit.training.config import RunConfig
from tests.runs.conftest import Train, WriteRun

_FEW = "validate on hardly tell weights apart"
_SHARED = "are trained on too"


@pytest.fixture
def odd_run(write_run: WriteRun, captions_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a run with few images to validate on, all trained on too.

    Its captions name a side, images are mirrored, and settings are given that nothing uses.
    """
    held_out = tmp_path / "held out"
    held_out.mkdir()
    for path in sorted(captions_folder.glob("*"))[:6]:
        shutil.copy(path, held_out)

    def write(name: str) -> Path:
        return write_run(
            name,
            data={"validation": str(held_out), "templates": ["a {}"], "image_column": "file"},
            watch={"retention_class_names": str(tmp_path / "names.txt")},
        )

    return write


def test_python_is_warned_as_the_command_line_is(
    odd_run: Callable[..., Path], train: Train
) -> None:
    outcome = train(odd_run("shell"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = clipkit.train(RunConfig.from_toml(odd_run("python")))

    start = "clipkit: warning: "
    shown = [line.removeprefix(start) for line in outcome.err.splitlines() if start in line]
    assert [str(warning.message) for warning in caught] == shown
    assert report.warnings == tuple(shown)
    assert len(set(shown)) == len(shown) == 7  # three unused, shared, few, few steps, small batch
    assert sum(_FEW in line for line in shown) == sum(_SHARED in line for line in shown) == 1
    assert all(warning.category is clipkit.ClipkitWarning for warning in caught)
    # Each stands at the line that called clipkit.
    assert {warning.filename for warning in caught} == {__file__}
    assert json.loads(Path(report.directory, "report.json").read_text())["warnings"] == shown


def test_check_has_the_warnings_of_the_run(odd_run: Callable[..., Path]) -> None:
    config = RunConfig.from_toml(odd_run("python"))
    warned: list[str] = []

    found = clipkit.check(config)  # it issues none

    clipkit.train(config, callbacks=Callbacks(warn=warned.append))
    assert set(found.warnings) == set(warned)
    assert found.to_dict()["warnings"] == list(found.warnings)


def draws() -> list[float]:
    """Return the next number of each global generator."""
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


@pytest.fixture
def expected() -> list[float]:
    """Seed the global generators, and return what they give next."""
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    numbers = draws()
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    return numbers


@pytest.mark.filterwarnings("ignore::clipkit.errors.ClipkitWarning")
def test_random_numbers_are_the_caller_s(
    expected: list[float], fine_tune: Callable[..., Path]
) -> None:
    report = clipkit.train(RunConfig.from_toml(fine_tune()))
    clipkit.choose_again(report.directory, ["watch.max_forgetting=0.5"])

    assert draws() == expected


def test_random_numbers_are_the_caller_s_after_check(
    expected: list[float], write_run: WriteRun
) -> None:
    clipkit.check(RunConfig.from_toml(write_run()))

    assert draws() == expected


def test_random_numbers_are_the_caller_s_after_a_run_that_fails(
    expected: list[float], write_run: WriteRun
) -> None:
    def fail(done: int, total: int | None) -> None:
        raise ZeroDivisionError

    config = RunConfig.from_toml(write_run())
    callbacks = Callbacks(warn=lambda line: None, progress_for=lambda label: nullcontext(fail))

    with pytest.raises(ZeroDivisionError):
        clipkit.train(config, callbacks=callbacks)

    assert draws() == expected


def test_a_run_draws_the_same_whatever_the_caller_drew(write_run: WriteRun) -> None:
    config = RunConfig.from_toml(write_run())
    quiet = Callbacks(warn=lambda line: None)
    random.seed(5)
    torch.manual_seed(5)
    first = clipkit.train(config, callbacks=quiet)
    torch.manual_seed(6)
    second = clipkit.train(replace(config, output=config.output + "-2"), callbacks=quiet)

    name = "open_clip_model.safetensors"
    assert (first.checkpoint / name).read_bytes() == (second.checkpoint / name).read_bytes()
