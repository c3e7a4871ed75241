"""``clipkit serve``: what it refuses before it serves; tests/server drives the server itself."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome
from tests.conftest import SAMPLES

Run = Callable[..., Outcome]


def test_without_the_extra_one_sentence_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipkit.cli.serve.find_spec", lambda name: None)
    outcome = run("serve")
    assert (outcome.status, outcome.out) == (2, "")
    (line,) = outcome.err.splitlines()
    assert line.startswith("clipkit: clipkit serve needs an optional part: ")
    assert "[server]" in line


@pytest.fixture
def refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return what a command says that is refused before a model is loaded."""
    for name in ("fastapi", "uvicorn", "prometheus_client", "mcp"):
        pytest.importorskip(name, reason='the server needs  pip install "clipkit[server]"')
    monkeypatch.setattr("clipkit.cli.serve.load_encoder", lambda *_, **__: pytest.fail("loaded"))

    def refused(*words: object) -> str:
        outcome = run("serve", *words)
        assert (outcome.status, outcome.out) == (2, "")
        return outcome.err.splitlines()[-1]

    return refused


def test_a_folder_that_cannot_be_served_is_told(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    assert "photos" in refused(tmp_path / "photos")
    assert "has not been indexed" in refused(tmp_path, "--no-indexing")
    assert "none is named" in refused("--no-indexing")
    assert "leave out" in refused(tmp_path, "--store", "milvus://localhost:19530/photos")


def test_keys_that_are_none_are_refused_and_not_repeated(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys.txt"
    assert "cannot be read" in refused("--api-key-file", keys)
    keys.write_text("\n\n")
    assert "has no key" in refused("--api-key-file", keys)
    keys.write_text("secret\n")
    said = refused("--api-key-file", keys)
    assert "16 letters" in said
    assert "secret" not in said
    monkeypatch.setenv("CLIPKIT_API_KEY", "with a blank inside")
    assert "$CLIPKIT_API_KEY" in refused()


def test_a_port_that_cannot_be_had_is_told(refused: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        said = refused(SAMPLES, "--port", number)
    assert f"127.0.0.1, port {number}" in said
    assert "give another --port" in said
    assert "at most 65535" in refused("--port", 65536)


def test_a_store_that_nobody_answers_at_is_not_said_to_be_served(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pymilvus", reason="the extra milvus is not installed")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        number = nobody.getsockname()[1]
    outcome = run("serve", "--port", 0, "--store", f"milvus://127.0.0.1:{number}/photos")
    assert outcome.status == 2
    assert "the API is at" not in outcome.err
    assert "no Milvus server answers" in outcome.err
