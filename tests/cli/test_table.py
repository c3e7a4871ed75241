"""Columns on a terminal, tabs in a pipe; with a real terminal around a real process."""

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clipkit.cli.table import display_width, table_lines
from tests.cli.conftest import Outcome
from tests.fakes import age_files, save_picture

Run = Callable[..., Outcome]
pty = pytest.importorskip("pty")


def in_terminal(*words: object, **environment: str) -> list[str]:
    """The lines that ``clipkit WORDS…`` shows on a terminal."""
    process, terminal = pty.fork()
    if process == 0:  # pragma: no cover - another process
        kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        os.execve(
            sys.executable,
            [sys.executable, "-m", "clipkit", *map(str, words)],
            {**kept, "TERM": "xterm-256color", **environment},
        )
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal says that nobody writes to it any more
        while part := os.read(terminal, 65536):
            shown += part
    os.close(terminal)
    os.waitpid(process, 0)
    return shown.decode().replace("\r\n", "\n").splitlines()


@pytest.fixture
def photos(run: Run, tmp_path: Path) -> Path:
    folder = tmp_path / "p"
    for name in ("a.png", "\u732b\u306e\u5199\u771f.png", "cafe\u0301.png"):
        save_picture(folder / name, (255, 0, 0), size=9)
    age_files(folder)
    assert run("index", folder).status == 0
    return folder


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("", 0),
        ("cat.jpg", 7),
        ("\u732b", 2),  # a cat, in a script whose letters are wide
        ("\uff43at", 4),  # a wide c
        ("\uff76", 1),  # a narrow katakana
        ("e\u0301", 1),  # an accent upon the letter before it
        ("\U0001f408", 2),  # an emoji
        ("a\u200db", 2),  # joined by nothing that is seen
        ("\u0414", 1),
    ],
)
def test_columns_of_a_text(text: str, width: int) -> None:
    assert display_width(text) == width


def test_a_terminal_gets_columns(photos: Path) -> None:
    _, heading, *rows = in_terminal("search", "red", photos, "--no-indexing")
    rows = [row for row in rows if row.startswith("0") or row.startswith("1")]
    assert heading.startswith("\033[1mscore  filepath")
    assert heading.endswith("\033[0m")
    assert len(rows) == 3
    assert "\t" not in "".join(rows)
    # The relevance stands in one column, however wide the letters before it are.
    starts = {display_width(row) - len(row.rpartition(" ")[2]) for row in rows}
    assert len(starts) == 1


def test_colours_can_be_refused(photos: Path) -> None:
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        lines = in_terminal("search", "red", photos, "--no-indexing", **environment)
        assert "\033[" not in "".join(lines)
        assert any(line.startswith("score  filepath") for line in lines)


def test_a_pipe_gets_tabs(run: Run, photos: Path) -> None:
    lines = run("search", "red", photos, "--no-indexing").out.splitlines()
    assert [line.count("\t") for line in lines] == [2] * 4
    assert "\033" not in "".join(lines)


def test_classes_and_duplicates_are_aligned_too(photos: Path) -> None:
    rows = [
        line.split("  ")
        for line in in_terminal("classify", photos, "--labels", "red,blue", "--top", "1")
        if "%" in line
    ]
    assert len(rows) == 3
    lines = [line for line in in_terminal("duplicates", photos, "--exact") if ".png" in line]
    assert len(lines) == 3
    assert len({line.index('"') for line in lines}) == 1
    assert lines[0].startswith("best  9x9  ")


def test_control_characters_are_shown_not_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    rows = [("name", "n"), ("a\x1b[2J\n", "1"), ("\u732b", "22")]
    assert table_lines(rows, right={1}) == [
        "name         n",
        "a\\x1b[2J\\n   1",
        "\u732b          22",
    ]
