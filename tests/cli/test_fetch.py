"""clipkit fetch, against a hub on this machine: statuses, what it prints where, and --force."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clipkit.cli import terminal
from clipkit.cli.terminal import transfer_progress
from tests.cli.conftest import Outcome
from tests.models.hub_server import Hub, ask_this_hub, serve_hub

Run = Callable[..., Outcome]
NAME = "ViT-B-32/laion2b_s34b_b79k"
REPO = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub with the weights of one model, and an empty cache."""
    (tmp_path / WEIGHTS).write_bytes(os.urandom(100_000))
    with serve_hub() as server:
        server.files = {WEIGHTS: tmp_path / WEIGHTS}
        ask_this_hub(monkeypatch, server, tmp_path / "hub")
        yield server


def test_paths_are_on_stdout_and_nothing_else(run: Run, hub: Hub) -> None:
    outcome = run("fetch", NAME)
    assert (outcome.status, outcome.err) == (0, "")
    (path,) = outcome.out.splitlines()
    assert Path(path).read_bytes() == hub.files[WEIGHTS].read_bytes()
    assert run("fetch", NAME) == outcome
    assert hub.asked.count(f"GET {WEIGHTS}") == 1


def test_damage_is_an_error_and_force_mends_it(run: Run, hub: Hub) -> None:
    path = Path(run("fetch", NAME).out.strip())
    path.write_bytes(bytes(100_000))
    outcome = run("fetch", NAME)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.endswith(f'run  clipkit fetch --force "{NAME}"\n')
    assert run("fetch", "--force", NAME).status == 0
    assert path.read_bytes() == hub.files[WEIGHTS].read_bytes()


def test_a_new_version_is_said_on_stderr(run: Run, hub: Hub) -> None:
    run("fetch", NAME)
    hub.commit = "f" * 40
    outcome = run("fetch", NAME)
    assert outcome.status == 0
    assert outcome.err == f"{REPO} has changed on the hub: main was 0123456 and is fffffff\n"
    assert "/snapshots/ffff" in outcome.out


def test_a_refusal_is_one_line_and_status_2(run: Run, hub: Hub) -> None:
    hub.refusal = 503, ""
    outcome = run("fetch", NAME)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith(f"clipkit: {WEIGHTS} of {REPO} cannot be fetched: ")
    assert outcome.err.count("\n") == 1


def test_progress_is_a_line_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = itertools.count(step=2.0)
    monkeypatch.setattr("clipkit.cli.terminal.time.monotonic", lambda: next(seconds))
    with transfer_progress("fetching weights") as progress:
        for done in range(0, 10_000_000, 1_000_000):
            progress(done, 20_000_000)
        progress(10_000_000, None)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert lines[0] == "fetching weights: 2.0 of 20.0 MB (10%)"
    assert 1 < len(lines) < 5


def test_progress_is_a_bar_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with transfer_progress("fetching weights") as progress:
        progress(1_000_000, 2_000_000)
        terminal.clear_bars()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "fetching weights" in captured.err
    assert "/2.00M" in captured.err
