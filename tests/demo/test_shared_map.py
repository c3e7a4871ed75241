"""What of a map is sent: places, groups with a colour, and nothing that is gone."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')
pytest.importorskip("embedding_atlas", reason='the map needs  pip install "clipkit[map]"')

import clipkit
from clipkit.demo.image_store import ImageStore
from clipkit.demo.shared_map import MAX_COLORS, SharedMap, _colorings, _unit_square
from tests.conftest import SAMPLES

pandas = pytest.importorskip("pandas", reason="Embedding Atlas brings it")


def test_places_are_scaled_by_the_same_factor_into_the_unit_square() -> None:
    x, y = _unit_square(np.array([-10.0, 0.0, 10.0]), np.array([5.0, 7.0, 9.0]))
    assert x == [0.0, 0.5, 1.0]
    assert y == [0.4, 0.5, 0.6]
    assert _unit_square(np.array([3.0]), np.array([4.0])) == ([0.5], [0.5])
    assert _unit_square(np.array([]), np.array([])) == ([], [])


def table(**columns: Any) -> Any:
    return pandas.DataFrame(columns)


def test_small_groups_share_a_colour_and_years_keep_their_order() -> None:
    folders = [f"folder {number}" for number in range(12) for _ in range(12 - number)]
    taken = pandas.Series(["2024-01-02", None, "2022-05-06"] * 26)
    by_folder, by_year = _colorings(table(folder=folders, taken=pandas.to_datetime(taken)))
    assert by_folder["names"] == [*(f"folder {number}" for number in range(MAX_COLORS)), "others"]
    assert by_folder["of"].count(MAX_COLORS) == 3 + 2 + 1
    assert (by_year["names"], by_year["is_ordered"]) == (["2022", "2024", "not known"], True)
    assert by_year["of"][:3] == [1, 2, 0]


def test_one_folder_and_no_camera_are_nothing_to_colour_by() -> None:
    assert _colorings(table(folder=["."] * 3, camera=[None] * 3)) == []
    (found,) = _colorings(table(folder=[".", "a"], camera=[None, None]))
    assert found["names"] == ["the folder itself", "a"]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[clipkit.PhotoLibrary]:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("cat", "dog", "owl", "castle"):  # few: no layout by UMAP
        shutil.copy(SAMPLES / f"{name}.jpg", folder)
    found = clipkit.PhotoLibrary.open(folder, clipkit.load(cache_texts=False))
    found.sync()
    yield found


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_what_is_not_indexed_any_more_is_left_out(library: clipkit.PhotoLibrary) -> None:
    images = ImageStore(library)
    shared = SharedMap(library, clipkit.load(cache_texts=False), images)
    assert (shared.plot(), shared.viewer(), shared.table("x")) == (None, None, None)
    shared.make(["animal", "building"], clipkit.Callbacks())
    plot = shared.plot()
    assert plot is not None
    assert plot["files"] == ["castle.jpg", "cat.jpg", "dog.jpg", "owl.jpg"]
    assert all(images.render(key) for key in plot["ids"])
    assert plot["colors"][0]["title"] == "Label"
    (library.folder / "cat.jpg").unlink()
    with pytest.raises(clipkit.ImageReadError, match="no such file"):
        images.render(plot["ids"][1])  # at once, whatever the map says
    shutil.copy(SAMPLES / "temple.jpg", library.folder)
    library.sync(prune=True)
    plot = shared.plot()
    assert plot is not None
    assert plot["files"] == ["castle.jpg", "dog.jpg", "owl.jpg"]
    assert plot["num_new"] == 1
    assert len(plot["x"]) == len(plot["ids"]) == len(plot["colors"][0]["of"]) == 3
    content = shared.table("http://localhost/gradio_api/file=")
    assert content is not None
    found = pandas.read_parquet(io.BytesIO(content))
    assert found.path.tolist() == plot["files"]
    expected = [f"http://localhost/gradio_api/file={key}" for key in plot["ids"]]
    assert found.image.tolist() == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_ids_of_an_earlier_map_end_with_it(library: clipkit.PhotoLibrary) -> None:
    images = ImageStore(library)
    (cat,) = images.admit_map([library.folder / "cat.jpg"])
    assert cat in images
    (dog,) = images.admit_map([library.folder / "dog.jpg"])
    assert (cat in images, dog in images) == (False, True)
