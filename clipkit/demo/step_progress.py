"""How far long work is, as the component "progress_line" shows it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypedDict

import clipkit


class Step(TypedDict):
    """What is told of a step of work."""

    told: str
    share: float | None  # of the work at hand, 0..1; None: no bar


DONE: Step = {"told": "", "share": None}


def told_steps(
    tell: Callable[[Step], None], count: Callable[[int], str] = "{:,}".format
) -> clipkit.Callbacks:
    """Return callbacks that tell what is done and how far it is; warnings are in the report.

    Args:
        tell: Called with each step.
        count: Returns a number in words, such as bytes as megabytes.

    Returns:
        The callbacks.
    """

    @contextmanager
    def progress_for(label: str) -> Iterator[clipkit.Progress]:
        name = label[:1].upper() + label[1:]

        def progress(done: int, total: int | None) -> None:
            of = f": {count(done)} of {count(total)}" if total else f": {count(done)}"
            tell({"told": f"{name}{of}", "share": done / total if total else None})

        yield progress

    return clipkit.Callbacks(warn=lambda line: None, progress_for=progress_for)
