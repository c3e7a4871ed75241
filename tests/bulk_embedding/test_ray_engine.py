"""Ray Data on this machine, with two actors: the same bytes, a killed worker, a killed run."""

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from clipkit.bulk_embedding.ray_engine import RayWorkers, share_nodes
from clipkit.errors import InputError
from tests.bulk_embedding.deadly import DEADLY, deadly_environment, start_embed
from tests.bulk_embedding.made_sources import COLORS, image_bytes, make_folder, part_contents

with_ray = pytest.mark.skipif(
    find_spec("ray") is None or not hasattr(signal, "SIGKILL"),
    reason="the extra ray is not installed, or there is no SIGKILL",
)

RAY = ("--engine", "ray", "--workers", 2, "--part-size", 2, "--precision", "fp32")
LOCAL = ("--part-size", 2, "--precision", "fp32")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images, one that cannot be read, and one that kills the processes that read it."""
    folder = make_folder(tmp_path_factory.mktemp("bulk") / "photos", 10)
    (folder / "bad.png").write_text("no image")
    (folder / "3-deadly.png").write_bytes(image_bytes(COLORS[3]) + DEADLY)
    return folder


@pytest.fixture(scope="module")
def expected(photos: Path) -> Iterator[dict[str, bytes]]:
    """The files that one process writes without a stop, where nothing kills it."""
    out = photos.parent / "local"
    process = start_embed([photos, out, *LOCAL])
    _, err = process.communicate()
    assert process.returncode == 0, err
    yield part_contents(out)


@pytest.mark.slow
@with_ray
def test_actors_write_the_same_bytes_as_one_process(
    tmp_path: Path, photos: Path, expected: dict[str, bytes]
) -> None:
    process = start_embed([photos, tmp_path / "out", *RAY])
    out, err = process.communicate()
    assert process.returncode == 0, err
    report = json.loads(out)  # nothing else is on stdout
    assert (report["engine"], report["num_embedded"], report["num_unread"]) == ("ray", 11, 1)
    told = [line for line in err.splitlines() if "RAY_BACKEND_LOG_LEVEL" not in line]
    assert told == ["1 image skipped:", f"  bad.png: {report['unread'][0]['reason']}"]
    assert part_contents(tmp_path / "out") == expected


@pytest.mark.slow
@with_ray
def test_an_image_that_kills_workers_costs_itself_and_ray_goes_on(
    tmp_path: Path, photos: Path, expected: dict[str, bytes]
) -> None:
    environment = deadly_environment(tmp_path / "site")
    process = start_embed([photos, tmp_path / "out", *RAY], environment)
    out, err = process.communicate()
    assert process.returncode == 0, err
    report = json.loads(out)
    reasons = {each["path"]: each["reason"] for each in report["unread"]}
    assert sorted(reasons) == ["3-deadly.png", "bad.png"]
    assert "ended the process" in reasons["3-deadly.png"]
    assert report["num_embedded"] == 10 and report["num_retried"] >= 1
    found = part_contents(tmp_path / "out")
    different = [name for name in expected if found[name] != expected[name]]
    assert len(different) == 1  # the part without the deadly image


@pytest.mark.slow
@with_ray
def test_a_run_that_is_killed_is_taken_up_by_the_next(
    tmp_path: Path, photos: Path, expected: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    process = start_embed([photos, out, *RAY])
    end = time.monotonic() + 60
    while not list(out.glob("part-*")) and time.monotonic() < end:
        time.sleep(0.01)  # until the first part is there
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    there = len(list(out.glob("part-*")))
    assert there
    again = start_embed([photos, out, *LOCAL])
    text, err = again.communicate()
    assert again.returncode == 0, err
    report = json.loads(text)
    assert report["num_before"] + report["num_embedded"] == 11
    assert report["num_before"] >= 1
    assert part_contents(out) == expected


@pytest.mark.parametrize(
    ("cores", "gpus", "workers", "num_parts", "expected"),
    [
        ([2], [0], RayWorkers(2), 9, (2, 1)),
        ([16], [0], RayWorkers(), 9, (4, 4)),
        ([2], [0], RayWorkers(), 9, (1, 2)),
        ([16], [0], RayWorkers(8), 3, (3, 5)),  # three parts: no more workers than that
        ([16, 16], [0, 0], RayWorkers(1), 9, (1, 16)),  # no machine has 32
        ([16, 16, 16, 16], [0] * 4, RayWorkers(5), 9, (5, 8)),  # of 12 cores only four fit
        ([8], [1], RayWorkers(gpus_each=0.5), 9, (2, 4)),
        ([8, 8], [1, 1], RayWorkers(gpus_each=0.7), 9, (2, 8)),  # one on each, not two of 1.4
        ([30], [3], RayWorkers(gpus_each=0.1), 99, (30, 1)),
    ],
)
def test_workers_fit_on_the_machines(
    cores: Sequence[int],
    gpus: Sequence[float],
    workers: RayWorkers,
    num_parts: int,
    expected: tuple[int, int],
) -> None:
    assert share_nodes(cores, gpus, workers, num_parts) == expected


def test_workers_for_which_there_is_no_room_are_refused() -> None:
    with pytest.raises(InputError, match=r"3 workers need a core each, and Ray knows of 2"):
        share_nodes([2], [0], RayWorkers(3), 9)
    with pytest.raises(InputError, match="do not fit on the 1 GPUs that Ray knows of"):
        share_nodes([8], [1], RayWorkers(3, gpus_each=0.5), 9)
    with pytest.raises(InputError, match="do not fit on the 0 GPUs"):
        share_nodes([8], [0], RayWorkers(gpus_each=1), 9)
