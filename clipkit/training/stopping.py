"""A request to stop that arrives at any moment, and is granted between two steps."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class StopRequest:
    """Takes SIGTERM and Ctrl-C as wishes while it is entered; a second one acts at once.

    In a thread other than the main one signals cannot be taken, and it never is requested.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    @property
    def is_made(self) -> bool:
        """Whether someone asked to stop."""
        return self.signal is not None

    def __enter__(self) -> Self:
        """Begin to take the signals."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back to whoever had them."""
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]
        self._before.clear()

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.is_made:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
