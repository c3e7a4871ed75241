"""Pictures in the terminal, among the results: ``clipkit search --preview``."""

import base64
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.cli.progress import note
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.thumbnails import encode_jpeg, read_thumbnail

Pixels = NDArray[np.uint8]
"""RGB, shape (H, W, 3)."""


@dataclass(frozen=True)
class Preview:
    """How pictures are shown in one terminal."""

    draw: Callable[[Pixels], str]  # what to print; it ends with a line break
    box: tuple[int, int]  # the largest (width, height) of a picture, in its pixels

    def show(self, path: Path, *, max_pixels: int | None = None) -> None:
        """Print one picture, or a note on stderr why it cannot be shown.

        Args:
            path: The picture.
            max_pixels: How many pixels may be decoded. None: default_max_pixels().
        """
        try:
            pixels = read_thumbnail(path, box=self.box, max_pixels=max_pixels)
        except ImageReadError as error:
            note(f"no preview: {error}")
        else:
            print(self.draw(pixels), end="", flush=True)


def open_preview(height: int) -> Preview | None:
    """Return how to show pictures on stdout; None, with a note on stderr, if it is no terminal.

    Args:
        height: How high a picture may be, in pixels, at least 1.

    Returns:
        The preview.

    Raises:
        InputError: If height is less than 1.
    """
    if height < 1:
        raise InputError(f"--preview-height must be at least 1 pixel, got {height}")
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        note("--preview needs a terminal that shows colours: the pictures are left out")
        return None
    draw = choose_drawing(os.environ)
    columns = shutil.get_terminal_size().columns
    if draw in (draw_kitty, draw_iterm2):
        return Preview(draw, (columns * _CELL_WIDTH, height))
    # One column stays free: some terminals break a line that is full. A cell is two pixels high.
    return Preview(draw, (max(1, columns - 1), 2 * max(1, round(height / _CELL_HEIGHT))))


# Pixels of one character, where a terminal does not say; on most screens it has a few more.
_CELL_WIDTH, _CELL_HEIGHT = 8, 20


def choose_drawing(environment: Mapping[str, str]) -> Callable[[Pixels], str]:
    """Return the best way of drawing that a terminal says it has.

    Terminals could be asked, but some answer late, and the answer would look like typing.

    Args:
        environment: Environment variables.

    Returns:
        A function from pixels, shape (H, W, 3), to what to print.
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "TMUX" not in environment and not term.startswith(("tmux", "screen")):
        # Those keep graphics to themselves. LC_TERMINAL passes through ssh.
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
    height, width, _ = pixels.shape
    data = base64.b64encode(zlib.compress(pixels.tobytes())).decode("ascii")
    chunks = [data[start : start + 4096] for start in range(0, len(data), 4096)]
    # 24 bits a pixel, compressed; q=2: no answer, which a shell would take for typing.
    keys = [f"a=T,f=24,o=z,s={width},v={height},q=2,"] + ["q=2,"] * (len(chunks) - 1)
    more = [1] * (len(chunks) - 1) + [0]
    parts = zip(keys, more, chunks, strict=True)
    return "".join(f"\033_G{key}m={flag};{chunk}\033\\" for key, flag, chunk in parts) + "\n"


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
