"""``clipkit demo``: what it refuses before it serves; tests/demo drives the page itself."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome
from tests.conftest import SAMPLES

Run = Callable[..., Outcome]


def test_without_gradio_one_sentence_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipkit.cli.demo.find_spec", lambda name: None)
    outcome = run("demo")
    assert (outcome.status, outcome.out) == (2, "")
    (line,) = outcome.err.splitlines()
    assert line.startswith("clipkit: The page in the browser needs an optional part: ")
    assert "[demo]" in line


def test_a_folder_that_is_not_there_is_refused_before_a_model_is_loaded(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')
    monkeypatch.setattr("clipkit.cli.demo.load_encoder", lambda *_, **__: pytest.fail("loaded"))
    outcome = run("demo", tmp_path / "photos")
    assert (outcome.status, outcome.out) == (2, "")
    assert "photos" in outcome.err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("port", ["taken", "65536"])
def test_a_port_that_cannot_be_had_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, port: str
) -> None:
    pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1] if port == "taken" else port
        outcome = run("demo", SAMPLES, "--port", number)
    assert (outcome.status, outcome.out) == (2, "")
    assert f"127.0.0.1, port {number}" in outcome.err.splitlines()[-1]
    assert "give another --port" in outcome.err
