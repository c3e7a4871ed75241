"""How fast this machine computes, for estimates of what a model would cost here."""

from functools import partial

import numpy as np

from clipkit.runtime.trial import choose_fastest, trial_key

# The largest product in the image encoder of a ViT-B for a batch of 8 images of 197 tokens.
_ROWS, _INNER, _COLUMNS = 8 * 197, 768, 3072


def matrix_speed(*, seconds: float = 0.2) -> float:
    """Return how fast the processor multiplies matrices in float32, measured once and remembered.

    An image encoder spends nearly all of its time on such products, so its GFLOPs divided by this
    is about the time that an image takes in float32.

    Args:
        seconds: How long to measure, where nothing is remembered.

    Returns:
        10⁹ floating-point operations a second.
    """
    generator = np.random.default_rng(0)
    left = generator.standard_normal((_ROWS, _INNER), dtype=np.float32)
    right = generator.standard_normal((_INNER, _COLUMNS), dtype=np.float32)
    trial = choose_fastest(
        {"float32": partial(np.matmul, left, right)},
        key=trial_key("matrix product", f"numpy {np.__version__}"),
        seconds=seconds,
    )
    return 2e-9 * _ROWS * _INNER * _COLUMNS / trial.seconds["float32"]
