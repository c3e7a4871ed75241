"""A measurement of a trained rung as a file, so that the run need not be kept."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from clipkit.adaptation.rung import Measured
from clipkit.adaptation.task import Retention
from clipkit.files import write_bytes


def write_measurement(path: Path, found: Measured) -> None:
    """Write a measurement.

    Args:
        path: A file; its directory must exist.
        found: What was measured.

    Raises:
        OSError: If it cannot be written.
    """
    arrays = {
        "logits": found.logits,
        "numbers": np.array([found.scale, found.seconds, found.num_bytes]),
    }
    if found.retention is not None:
        arrays["right"] = found.retention.right
        arrays["probabilities"] = found.retention.probabilities
    write_bytes(path, save(arrays))


def read_measurement(path: Path) -> Measured | None:
    """Return the measurement of a file; None if there is none, or it is damaged."""
    try:
        arrays = load(path.read_bytes())
        scale, seconds, num_bytes = arrays["numbers"].tolist()
        retention = None
        if "right" in arrays:
            retention = Retention(arrays["right"], arrays["probabilities"])
        return Measured(arrays["logits"], scale, retention, seconds, int(num_bytes))
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
