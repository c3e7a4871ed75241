"""What a visitor types, as a query: names of concepts are known, paths are not."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')

import gradio as gr

import clipkit
from clipkit.demo.search_query import concepts, read_typed, read_words
from tests.conftest import SAMPLES

REX = np.array([1.0, 0.0])


def parts(words: str) -> list[tuple[object, float]]:
    return [
        (part.name or part.content, part.weight) for part in read_words(words, {"Rex": REX}).parts
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a cat", [("a cat", 1.0)]),
        ("Rex", [("Rex", 1.0)]),
        ("rex", [("rex", 1.0)]),
        ("Rex + beach - 2:night", [("Rex", 1.0), ("beach", 1.0), ("night", -2.0)]),
        ("beach - 0.5:Rex", [("beach", 1.0), ("Rex", -0.5)]),
        ("black + white", [("black + white", 1.0)]),
    ],
)
def test_signs_part_words_only_beside_the_name_of_a_concept(
    words: str, expected: list[tuple[object, float]]
) -> None:
    assert parts(words) == expected


@pytest.mark.parametrize(
    "path", [str(SAMPLES / "owl.jpg"), "/etc/x.jpg", "https://a.example/x.jpg"]
)
def test_a_path_beside_a_concept_is_words(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (path, f"Rex + {path}", f"2:{path} - Rex", f"Rex - {path} + ./owl.jpg"):
        query = read_words(words, {"Rex": REX})
        assert all(part.path is None and not part.is_image for part in query.parts)
        assert not any(part.allow_urls for part in query.parts)
    monkeypatch.chdir(SAMPLES)
    assert read_words("Rex + owl.jpg", {"Rex": REX}).parts[1].path is None


def test_an_empty_part_is_an_error_of_clipkit() -> None:
    with pytest.raises(clipkit.InputError, match="empty"):
        read_words("Rex +  - night", {"Rex": REX})


def test_words_have_a_limit() -> None:
    assert read_typed(" a cat ") == "a cat"
    assert read_typed(None) == ""
    with pytest.raises(gr.Error, match="up to 500 characters"):
        read_typed("a" * 501)


def test_concepts_of_other_models_are_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path))
    assert concepts("here") == {}
