"""The sentences of refusals."""

import json

import pydantic
import pytest

from clipkit.errors import ImageReadError, InputError, LibraryError
from clipkit.server.refusals import AsciiJSONResponse, describe_faults, refusal_of
from clipkit.server.requests import EmbeddingsRequest, SearchRequest


def sentence(kind: type[pydantic.BaseModel], body: object) -> str:
    with pytest.raises(pydantic.ValidationError) as caught:
        kind.model_validate(body)
    return describe_faults([{**it, "loc": ("body", *it["loc"])} for it in caught.value.errors()])


def test_a_fault_is_told_with_its_place_and_what_was_got() -> None:
    said = sentence(SearchRequest, {"query": "a", "filters": {"min_width": "x" * 1000}})
    assert said.startswith("filters.min_width: Input should be a valid integer, got 'xxx")
    assert len(said) < 200
    said = sentence(SearchRequest, {"query": "a", "parts": [{"text": "b"}, {"text": "\ud800"}]})
    assert said.startswith("parts[1].text: ")
    assert said.isascii()


@pytest.mark.parametrize(("name", "place"), [("K", "K"), ("str", "str"), ("a b", "a b")])
def test_a_field_that_there_is_not_is_named(name: str, place: str) -> None:
    said = sentence(SearchRequest, {"query": "a", name: 1})
    assert said.startswith(f"{place}: Extra inputs are not permitted")


def test_several_faults_are_told_and_many_counted() -> None:
    body = {"query": "a", "k": 0, "sort": "so", "diversity": 2, "min_relevance": -1, "kk": 1}
    said = sentence(SearchRequest, body)
    assert said.count(";") == 3
    assert said.endswith("and 2 more faults")


def test_a_value_of_several_kinds_is_one_fault() -> None:
    for given in (3, [{"image": 1}], ["a", {"text": "b"}], [[1, 2]]):
        said = sentence(EmbeddingsRequest, {"input": given})
        assert said.startswith("input: must be a text, a list of texts, or ")
        assert said.endswith(f"got {given}")
    assert "give input or messages" in sentence(EmbeddingsRequest, {})


def test_faults_of_the_client_keep_their_sentence_and_others_do_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert refusal_of(InputError("k must be 1")).message == "k must be 1"
    told = refusal_of(ImageReadError("<bytes>", "is empty (0 bytes)"))
    assert (told.status, told.message) == (422, "the image is empty (0 bytes)")
    hidden = refusal_of(LibraryError("/home/ann/photos is damaged"))
    assert hidden.status == 503
    assert "photos" not in hidden.message
    assert "/home/ann/photos is damaged" in caplog.text


def test_names_that_are_no_text_are_sent_all_the_same() -> None:
    body = AsciiJSONResponse({"path": "caf\udce9 \u2615.jpg"}).body
    assert json.loads(bytes(body)) == {"path": "caf\udce9 \u2615.jpg"}
