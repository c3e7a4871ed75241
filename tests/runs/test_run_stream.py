"""Runs on shards that are streamed."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from clipkit.errors import InputError
from clipkit.training.data_config import DataConfig, SourceConfig
from tests.runs.clipkit_process import run_ranks
from tests.runs.conftest import Train, WriteRun, final_weights, save_shards


@pytest.fixture
def stream(captions_folder: Path, tmp_path: Path) -> dict[str, Any]:
    """The settings of data for eight shards of five pairs each, all of which are an epoch."""
    save_shards(tmp_path, captions_folder, 5)
    return {"train": str(tmp_path / "{0..7}.tar"), "stream": True, "samples_per_epoch": 40}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_killed_goes_on_bit_for_bit(
    write_run: WriteRun, train: Train, stream: dict[str, Any], workers: int
) -> None:
    """Ten steps in two epochs: it is killed in the second one."""
    data = stream | {"workers": workers}
    whole, killed = write_run("whole", data=data), write_run("killed", data=data)
    ended = train(whole)
    assert ended.status == 0, ended.err
    assert "8 shards are streamed, 40 pairs of them are an epoch; their first 40" in ended.err

    words = [killed, "--set", "watch.checkpoint_minutes=0"]
    assert train(*words, signal_at=(7, signal.SIGKILL)).status == -signal.SIGKILL
    ended = train(*words)

    assert ended.status == 0, ended.err
    assert "resuming after step 6 of 10" in ended.err
    assert final_weights(killed) == final_weights(whole)
    report = json.loads((killed.with_suffix("") / "report.json").read_text())
    assert (report["num_pairs"], report["bad"]) == (40, {})


@pytest.mark.slow
def test_two_processes_share_a_stream_and_go_on(
    write_run: WriteRun, stream: dict[str, Any], captions_folder: Path, tmp_path: Path
) -> None:
    data = stream | {"validation": str(captions_folder)}
    whole, killed = write_run("whole", data=data), write_run("killed", data=data)
    first, second = run_ranks(["train", whole], tmp_path, world_size=2)
    assert (first.status, second.status) == (0, 0), first.err + second.err

    words = ["train", killed, "--set", "watch.checkpoint_minutes=0"]
    run_ranks(words, tmp_path, world_size=2, signal_at=(7, signal.SIGKILL))
    first, second = run_ranks(words, tmp_path, world_size=2)

    assert (first.status, second.status) == (0, 0), first.err + second.err
    assert "resuming after step 6 of 10" in first.err
    assert final_weights(killed) == final_weights(whole)


@pytest.mark.slow
def test_a_preflight_looks_at_the_first_pairs(
    write_run: WriteRun, train: Train, stream: dict[str, Any]
) -> None:
    found = train(write_run(data=stream), "--check")
    assert found.status == 0, found.err
    assert "8 shards are streamed" in found.err
    assert "pairs to train on: the first 40 of a stream were read" in found.out
    assert "40 pairs with 80 captions" in found.out
    assert "2 epochs of 5 steps" in found.out


@pytest.mark.slow
def test_a_stream_that_is_not_there_is_told_at_once(
    write_run: WriteRun, train: Train, stream: dict[str, Any], captions_folder: Path
) -> None:
    gone = stream | {"train": str(captions_folder / "gone-{0..1}.tar")}
    ended = train(write_run("gone", data=gone))
    assert (ended.status, "2 of 2 shards are not there: " in ended.err) == (2, True)
    ended = train(write_run("folder", data=stream | {"train": str(captions_folder)}))
    assert ended.status == 2
    assert "data.stream is for webdataset shards (.tar), got " in ended.err


SHARDS = (SourceConfig("{0..7}.tar"),)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stream": True}, r"got stream = true, samples_per_epoch = 0$"),
        ({"samples_per_epoch": 9}, r"got stream = false, samples_per_epoch = 9$"),
        (
            {"stream": True, "samples_per_epoch": 9, "validation_fraction": 0.1},
            r"data\.validation_fraction needs a list of all pairs.*keep whole shards",
        ),
        (
            {
                "stream": True,
                "samples_per_epoch": 9,
                "mixture": "pairs",
            },
            r"count pairs, and a stream is not counted.*how often its shards are read",
        ),
        (
            {
                "stream": True,
                "samples_per_epoch": 9,
                "train": (SourceConfig("b.tar", split="test"),),
            },
            r"knows no splits",
        ),
        (
            {"stream": True, "samples_per_epoch": 9, "hard_negatives": 0.25},
            r"not known before they are read: set hard_negatives = 0",
        ),
    ],
)
def test_what_a_stream_cannot_do_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DataConfig(**{"train": SHARDS, **settings})
