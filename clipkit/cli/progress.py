"""Notes and progress on stderr, so that stdout stays clean for pipes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from clipkit.cli.stdout import visible
from clipkit.progress import Progress

if TYPE_CHECKING:
    from tqdm import tqdm


_bars: list["tqdm[NoReturn]"] = []  # on the terminal now


def clear_bars() -> None:
    """Take progress bars off the terminal until they next move, before a line is printed."""
    for bar in _bars:
        bar.clear()


def note(line: str) -> None:
    """Tell a person something that is no result."""
    clear_bars()
    print(visible(line), file=sys.stderr)


@contextmanager
def progress_bar(label: str, *, unit: str = "picture") -> Iterator[Progress]:
    """Show a bar on stderr from the first report on until the block ends, if it is a terminal.

    Args:
        label: What is being done.
        unit: What is counted.

    Yields:
        A function to call with (how many are done, how many there are or None).
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    bar: tqdm[NoReturn] | None = None

    def update(done: int, total: int | None) -> None:
        nonlocal bar
        if bar is None:
            from tqdm import tqdm  # only here: it takes 20 ms, and often there is nothing to do

            bar = tqdm(desc=label, unit=f" {unit}s", file=sys.stderr, leave=False)
            _bars.append(bar)
        bar.total = total
        bar.update(done - bar.n)

    try:
        yield update
    finally:
        if bar is not None:
            _bars.remove(bar)
            bar.close()
