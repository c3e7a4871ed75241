"""Notes and progress on stderr, so that stdout stays clean for pipes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from clipkit.cli.stdout import visible
from clipkit.progress import Progress


def note(line: str) -> None:
    """Tell a person something that is no result."""
    print(visible(line), file=sys.stderr)


@contextmanager
def progress_bar(label: str, *, unit: str = "picture") -> Iterator[Progress]:
    """Show a bar on stderr while the block runs, if stderr is a terminal.

    Args:
        label: What is being done.
        unit: What is counted.

    Yields:
        A function to call with (how many are done, how many there are or None).
    """
    from tqdm import tqdm

    with tqdm(
        desc=label, unit=f" {unit}s", file=sys.stderr, disable=not sys.stderr.isatty(), leave=False
    ) as bar:

        def update(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield update
