"""Downloads: they go on where they ended, also after a kill, and never end with wrong bytes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

from clipkit.errors import CheckpointError, OfflineError
from clipkit.models import hub_download
from clipkit.models.hub_cache import cached_commit, repo_directory
from clipkit.models.locate import fetch_source, locate
from clipkit.models.sources import resolve_source
from clipkit.progress import Callbacks, Progress
from tests.models.hub_server import COMMIT, Hub

ROOT = Path(__file__).parents[2]
LAION = "ViT-B-32/laion2b_s34b_b79k"
LAION_REPO = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
WEIGHTS = "open_clip_model.safetensors"
NEW_COMMIT = "f" * 40


@pytest.fixture
def weights(hub_server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The weights on the hub, whose tries follow each other at once."""
    monkeypatch.setattr(hub_download, "_PAUSES", (0.0, 0.0, 0.0))
    return put_weights(hub_server, tmp_path / WEIGHTS, os.urandom(400_000))


def put_weights(hub: Hub, path: Path, content: bytes) -> bytes:
    path.write_bytes(content)
    hub.files = {WEIGHTS: path}
    return content


def partial_file(hub: Hub) -> Path:
    return repo_directory(LAION_REPO) / "blobs" / f"{hub.etag(WEIGHTS)}.incomplete"


@pytest.mark.slow
def test_a_killed_fetch_goes_on_where_it_ended(
    hub_server: Hub, weights: bytes, hub_cache: Path
) -> None:
    hub_server.stops_at = 160_000
    script = (
        "from contextlib import contextmanager\n"
        "from clipkit.models.locate import fetch_source\n"
        "from clipkit.models.sources import resolve_source\n"
        "from clipkit.progress import Callbacks\n"
        "@contextmanager\n"
        "def report(label):\n"
        "    yield lambda done, total: print(done, flush=True)\n"
        f"fetch_source(resolve_source({LAION!r}), callbacks=Callbacks(progress_for=report))\n"
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub_server.url,
        "HF_HUB_CACHE": str(hub_cache),
        "HF_HUB_OFFLINE": "0",
        "PYTHONPATH": str(ROOT),
    }
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        reports = iter(process.stdout.readline, "")
        assert any(int(line) == 160_000 for line in reports), "it ended before"
        process.send_signal(signal.SIGKILL)
    partial = partial_file(hub_server)
    assert partial.read_bytes() == weights[:160_000]
    hub_server.stops_at = None
    hub_server.ranges.clear()

    (path,) = fetch_source(resolve_source(LAION))

    assert hub_server.ranges == ["bytes=160000-"]
    assert path.read_bytes() == weights
    assert not partial.exists()


@pytest.mark.parametrize("library", ["httpx2", "httpx"])  # those of the client's versions
def test_a_connection_that_breaks_off_is_taken_up_at_once(
    hub_server: Hub, weights: bytes, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    done: list[int] = []

    @contextmanager
    def watch(label: str) -> Iterator[Progress]:
        assert label == f"fetching {WEIGHTS}"

        def update(num_bytes: int, total: int | None) -> None:
            assert total == len(weights)
            done.append(num_bytes)
            if num_bytes == 100_000:
                hub_server.ends_at = None  # for the answer after this one, which has ended

        yield update

    hub_server.ends_at = 100_000
    with pytest.importorskip(library).Client() as client:
        monkeypatch.setattr(huggingface_hub, "get_session", lambda: client)
        (path,) = fetch_source(resolve_source(LAION), callbacks=Callbacks(progress_for=watch))
    assert path.read_bytes() == weights
    assert hub_server.ranges == ["", "bytes=100000-"]
    assert done[-1] == len(weights)
    assert done == sorted(done)


def test_a_connection_that_keeps_breaking_off_says_how_much_arrived_and_keeps_it(
    hub_server: Hub, weights: bytes
) -> None:
    hub_server.ends_at = 100_000
    with pytest.raises(OfflineError) as caught:
        fetch_source(resolve_source(LAION))
    assert str(caught.value) == (
        f"{WEIGHTS} of {LAION_REPO} cannot be fetched: the connection broke off after 100,000 of "
        "400,000 bytes, and 3 tries in a row brought nothing more; what has arrived is kept, and "
        "the next try resumes from there"
    )
    assert hub_server.ranges == ["", *["bytes=100000-"] * 3]
    assert partial_file(hub_server).read_bytes() == weights[:100_000]

    hub_server.ends_at = None
    assert locate(resolve_source(LAION)).weights is not None, "a load goes on, too"
    assert hub_server.ranges[-1] == "bytes=100000-"


def test_a_transfer_that_stands_still_is_given_up_on(
    hub_server: Hub, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.05)
    hub_server.stops_at = 0
    with pytest.raises(OfflineError, match="the transfer stands still after 0 of 400,000 bytes"):
        fetch_source(resolve_source(LAION))
    assert not hub_server.may_go_on.is_set(), "it still does"


def test_a_download_that_is_short_by_its_own_account_is_refused(
    hub_server: Hub, weights: bytes
) -> None:
    hub_server.shows_only = 123_456
    with pytest.raises(CheckpointError) as caught:
        fetch_source(resolve_source(LAION))
    assert not isinstance(caught.value, OfflineError)
    assert "the hub sent 123,456 bytes, and says itself that there are 400,000;" in str(
        caught.value
    )


def test_wrong_bytes_are_removed_and_never_reach_their_place(
    hub_server: Hub, weights: bytes
) -> None:
    hub_server.has_zeros = True
    with pytest.raises(CheckpointError, match="the bytes that arrived are not those of") as caught:
        fetch_source(resolve_source(LAION))
    assert not isinstance(caught.value, OfflineError)
    assert list((repo_directory(LAION_REPO) / "blobs").iterdir()) == []


def test_a_partial_file_with_wrong_bytes_is_downloaded_anew(
    hub_server: Hub, weights: bytes
) -> None:
    partial = partial_file(hub_server)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(1000))  # as after a power cut
    (path,) = fetch_source(resolve_source(LAION))
    assert path.read_bytes() == weights
    assert hub_server.ranges == ["bytes=1000-", ""]


def test_a_partial_file_that_is_too_long_is_downloaded_anew(
    hub_server: Hub, weights: bytes
) -> None:
    partial = partial_file(hub_server)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(weights + b"more")
    (path,) = fetch_source(resolve_source(LAION))
    assert path.read_bytes() == weights
    assert hub_server.ranges == [""]


def test_a_hub_that_knows_no_ranges_sends_all_of_it(hub_server: Hub, weights: bytes) -> None:
    partial = partial_file(hub_server)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(weights[:1000])
    hub_server.ignores_ranges = True
    (path,) = fetch_source(resolve_source(LAION))
    assert path.read_bytes() == weights


def test_partial_files_of_other_versions_are_removed_unless_somebody_writes_them(
    hub_server: Hub, weights: bytes, hub_cache: Path
) -> None:
    blobs = repo_directory(LAION_REPO) / "blobs"
    blobs.mkdir(parents=True)
    old, theirs, busy = "a" * 64, "b" * 64, "c" * 64
    for name in (f"{old}.incomplete", f"{theirs}.01234567.incomplete", f"{busy}.incomplete"):
        (blobs / name).write_bytes(b"some")
    locks = hub_cache / ".locks" / blobs.parent.name
    locks.mkdir(parents=True)
    with WeakFileLock(locks / f"{busy}.lock"):
        fetch_source(resolve_source(LAION))
    assert {path.name for path in blobs.iterdir()} == {
        hub_server.etag(WEIGHTS),
        f"{busy}.incomplete",
    }


def test_force_downloads_what_is_here(hub_server: Hub, weights: bytes) -> None:
    (path,) = fetch_source(resolve_source(LAION))
    fetch_source(resolve_source(LAION))
    assert hub_server.asked.count(f"GET {WEIGHTS}") == 1
    path.resolve().write_bytes(b"something else")

    assert fetch_source(resolve_source(LAION), again=True) == [path]

    assert hub_server.asked.count(f"GET {WEIGHTS}") == 2
    assert path.read_bytes() == weights


def test_force_replaces_a_copy_where_there_are_no_links(
    hub_server: Hub, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_SYMLINKS", True)
    monkeypatch.setattr("huggingface_hub.file_download._are_symlinks_supported_in_dir", {})
    (path,) = fetch_source(resolve_source(LAION))
    assert not path.is_symlink()
    path.write_bytes(b"damaged")
    fetch_source(resolve_source(LAION), again=True)
    assert path.read_bytes() == weights


def test_a_branch_that_has_moved_is_fetched_and_said(
    hub_server: Hub, weights: bytes, tmp_path: Path
) -> None:
    (old,) = fetch_source(resolve_source(LAION))
    hub_server.commit = NEW_COMMIT
    content = put_weights(hub_server, tmp_path / "new", os.urandom(1000))
    said: list[str] = []
    hub_server.asked.clear()
    assert locate(resolve_source(LAION)).weights == old
    assert hub_server.asked == [], "loading asks nobody"

    (new,) = fetch_source(resolve_source(LAION), callbacks=Callbacks(say=said.append))

    assert said == [f"{LAION_REPO} has changed on the hub: main was 0123456 and is fffffff"]
    assert new.read_bytes() == content
    assert old.read_bytes() == weights
    assert locate(resolve_source(LAION)).weights == new


def test_an_interrupted_fetch_of_a_new_version_leaves_the_old_one(
    hub_server: Hub, weights: bytes, tmp_path: Path
) -> None:
    (old,) = fetch_source(resolve_source(LAION))
    hub_server.commit = NEW_COMMIT
    put_weights(hub_server, tmp_path / "new", os.urandom(1000))
    hub_server.ends_at = 500
    with pytest.raises(OfflineError, match="broke off after 500 of 1,000 bytes"):
        fetch_source(resolve_source(LAION))
    assert cached_commit(LAION_REPO, None) == COMMIT
    assert locate(resolve_source(LAION)).weights == old


def test_where_the_hub_cannot_be_asked_what_is_here_is_enough(
    hub_server: Hub, weights: bytes
) -> None:
    paths = fetch_source(resolve_source(LAION))
    hub_server.refusal = 503, ""
    said: list[str] = []
    assert fetch_source(resolve_source(LAION), callbacks=Callbacks(say=said.append)) == paths
    assert said == [
        "all files are here; whether the hub has newer ones could not be asked: the hub, or a "
        "proxy before it, answers 503, which is an error of its own"
    ]
    with pytest.raises(CheckpointError, match="answers 503"):
        fetch_source(resolve_source(LAION), again=True)
