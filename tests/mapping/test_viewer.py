"""What Embedding Atlas is served with by another server."""

import io
import json

import pytest

import clipkit
from clipkit.mapping.image_map import ImageMap
from clipkit.mapping.viewer import make_map_viewer

pandas = pytest.importorskip("pandas")
pytest.importorskip("embedding_atlas", reason='the map needs  pip install "clipkit[map]"')


def test_the_table_has_addresses_in_the_place_of_images() -> None:
    columns = {"id": range(2), "path": ["a.jpg", "b.jpg"], "x": [0.0, 1.0], "image": [b"", b""]}
    viewer = make_map_viewer(ImageMap(pandas.DataFrame(columns), {}, 0))
    assert (viewer.files / "index.html").is_file()
    metadata = json.loads(viewer.metadata)
    assert metadata["isStatic"]  # nothing is written to the server
    assert metadata["props"]["data"]["image"] == "image"
    assert metadata["props"]["initialState"]["columnStyles"]["neighbors"] == {"display": "hidden"}
    found = pandas.read_parquet(io.BytesIO(viewer.make_table(["http://localhost/a", None])))
    assert found.path.tolist() == ["a.jpg", "b.jpg"]
    assert found.image.fillna("").tolist() == ["http://localhost/a", ""]


def test_without_embedding_atlas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipkit.mapping.viewer.find_spec", lambda name: None)
    with pytest.raises(clipkit.MissingExtraError, match=r"clipkit\[map\]"):
        make_map_viewer(ImageMap(pandas.DataFrame(), {}, 0))
