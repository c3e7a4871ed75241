"""The metrics log: one line a measurement, for programs, and the same for TensorBoard."""

import json
import math
import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from clipkit.runs.metrics_log import MetricsLog, read_metrics, read_validation
from clipkit.training.loop import Validation


def write(directory: Path, steps: range, *, begin: int = 0) -> None:
    """Write a line for each step, as a run does that is resumed after a step."""
    log = MetricsLog(directory, step=begin)
    for step in steps:
        log.write(step, {"loss": step / 4, "lr": 0.5})
    log.close()


def steps(directory: Path) -> list[int]:
    return [entry["step"] for entry in read_metrics(directory)]


def board(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard shows: (step, value) by name.

    A file is records: their length, 4 bytes, the record, 4 bytes. Where a file begins at a
    step, what was there from this step on is of work that was lost.
    """
    shown: dict[str, list[tuple[int, float]]] = {}
    for path in sorted((directory / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            content = content[12 + length + 4 :]
            if event.session_log.status == SessionLog.START:
                for name, points in shown.items():
                    shown[name] = [point for point in points if point[0] < event.step]
            for value in event.summary.value:
                shown.setdefault(value.tag, []).append((event.step, value.simple_value))
    return shown


def test_what_is_written_is_read(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.write_validation(0, Validation(0.25, {"recall": 0.5}))
    log.write(1, {"loss": 2.0, "lr": 0.001})
    expected = [
        {"step": 0, "kind": "validation", "score": 0.25, "recall": 0.5},
        {"step": 1, "kind": "training", "loss": 2.0, "lr": 0.001},
    ]
    assert read_metrics(tmp_path) == expected  # each line as it comes, before the file is closed
    log.close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == expected


def test_where_nothing_was_written_nothing_is_read(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    assert read_validation(tmp_path, step=0) == Validation(None, {})


def test_lines_of_work_that_was_lost_go(tmp_path: Path) -> None:
    write(tmp_path, range(1, 8))
    write(tmp_path, range(5, 7), begin=4)
    assert steps(tmp_path) == [1, 2, 3, 4, 5, 6]
    write(tmp_path, range(0), begin=0)
    assert steps(tmp_path) == []


def test_before_the_first_step_all_is_measured_again(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.write_validation(0, Validation(None, {"recall": 0.5}))
    log.write(1, {"loss": 1.0})
    log.close()
    log = MetricsLog(tmp_path)
    log.write_validation(0, Validation(None, {"recall": 0.25}))
    log.close()
    assert read_validation(tmp_path, step=0).metrics == {"recall": 0.25}
    assert steps(tmp_path) == [0]
    assert board(tmp_path)["recall"] == [(0, 0.25)]
    assert board(tmp_path)["loss"] == []


def test_what_was_measured_before_the_first_step_stays_after_it(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.write_validation(0, Validation(None, {"recall": 0.5}))
    log.write(1, {"loss": 1.0})
    log.close()
    write(tmp_path, range(0), begin=1)
    assert steps(tmp_path) == [0, 1]
    assert board(tmp_path)["recall"] == [(0, 0.5)]


@pytest.mark.parametrize("cut", ["{", '{"step": 3, "lo', '{"step": 3, "loss": "\xc3', "[3]", "3"])
def test_a_last_line_that_was_cut_off_is_left_out_and_goes(tmp_path: Path, cut: str) -> None:
    write(tmp_path, range(1, 3))
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + cut.encode("latin-1"))
    assert steps(tmp_path) == [1, 2]
    write(tmp_path, range(3, 5), begin=2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3, 4]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_null(tmp_path: Path, value: float) -> None:
    """JSON has no such numbers, and TensorBoard shows them as what they are."""
    log = MetricsLog(tmp_path)
    log.write(1, {"loss": value, "lr": 0.5})
    log.close()
    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["loss"] is None


def test_tensorboard_shows_the_same(tmp_path: Path) -> None:
    write(tmp_path, range(1, 4))
    assert board(tmp_path) == {
        "loss": [(1, 0.25), (2, 0.5), (3, 0.75)],
        "lr": [(1, 0.5), (2, 0.5), (3, 0.5)],
    }


def test_tensorboard_forgets_work_that_was_lost(tmp_path: Path) -> None:
    write(tmp_path, range(1, 8))
    write(tmp_path, range(5, 7), begin=4)
    assert [step for step, _ in board(tmp_path)["loss"]] == [1, 2, 3, 4, 5, 6]


def test_a_validation_is_found_by_its_step(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for step, score in ((0, 0.1), (2, 0.2), (4, None)):
        log.write(step, {"loss": 1.0})
        log.write_validation(step, Validation(score, {"recall": step / 8}))
    log.close()
    assert read_validation(tmp_path, step=2) == Validation(0.2, {"recall": 0.25})
    assert read_validation(tmp_path, step=4) == Validation(None, {"recall": 0.5})
    assert read_validation(tmp_path, step=3) == Validation(None, {})
