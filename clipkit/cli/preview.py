"""Images in the terminal, among the results: ``clipkit search --preview``."""

import base64
import itertools
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.cli.terminal import note
from clipkit.errors import ImageReadError
from clipkit.inputs.thumbnails import encode_jpeg, read_thumbnail

Pixels = NDArray[np.uint8]
"""RGB, shape (H, W, 3)."""


@dataclass(frozen=True)
class Preview:
    """How images are shown in one terminal."""

    draw: Callable[[Pixels], str]  # what to print; it ends with a line break
    box: tuple[int, int]  # the largest (width, height) of an image, in its pixels

    def show(self, path: Path, *, max_pixels: int | None = None) -> None:
        """Print one image, or a note on stderr why it cannot be shown.

        Args:
            path: The image.
            max_pixels: How many pixels may be decoded. None: default_max_pixels().
        """
        try:
            pixels = read_thumbnail(path, box=self.box, max_pixels=max_pixels)
        except ImageReadError as error:
            note(f"no preview: {error}")
        else:
            print(self.draw(pixels), end="", flush=True)


def open_preview(height: int) -> Preview | None:
    """Return how to show images on stdout; None, with a note on stderr, if it is no terminal.

    Args:
        height: How high an image may be, in pixels, at least 1.

    Returns:
        The preview.
    """
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        note("--preview needs a terminal that shows colours: the images are left out")
        return None
    draw = choose_drawing(os.environ, ask_tmux() if "TMUX" in os.environ else "")
    columns = shutil.get_terminal_size().columns
    if draw is draw_kitty_in_tmux:
        height = min(height, len(_ROW_MARKS) * _CELL_HEIGHT)
    if draw in (draw_kitty, draw_kitty_in_tmux, draw_iterm2):
        return Preview(draw, (columns * _CELL_WIDTH, height))
    # One column stays free: some terminals break a line that is full. A cell is two pixels high.
    return Preview(draw, (max(1, columns - 1), 2 * max(1, round(height / _CELL_HEIGHT))))


# Pixels of one character, where a terminal does not say; on most screens it has a few more.
_CELL_WIDTH, _CELL_HEIGHT = 8, 20


def ask_tmux() -> str:
    """Return what tmux knows of the terminal around it, if it lets images through to it.

    Returns:
        Names such as "xterm-kitty kitty(0.35.2)"; empty, with a note, if it keeps images out.
    """
    # Two names of the terminal, and 0 where nothing passes; a tmux before 3.3 always lets it pass.
    question = "#{allow-passthrough}|#{client_termname} #{client_termtype}"
    try:
        answer = subprocess.run(
            ["tmux", "display-message", "-p", question],
            capture_output=True,
            text=True,
            timeout=2,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    passes, _, names = answer.strip().partition("|")
    if passes in ("0", "off") and is_kitty(names):
        note("tmux keeps images to itself; its command  set -g allow-passthrough on  changes that")
        return ""
    return names


def is_kitty(names: str) -> bool:
    """Return whether a terminal of these names has Kitty's graphics protocol."""
    return any(name in names.lower() for name in ("kitty", "ghostty"))


def choose_drawing(environment: Mapping[str, str], outer: str = "") -> Callable[[Pixels], str]:
    """Return the best way of drawing that a terminal says it has.

    Terminals could be asked, but some answer late, and the answer would look like typing.

    Args:
        environment: Environment variables.
        outer: Inside tmux: the terminal around it, as `ask_tmux` names it.

    Returns:
        A function from pixels, shape (H, W, 3), to what to print.
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "TMUX" in environment and is_kitty(outer):
        return draw_kitty_in_tmux
    if "TMUX" not in environment and not term.startswith(("tmux", "screen")):
        # Those do not know where an image of iTerm2's protocol is, and write over it. LC_TERMINAL
        # passes through ssh.
        has_iterm2 = "iTerm2" in environment.get("LC_TERMINAL", "")
        if has_iterm2 or program in ("iTerm.app", "WezTerm", "mintty"):
            return draw_iterm2
        if "KITTY_WINDOW_ID" in environment or term in ("xterm-kitty", "xterm-ghostty"):
            return draw_kitty
    is_full_color = environment.get("COLORTERM") in ("truecolor", "24bit")
    return draw_blocks if is_full_color else draw_coarse_blocks


# --- protocols --------------------------------------------------------------------------------


def draw_kitty(pixels: Pixels) -> str:
    """Return pixels in Kitty's graphics protocol, in their natural size.

    Source: https://sw.kovidgoyal.net/kitty/graphics-protocol/ (direct transmission in chunks).
    """
    return "".join(_kitty_commands(pixels, "")) + "\n"


def draw_kitty_in_tmux(pixels: Pixels) -> str:
    """Return pixels as cells of text that Kitty fills with an image, wherever tmux puts them.

    Source:
        https://sw.kovidgoyal.net/kitty/graphics-protocol/#unicode-placeholders and
        https://github.com/tmux/tmux/wiki/FAQ (passthrough: what is wrapped, with every escape
        twice, goes to the terminal as it is).
    """
    height, width, _ = pixels.shape
    rows = min(len(_ROW_MARKS), max(1, round(height / _CELL_HEIGHT)))
    columns = max(1, round(width / _CELL_WIDTH))
    number = next(_image_numbers) % 255 + 1  # as a colour, which tmux passes on: 1 to 255
    commands = _kitty_commands(pixels, f"U=1,i={number},c={columns},r={rows},")
    wrapped = (
        "\033Ptmux;" + command.replace("\033", "\033\033") + "\033\\" for command in commands
    )
    # The first cell of a row says which row it is; the others continue the one to their left.
    lines = (
        f"\033[38;5;{number}m{_CELL}{mark}{_CELL * (columns - 1)}\033[39m\n"
        for mark in _ROW_MARKS[:rows]
    )
    return "".join([*wrapped, *lines])


_CELL = "\U0010eeee"
# The first of kitty's rowcolumn-diacritics.txt, which say rows 0 to 29.
_ROW_MARKS = "".join(
    map(
        chr,
        (
            *(0x305, 0x30D, 0x30E, 0x310, 0x312, 0x33D, 0x33E, 0x33F, 0x346, 0x34A, 0x34B, 0x34C),
            *(0x350, 0x351, 0x352, 0x357, 0x35B, *range(0x363, 0x370)),
        ),
    )
)
_image_numbers = itertools.count(os.getpid())  # so that one search does not replace another's


def _kitty_commands(pixels: Pixels, keys: str) -> list[str]:
    """Return the commands that transmit an image, 24 bits a pixel and compressed, and show it."""
    height, width, _ = pixels.shape
    data = base64.b64encode(zlib.compress(pixels.tobytes())).decode("ascii")
    chunks = [data[start : start + 4096] for start in range(0, len(data), 4096)]
    # q=2: no answer, which a shell would take for typing.
    heads = [f"a=T,f=24,o=z,s={width},v={height},{keys}q=2,"] + ["q=2,"] * (len(chunks) - 1)
    more = [1] * (len(chunks) - 1) + [0]
    parts = zip(heads, more, chunks, strict=True)
    return [f"\033_G{head}m={flag};{chunk}\033\\" for head, flag, chunk in parts]


def draw_iterm2(pixels: Pixels) -> str:
    """Return pixels in iTerm2's inline images protocol, in their natural size.

    Source: https://iterm2.com/documentation-images.html
    """
    height, width, _ = pixels.shape
    file = encode_jpeg(pixels)
    data = base64.b64encode(file).decode("ascii")
    options = f"inline=1;size={len(file)};width={width}px;height={height}px"
    return f"\033]1337;File={options}:{data}\a\n"


def draw_blocks(pixels: Pixels) -> str:
    """Return pixels as characters whose upper and lower half are one pixel each, in full colour."""
    return _blocks(pixels, lambda color: "2;{};{};{}".format(*color))


def draw_coarse_blocks(pixels: Pixels) -> str:
    """Return pixels as draw_blocks does, in the 216 colours that every colour terminal has."""
    levels = np.searchsorted(_BETWEEN_LEVELS, pixels)
    return _blocks(levels @ np.array([36, 6, 1]) + 16, lambda color: f"5;{color}")


# Halves between the values of the 6 levels of xterm's colour cube: 0, 95, 135, 175, 215, 255.
_BETWEEN_LEVELS = np.array([47.5, 115, 155, 195, 235])


def _blocks(colors: NDArray[np.integer], code: Callable[..., str]) -> str:
    """Return characters for colors of shape (H, W) or (H, W, 3), two rows of them to a line."""
    if len(colors) % 2:
        colors = np.concatenate([colors, colors[-1:]])
    lines = zip(colors[::2].tolist(), colors[1::2].tolist(), strict=True)
    return "".join(
        "".join(
            f"\033[38;{code(upper)};48;{code(lower)}m▀"
            for upper, lower in zip(uppers, lowers, strict=True)
        )
        + "\033[0m\n"
        for uppers, lowers in lines
    )
