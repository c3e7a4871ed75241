"""``clipkit map``: what it writes, and what it refuses before hours of work."""

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
    monkeypatch.setattr("clipkit.cli.map.find_spec", lambda name: None)
    outcome = run("map")
    assert (outcome.status, outcome.out) == (2, "")
    (line,) = outcome.err.splitlines()
    assert line.startswith("clipkit: The map needs an optional part: ")
    assert "[map]" in line


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a model is loaded."""
    pytest.importorskip("embedding_atlas", reason='the map needs  pip install "clipkit[map]"')
    monkeypatch.setattr("clipkit.cli.map.load_encoder", lambda *_, **__: pytest.fail("loaded"))


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "nowhere"),
        ([SAMPLES, "--output", SAMPLES], "is not an empty directory"),
        ([SAMPLES, "--output", SAMPLES / "cat.jpg"], "is not an empty directory"),
        ([SAMPLES, "--port", "65536"], "give another --port"),
        ([SAMPLES, "--labels", " , "], "needs one label or more"),
    ],
)
def test_what_is_wrong_is_told_before_a_model_is_loaded(
    run: Run, words: list[str | Path], told: str
) -> None:
    outcome = run("map", *words)
    assert (outcome.status, outcome.out) == (2, "")
    assert told in outcome.err.splitlines()[-1]


@pytest.mark.usefixtures("unloaded")
def test_a_port_that_is_taken_is_told(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        outcome = run("map", SAMPLES, "--port", other.getsockname()[1])
    assert outcome.status == 2
    assert "give another --port" in outcome.err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_map_is_written(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("embedding_atlas", reason='the map needs  pip install "clipkit[map]"')
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    outcome = run("map", SAMPLES, "--labels", "animal, building", "-o", tmp_path / "map")
    assert (outcome.status, outcome.out) == (0, f"{tmp_path / 'map' / 'index.html'}\n")
    table = pandas.read_parquet(tmp_path / "map" / "data" / "dataset.parquet")
    assert sorted(table.path) == sorted(path.name for path in SAMPLES.glob("*.jpg"))
    found = dict(zip(table.path, table.label, strict=True))
    assert (found["cat.jpg"], found["castle.jpg"]) == ("animal", "building")


@pytest.mark.slow
def test_a_folder_without_images_is_told(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("embedding_atlas", reason='the map needs  pip install "clipkit[map]"')
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    (tmp_path / "empty").mkdir()
    outcome = run("map", tmp_path / "empty")
    assert (outcome.status, outcome.out) == (2, "")
    assert "no images found" in outcome.err
