"""Time of one picture and one text through the checkpoint, on one core with torch."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from recipe.checkpoint import open_checkpoint

_WARM_UPS = 5
_REPETITIONS = 50
_QUERY = "a photo of a red fox"


@dataclass(frozen=True)
class Latency:
    """Medians over fifty calls, batch size 1, float32.

    The processor time of the process is given, so that other work on the machine does not count;
    on a free core it is what a clock on the wall shows.
    """

    image_milliseconds: float  # from pixel values to features; decoding and resizing not counted
    text_milliseconds: float  # tokenizer and tower, 32 tokens


def measure_latency(folder: Path) -> Latency:
    """Return the latency of a checkpoint on the first core that this process may use."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    model, _, tokenizer = open_checkpoint(folder)
    size = model.visual.image_size
    side = size if isinstance(size, int) else size[0]
    pixel_values = torch.rand(1, 3, side, side) * 2 - 1
    with torch.inference_mode():
        return Latency(
            _median_milliseconds(lambda: model.encode_image(pixel_values)),
            _median_milliseconds(lambda: model.encode_text(tokenizer([_QUERY]))),
        )


def _median_milliseconds(call: Callable[[], object]) -> float:
    for _ in range(_WARM_UPS):
        call()
    times = []
    for _ in range(_REPETITIONS):
        start = time.process_time()
        call()
        times.append(1000 * (time.process_time() - start))
    return statistics.median(times)
