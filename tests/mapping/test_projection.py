"""Places on a map: who lies beside whom."""

import sys
from pathlib import Path

import numpy as np
import pytest

from clipkit.embeddings import normalize_rows
from clipkit.mapping.projection import lay_out, nearest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path))
    return tmp_path


def clusters() -> np.ndarray:
    """Return 20 rows around each of three directions, shape (60, 16)."""
    generator = np.random.default_rng(0)
    centres = np.repeat(np.eye(16)[:3], 20, axis=0)
    return normalize_rows(centres + 0.1 * generator.normal(size=(60, 16))).astype(np.float32)


@pytest.mark.parametrize("count", [1, 4, 100])
def test_the_nearest_are_those_of_a_full_sort(count: int) -> None:
    embeddings = clusters()
    rows, distances = nearest(embeddings, count)
    cosines = embeddings.astype(np.float64) @ embeddings.T
    np.fill_diagonal(cosines, -np.inf)
    expected = np.argsort(-cosines, axis=1, kind="stable")[:, : min(count, 59)]
    assert rows.tolist() == expected.tolist()
    assert distances == pytest.approx(1 - np.take_along_axis(cosines, expected, axis=1), abs=1e-6)


def test_one_row_has_no_neighbours() -> None:
    rows, distances = nearest(clusters()[:1], 15)
    assert rows.shape == distances.shape == (1, 0)


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_a_few_are_placed_by_their_principal_components(count: int) -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    embeddings = clusters()[::7][:count]
    places = lay_out(embeddings)
    assert places.shape == (count, 2)
    if count > 2:
        expected = decomposition.PCA(2).fit_transform(embeddings)
        assert np.abs(places) == pytest.approx(np.abs(expected), abs=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_what_is_similar_lies_together_and_is_laid_out_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("umap", reason='the map needs  pip install "clipkit[map]"')
    embeddings = clusters()
    places = lay_out(embeddings)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    group = np.repeat(range(3), 20)
    assert (group[distances.argmin(axis=1)] == group).all()

    (kept,) = (home / "cache" / "maps").iterdir()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "umap", None)  # would raise if it were imported
        assert np.array_equal(lay_out(embeddings), places)
    kept.write_bytes(kept.read_bytes()[:-4])  # damaged: laid out anew, and as before
    assert np.array_equal(lay_out(embeddings), places)
    assert kept.stat().st_size == 60 * 2 * 4
