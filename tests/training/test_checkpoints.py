"""Checkpoints appear whole or not at all, and the last good one is found whatever happened."""

import errno
import json
import math
import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch

import clipkit
from clipkit import files
from clipkit.errors import TrainingError
from clipkit.models.checkpoint import load_towers
from clipkit.models.sources import DirectorySource
from clipkit.models.towers import Towers
from clipkit.training import checkpoints as checkpoints_module
from clipkit.training.checkpoints import RunCheckpoints
from tests.fakes import MEMORY
from tests.full_disk import full_disk
from tests.models.conftest import make_open_clip, tiny_config

WEIGHTS, STATE = "open_clip_model.safetensors", "training_state.pt"
NUM_KILLS = 50


@pytest.fixture(scope="module")
def towers() -> Towers:
    """Tiny ones whose weights tests write a step into."""
    config = tiny_config()
    return Towers(
        make_open_clip(config),
        model_cfg=config,
        preprocess_cfg={"size": 32},
        tokenizer_source=Path(),
    )


@pytest.fixture
def checkpoints(tmp_path: Path) -> RunCheckpoints:
    return RunCheckpoints(tmp_path / "checkpoints")


def save(checkpoints: RunCheckpoints, towers: Towers, step: int, *, size: int = 100) -> Path:
    """Save a checkpoint whose weights and state both say which step they are of."""
    with torch.no_grad():
        towers.model.logit_scale.fill_(step)
    state = {"step": step, "moments": torch.full((size,), float(step))}
    return checkpoints.save(step, towers, state)


def newest(checkpoints: RunCheckpoints) -> int | None:
    """Return the step of the newest good checkpoint, after a look at all that is in it."""
    found, _ = again(checkpoints).newest_good()
    if found is None:
        return None
    place, state = checkpoints.load(found)
    step: int = state["step"]
    assert place == checkpoints.path(step)
    assert (state["moments"] == step).all()
    assert load_towers(DirectorySource("newest", place)).logit_scale == step
    return step


def again(checkpoints: RunCheckpoints) -> RunCheckpoints:
    """Return the same checkpoints as another process finds them."""
    return RunCheckpoints(checkpoints.directory)


# Saving and finding


def test_before_the_first_there_is_none(checkpoints: RunCheckpoints) -> None:
    assert checkpoints.newest_good() == (None, {})
    assert checkpoints.newest_path() is None
    assert checkpoints.outlook().startswith("the same command starts from the first step")
    assert checkpoints.steps() == []
    checkpoints.prune(keep=1, best=0)


def test_a_checkpoint_is_a_model_with_what_it_takes_to_go_on(
    checkpoints: RunCheckpoints, towers: Towers, starter_folder: Path
) -> None:
    vocabulary = (starter_folder / "tokenizer.json").read_text()
    checkpoints = RunCheckpoints(checkpoints.directory, tokenizer_json=vocabulary)
    place = save(checkpoints, towers, 7)
    assert place.name == "step-00000007"
    assert (place / "tokenizer.json").read_text() == vocabulary
    assert clipkit.load(str(place)).embed_dim == 24
    assert newest(checkpoints) == 7
    assert list(checkpoints.directory.iterdir()) == [place]


def test_the_newest_is_the_one_of_the_last_step_whatever_was_written_last(
    checkpoints: RunCheckpoints, towers: Towers
) -> None:
    for step in (2, 134_217_728, 10):
        save(checkpoints, towers, step)
    assert checkpoints.steps() == [2, 10, 134_217_728]
    assert newest(checkpoints) == 134_217_728


def test_a_step_that_is_done_again_takes_the_place_of_the_first_time(
    checkpoints: RunCheckpoints, towers: Towers
) -> None:
    save(checkpoints, towers, 3, size=5)
    save(checkpoints, towers, 3, size=6)
    assert len(checkpoints.load(3)[1]["moments"]) == 6
    assert [path.name for path in checkpoints.directory.iterdir()] == ["step-00000003"]


def test_only_the_newest_and_the_best_are_kept(checkpoints: RunCheckpoints, towers: Towers) -> None:
    for step in range(1, 7):
        save(checkpoints, towers, step)
    (checkpoints.directory / ".step-00000009.0123.part").mkdir()
    (checkpoints.directory / "notes").mkdir()
    checkpoints.prune(keep=2, best=3)
    assert checkpoints.steps() == [3, 5, 6]
    checkpoints.prune(keep=1, best=6)
    assert sorted(path.name for path in checkpoints.directory.iterdir()) == [
        "notes",
        "step-00000006",
    ]


# Damage


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(place: Path) -> None:
    for path in place.iterdir():
        path.unlink()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "state cut off": lambda place: os.truncate(place / STATE, 1000),
    "state empty": lambda place: os.truncate(place / STATE, 0),
    "a bit of the state": lambda place: flip(place / STATE),
    "state gone": lambda place: (place / STATE).unlink(),
    "weights cut off": lambda place: os.truncate(place / WEIGHTS, 1000),
    "a bit of the weights": lambda place: flip(place / WEIGHTS),
    "weights gone": lambda place: (place / WEIGHTS).unlink(),
    "sums gone": lambda place: (place / "checksums.json").unlink(),
    "sums cut off": lambda place: os.truncate(place / "checksums.json", 30),
    "sums of another kind": lambda place: (place / "checksums.json").write_text("[]"),
    "sums of nothing": lambda place: (place / "checksums.json").write_text("{}"),
    "all gone": empty,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over(
    checkpoints: RunCheckpoints, towers: Towers, damage: str
) -> None:
    """A bit that is another is noticed by neither torch.load nor safetensors."""
    for step in (1, 2):
        save(checkpoints, towers, step)
    DAMAGES[damage](checkpoints.path(2))
    good, damaged = again(checkpoints).newest_good()
    assert (good, list(damaged)) == (1, [2])
    assert len(damaged[2]) == 1
    assert newest(checkpoints) == 1
    DAMAGES[damage](checkpoints.path(1))
    good, damaged = again(checkpoints).newest_good()
    assert good is None
    assert list(damaged) == [2, 1]
    assert "is whole" in again(checkpoints).outlook()


def test_damaged_ones_do_not_count_among_those_that_stay(
    checkpoints: RunCheckpoints, towers: Towers
) -> None:
    """A run of 40 steps goes on from 20, for what was saved later is damaged."""
    for step in (10, 20, 30, 40):
        save(checkpoints, towers, step)
    for step in (30, 40):
        flip(checkpoints.path(step) / WEIGHTS)
    resumed = again(checkpoints)
    kept = []
    for step in (25, 35, 40, 45):
        save(resumed, towers, step)
        resumed.prune(keep=2, best=0)
        kept.append(resumed.steps())
        assert newest(resumed) == step
    assert kept == [[20, 25, 30, 40], [25, 35, 40], [35, 40], [40, 45]]


def test_where_none_is_good_none_is_deleted(checkpoints: RunCheckpoints, towers: Towers) -> None:
    for step in (1, 2, 3):
        flip(save(checkpoints, towers, step) / STATE)
    again(checkpoints).prune(keep=1, best=3)
    assert checkpoints.steps() == [1, 2, 3]


def test_a_damaged_best_one_stays(checkpoints: RunCheckpoints, towers: Towers) -> None:
    for step in (1, 2, 3, 4):
        save(checkpoints, towers, step)
    flip(checkpoints.path(2) / WEIGHTS)
    resumed = again(checkpoints)
    resumed.prune(keep=1, best=2)
    assert resumed.steps() == [2, 4]
    assert resumed.damaged_files(2) == [WEIGHTS]
    assert resumed.damaged_files(4) == []


def test_each_is_read_once_in_a_process_and_again_when_it_has_changed(
    checkpoints: RunCheckpoints, towers: Towers, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def file_sha256(path: Path) -> str:
        if path.name == WEIGHTS:
            read.append(path.parent.name)
        return files.file_sha256(path)

    for step in (1, 2, 3):
        save(checkpoints, towers, step)
    monkeypatch.setattr(checkpoints_module, "file_sha256", file_sha256)
    resumed = again(checkpoints)
    for _ in range(2):
        assert resumed.newest_good() == (3, {})
    assert read == ["step-00000003"]
    save(resumed, towers, 4)
    assert read[1].startswith(".step-00000004")  # its sums
    for _ in range(2):
        resumed.prune(keep=3, best=1)
    assert read[2:] == ["step-00000002"]  # of two that it knows nothing of one is needed
    os.utime(checkpoints.path(4) / WEIGHTS, (1, 1))
    assert resumed.newest_good() == (4, {})
    assert read[3:] == ["step-00000004"]
    resumed.damaged_files(4)
    assert read[4:] == ["step-00000004"]  # whatever was known


# A full disk


@pytest.mark.parametrize(
    ("limit", "size"),
    [(1000, 100), (100_000, 100), (1_000_000, 1_000_000)],
    ids=["nothing fits", "weights do not fit", "state does not fit"],
)
def test_what_cannot_be_written_leaves_the_last_good_one(
    checkpoints: RunCheckpoints, towers: Towers, limit: int, size: int
) -> None:
    num_floats = size + sum(tensor.numel() for tensor in towers.model.state_dict().values())
    words = (
        rf"^the checkpoint of step 1 cannot be written to {checkpoints.directory}: .*File too large"
        rf".*\. It needs about {math.ceil(4 * num_floats / 1e6)} MB, [\d,]+ MB are free there\. "
        "Make room, .* starts from the first step, as there is no checkpoint yet$"
    )
    with full_disk(limit), pytest.raises(TrainingError, match=words):
        save(checkpoints, towers, 1, size=size)
    save(checkpoints, towers, 1)
    assert 100_000 < (checkpoints.path(1) / WEIGHTS).stat().st_size < 1_000_000
    with (
        full_disk(limit),
        pytest.raises(
            TrainingError, match=r"step 2 cannot .* the same command resumes after step 1"
        ),
    ):
        save(checkpoints, towers, 2, size=size)
    assert [path.name for path in checkpoints.directory.iterdir()] == ["step-00000001"]
    assert newest(checkpoints) == 1


@pytest.mark.parametrize("name", ["fsync", "mkdir", "rename"])
def test_a_disk_that_is_full_at_any_call_leaves_the_last_good_one(
    checkpoints: RunCheckpoints, towers: Towers, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    save(checkpoints, towers, 1)
    call = getattr(os, name)
    for fails_at in range(12):
        calls = 0

        def fail(*args: Any, at: int = fails_at, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*args, **options)

        with monkeypatch.context() as patched:
            patched.setattr(os, name, fail)
            try:
                save(checkpoints, towers, 2)
            except TrainingError as error:
                assert "No space left on device" in str(error)
        steps = checkpoints.steps()
        assert newest(checkpoints) == steps[-1]
        if calls <= fails_at:
            assert steps == [1, 2]
            break
        # The last of all, the folder's own name, fails after the checkpoint is in its place.
        assert steps in ([1], [1, 2])
    else:
        raise AssertionError("12 calls are not all")


# Kills


def keep_saving(
    checkpoints: RunCheckpoints, towers: Towers, begin: int, kill_at: int | None, told: Connection
) -> None:
    """Save step after step, and tell of each; killed at so many calls to the system, if any."""
    num_calls = 0

    def count(event: str, _: object) -> None:
        nonlocal num_calls
        if event.startswith(("os.", "shutil.", "open")):
            num_calls += 1
            if num_calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    for step in range(begin + 1, begin + 1000):
        save(checkpoints, towers, step)
        checkpoints.prune(keep=2, best=1)
        told.send(step)


@pytest.mark.slow
def test_killed_at_fifty_moments_a_good_one_is_always_there(towers: Towers) -> None:
    """Half the kills hit a call to the system, half a moment on the clock."""
    moments, context = random.Random(0), multiprocessing.get_context("fork")
    with TemporaryDirectory(dir=MEMORY) as folder:
        checkpoints = RunCheckpoints(Path(folder) / "checkpoints")
        save(checkpoints, towers, 1)
        last, drafts = 1, 0
        for number in range(NUM_KILLS):
            kill_at = moments.randrange(1, 120) if number % 2 else None
            heard, told = context.Pipe(duplex=False)
            process = context.Process(
                target=keep_saving, args=(checkpoints, towers, last, kill_at, told)
            )
            process.start()
            told.close()
            process.join(10 if kill_at else moments.uniform(0, 0.15))
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
            while heard.poll():
                try:
                    last = heard.recv()
                except EOFError:
                    break
            found = newest(checkpoints)
            assert found is not None
            assert last <= found <= last + 1  # at most the one it could not tell of
            assert 1 in checkpoints.steps()  # the best
            drafts += any(path.name.startswith(".") for path in checkpoints.directory.iterdir())
            last = found
        assert drafts > 10  # killed in the middle of a save, not between two
        save(checkpoints, towers, last + 1)
        checkpoints.prune(keep=2, best=1)
        assert len(list(checkpoints.directory.iterdir())) == 3


def test_checksums_name_every_file(checkpoints: RunCheckpoints, towers: Towers) -> None:
    place = save(checkpoints, towers, 1)
    names = set(json.loads((place / "checksums.json").read_text()))
    assert names == {path.name for path in place.iterdir()} - {"checksums.json"}
    assert {WEIGHTS, STATE} < names
