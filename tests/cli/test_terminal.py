"""File names that are hard to print."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clipkit.cli.terminal import (
    LiveLines,
    can_replace_lines,
    display_width,
    note,
    progress_bar,
    table_lines,
    to_json,
    use_file_system_encoding,
)
from tests.cli.conftest import Outcome
from tests.fakes import age_files, save_image

# Every name a Linux folder can hold.
names = st.binary(min_size=1, max_size=40).filter(lambda name: not {0, 47} & set(name))
posix = pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX systems only")


@posix
@given(names)
@example(b"\xed\xa0\xbd\xed\xb8\x80")  # a surrogate pair, each half encoded by itself
@example('line\nbreak "quote" 👩‍🚀 \u2028 café'.encode())
@example(bytes(range(1, 47)) + bytes(range(48, 256)))
def test_json_gives_every_name_back(name: bytes) -> None:
    line = to_json({"path": os.fsdecode(name), "similarity": 0.5}).encode("utf-8")
    assert b"\n" not in line
    record = json.loads(line.decode("utf-8"))
    assert os.fsencode(record["path"]) == name
    assert record["similarity"] == 0.5


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_json_leaves_valid_text_as_it_is(text: str) -> None:
    assert to_json(text) == json.dumps(text, ensure_ascii=False)


def test_json_commands_no_terminal() -> None:
    assert to_json("\x1b\x7f\x9b") == r'"\u001b\u007f\u009b"'


def test_json_is_ascii_where_stdout_is_not_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")
    assert to_json("café \udcff") == '"caf\\u00e9 \\udcff"'


@posix
@given(names)
def test_print_writes_every_name_byte_for_byte(name: bytes) -> None:
    file = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(file, encoding="ascii"))
        use_file_system_encoding()
        sys.stdout.write(os.fsdecode(name) + "\0")
        sys.stdout.flush()
        sys.stdout.detach()  # type: ignore[union-attr]
    assert file.getvalue() == name + b"\0"


def test_other_kinds_of_stdout_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    use_file_system_encoding()


@posix
@pytest.mark.parametrize("settings", [{"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C"}, {}])
def test_a_process_of_its_own(settings: dict[str, str], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from clipkit.cli.terminal import to_json, use_file_system_encoding\n"
        "use_file_system_encoding()\n"
        "for path in sys.argv[1:]: print(path, end='\\0')\n"
        "print(to_json(sys.argv[1:]))\n"
    )
    given = ["emoji 👩‍🚀\n".encode(), b"caf\xe9", b"\xff\xfe"]
    ended = subprocess.run(
        [sys.executable, "-c", code, *given],
        env=os.environ | settings,
        capture_output=True,
        check=True,
    )
    *printed, line = ended.stdout.split(b"\0")
    assert printed == given
    assert [os.fsencode(name) for name in json.loads(line.decode("utf-8"))] == given


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def screen(written: str) -> list[str]:
    """Return what a terminal shows of some text: a carriage return goes back to write over."""
    lines = []
    for line in written.split("\n"):
        shown = ""
        for piece in line.split("\r"):
            shown = piece + shown[len(piece) :]
        lines.append(shown.rstrip())
    return lines


def test_a_note_has_a_line_of_its_own_beside_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar("classifying") as progress:
        progress(0, 10)
        note("36 of 36 images are looked up")
        progress(10, 10)
    assert screen(terminal.getvalue())[0] == "36 of 36 images are looked up"
    note("done")  # the bar is gone
    assert screen(terminal.getvalue())[-2:] == ["done", ""]


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
        save_image(folder / name, (255, 0, 0), size=9)
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


@pytest.mark.slow
def test_a_terminal_gets_columns(photos: Path) -> None:
    _, heading, *rows = in_terminal("search", "red", photos, "--no-indexing")
    rows = [row for row in rows if row.startswith("0") or row.startswith("1")]
    assert heading.startswith("\033[1mrelevance  filepath")
    assert heading.endswith("\033[0m")
    assert len(rows) == 3
    assert "\t" not in "".join(rows)
    # The relevance stands in one column, however wide the letters before it are.
    starts = {display_width(row) - len(row.rpartition(" ")[2]) for row in rows}
    assert len(starts) == 1


@pytest.mark.slow
def test_colours_can_be_refused(photos: Path) -> None:
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        lines = in_terminal("search", "red", photos, "--no-indexing", **environment)
        assert "\033[" not in "".join(lines)
        assert any(line.startswith("relevance  filepath") for line in lines)


def test_a_pipe_gets_tabs(run: Run, photos: Path) -> None:
    lines = run("search", "red", photos, "--no-indexing").out.splitlines()
    assert [line.count("\t") for line in lines] == [2] * 4
    assert "\033" not in "".join(lines)


@pytest.mark.slow
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


class Screen(io.StringIO):
    """A terminal of 20 columns and 8 lines that obeys what LiveLines write."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.row, self.column = [""], 0, 0

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        for code, number, letter, char in re.findall(r"(\033\[(\d*)([A-Z]))|(.)", text, re.DOTALL):
            if letter == "A":
                self.row -= int(number)
                assert self.row >= 0
            elif letter == "K":
                self.rows[self.row] = self.rows[self.row][: self.column]
            elif letter == "J":
                self.rows[self.row] = self.rows[self.row][: self.column]
                del self.rows[self.row + 1 :]
            elif char == "\r":
                self.column = 0
            elif char == "\n":
                self.row, self.column = self.row + 1, 0
                self.rows += [""] * (self.row + 1 - len(self.rows))
            else:
                assert not code, code
                assert self.column < 20, "it wraps"
                row = self.rows[self.row].ljust(self.column)
                self.rows[self.row] = row[: self.column] + char + row[self.column + 1 :]
                self.column += 1
        return len(text)

    @property
    def shown(self) -> list[str]:
        return [row.rstrip() for row in self.rows if row.strip()]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("LINES", "8")
    return Screen()


def test_lines_are_replaced_in_place_and_stay_below_notes(terminal: Screen) -> None:
    with contextlib.redirect_stderr(terminal):
        note("before")
        with LiveLines() as lines:
            lines.show(["one", "two", "three"])
            assert terminal.shown == ["before", "one", "two", "three"]
            lines.show(["four", "5"])
            assert terminal.shown == ["before", "four", "5"]
            note("between")
            assert terminal.shown == ["before", "between", "four", "5"]
            with progress_bar("at it") as progress:
                progress(0, 10)
                assert terminal.shown[-1].startswith("at it:")
                lines.show(["six"])
                assert terminal.shown == ["before", "between", "six"]  # until the bar moves
                note("again")
                assert terminal.shown == ["before", "between", "again", "six"]
        assert terminal.shown == ["before", "between", "again"]
        note("after")
    assert terminal.shown[-1] == "after"


def test_lines_are_cut_to_what_the_terminal_holds(terminal: Screen) -> None:
    with contextlib.redirect_stderr(terminal), LiveLines() as lines:
        lines.show(["x" * 19, "y" * 20, "写" * 20, "a\nb", *"123456"])
        cut = ["x" * 19, "y" * 18 + "…", "写" * 9 + "…", "a\\nb", "1", "2"]
        assert terminal.shown == cut
    assert terminal.shown == []


def test_a_terminal_without_room_shows_no_lines(
    terminal: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINES", "1")
    with contextlib.redirect_stderr(terminal), LiveLines() as lines:
        lines.show(["one", "two", "three"])
        assert terminal.shown == []


def test_no_lines_write_nothing(terminal: Screen) -> None:
    with contextlib.redirect_stderr(terminal), LiveLines():
        pass
    assert terminal.rows == [""]


@pytest.mark.parametrize(("term", "can"), [("xterm-256color", True), ("dumb", False)])
def test_dumb_terminals_replace_no_lines(
    term: str, can: bool, terminal: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    with contextlib.redirect_stderr(terminal):
        assert not can_replace_lines()  # stdout is none
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert can_replace_lines() == can
