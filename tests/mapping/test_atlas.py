"""The map as a page: its table, its names, the files it is written as, and a real browser."""

import io
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clipkit
from clipkit.mapping.image_map import ImageMap

atlas = pytest.importorskip(
    "clipkit.mapping.atlas", reason='the map needs  pip install "clipkit[map]"',
    exc_type=ImportError,
)  # fmt: skip
pandas = pytest.importorskip("pandas")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture
def shown() -> ImageMap:
    table = pandas.DataFrame(
        {
            "id": range(3), "path": ["<b>a</b>.jpg", "b.jpg", "c.jpg"],
            "x": np.arange(3, dtype=np.float32), "y": np.zeros(3, dtype=np.float32),
            "neighbors": [{"ids": [1], "distances": [0.5]}] * 3,
        }
    )  # fmt: skip
    props = {"data": {"id": "id", "projection": {"x": "x", "y": "y"}, "text": "path"}}
    return ImageMap(table, props, 0)


def test_it_answers_under_its_own_names_only(shown: ImageMap) -> None:
    testclient = pytest.importorskip("starlette.testclient")
    app = atlas.make_app(shown)
    inside = testclient.TestClient(app, base_url="http://localhost:7890")
    assert "<!doctype html>" in inside.get("/").text.lower()
    found = pandas.read_parquet(io.BytesIO(inside.get("/data/dataset.parquet").content))
    assert found.path.tolist() == shown.table.path.tolist()
    outside = testclient.TestClient(app, base_url="http://photos.example")
    assert [outside.get(path).status_code for path in ("/", "/data/dataset.parquet")] == [400, 400]
    assert inside.get("/../../pyproject.toml").status_code == 404


def test_it_can_be_written_as_files(shown: ImageMap, tmp_path: Path) -> None:
    atlas.write_site(shown, tmp_path / "map")
    assert (tmp_path / "map" / "index.html").is_file()
    assert json.loads((tmp_path / "map" / "data" / "metadata.json").read_text())["isStatic"]
    found = pandas.read_parquet(tmp_path / "map" / "data" / "dataset.parquet")
    assert found.path.tolist() == shown.table.path.tolist()
    with pytest.raises(clipkit.InputError, match="is not empty"):
        atlas.write_site(shown, tmp_path / "map")


@pytest.fixture
def address(shown: ImageMap) -> Iterator[str]:
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as bound:
        server = uvicorn.Server(uvicorn.Config(atlas.make_app(shown), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.browser
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_browser_shows_it_and_asks_nobody_else(browser: Any, address: str) -> None:
    """The points need WebGPU, which a browser without a window has not; the table is the same."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.get_by_text("3 points").first.wait_for()
    page.get_by_text("<b>a</b>.jpg").first.wait_for()
    page.close()
    assert [url for url in asked if not url.startswith((address, "blob:" + address))] == []
