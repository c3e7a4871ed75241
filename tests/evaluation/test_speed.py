"""Speeds are medians of rounds in which the models take turns."""

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

import clipkit
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
    calls: list[tuple[int, int | None]] = []
    callbacks = Callbacks(
        progress_for=lambda _: nullcontext(lambda done, total: calls.append((done, total)))
    )
    first, second = measure_speeds(encoders, callbacks, clock=lambda: now[0])
    assert (first.images_per_second, second.images_per_second) == (8.0, 2.0)
    assert first.times_as_long == 1.0
    assert second.times_as_long == pytest.approx(4.0)
    assert calls[-1] == (12, 12)


def test_a_limit_for_the_users_images_is_none_for_the_photographs() -> None:
    """They have a quarter of a megapixel each; the limit is back afterwards, twice as well."""
    encoder = clipkit.load()
    encoder.max_pixels = 1000
    speeds = measure_speeds([encoder, encoder], Callbacks())
    assert speeds[0].images_per_second > 0
    assert encoder.max_pixels == 1000
