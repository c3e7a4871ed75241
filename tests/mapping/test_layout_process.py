"""A layout by another process: the same places, called for meanwhile, and ended when left."""

import threading
from pathlib import Path

import numpy as np
import pytest

import clipkit
from clipkit.mapping import layout_process
from clipkit.mapping.layout_process import lay_out_apart
from clipkit.mapping.projection import find_places, lay_out
from tests.mapping.test_projection import clusters

pytest.importorskip("umap", reason='the map needs  pip install "clipkit[map]"')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path))
    return tmp_path


def test_the_places_are_those_of_this_process_and_are_kept() -> None:
    beats: list[int] = []
    places = lay_out_apart(clusters(), lambda: beats.append(threading.active_count()))
    assert len(beats) > 3  # the library alone takes a second to load
    kept = find_places(clusters())
    assert kept is not None
    assert np.array_equal(kept, places)
    assert np.array_equal(lay_out(clusters()), places)
    beats.clear()
    assert np.array_equal(lay_out_apart(clusters(), lambda: beats.append(0)), places)
    assert beats == []


def test_who_leaves_ends_the_other_process(home: Path) -> None:
    class LeftError(Exception):
        """Nobody waits any more."""

    def leave() -> None:
        raise LeftError

    with pytest.raises(LeftError):
        lay_out_apart(clusters(), leave)
    assert find_places(clusters()) is None


def _end(*_: object) -> None:
    """End without an answer, as a process that the system has ended."""


def test_a_process_that_ends_early_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_process, "_send_places", _end)
    with pytest.raises(clipkit.ClipkitError, match=r"map of 60 images ended early.*make the map"):
        lay_out_apart(clusters(), lambda: None)
