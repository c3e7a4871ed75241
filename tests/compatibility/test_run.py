"""Training runs that an earlier clipkit has begun or ended, and the RUN.toml of its time."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.compatibility.conftest import FILES, MARK, Clipkit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("one_thread"),
]

# A run goes on bit for bit on one machine; another one's processor rounds in another way.
TOLERANCE = 1e-5
INTERRUPTED = {"fine_tuning": 5, "locked": 2}  # runs, and their steps when they were interrupted
NUM_STEPS = 9
# Keys of metrics.jsonl and report.json that are called otherwise now.
NEW_NAMES = {
    "tripwire_accuracy": "retention_accuracy",
    "tripwire_log_probability": "retention_log_probability",
    "mixtures": "interpolations",
}
NEW_KEYS = {"extensions", "intervals", "warnings"}  # of report.json
NEW_NOTES = ("the retention set decided nothing", "5 validation images hardly tell")
# Runs whose final weights are chosen by another rule now, and the alpha of these: five validation
# images do not tell the recalls of the candidates, and their losses do.
CHOSEN_NOW = {"fine_tuning": 1.0}
# What a machine was busy with, or where a run lies.
UNCOMPARED = {"step_seconds", "data_seconds", "seconds", "directory"}


@pytest.mark.parametrize("name", INTERRUPTED)
def test_interrupted_run_resumes_and_ends_as_if_it_had_not_been(
    training: Path, clipkit_command: Clipkit, name: str
) -> None:
    outcome = clipkit_command("train", training / f"{name}.toml", "--json")

    assert outcome.status == 0, outcome.err
    assert f"after step {INTERRUPTED[name]} of {NUM_STEPS}" in outcome.err
    whole = training / "whole_runs" / name
    metrics = read_lines(whole / "metrics.jsonl")
    check_equal(read_lines(training / name / "metrics.jsonl"), renamed(metrics))
    report = renamed(json.loads((whole / "report.json").read_text()))
    found = json.loads(outcome.out)
    assert 0 < found.pop("num_trained") <= found.pop("num_parameters")  # new in the report
    for each in (report, found):  # the reasons are in other words now
        each["notes"] = [
            note.partition(":")[0] for note in each["notes"] if not note.startswith(NEW_NOTES)
        ]
    if name in CHOSEN_NOW:
        alpha = CHOSEN_NOW[name]
        report |= {"alpha": alpha, "final": dict(report["interpolations"])[alpha], "notes": []}
    check_equal(found, report)
    weights = load_file(training / name / "final" / "open_clip_model.safetensors")
    expected = load_file(whole / "weights.safetensors")
    assert weights.keys() == expected.keys()
    if name in CHOSEN_NOW:
        return  # what was stored are others; the report has measured these
    for key, values in expected.items():
        np.testing.assert_allclose(weights[key], values, rtol=0, atol=TOLERANCE, err_msg=key)


@pytest.mark.parametrize("name", INTERRUPTED)
def test_resuming_compares_the_settings_that_the_run_began_with(
    training: Path, clipkit_command: Clipkit, name: str
) -> None:
    words = ("train", training / f"{name}.toml", "--set", "optimizer.beta2=0.5")

    outcome = clipkit_command(*words)

    assert outcome.status != 0
    assert "optimizer.beta2 was 0.98, is 0.5" in outcome.err


def test_resuming_compares_the_retention_set_that_the_run_began_with(
    training: Path, clipkit_command: Clipkit
) -> None:
    added = training / "retention" / "dog" / "2.png"
    shutil.copyfile(training / "retention" / "dog" / "1.png", added)

    outcome = clipkit_command("train", training / "fine_tuning.toml")

    assert outcome.status != 0
    assert "has changed since this run was trained with it" in outcome.err


def test_image_features_of_a_locked_encoder_are_taken_as_they_are(
    training: Path, clipkit_command: Clipkit
) -> None:
    features = training / "locked" / "features" / "image_features.npy"
    rows = np.load(features)
    marked = np.roll(rows, 1, axis=1)  # what no encoder would give
    np.save(features, marked)

    assert clipkit_command("train", training / "locked.toml").status == 0

    np.testing.assert_array_equal(np.load(features), marked)


def test_damaged_checkpoint_is_passed_over_for_the_one_before(
    training: Path, clipkit_command: Clipkit
) -> None:
    newest = training / "fine_tuning" / "checkpoints" / "step-00000005" / "training_state.pt"
    newest.write_bytes(newest.read_bytes()[:-1])

    outcome = clipkit_command("train", training / "fine_tuning.toml")

    assert outcome.status == 0
    assert "step-00000005 is damaged" in outcome.err
    assert f"after step 3 of {NUM_STEPS}" in outcome.err


def test_run_that_has_ended_is_reported_and_not_trained_again(
    training: Path, clipkit_command: Clipkit
) -> None:
    run = training / "ended"
    before = read_files(run)

    printed = clipkit_command("train", training / "ended.toml")
    as_json = clipkit_command("train", training / "ended.toml", "--json")

    assert (printed.status, as_json.status) == (0, 0)
    assert "has ended already" in printed.err
    assert str(run / "final") in printed.out
    expected = renamed(json.loads((run / "report.json").read_text()))
    added = {
        "intervals": {}, "warnings": [], "num_trained": 0, "num_parameters": 0, "extensions": []
    }  # fmt: skip
    assert json.loads(as_json.out) == {**expected, **added}
    assert read_files(run) == before


@pytest.mark.parametrize("name", ["from_base_model", "from_scratch"])
def test_every_key_is_accepted(training: Path, clipkit_command: Clipkit, name: str) -> None:
    for path in (FILES / "every_key").iterdir():
        shutil.copyfile(path, training / path.name)

    outcome = clipkit_command("train", training / f"{name}.toml", "--check", "--json")

    assert outcome.status == 0, outcome.err
    check = json.loads(outcome.out)
    assert check["epochs"] == 3
    # 20 pairs; of a base model a quarter is kept to validate on, and the rest is drawn twice.
    sizes = {"from_base_model": (15, 5, 7), "from_scratch": (20, 20, 5)}
    found = (
        check["train"]["num_pairs"],
        check["validation"]["num_pairs"],
        check["steps_per_epoch"],
    )
    assert found == sizes[name]


def test_one_line_tells_of_the_new_names_of_keys(training: Path, clipkit_command: Clipkit) -> None:
    for path in (FILES / "every_key").iterdir():
        shutil.copyfile(path, training / path.name)
    path = training / "from_base_model.toml"

    lines = clipkit_command("train", path, "--check").err.splitlines()

    assert [line for line in lines if "earlier version" in line] == [
        f"clipkit: {path} has names of an earlier version, which are understood: model.start is "
        "now model.base, watch.tripwire is now watch.retention_set, watch.tripwire_class_names is "
        "now watch.retention_class_names, watch.average_with_start is now watch.wise_ft"
    ]


def test_nothing_is_said_of_names_in_the_directory_of_a_run_which_get_the_new_ones(
    training: Path, clipkit_command: Clipkit
) -> None:
    path = training / "fine_tuning.toml"
    text = path.read_text().replace("start =", "base =").replace("tripwire =", "retention_set =")
    path.write_text(text.replace("average_with_start =", "wise_ft ="))
    kept = training / "fine_tuning" / "run.toml"
    assert "tripwire" in kept.read_text()

    outcome = clipkit_command("train", path)

    assert outcome.status == 0
    assert "earlier version" not in outcome.err
    for name in ("tripwire", "start", "mixtures"):
        assert name not in kept.read_text()
    assert "tripwire" not in (training / "fine_tuning" / "metrics.jsonl").read_text()


@pytest.mark.parametrize("name", ["from_base_model", "from_scratch"])
@pytest.mark.parametrize(
    ("override", "named"),
    [
        ('watch.tripwire="no/such/folder"', "no/such/folder"),
        ("watch.max_forgetting=2", "watch.max_forgetting"),
    ],
)
def test_keys_of_the_retention_set_still_reach_it(
    training: Path, clipkit_command: Clipkit, name: str, override: str, named: str
) -> None:
    for path in (FILES / "every_key").iterdir():
        shutil.copyfile(path, training / path.name)

    outcome = clipkit_command("train", training / f"{name}.toml", "--check", "--set", override)

    assert outcome.status != 0
    assert named in outcome.err


def test_class_names_of_the_retention_set_still_reach_it(
    training: Path, clipkit_command: Clipkit
) -> None:
    for path in (FILES / "every_key").iterdir():
        shutil.copyfile(path, training / path.name)
    (training / "class_names.json").write_text('{"cat": "cat", "dog": "dog"}')

    outcome = clipkit_command("train", training / "from_base_model.toml", "--check")

    assert outcome.status != 0
    assert "class_names.json has no name for 1 of 3 class folders: bee" in outcome.err


def test_no_file_names_the_place_where_it_was_made(training: Path) -> None:
    texts = [path.read_text() for path in training.rglob("*.toml")]

    assert texts
    assert not any(MARK in text for text in texts)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_files(folder: Path) -> dict[Path, bytes]:
    """Return the content of every file but the lock."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path: path.read_bytes() for path in paths}


def renamed(value: Any) -> Any:
    """Return what an earlier clipkit wrote with the keys of today."""
    if isinstance(value, dict):
        return {NEW_NAMES.get(key, key): renamed(item) for key, item in value.items()}
    return [renamed(item) for item in value] if isinstance(value, list) else value


def check_equal(found: Any, expected: Any) -> None:
    """Compare what was measured, numbers up to rounding."""
    if isinstance(expected, dict):
        assert found.keys() - NEW_KEYS == expected.keys()
        for key in expected.keys() - UNCOMPARED:
            check_equal(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check_equal(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
    else:
        assert found == expected
