"""Speeds are medians of rounds in which the models take turns."""

from collections.abc import Iterator

import pytest

from clipkit.evaluation.speed import measure_speeds
from clipkit.progress import Callbacks
from tests.fakes import FakeEncoder


class Timed(FakeEncoder):
    """Moves a clock instead of working; sometimes the machine is busy."""

    def __init__(self, now: list[float], seconds: Iterator[float]) -> None:
        super().__init__()
        self.now, self.seconds = now, seconds

    def encode_images(self, images: object, **_: object) -> None:  # type: ignore[override]
        """Let time pass."""
        self.now[0] += next(self.seconds)


def test_a_busy_moment_changes_neither_speed_nor_ratio() -> None:
    now = [0.0]
    encoders = [
        # The first call may compile; the third round falls on a busy moment.
        Timed(now, iter([9.0, 2.0, 2.0, 50.0, 2.0, 2.0])),
        Timed(now, iter([9.0, 8.0, 8.0, 200.0, 8.0, 8.0])),
    ]
    calls: list[tuple[int, int]] = []
    callbacks = Callbacks(progress_for=lambda _: _Recorder(calls))
    first, second = measure_speeds(encoders, callbacks, clock=lambda: now[0])
    assert (first.images_per_second, second.images_per_second) == (8.0, 2.0)
    assert (first.times_as_long, second.times_as_long) == (1.0, pytest.approx(4.0))
    assert calls[-1] == (12, 12)


class _Recorder:
    def __init__(self, calls: list[tuple[int, int]]) -> None:
        self.calls = calls

    def __enter__(self) -> "_Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, done: int, total: int) -> None:
        self.calls.append((done, total))
