"""Callbacks that a run tells its messages and progress to."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from clipkit.progress import Progress


def _show_nothing(label: str) -> AbstractContextManager[Progress]:
    return nullcontext(lambda done, total: None)


@dataclass(frozen=True)
class Listener:
    """Callables that tell a person; by default nobody is told."""

    say: Callable[[str], None] = lambda line: None
    # Given a label, shows progress while what it returns is entered.
    progress_for: Callable[[str], AbstractContextManager[Progress]] = _show_nothing
