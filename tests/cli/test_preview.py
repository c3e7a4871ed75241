"""Images in the terminal: what is printed, taken apart again as a terminal would."""

import base64
import contextlib
import io
import os
import re
import shlex
import shutil
import sys
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from clipkit.cli.main import build_parser
from clipkit.cli.preview import (
    Preview,
    choose_drawing,
    draw_blocks,
    draw_coarse_blocks,
    draw_iterm2,
    draw_kitty,
    draw_kitty_in_tmux,
    open_preview,
)
from tests.conftest import SAMPLES

Pixels = NDArray[np.uint8]
images = arrays.arrays(
    np.uint8,
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)),
    elements=st.integers(0, 255),
)


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


# --- protocols --------------------------------------------------------------------------------


def read_kitty(text: str) -> Pixels:
    """What a terminal makes of Kitty's graphics protocol, by the rules of its description."""
    assert text.endswith("\033\\\n")
    commands = re.findall(r"\033_G([^;]*);([^\033]*)\033\\", text)
    assert "".join(f"\033_G{keys};{data}\033\\" for keys, data in commands) + "\n" == text
    controls = [dict(pair.split("=") for pair in keys.split(",")) for keys, _ in commands]
    first = controls[0]
    assert (first["a"], first["f"], first["o"], first["q"]) == ("T", "24", "z", "2")
    assert set(first) == {"a", "f", "o", "q", "s", "v", "m"}
    assert all(set(control) <= {"m", "q"} for control in controls[1:])
    assert [control["m"] for control in controls] == ["1"] * (len(controls) - 1) + ["0"]
    chunks = [data for _, data in commands]
    assert all(len(chunk) <= 4096 for chunk in chunks)
    assert all(len(chunk) % 4 == 0 for chunk in chunks[:-1])
    data = zlib.decompress(b"".join(base64.b64decode(chunk, validate=True) for chunk in chunks))
    return np.frombuffer(data, np.uint8).reshape(int(first["v"]), int(first["s"]), 3)


@given(images)
def test_kitty(pixels: Pixels) -> None:
    assert np.array_equal(read_kitty(draw_kitty(pixels)), pixels)


@pytest.mark.parametrize("height", [1, 20, 100])
def test_kitty_in_chunks(height: int) -> None:
    pixels = noise(height, 51)  # noise does not shrink: 153 bytes a row, 204 characters
    text = draw_kitty(pixels)
    assert text.count("\033_G") >= height * 204 / 4096
    assert np.array_equal(read_kitty(text), pixels)


@given(images)
def test_iterm2(pixels: Pixels) -> None:
    text = draw_iterm2(pixels)
    match = re.fullmatch(r"\033\]1337;File=([^:]*):([^\a]*)\a\n", text)
    assert match is not None
    options = dict(pair.split("=") for pair in match[1].split(";"))
    file = base64.b64decode(match[2], validate=True)
    height, width, _ = pixels.shape
    assert options == {
        "inline": "1",
        "size": str(len(file)),
        "width": f"{width}px",
        "height": f"{height}px",
    }
    with Image.open(io.BytesIO(file)) as image:
        assert image.size == (width, height)


@given(images)
def test_kitty_in_tmux(pixels: Pixels) -> None:
    check_placeholders(*unwrap(draw_kitty_in_tmux(pixels)), pixels)


def test_kitty_in_tmux_in_chunks() -> None:
    pixels = noise(100, 51)
    check_placeholders(*unwrap(draw_kitty_in_tmux(pixels)), pixels)


def unwrap(text: str) -> tuple[str, str]:
    """What tmux passes on as it is, and what it takes for text."""
    wrapped = re.compile(r"\033Ptmux;((?:\033\033|[^\033])*)\033\\")
    passed = "".join(match[1].replace("\033\033", "\033") for match in wrapped.finditer(text))
    return passed, wrapped.sub("", text)


def check_placeholders(passed: str, cells: str, pixels: Pixels) -> None:
    """Read an image and the cells it shall fill as Kitty does."""
    head = re.match(r"\033_G([^;]*);", passed)
    assert head is not None
    keys = dict(pair.split("=") for pair in head[1].split(","))
    columns, rows, number = (int(keys.pop(key)) for key in "cri")
    assert keys.pop("U") == "1"  # a virtual placement: it is shown where its cells are
    rest = ",".join(f"{key}={value}" for key, value in keys.items())
    assert np.array_equal(read_kitty(f"\033_G{rest};{passed[head.end() :]}\n"), pixels)
    assert 1 <= number <= 255
    lines = cells.removesuffix("\n").split("\n")
    assert len(lines) == rows
    for row, line in enumerate(lines):
        match = re.fullmatch(rf"\033\[38;5;{number}m((?:\U0010eeee[^\033]?)+)\033\[39m", line)
        assert match is not None
        first, mark, *others = list(match[1])
        assert (first, *others) == ("\U0010eeee",) * columns
        assert ROWS[row] == ord(mark)


# kitty's gen/rowcolumn-diacritics.txt says how its list is made: these letters of Unicode, but for
# those that are a part of another.
FUSED = {*range(0x300, 0x305), *range(0x306, 0x30D), 0x30F, 0x311, 0x313, 0x314, 0x342}
ROWS = [
    code
    for code in range(0x300, 0x370)
    if unicodedata.combining(chr(code)) == 230
    and not unicodedata.decomposition(chr(code))
    and code not in FUSED
]


CODE = "(2;[0-9]+;[0-9]+;[0-9]+|5;[0-9]+)"
CELL = re.compile(rf"\033\[38;{CODE};48;{CODE}m▀")


def read_blocks(text: str, color: Callable[[str], tuple[int, ...]]) -> Pixels:
    """The pixels that half-block characters show."""
    rows: list[list[tuple[int, ...]]] = []
    for line in text.removesuffix("\n").split("\n"):
        assert line.endswith("\033[0m")
        cells = CELL.findall(line)
        assert CELL.sub("", line) == "\033[0m"
        rows += [[color(upper) for upper, _ in cells], [color(lower) for _, lower in cells]]
    return np.array(rows, dtype=np.uint8)


def full(code: str) -> tuple[int, ...]:
    kind, *levels = code.split(";")
    assert kind == "2"
    return tuple(map(int, levels))


def indexed(code: str) -> tuple[int, ...]:
    """A colour of xterm's palette, as its 256colres.h has it."""
    kind, number = map(int, code.split(";"))
    assert kind == 5
    assert 16 <= number < 232
    levels = [0, 95, 135, 175, 215, 255]
    red, rest = divmod(number - 16, 36)
    return levels[red], levels[rest // 6], levels[rest % 6]


def even(pixels: Pixels) -> Pixels:
    """Pixels, the last row twice if their number is odd."""
    return pixels if len(pixels) % 2 == 0 else np.vstack([pixels, pixels[-1:]])


@given(images)
def test_blocks(pixels: Pixels) -> None:
    assert np.array_equal(read_blocks(draw_blocks(pixels), full), even(pixels))


@given(images)
def test_coarse_blocks_have_the_nearest_colors(pixels: Pixels) -> None:
    shown = read_blocks(draw_coarse_blocks(pixels), indexed).astype(int)
    wanted = even(pixels).astype(int)
    nearest = np.abs(wanted[..., None] - np.array([0, 95, 135, 175, 215, 255])).min(axis=-1)
    assert np.array_equal(np.abs(shown - wanted), nearest)


# --- terminals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "drawing"),
    [
        ({"TERM": "xterm-kitty", "KITTY_WINDOW_ID": "1", "COLORTERM": "truecolor"}, draw_kitty),
        ({"TERM": "xterm-kitty"}, draw_kitty),  # over ssh
        ({"TERM": "xterm-ghostty", "TERM_PROGRAM": "ghostty"}, draw_kitty),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, draw_iterm2),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, draw_iterm2),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, draw_iterm2),
        # WezTerm, started from kitty
        ({"TERM": "xterm", "TERM_PROGRAM": "WezTerm", "KITTY_WINDOW_ID": "1"}, draw_iterm2),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, draw_blocks),
        ({"TERM": "xterm-256color", "COLORTERM": "24bit"}, draw_blocks),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, draw_coarse_blocks),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, draw_coarse_blocks),
        ({"TERM": "screen", "LC_TERMINAL": "iTerm2", "COLORTERM": "truecolor"}, draw_blocks),
        (
            {"TERM": "xterm-256color", "TMUX": "/tmp/t,1,0", "LC_TERMINAL": "iTerm2"},
            draw_coarse_blocks,
        ),
        ({}, draw_coarse_blocks),
    ],
)
def test_which_drawing(environment: dict[str, str], drawing: Callable[[Pixels], str]) -> None:
    assert choose_drawing(environment) is drawing


@pytest.mark.parametrize("name", ["xterm-kitty kitty(0.35.2)", "xterm-ghostty ghostty 1.2"])
def test_images_pass_through_tmux(name: str) -> None:
    inside = {"TERM": "tmux-256color", "TMUX": "/tmp/t,1,0", "COLORTERM": "truecolor"}
    assert choose_drawing(inside, name) is draw_kitty_in_tmux
    assert choose_drawing(inside, "xterm-256color iTerm2 3.5") is draw_blocks
    assert choose_drawing(inside, "") is draw_blocks


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
@pytest.mark.parametrize("passes", ["on", "off"])
def test_a_real_tmux_is_asked_and_passes_images_on(passes: str, tmp_path: Path) -> None:
    settings = tmp_path / "tmux.conf"
    settings.write_text(f"set -g allow-passthrough {passes}\n")
    inner = tmp_path / "inner.py"
    inner.write_text(
        "import os, sys\n"
        "from clipkit.cli.preview import open_preview\n"
        "sys.stdout.write('before ')\n"
        f"open_preview(400).show(__import__('pathlib').Path({str(SAMPLES / 'cat.jpg')!r}))\n"
    )
    socket = f"clipkit-test-{tmp_path.parent.name}-{passes}"
    command = (  # once the terminal has told tmux its name
        "until tmux display-message -p '#{client_termtype}' | grep -q kitty; do :; done; "
        f"{shlex.quote(sys.executable)} {shlex.quote(str(inner))} 2> {tmp_path / 'notes'}"
    )
    options = ["-L", socket, "-f", str(settings)]
    shown = in_terminal(["tmux", *options, "new-session", command])
    images = re.findall(rb"\033_G(a=T[^;]*);", shown)
    notes = (tmp_path / "notes").read_text()
    if passes == "on":
        assert notes == ""
        assert [b"U=1" in image for image in images] == [True]
    else:
        assert "allow-passthrough on" in notes
        assert images == []


def in_terminal(words: list[str]) -> bytes:
    """Run words in a terminal that is called kitty and return all that it was told to show."""
    pty = pytest.importorskip("pty")
    process, terminal = pty.fork()
    if process == 0:  # pragma: no cover - another process
        variables = {key: value for key, value in os.environ.items() if key != "TMUX"}
        os.execvpe(words[0], words, {**variables, "TERM": "xterm-256color"})
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal says that nobody writes to it any more
        while part := os.read(terminal, 65536):
            shown += part
            if b"\033[>q" in part:  # what is your name?
                os.write(terminal, b"\033P>|kitty(0.35.2)\033\\\\")
    os.close(terminal)
    os.waitpid(process, 0)
    return shown


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make stdout a terminal of 80 columns with this environment."""

    def terminal(**environment: str) -> None:
        for name in ("TMUX", "TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID", "COLORTERM"):
            monkeypatch.delenv(name, raising=False)
        for name, value in ({"TERM": "xterm", "COLUMNS": "80"} | environment).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)

    return terminal


def test_blocks_fit_the_columns_and_the_height(terminal: Callable[..., None]) -> None:
    terminal(COLORTERM="truecolor")
    assert open_preview(400) == Preview(draw_blocks, (79, 40))  # 20 lines of 20 pixels
    assert open_preview(1) == Preview(draw_blocks, (79, 2))


def test_graphics_fit_the_columns_and_the_height(terminal: Callable[..., None]) -> None:
    terminal(TERM="xterm-kitty")
    assert open_preview(400) == Preview(draw_kitty, (640, 400))


def test_images_are_shown(
    terminal: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(COLORTERM="truecolor")
    preview = open_preview(400)
    assert preview is not None
    with Image.open(SAMPLES / "cat.jpg") as image:
        width, height = image.size
    preview.show(SAMPLES / "cat.jpg")
    printed = capsys.readouterr()
    pixels = read_blocks(printed.out, full)
    assert pixels.shape == (40, round(40 * width / height), 3)
    assert printed.err == ""


def test_unreadable_images_are_noted(
    terminal: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    terminal()
    preview = open_preview(400)
    assert preview is not None
    preview.show(tmp_path / "gone.jpg")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"no preview: {tmp_path / 'gone.jpg'}: no such file\n"


def test_only_a_terminal_shows_images(
    terminal: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    note = "--preview needs a terminal that shows colours: the images are left out\n"
    assert open_preview(400) is None  # pytest catches stdout
    assert capsys.readouterr().err == note
    terminal(TERM="dumb")
    assert open_preview(400) is None
    assert capsys.readouterr().err == note


def test_options_are_those_of_rclip() -> None:
    parser = build_parser(["search"])

    def chosen(*words: str) -> tuple[bool, int]:
        arguments = parser.parse_args(["search", "a cat", *words])
        return arguments.preview, arguments.preview_height

    assert chosen() == (False, 400)
    assert chosen("-p", "-H", "200") == (True, 200)
    assert chosen("--preview", "--preview-height", "200") == (True, 200)
