"""What the API answers is what the Python API returns."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

import clipkit
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.server.served_library import inner_path
from clipkit.server.settings import Limits, ServerSettings
from clipkit.web.hosts import AllowedHosts
from tests.conftest import SAMPLES
from tests.server.conftest import data_url
from tests.server.in_process import answer_of, client_of, sentence_of

CAT = (SAMPLES / "cat.jpg").read_bytes()


@pytest.fixture(scope="module")
def client(starter: clipkit.Encoder, library: clipkit.PhotoLibrary) -> Iterator[TestClient]:
    with client_of(starter, library) as client:
        yield client


def rows_of(answer: Any) -> Any:
    assert [each["index"] for each in answer["data"]] == list(range(len(answer["data"])))
    return np.array([each["embedding"] for each in answer["data"]])


def test_texts_and_images_are_embedded_in_their_order(
    client: TestClient, starter: clipkit.Encoder
) -> None:
    items = [{"image": data_url()}, {"text": "a cat"}, {"image": data_url("owl.jpg")}]
    answer = answer_of(client, "/v1/embeddings", {"input": items})
    cat, owl = starter.encode_images([CAT, SAMPLES / "owl.jpg"])
    expected = np.stack([cat, starter.encode_text("a cat"), owl])
    np.testing.assert_allclose(rows_of(answer), expected, atol=1e-4)
    assert (answer["object"], answer["model"]) == ("list", "starter")


@pytest.mark.parametrize(
    "body",
    [
        {"input": "a cat"},
        {"input": ["a cat"], "model": "starter", "user": "somebody", "truncate": None},
        {"messages": [{"role": "user", "content": "a cat"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a cat"}]}]},
    ],
)
def test_a_text_may_be_sent_as_openai_infinity_and_vllm_take_it(
    client: TestClient, starter: clipkit.Encoder, body: object
) -> None:
    answer = answer_of(client, "/v1/embeddings", body)
    np.testing.assert_allclose(rows_of(answer), [starter.encode_text("a cat")], atol=1e-5)
    # The starter's own marks, and one token a word.
    assert answer["usage"] == {"prompt_tokens": 4, "total_tokens": 4}


@pytest.mark.parametrize("way", ["infinity", "vllm"])
def test_an_image_may_be_sent_as_infinity_and_vllm_take_it(
    client: TestClient, starter: clipkit.Encoder, way: str
) -> None:
    part = {"type": "image_url", "image_url": {"url": data_url(), "detail": "auto"}}
    ways: dict[str, dict[str, Any]] = {
        "infinity": {"input": [data_url()], "modality": "image"},
        "vllm": {"messages": [{"role": "user", "content": [part]}]},
    }
    answer = answer_of(client, "/v1/embeddings", ways[way])
    np.testing.assert_allclose(rows_of(answer), [starter.encode_image(CAT)], atol=1e-4)
    assert answer["usage"]["total_tokens"] == 0


def test_base64_is_of_little_endian_float32(client: TestClient, starter: clipkit.Encoder) -> None:
    answer = answer_of(client, "/v1/embeddings", {"input": "a cat", "encoding_format": "base64"})
    row = np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), dtype="<f4")
    np.testing.assert_allclose(row, starter.encode_text("a cat"), atol=1e-5)


def test_dimensions_are_the_first_ones_of_norm_1(
    client: TestClient, starter: clipkit.Encoder
) -> None:
    answer = answer_of(client, "/v1/embeddings", {"input": "a cat", "dimensions": 8})
    first = starter.encode_text("a cat")[:8]
    np.testing.assert_allclose(rows_of(answer), [first / np.linalg.norm(first)], atol=1e-5)
    said = sentence_of(client, "/v1/embeddings", {"input": "a", "dimensions": 10_000})
    assert f"at most {starter.embed_dim}" in said


def test_another_model_is_refused_and_the_own_one_described(
    client: TestClient, starter: clipkit.Encoder
) -> None:
    said = sentence_of(client, "/v1/embeddings", {"input": "a", "model": "gpt"}, 404)
    assert "starter is" in said
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["embed_dim"]) == ("starter", starter.embed_dim)
    assert client.get("/v1/models/starter").json() == model
    assert client.get("/v1/models/a/b").status_code == 404


def test_a_search_is_that_of_the_library(client: TestClient, library: clipkit.PhotoLibrary) -> None:
    answer = answer_of(client, "/v1/search", {"query": "a cat", "k": 3})
    hits = library.search("a cat", k=3)
    paths = [inner_path(hit.path, library.folder) for hit in hits]
    assert [hit["path"] for hit in answer["hits"]] == paths
    assert answer["hits"][0]["path"] == "cat.jpg"
    expected = hits.to_dict()
    for name in ("verdict", "num_found", "num_searched", "may_be_more"):
        assert answer[name] == expected[name]
    relevance = [hit["relevance"] for hit in answer["hits"]]
    np.testing.assert_allclose(relevance, [hit.relevance for hit in hits], atol=1e-3)
    assert str(library.folder) not in str(answer)


def test_hits_say_which_crop_fits_best(starter: clipkit.Encoder, tmp_path: Path) -> None:
    for name in ("cat.jpg", "owl.jpg", "hens.jpg"):
        (tmp_path / name).write_bytes((SAMPLES / name).read_bytes())
    library = clipkit.PhotoLibrary.open(tmp_path, starter)
    library.sync(crops=5)
    with client_of(starter, library) as client:
        hits = answer_of(client, "/v1/search", {"query": "the head of a hen"})["hits"]
    expected = {hit.path.name: hit.to_dict()["crop"] for hit in library.search("the head of a hen")}
    assert {hit["path"]: hit["crop"] for hit in hits} == expected
    assert any(expected.values())


def test_filters_and_order_are_those_of_the_library(
    client: TestClient, library: clipkit.PhotoLibrary
) -> None:
    filters = {"orientation": "portrait", "not_path": ["c*"], "min_width": 100}
    body = {"query": "an animal", "k": 5, "sort": "name", "filters": filters}
    answer = answer_of(client, "/v1/search", body)
    hits = library.search(
        "an animal", k=5, sort="name", orientation="portrait", not_path=["c*"], min_width=100
    )
    assert [hit["path"] for hit in answer["hits"]] == [hit.path.name for hit in hits]
    assert answer["num_searched"] == hits.num_searched < 45


def test_parts_are_weighed_as_those_of_a_query(
    client: TestClient, library: clipkit.PhotoLibrary
) -> None:
    parts = [{"text": "water", "weight": 2}, {"path": "owl.jpg", "weight": -0.5}]
    answer = answer_of(client, "/v1/search", {"query": "a bird", "parts": parts, "k": 4})
    query = clipkit.Query(
        (
            clipkit.QueryPart("a bird"),
            clipkit.QueryPart("water", 2),
            clipkit.QueryPart(library.folder / "owl.jpg", -0.5),
        )
    )
    hits = library.search(query, k=4)
    assert [hit["path"] for hit in answer["hits"]] == [hit.path.name for hit in hits]
    assert answer["num_searched"] == 44


def test_similar_images_are_those_of_the_library_without_the_image_itself(
    client: TestClient, library: clipkit.PhotoLibrary
) -> None:
    by_path = answer_of(client, "/v1/similar", {"path": "cat.jpg", "k": 5})
    hits = library.search(library.folder / "cat.jpg", k=5)
    assert [hit["path"] for hit in by_path["hits"]] == [hit.path.name for hit in hits]
    assert "cat.jpg" not in [hit["path"] for hit in by_path["hits"]]
    by_data = answer_of(client, "/v1/similar", {"image": data_url(), "k": 1})
    assert by_data["hits"][0]["path"] == "cat.jpg"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../samples/cat.jpg", "nothing.jpg", "cat.jpg\0", ".", "%2e%2e/cat.jpg"]
)
def test_a_path_that_is_not_indexed_reaches_no_file(client: TestClient, path: str) -> None:
    for address, body in (
        ("/v1/similar", {"path": path}),
        ("/v1/search", {"parts": [{"path": path}]}),
        ("/v1/classify", {"path": path, "labels": ["cat", "dog"]}),
    ):
        assert "no indexed image" in sentence_of(client, address, body)


@pytest.mark.parametrize(
    "options", [{}, {"templates": "photo", "domain": "pet"}, {"multi_label": True}]
)
def test_labels_are_scored_as_by_the_classifier(
    client: TestClient, starter: clipkit.Encoder, options: dict[str, Any]
) -> None:
    labels = ["dog", "cat", "owl", "cat"]
    body = {"image": data_url(), "labels": labels, "k": 2, **options}
    answer = answer_of(client, "/v1/classify", body)
    classifier = clipkit.ZeroShotClassifier(starter, ["dog", "cat", "owl"], **options)
    (expected,) = classifier.classify([CAT], k=2)
    assert [each["label"] for each in answer["labels"]] == [each["label"] for each in expected]
    scores = [each["score"] for each in expected]
    np.testing.assert_allclose([each["score"] for each in answer["labels"]], scores, atol=1e-3)
    again = answer_of(client, "/v1/classify", {**body, "image": None, "path": "cat.jpg"})
    assert again["labels"][0]["label"] == "cat"


def test_none_of_these_is_an_answer_if_asked_for(client: TestClient) -> None:
    body = {"image": data_url("castle.jpg"), "labels": ["banana", "screwdriver"], "unknown": True}
    answer = answer_of(client, "/v1/classify", body)
    assert answer["unknown"] is (answer["labels"][0]["label"] == "none of these")
    assert sum(each["score"] for each in answer["labels"]) == pytest.approx(1, abs=1e-4)


def test_a_context_is_that_of_the_library_without_its_folder(
    client: TestClient, library: clipkit.PhotoLibrary
) -> None:
    answer = answer_of(client, "/v1/context", {"query": "a castle", "thumbnails": 64})
    report = clipkit.retrieve_context(library, "a castle").to_dict()
    assert [each["path"] for each in answer["images"]] == [
        each["path"] for each in report["images"]
    ]
    assert (answer["query"], answer["verdict"]) == ("a castle", report["verdict"])
    assert answer["folder"] == library.folder.name
    assert str(library.folder.parent) not in str(answer)
    image = answer["images"][0]
    assert image["uri"] == image["path"]
    assert image["thumbnail"].startswith("data:image/jpeg;base64,")


def test_of_what_a_link_leads_to_no_rendering_leaves_the_server(
    starter: clipkit.Encoder, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "castle.jpg").symlink_to(SAMPLES / "castle.jpg")
    library = clipkit.PhotoLibrary.open(folder, starter)
    library.sync()
    with client_of(starter, library) as client:
        body = {"query": "a castle", "thumbnails": 64, "min_relevance": 0.0}
        (image,) = answer_of(client, "/v1/context", body)["images"]
    assert image["thumbnail"] is None
    assert "symbolic link" in image["thumbnail_error"]


def test_limits_are_those_that_the_server_was_started_with(starter: clipkit.Encoder) -> None:
    limits = Limits(max_texts=2, max_images=1, max_labels=2, max_k=5, max_pixels=1000)
    settings = ServerSettings(AllowedHosts(frozenset({"testserver"})), limits=limits)
    with client_of(starter, None, settings) as client:
        for path, body, said in (
            ("/v1/embeddings", {"input": ["a"] * 3}, "at most 2, got 3"),
            ("/v1/embeddings", {"input": [{"image": data_url()}] * 2}, "--max-images"),
            ("/v1/classify", {"image": data_url(), "labels": ["a", "b", "c"]}, "--max-labels"),
            ("/v1/embeddings", {"input": [{"image": data_url()}]}, "too large"),
        ):
            assert said in sentence_of(client, path, body)
        said = sentence_of(client, "/v1/search", {"query": "a cat"}, 404)
        assert "clipkit serve FOLDER" in said
        parts = client.get("/openapi.json").json()["components"]["schemas"]
        assert parts["SearchRequest"]["properties"]["k"]["maximum"] == 5
        assert parts["ClassifyRequest"]["properties"]["labels"]["maxItems"] == 2


def test_too_many_prompts_are_refused(starter: clipkit.Encoder) -> None:
    templates = [f"a photo of a {{}} of kind {number}" for number in range(16)]
    body = {"image": data_url(), "labels": list(map(str, range(257))), "templates": templates}
    settings = ServerSettings(
        AllowedHosts(frozenset({"testserver"})), limits=Limits(max_labels=300)
    )
    with client_of(starter, None, settings) as client:
        assert "at most 4096 prompts, got 4112" in sentence_of(client, "/v1/classify", body)
        few = {**body, "labels": ["a", "b"], "unknown": True}
        said = sentence_of(client, "/v1/classify", few)
    assert f"got {16 * (2 + len(BACKGROUND_NAMES))}" in said


def test_the_field_at_fault_is_named_for_programs(client: TestClient) -> None:
    for body, field in (({"query": "a", "k": "many"}, "k"), ({"query": "a", "K": 1}, "K")):
        assert answer_of(client, "/v1/search", body, 422)["error"]["param"] == field


def test_a_name_that_is_no_text_can_be_read_and_sent_back(
    starter: clipkit.Encoder, tmp_path: Path
) -> None:
    """Strict parsers of JSON take no half characters, and clients cannot send them."""
    names = {b"\xff\xfe.jpg": "cat", rb"\xff.jpg": "red_panda", b"owl.jpg": "owl"}
    for name, source in names.items():
        (tmp_path / os.fsdecode(name)).write_bytes((SAMPLES / f"{source}.jpg").read_bytes())
    library = clipkit.PhotoLibrary.open(tmp_path, starter)
    library.sync()
    with client_of(starter, library) as client:
        told = {r"\xff\xfe.jpg", r"\xff.jpg", "owl.jpg"}
        hits = answer_of(client, "/v1/search", {"query": "a cat"})["hits"]
        assert {hit["path"] for hit in hits} == told
        for path in told:
            similar = answer_of(client, "/v1/similar", {"path": path})["hits"]
            assert {hit["path"] for hit in similar} == told - {path}
        body = {"query": "a cat", "thumbnails": 64, "min_relevance": 0}
        images = answer_of(client, "/v1/context", body)["images"]
        assert {image["path"] for image in images} == told
        assert not any(image["thumbnail_error"] for image in images)
