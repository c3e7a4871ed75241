"""Which precision of a compiled model is computed in, where nobody asks for one."""

from functools import partial
from pathlib import Path

import numpy as np

from clipkit.runtime.bundle import PRECISIONS, Bundle
from clipkit.runtime.trial import Trial, choose_fastest, remembered_trial, trial_key

_BATCH = 8  # pictures, as an indexing run gives them to the towers


def choose_compiled_precision(directory: Path) -> str:
    """Return the fastest precision, as measured once on this machine, that is close enough.

    Args:
        directory: A compiled bundle.

    Returns:
        "fp32", or another that the bundle has and whose embeddings are as good as the same.

    Raises:
        CheckpointError: If the directory is no whole bundle.
    """
    bundle = Bundle.read(directory)
    close = _close_precisions(bundle)
    if len(close) == 1:
        return close[0]
    trial = compiled_trial(bundle)
    if trial is not None and trial.chosen in close:
        return trial.chosen

    from clipkit.runtime.onnx_runtime import OnnxRuntime

    runtimes = {precision: OnnxRuntime(directory, precision) for precision in close}
    generator = np.random.default_rng(0)
    pixel_values = generator.standard_normal((_BATCH, 3, *bundle.image_size), dtype=np.float32)
    return choose_fastest(
        {
            precision: partial(runtime.image_features, pixel_values)
            for precision, runtime in runtimes.items()
        },
        key=_key(bundle),
    ).chosen


def compiled_trial(bundle: Bundle) -> Trial | None:
    """Return what was measured for a bundle on this machine; None if nothing was."""
    return remembered_trial(_key(bundle))


def _close_precisions(bundle: Bundle) -> list[str]:
    """Return the precisions that may be chosen without being asked for, the safest first."""
    return [
        precision
        for precision in PRECISIONS
        if precision in bundle.precisions
        and (precision == PRECISIONS[0] or bundle.precisions[precision].is_close)
    ]


def _key(bundle: Bundle) -> str:
    return trial_key("compiled image tower", bundle.space_id, *sorted(bundle.versions.values()))
