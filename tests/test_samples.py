"""The sample photographs: credited, small, and found by the queries written down beside them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clipkit
from tests.conftest import SAMPLES

QUERIES: list[dict[str, object]] = json.loads((SAMPLES / "queries.json").read_text())


def test_there_are_enough_of_both(samples: list[Path]) -> None:
    assert len(samples) >= 30
    assert len(QUERIES) >= 30


def test_every_picture_is_credited_and_labelled(
    samples: list[Path], sample_labels: dict[str, str]
) -> None:
    credits = (SAMPLES / "CREDITS.md").read_text(encoding="utf-8")
    names = {path.name for path in samples}
    assert {name for name in names if name not in credits} == set()
    assert set(sample_labels) == names
    labels = (SAMPLES / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert set(sample_labels.values()) == set(labels)


def test_pictures_are_small_and_carry_no_metadata(samples: list[Path]) -> None:
    for path in samples:
        assert path.stat().st_size < 100_000, path.name
        with Image.open(path) as image:
            assert not image.getexif(), path.name
            assert image.mode in ("RGB", "L"), path.name


def test_every_expected_picture_exists() -> None:
    for query in QUERIES:
        assert isinstance(query["expected"], list)
        for name in query["expected"]:
            assert (SAMPLES / name).is_file(), query


@pytest.fixture(scope="module")
def first_hits(starter: clipkit.Encoder, samples: list[Path]) -> list[str]:
    pictures = starter.encode_images(samples)
    queries = starter.encode_texts([str(query["query"]) for query in QUERIES])
    best = np.argmax(clipkit.cosine_similarity(queries, pictures), axis=1)
    return [samples[place].name for place in best]


def test_most_queries_find_their_picture_first(first_hits: list[str]) -> None:
    wrong = [
        f"{query['query']}: {hit}"
        for query, hit in zip(QUERIES, first_hits, strict=True)
        if hit not in query["expected"]  # type: ignore[operator]
    ]
    assert len(QUERIES) - len(wrong) >= len(QUERIES) * 25 / 30, wrong


def test_a_cat_is_the_cat(first_hits: list[str]) -> None:
    place = [query["query"] for query in QUERIES].index("a cat")
    assert first_hits[place] == "cat.jpg"
