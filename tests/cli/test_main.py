import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from clipkit.cli import models
from clipkit.cli.main import COMMANDS, build_parser
from clipkit.errors import InputError
from tests.cli.conftest import Outcome

Run = Callable[..., Outcome]


def test_there_are_commands() -> None:
    assert {"search", "classify", "index", "models", "fetch"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(run: Run, name: str) -> None:
    outcome = run(name, "--help")
    assert outcome.status == 0
    assert f"clipkit {name}" in outcome.out
    assert outcome.err == ""


def test_help_lists_every_command() -> None:
    text = build_parser().format_help()
    assert all(name in text for name in COMMANDS)


def test_version(run: Run) -> None:
    assert run("--version").out.startswith("clipkit 0.")


def test_no_command_is_a_usage_error(run: Run) -> None:
    outcome = run()
    assert outcome.status == 2
    assert "usage: clipkit" in outcome.err


def test_an_unknown_model_is_one_line_and_status_2(run: Run, samples: list[Path]) -> None:
    outcome = run("classify", samples[0], "--labels", "cat,dog", "--model", "startr")
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.startswith("clipkit: ")
    assert outcome.err.count("\n") == 1
    assert "startr" in outcome.err


def break_models(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(models, "run", fail)


def test_an_interrupt_ends_with_status_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    break_models(monkeypatch, KeyboardInterrupt())
    outcome = run("models")
    assert (outcome.status, outcome.err) == (130, "clipkit: interrupted\n")


def test_an_error_of_the_system_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    break_models(monkeypatch, FileNotFoundError(2, "No such file", "labels.txt"))
    outcome = run("models")
    assert (outcome.status, outcome.err) == (2, "clipkit: labels.txt: No such file\n")


@pytest.mark.filterwarnings("default")
def test_of_many_warnings_a_few_are_printed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(*_: object, **__: object) -> None:
        for number in range(100):
            warnings.warn(f"text {number} is cut", UserWarning, stacklevel=1)
        warnings.warn("another kind", RuntimeWarning, stacklevel=1)
        raise InputError("done")

    monkeypatch.setattr(models, "run", warn)
    lines = run("models").err.splitlines()
    assert lines[:5] == [f"clipkit: text {number} is cut" for number in range(5)]
    assert lines[5:] == [
        "clipkit: more warnings of this kind are not shown",
        "clipkit: another kind",
        "clipkit: done",
    ]


def test_a_defect_of_clipkit_is_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    break_models(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        run("models")


def test_a_reader_that_has_seen_enough_ends_it_quietly(samples: list[Path]) -> None:
    reading, writing = os.pipe()
    os.close(reading)  # whoever was behind the pipe is gone already
    try:
        done = subprocess.run(
            [sys.executable, "-m", "clipkit", "models", "--json"],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 0
