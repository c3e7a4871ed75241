"""Printing for the command line: results on stdout, notes and progress bars on stderr."""

import io
import json
import os
import re
import shutil
import sys
import threading
import time
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from clipkit.plain_text import visible
from clipkit.progress import Progress

if TYPE_CHECKING:
    from tqdm import tqdm

_BOLD, _PLAIN = "\033[1m", "\033[0m"
# Odd bytes of names, and what JSON itself would let through to a terminal.
_ESCAPED = re.compile("[\x7f-\x9f\ud800-\udfff]")

_LINE_SECONDS = 5.0  # between two lines about a transfer

_ECHO = 5  # columns to the right of a bar, so that the ^C that terminals echo does not wrap

_bars: list["tqdm[NoReturn]"] = []  # on the terminal now
_blocks: list["LiveLines"] = []  # likewise
_screen = threading.RLock()  # images are read in other threads, which have notes of their own


def use_file_system_encoding() -> None:
    """Make stdout write a file's name as the very bytes that the file system has.

    A name that is no valid text reaches Python with its odd bytes as lone surrogates, which
    printing refuses unless stdout follows the file system's rules.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # not so in a notebook
        sys.stdout.reconfigure(
            encoding=sys.getfilesystemencoding(), errors=sys.getfilesystemencodeerrors()
        )


def note(line: str) -> None:
    """Print a note for a person on stderr: anything that is not a result."""
    with _screen:
        clear_bars()
        for block in _blocks:
            block.clear()
        print(visible(line), file=sys.stderr)
        for block in _blocks:
            block.draw()


def warn(line: str) -> None:
    """Print a note on what is probably not what was meant."""
    note(f"warning: {line}")


@contextmanager
def progress_bar(label: str, *, unit: str = "image") -> Iterator[Progress]:
    """Show a bar on stderr from the first report on until the block ends, if it is a terminal.

    Args:
        label: What is being done.
        unit: What is counted.

    Yields:
        A function to call with (how many are done, how many there are or None).
    """
    if sys.stderr.isatty():
        with _bar(desc=label, unit=f" {unit}s") as progress:
            yield progress
    else:
        yield lambda done, total: None


@contextmanager
def transfer_progress(label: str) -> Iterator[Progress]:
    """Show on stderr how far a transfer is: as a bar on a terminal, else as a line now and then.

    Args:
        label: What is being done.

    Yields:
        A function to call with (how many bytes are done, how many there are or None).
    """
    if sys.stderr.isatty():
        with _bar(desc=label, unit="B", unit_scale=True) as progress:
            yield progress
        return
    last = time.monotonic()

    def say(done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_SECONDS:
            last = time.monotonic()
            of_all = f" of {total / 1e6:,.1f} MB ({done / total:.0%})" if total else " MB"
            note(f"{label}: {done / 1e6:,.1f}{of_all}")

    yield say


def clear_bars() -> None:
    """Take progress bars off the terminal until they next move, before a line is printed."""
    for bar in _bars:
        bar.clear()


class LiveLines:
    """Lines on stderr, above the progress bar, that are replaced in place.

    Used in a ``with`` block, and only where `can_replace_lines`. They stay below whatever note is
    printed, and are gone when the block ends.
    """

    def __init__(self) -> None:
        self._lines: Sequence[str] = ()
        self._number = 0  # of the lines on the screen

    def show(self, lines: Sequence[str]) -> None:
        """Show lines in the place of those before, cut to what the terminal holds."""
        self._lines = lines
        self.draw()

    def draw(self) -> None:
        """Show the lines, again if they were cleared."""
        if not self._lines:
            return
        with _screen:
            clear_bars()
            width, height = _terminal_size()
            shown = [_cut(visible(line), width - 1) for line in self._lines[: max(height - 2, 0)]]
            # In one piece, so that nothing flickers: each line up to its end, then what is below.
            text = "".join(f"{line}\033[K\n" for line in shown)
            sys.stderr.write(f"{self._back()}{text}\033[J")
            sys.stderr.flush()
            self._number = len(shown)

    def clear(self) -> None:
        """Take them off the screen."""
        with _screen:
            clear_bars()
            if self._number:
                sys.stderr.write(f"{self._back()}\033[J")
                sys.stderr.flush()
            self._number = 0

    def __enter__(self) -> Self:
        """Return the lines, none so far."""
        _blocks.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Take them off the screen."""
        _blocks.remove(self)
        self.clear()

    def _back(self) -> str:
        """Return what moves the cursor to the start of the first line."""
        return f"\r\033[{self._number}A" if self._number else "\r"


def can_replace_lines() -> bool:
    """Return whether stdout and stderr are a terminal on which `LiveLines` work."""
    return sys.stderr.isatty() and sys.stdout.isatty() and _obeys_codes()


def table_lines(
    rows: Sequence[Sequence[str]], *, has_heading: bool = True, right: Collection[int] = ()
) -> list[str]:
    """Return rows as lines to print.

    Args:
        rows: Cells; control characters are escaped. On a terminal the last column is not padded.
        has_heading: Whether the first row names the columns.
        right: Which columns are aligned at their right, counted from 0.

    Returns:
        One line a row.
    """
    cells = [[visible(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        return ["\t".join(row) for row in cells]
    widths = [max(map(display_width, column)) for column in zip(*cells, strict=True)]
    lines = [_aligned(row, widths, right) for row in cells]
    if has_heading and lines and shows_colors():
        lines[0] = f"{_BOLD}{lines[0]}{_PLAIN}"
    return lines


def shows_colors() -> bool:
    """Return whether stdout is a terminal that shows colours and whose user wants some.

    Source:
        https://no-color.org for NO_COLOR.
    """
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and _obeys_codes()


def _obeys_codes() -> bool:
    """Return whether the terminal obeys escape sequences, which old and dumb ones print."""
    if os.environ.get("TERM") == "dumb":
        return False
    # An old console of Windows prints the codes; what understands them sets one of these.
    return os.name != "nt" or any(name in os.environ for name in ("WT_SESSION", "ANSICON", "TERM"))


def to_json(value: object) -> str:
    r"""Return a value as one line of JSON that is valid UTF-8 once it is printed.

    Characters stay as they are, but an odd byte of a file name, 0xff say, becomes ``\udcff``:
    ``os.fsencode(json.loads(line)["path"])`` is the name as the file system has it.

    Args:
        value: What json.dumps takes.

    Returns:
        The JSON, without a line break.

    Example:
        >>> print(to_json({"path": "caf\udce9 ☕.jpg"}))
        {"path": "caf\udce9 ☕.jpg"}
    """
    is_utf8 = sys.getfilesystemencoding() == "utf-8"  # ASCII is valid UTF-8 on any other stdout
    text = json.dumps(value, ensure_ascii=not is_utf8)
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def path_start(folder: str) -> str:
    """Return what to print before paths in a folder so that no program takes one for an option.

    As find does it: what lies in "." can be used as a query, too.

    Args:
        folder: As the user wrote it; the paths begin with it, as pathlib has it.

    Returns:
        "./" or nothing.

    Example:
        >>> path_start("photos"), path_start("."), path_start("./-f")
        ('', './', './')
    """
    path = Path(folder)
    return "./" if path == Path() or str(path).startswith("-") else ""


def display_width(text: str) -> int:
    """Return how many columns of a terminal a text takes.

    Args:
        text: Without control characters.

    Returns:
        Columns: 2 for wide characters such as Chinese ones, 0 for accents put upon the one before.

    Source:
        Unicode Standard Annex 11, East Asian Width.
    """
    return sum(map(_width, text))


@contextmanager
def _bar(**settings: Any) -> Iterator[Progress]:
    """Show a bar from the first report on until the block ends; yield what takes the reports."""
    bar: tqdm[NoReturn] | None = None

    def update(done: int, total: int | None) -> None:
        nonlocal bar
        if bar is None:
            from tqdm import tqdm  # only here: it takes 20 ms, and often there is nothing to do

            width = max(20, _terminal_size().columns - _ECHO)
            bar = tqdm(
                total=total, initial=done, file=sys.stderr, leave=False, ncols=width, **settings
            )
            _bars.append(bar)
        with _screen:
            bar.total = total
            bar.update(done - bar.n)

    try:
        yield update
    finally:
        if bar is not None:
            _bars.remove(bar)
            bar.close()


def _terminal_size() -> os.terminal_size:
    """Return how many columns and lines the terminal of stderr has."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        return shutil.get_terminal_size()
    return size if min(size) else shutil.get_terminal_size()


def _cut(text: str, width: int) -> str:
    """Return a text without control characters that takes at most so many columns."""
    if display_width(text) <= width:
        return text
    kept = ""
    for letter in text:
        if display_width(kept + letter) > width - 1:
            break
        kept += letter
    return f"{kept}…"


def _width(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def print_tables(tables: Iterable[tuple[str, Sequence[Sequence[str]]]]) -> None:
    """Print tables on stdout, each under its heading; their first rows name the columns."""
    for number, (heading, rows) in enumerate(tables):
        print(f"{'' if number == 0 else chr(10)}{visible(heading)}")
        for line in table_lines(rows):
            print(f"  {line}")


def _aligned(row: Sequence[str], widths: Sequence[int], right: Collection[int]) -> str:
    padded = []
    for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
        blanks = " " * (width - display_width(cell))
        is_last = place == len(row) - 1
        padded.append(blanks + cell if place in right else cell if is_last else cell + blanks)
    return "  ".join(padded)
