"""The sample photographs: credited, small, and found by the queries written down beside them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clipkit
from tests.conftest import SAMPLES

QUERIES: list[dict[str, Any]] = json.loads((SAMPLES / "queries.json").read_text())


def test_there_are_enough_of_both(samples: list[Path]) -> None:
    assert len(samples) >= 30
    assert len(QUERIES) >= 30


def test_every_image_is_credited_and_labelled(
    samples: list[Path], sample_labels: dict[str, str]
) -> None:
    credits = (SAMPLES / "CREDITS.md").read_text(encoding="utf-8")
    names = {path.name for path in samples}
    assert {name for name in names if name not in credits} == set()
    assert set(sample_labels) == names
    labels = (SAMPLES / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert set(sample_labels.values()) == set(labels)


def test_images_are_small_and_carry_no_metadata(samples: list[Path]) -> None:
    for path in samples:
        assert path.stat().st_size < 100_000, path.name
        with Image.open(path) as image:
            assert not image.getexif(), path.name
            assert image.mode in ("RGB", "L"), path.name


def test_every_expected_image_exists() -> None:
    for query in QUERIES:
        for name in query["expected"]:
            assert (SAMPLES / name).is_file(), query


@pytest.fixture(scope="module")
def first_hits(starter: clipkit.Encoder, samples: list[Path]) -> dict[str, str]:
    images = starter.encode_images(samples)
    words = [query["query"] for query in QUERIES]
    similarities = clipkit.cosine_similarity(starter.encode_texts(words), images)
    best = np.argmax(similarities, axis=1)
    return {word: samples[place].name for word, place in zip(words, best, strict=True)}


def right(queries: list[dict[str, Any]], first_hits: dict[str, str]) -> list[str]:
    """Return the queries whose first hit is one of the expected images."""
    return [q["query"] for q in queries if first_hits[q["query"]] in q["expected"]]


def test_most_queries_find_their_image_first(first_hits: dict[str, str]) -> None:
    """Queries marked "beyond" are about things that are none of the 1000 classes the embedded
    model's image tower was trained on (nor a kind that one of them belongs to): it may fail them.
    """
    within = [query for query in QUERIES if not query.get("beyond")]
    found = right(within, first_hits)
    missed = {q["query"]: first_hits[q["query"]] for q in within if q["query"] not in found}
    assert len(within) == 30
    assert len(found) >= 25, missed


def test_a_cat_is_the_cat(first_hits: dict[str, str]) -> None:
    assert first_hits["a cat"] == "cat.jpg"
