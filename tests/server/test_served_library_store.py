"""A library whose vectors are in a store, and whose images are not on the server."""

import shutil
from pathlib import Path

import pytest

pytest.importorskip("milvus_lite", reason="the extra milvus-lite is not installed")

import clipkit
from tests.conftest import SAMPLES
from tests.server.in_process import answer_of, client_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of Milvus' client
NAMES = ("cat.jpg", "owl.jpg", "castle.jpg", "cow.jpg")


def test_a_store_is_searched_without_its_images(starter: clipkit.Encoder, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(SAMPLES / name, folder)
    url = f"milvus://{tmp_path}/milvus.db/photos"
    clipkit.PhotoLibrary.open(folder, starter, store=url).sync()
    shutil.rmtree(folder)
    library = clipkit.PhotoLibrary.open(encoder=starter, store=url)
    with client_of(starter, library) as client:
        found = answer_of(client, "/v1/search", {"query": "a cat", "k": 1})
        assert [hit["path"] for hit in found["hits"]] == ["cat.jpg"]
        similar = answer_of(client, "/v1/similar", {"path": "cat.jpg"})
        assert {hit["path"] for hit in similar["hits"]} == {*NAMES} - {"cat.jpg"}
        label = answer_of(client, "/v1/classify", {"path": "owl.jpg", "labels": ["owl", "cat"]})
        assert label["labels"][0]["label"] == "owl"
        body = {"query": "a castle", "k": 1, "thumbnails": 64, "min_relevance": 0.0}
        (image,) = answer_of(client, "/v1/context", body)["images"]
        assert (image["path"], image["thumbnail"]) == ("castle.jpg", None)
        assert image["thumbnail_error"]
