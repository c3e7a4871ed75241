"""Measurements of trained rungs in files: what is written is read, and damage is no measurement."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from clipkit.adaptation.rung import Measured
from clipkit.adaptation.task import Retention
from clipkit.runs.measurement_file import read_measurement, write_measurement


def made(retention: Retention | None) -> Measured:
    return Measured(np.array([[1.5, -2.0], [0.25, 3.0]]), 0.75, retention, 12.5, 377_152)


@pytest.mark.parametrize("knows", [True, False])
def test_what_is_written_is_read(tmp_path: Path, knows: bool) -> None:
    retention = Retention(np.array([True, False]), np.array([0.9, 0.2])) if knows else None
    found = made(retention)
    write_measurement(tmp_path / "m.safetensors", found)
    read = read_measurement(tmp_path / "m.safetensors")
    assert read is not None
    np.testing.assert_array_equal(read.logits, found.logits)
    assert (read.scale, read.seconds, read.num_bytes) == (0.75, 12.5, 377_152)
    if retention is None:
        assert read.retention is None
    else:
        assert read.retention is not None
        np.testing.assert_array_equal(read.retention.right, retention.right)
        np.testing.assert_array_equal(read.retention.probabilities, retention.probabilities)


def test_a_damaged_file_is_no_measurement(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    assert read_measurement(path) is None
    write_measurement(path, made(None))
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        assert read_measurement(path) is None, length
    path.write_bytes(save({"other": np.zeros(3)}))
    assert read_measurement(path) is None
