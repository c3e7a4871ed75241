"""Completion, asked of the shells themselves."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome

Run = Callable[..., Outcome]


def script(run: Run, shell: str, folder: Path) -> Path:
    outcome = run("completion", shell)
    assert (outcome.status, outcome.err) == (0, "")
    path = folder / f"clipkit.{shell}"
    path.write_text(outcome.out)
    return path


def ask(shell: str, *words: str, folder: Path) -> list[str]:
    """Run words in a shell and return the lines that it prints."""
    executable = shutil.which(shell)
    if executable is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run(
        [executable, *words], capture_output=True, text=True, check=True, cwd=folder
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["cla"], ["classify"]),
        (["search", "--to"], ["--top"]),
        (["search", "cat", "--min-"], ["--min-relevance", "--min-size"]),
        (["index", "photos", "--precision", "f"], ["fastest", "fp32", "fp16"]),
        (["index", "pho"], ["photos"]),
    ],
)
def test_bash(run: Run, words: list[str], expected: list[str], tmp_path: Path) -> None:
    path = script(run, "bash", tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "phone.txt").touch()
    line = " ".join(f"'{word}'" for word in ["clipkit", *words])
    code = (
        f"source '{path}'; COMP_WORDS=({line}); COMP_CWORD={len(words)}; "
        f"_shtab_clipkit clipkit '{words[-1]}' '{words[-2] if len(words) > 1 else 'clipkit'}'; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    assert ask("bash", "--norc", "-c", code, folder=tmp_path) == expected


def test_fish(run: Run, tmp_path: Path) -> None:
    path = script(run, "fish", tmp_path)
    code = f"source '{path}'; complete -C 'clipkit cla'; complete -C 'clipkit search --to'"
    found = [line.split("\t")[0] for line in ask("fish", "-N", "-c", code, folder=tmp_path)]
    assert found == ["classify", "--top"]


def test_zsh_can_read_its_script(run: Run, tmp_path: Path) -> None:
    path = script(run, "zsh", tmp_path)
    text = path.read_text()
    assert text.startswith("#compdef clipkit")
    assert "--min-relevance" in text
    assert ask("zsh", "-n", str(path), folder=tmp_path) == []


def test_another_shell_is_told(run: Run) -> None:
    outcome = run("completion", "ksh")
    assert outcome.status == 2
    assert "choose from" in outcome.err
