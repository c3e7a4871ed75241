"""Concepts are written and read; what is none, or damaged, is refused in a sentence."""

import json
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from clipkit.adaptation.concept import CONCEPT_FILE, Concept, check_concept_name
from clipkit.embeddings import EmbeddingArray, normalize_rows
from clipkit.errors import InputError, SpaceMismatchError
from clipkit.search.query import parse_query


def make_concept(name: str = "Rex", space_id: str = "fake-space", model: str = "fake") -> Concept:
    row = normalize_rows([[1.0, 2.0, 3.0, 4.0]])[0]
    return Concept(
        name=name,
        embedding=EmbeddingArray(row, space_id),
        model=model,
        space_id=space_id,
        kind="a dog",
        num_images=5,
        num_negatives=2,
        has_center=True,
        created="2026-01-31T12:00:00+00:00",
        clipkit_version="0.1.0",
    )


@pytest.mark.parametrize("name", ["Rex", "Großmutter 2", "日本", "T-shirt"])
def test_a_concept_is_the_same_after_a_file(name: str, tmp_path: Path) -> None:
    concept = make_concept(name)
    concept.save(tmp_path / "rex.safetensors")
    again = Concept.load(tmp_path / "rex.safetensors")
    assert again.to_dict() == concept.to_dict()
    np.testing.assert_array_equal(again.embedding, concept.embedding)
    assert again.embedding.space_id == "fake-space"
    assert [path.name for path in tmp_path.iterdir()] == ["rex.safetensors"]


def test_it_opens_with_safetensors_alone(tmp_path: Path) -> None:
    make_concept().save(tmp_path / "rex.safetensors")
    with safe_open(tmp_path / "rex.safetensors", "numpy") as file:
        assert list(file.keys()) == ["embedding"]
        assert json.loads(file.metadata()["clipkit_concept"])["kind"] == "a dog"


@pytest.mark.parametrize(
    "name",
    ["", "  ", "Rex + Bella", "a+b", "a - b", "a/b", "..", "a\\b", "a,b", "2:Rex", "-x", "~me",
     "#x", "a\nb", "rex.jpg", "x" * 81, None, 3,
     "a\u202eb", "a\u200bb", "a\x9bb", "a\u2028b", "\udcff"],
)  # fmt: skip
def test_a_name_that_would_not_read_as_one_word_is_refused(name: object) -> None:
    with pytest.raises(InputError, match="name"):
        check_concept_name(name)


def test_a_name_is_kept_as_it_would_be_typed() -> None:
    assert check_concept_name(" Cafe\u0301\u00a0  noir ") == "Caf\u00e9 noir"
    assert check_concept_name("\U0001f469\u200d\U0001f692") == "\U0001f469\u200d\U0001f692"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=12))
def test_a_name_that_is_accepted_is_one_part_of_a_query_whatever_is_around_it(name: str) -> None:
    try:
        accepted = check_concept_name(name)
    except InputError:
        return
    named = {accepted: np.array([0.6, 0.8])}
    query = parse_query(f"2:{accepted} + beach - {accepted}", named=named)
    assert [part.weight for part in query.parts] == [2.0, 1.0, -1.0]
    assert [part.content is named[accepted] for part in query.parts] == [True, False, True]
    assert f" {accepted} ".split(",") == [f" {accepted} "]  # one label of several


def test_another_models_space_says_what_to_run() -> None:
    make_concept().check_space("fake-space", "fake")
    with pytest.raises(SpaceMismatchError, match='clipkit teach "Rex" … --model big'):
        make_concept().check_space("other-space", "big")
    with pytest.raises(SpaceMismatchError, match="fake has other weights or settings than it had"):
        make_concept().check_space("other-space", "fake")


def test_a_missing_file_and_one_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        Concept.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("hello, this is no tensor at all")
    with pytest.raises(InputError, match="no concept, or a damaged one"):
        Concept.load(tmp_path / "text.safetensors")
    save_file({"embedding": np.ones(4, np.float32)}, tmp_path / "head.safetensors")
    with pytest.raises(InputError, match='without "clipkit_concept" in its metadata'):
        Concept.load(tmp_path / "head.safetensors")


@pytest.mark.parametrize(
    ("changes", "embedding", "message"),
    [
        ({"name": 3}, None, 'its "name" is 3'),
        ({"name": "a + b"}, None, "cannot be the name"),
        ({"num_images": "five"}, None, 'its "num_images" is'),
        ({"space_id": None}, None, 'its "space_id" is None'),
        ({}, np.ones(4, np.float32), "norm 1"),
        ({}, np.full(4, np.nan, np.float32), "not finite"),
        ({}, np.ones((1, 4), np.float32), r"no embedding of shape \(D,\)"),
    ],
)
def test_wrong_values_are_named(
    changes: dict[str, object], embedding: np.ndarray | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "rex.safetensors"
    about = {**make_concept().to_dict(), **changes}
    rows = np.asarray(make_concept().embedding) if embedding is None else embedding
    path.write_bytes(CONCEPT_FILE.to_bytes(about, {"embedding": rows}))
    with pytest.raises(InputError, match=message):
        Concept.load(path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_gives_the_same_concept(data: st.DataObject) -> None:
    content = bytearray(make_concept().to_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with NamedTemporaryFile(suffix=".safetensors") as file:
        Path(file.name).write_bytes(content)
        try:
            concept = Concept.load(file.name)
        except InputError:
            return
        assert concept.to_bytes() == make_concept().to_bytes()
