"""How many images a second models embed on this machine, measured in turn."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from clipkit.encoder.encoder import Encoder
from clipkit.progress import Callbacks
from clipkit.runtime.parity import reference_images

_IMAGES = 16
_ROUNDS = 5


@dataclass(frozen=True)
class Speed:
    """How fast a model embeds small photographs (a quarter of a megapixel), decoding included."""

    images_per_second: float  # median of the rounds
    # Time of an image over that of the first model: the median over rounds in which they ran one
    # after the other, so that other work on the machine falls on both.
    times_as_long: float


def measure_speeds(
    encoders: Sequence[Encoder],
    callbacks: Callbacks,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Speed]:
    """Return how fast models embed the photographs that come with clipkit.

    Args:
        encoders: The models, the first of which the others are held against.
        callbacks: For progress.
        clock: Seconds that only grow.

    Returns:
        One entry a model.
    """
    images = reference_images()[:_IMAGES]
    seconds = np.empty((1 + _ROUNDS, len(encoders)))
    done = 0
    with callbacks.progress_for("measuring speed") as progress, _any_size(encoders):
        for number in range(len(seconds)):
            # Back and forth, so that none always runs after the same one.
            order = reversed(range(len(encoders))) if number % 2 else range(len(encoders))
            for place in order:
                begin = clock()
                encoders[place].encode_images(images)
                seconds[number, place] = clock() - begin
                done += 1
                progress(done, seconds.size)
    seconds = seconds[1:]  # in the first round a model may allocate and compile
    ratios = np.median(seconds / seconds[:, :1], axis=0)
    return [
        Speed(float(_IMAGES / median), float(ratio))
        for median, ratio in zip(np.median(seconds, axis=0), ratios, strict=True)
    ]


@contextmanager
def _any_size(encoders: Sequence[Encoder]) -> Iterator[None]:
    """Let encoders read the photographs, whatever limit was set for the user's own images."""
    limits = [encoder.max_pixels for encoder in encoders]
    for encoder in encoders:
        encoder.max_pixels = None
    try:
        yield
    finally:
        for encoder, limit in zip(encoders, limits, strict=True):
            encoder.max_pixels = limit
