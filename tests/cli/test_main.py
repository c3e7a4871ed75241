import os
import re
import signal
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


def test_no_words_print_a_short_guide(run: Run) -> None:
    outcome = run()
    assert (outcome.status, outcome.err) == (0, "")
    assert 'clipkit search "a red boat" ~/Pictures' in outcome.out
    assert len(outcome.out.splitlines()) < 12


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_a_command_too(run: Run, name: str) -> None:
    assert run("help", name) == run(name, "--help")


def test_help_alone_lists_the_commands(run: Run) -> None:
    assert run("help") == run("--help")
    assert run("help").status == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_two_examples_or_more(run: Run, name: str) -> None:
    _, _, examples = run(name, "--help").out.partition("\nexamples:")
    assert len(re.findall(rf"(?m)^  clipkit {name}( |$)", examples)) >= 2


def test_the_help_ends_with_examples_and_the_exit_statuses(run: Run) -> None:
    _, _, end = run("--help").out.partition("\nexamples:")
    assert len(re.findall(r"(?m)^  clipkit ", end)) >= 2
    _, _, statuses = end.partition("\nexit status:\n")
    assert [line.split()[0] for line in statuses.splitlines()] == ["0", "1", "2", "130"]
    assert max(map(len, end.splitlines())) <= 100


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("serch", "cat"), "there is no command 'serch': did you mean search?"),
        (("help", "clasify"), "there is no command 'clasify': did you mean classify?"),
        (("a red boat",), 'to search for it, type  clipkit search "a red boat"'),
        (("search", "cat", "--tpo", "5"), "there is no option --tpo: did you mean --top?"),
        (("search", "cat", "--fter=2024"), "there is no option --fter: did you mean --after?"),
        (("index", "x", "--rebild"), "there is no option --rebild: did you mean --rebuild?"),
        (("search", "cat", "--crops", "5"), "there is no option --crops: clipkit index has it"),
        (
            ("index", "x", "--labels=a,b"),
            "there is no option --labels: clipkit classify, map and adapt have it",
        ),
        (("models", "--model", "x"), "there is no option --model; see  clipkit models --help"),
        (("doctor", "--zzzzz"), "there is no option --zzzzz"),
        (("index", ""), "argument FOLDER: must be a path, got ''"),
        (("index", "", "--forget"), "argument FOLDER: must be a path, got ''"),
        (("duplicates", "", "-0"), "argument FOLDER: must be a path, got ''"),
        (("export", "", "-o", "x"), "argument FOLDER: must be a path, got ''"),
        (("export", ".", "-o", ""), "argument --output/-o: must be a path, got ''"),
        (("classify", "", "--labels", "a,b"), "argument PATH: must be a path, got ''"),
        (("score", ""), "argument PAIRS: must be a path, got ''"),
        (
            ("export", "photos"),
            "--output/-o is missing:  clipkit export [options] --output DIRECTORY FOLDER",
        ),
        (("--verion",), "there is no option --verion: did you mean --version?"),
        (("fetch", "one", "two"), "too many words: two; see  clipkit fetch --help"),
    ],
)
def test_what_was_probably_meant(run: Run, words: tuple[str, ...], message: str) -> None:
    outcome = run(*words)
    assert (outcome.status, outcome.out) == (2, "")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


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


@pytest.mark.slow
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


@pytest.mark.parametrize("module", ["argparse", "clipkit.search.library"])
def test_ctrl_c_while_importing_leaves_no_traceback(
    module: str, samples: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}: raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
    )
    paths = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", "clipkit", "search", "cat", str(samples[0].parent)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "clipkit: interrupted\n"
    # As a shell has it, 130; Python itself ends with the signal where it broke off an import.
    assert done.returncode in (130, -signal.SIGINT)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="/dev/full is a device of Linux")
def test_a_full_disk_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "clipkit", "models", "starter"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (2, "clipkit: No space left on device\n")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="closing a descriptor by a shell's words")
def test_no_stdout_at_all_is_no_defect() -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" -m clipkit models starter >&-', sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
