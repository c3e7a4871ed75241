"""An index that an earlier clipkit has made is searched as it was, and nothing is encoded anew.

Cosines are those of then; the order and the relevance of the hits are today's.
"""

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clipkit
from tests.compatibility.conftest import FILES, MTIME, PHOTOS, Clipkit, place_index, unpack

pytestmark = pytest.mark.slow

EXPECTED: dict[str, Any] = json.loads((FILES / "library" / "expected.json").read_text())
TOLERANCE = 1e-6


@pytest.fixture
def encoder() -> clipkit.Encoder:
    """The encoder that the index was made with."""
    return clipkit.load("starter", precision="fp32")


@pytest.fixture
def library(photos: Path, encoder: clipkit.Encoder) -> clipkit.PhotoLibrary:
    """The library of the photographs; its index lies among them."""
    place_index(photos / ".clipkit")
    return clipkit.PhotoLibrary.open(photos, encoder)


@pytest.fixture
def home() -> Path:
    """Where clipkit keeps its files during a test."""
    return Path(os.environ["CLIPKIT_HOME"])


def check_hits(hits: list[clipkit.SearchHit], expected: list[dict[str, Any]]) -> None:
    found = {hit.path.name: hit.similarity for hit in hits}
    assert found == pytest.approx(similarities(expected), abs=TOLERANCE)


def similarities(items: list[dict[str, Any]]) -> dict[str, float]:
    return {item["name"]: item["similarity"] for item in items}


@pytest.mark.parametrize("query", EXPECTED["texts"])
def test_text_query_scores_as_before(library: clipkit.PhotoLibrary, query: str) -> None:
    check_hits(library.search(query, k=len(PHOTOS)), EXPECTED["texts"][query])


def test_image_query_scores_as_before(library: clipkit.PhotoLibrary) -> None:
    cat = library.folder / "cat.jpg"

    check_hits(library.search(cat, k=len(PHOTOS)), EXPECTED["image"])


@pytest.mark.parametrize(
    ("name", "query", "options"),
    [
        ("diverse", "an animal outdoors", {"diversity": 0.6}),
        ("more_like", "an animal outdoors", {"more_like": "cat.jpg"}),
        ("landscape", "a cat", {"orientation": "landscape"}),
        ("wide", "a cat", {"min_width": 500}),
    ],
)
def test_options_and_filters_choose_and_score_as_before(
    library: clipkit.PhotoLibrary, name: str, query: str, options: dict[str, Any]
) -> None:
    if "more_like" in options:
        options = {"more_like": [library.folder / options["more_like"]]}

    check_hits(library.search(query, k=len(PHOTOS), **options), EXPECTED[name])


def test_sync_encodes_nothing_and_changes_no_answer(library: clipkit.PhotoLibrary) -> None:
    report = library.sync()

    assert (report.added, report.changed, report.moved, report.removed) == (0, 0, 0, 0)
    assert report.unchanged == len(PHOTOS)
    assert [Path(error.path).name for error in report.skipped] == ["broken.jpg"]
    assert report.newly_skipped == []
    check_hits(library.search("a cat", k=len(PHOTOS)), EXPECTED["texts"]["a cat"])


def test_moved_and_touched_photographs_are_known_by_their_content(
    library: clipkit.PhotoLibrary,
) -> None:
    (library.folder / "cat.jpg").rename(library.folder / "tabby.jpg")
    os.utime(library.folder / "dog.jpg", (MTIME + 1, MTIME + 1))

    report = library.sync()

    assert (report.added, report.moved, report.removed) == (0, 1, 0)
    assert (report.changed, report.unchanged) == (0, len(PHOTOS) - 1)
    assert library.search("a cat", k=1)[0].path.name == "tabby.jpg"


def test_new_photograph_is_added_to_the_index(
    library: clipkit.PhotoLibrary, samples: list[Path]
) -> None:
    owl = next(path for path in samples if path.stem == "owl")
    (library.folder / "owl.jpg").write_bytes(owl.read_bytes())

    report = library.sync()

    assert (report.added, report.unchanged) == (1, len(PHOTOS))
    assert library.search("an owl", k=1)[0].path.name == "owl.jpg"


def test_status_is_as_before(library: clipkit.PhotoLibrary) -> None:
    status = library.status()

    found = {name: getattr(status, name) for name in EXPECTED["status"]}
    assert found == EXPECTED["status"]
    assert (status.num_new, status.num_changed, status.num_removed) == (0, 0, 0)
    assert status.num_unchanged == len(PHOTOS)
    assert status.space_id == "99e77e9679ba13d0"


def test_embeddings_are_those_that_were_stored(library: clipkit.PhotoLibrary) -> None:
    stored = library.embeddings()

    rows = dict(zip((path.name for path in stored.paths), stored.embeddings, strict=True))
    assert rows.keys() == EXPECTED["embeddings"].keys()
    for name, values in EXPECTED["embeddings"].items():
        np.testing.assert_allclose(rows[name][: len(values)], values, rtol=0, atol=TOLERANCE)


def test_export_writes_what_was_stored(library: clipkit.PhotoLibrary, tmp_path: Path) -> None:
    report = library.export(tmp_path / "export", table="jsonl")

    assert (report.num_images, report.embed_dim) == (len(PHOTOS), 384)
    table = (tmp_path / "export" / "images.jsonl").read_text().splitlines()
    rows = np.load(tmp_path / "export" / "embeddings.npy")
    for line, row in zip(table, rows, strict=True):
        values = EXPECTED["embeddings"][Path(json.loads(line)["path"]).name]
        np.testing.assert_allclose(row[: len(values)], values, rtol=0, atol=TOLERANCE)


def test_index_in_the_data_directory_is_found(photos: Path, encoder: clipkit.Encoder) -> None:
    place_index(clipkit.PhotoLibrary.open(photos).location)

    library = clipkit.PhotoLibrary.open(photos, encoder)

    assert library.is_indexed
    assert library.sync().unchanged == len(PHOTOS)
    check_hits(library.search("a dog", k=len(PHOTOS)), EXPECTED["texts"]["a dog"])


def test_index_of_a_folder_that_was_renamed_is_taken_over(
    photos: Path, encoder: clipkit.Encoder
) -> None:
    own = clipkit.PhotoLibrary.open(photos).location
    catalog = place_index(own.with_name("earlier-0123456789abcdef"))
    found = photos.stat()
    with closing(sqlite3.connect(catalog, isolation_level=None)) as connection:
        for key, number in (("device", found.st_dev), ("inode", found.st_ino)):
            connection.execute("UPDATE meta SET value = ? WHERE key = ?", (str(number), key))

    library = clipkit.PhotoLibrary.open(photos, encoder)

    assert library.location == own
    assert library.sync().unchanged == len(PHOTOS)
    check_hits(library.search("a dog", k=len(PHOTOS)), EXPECTED["texts"]["a dog"])


def test_index_moves_into_its_folder(photos: Path, encoder: clipkit.Encoder) -> None:
    outside = clipkit.PhotoLibrary.open(photos).location
    place_index(outside)

    report = clipkit.PhotoLibrary.open(photos, encoder, keep_here=True).sync()

    assert (report.added, report.unchanged) == (0, len(PHOTOS))
    assert not outside.exists()
    assert (photos / ".clipkit" / "catalog.sqlite").is_file()


def test_command_line_prints_the_same_hits(photos: Path, clipkit_command: Clipkit) -> None:
    place_index(photos / ".clipkit")

    outcome = clipkit_command("search", "a cat", photos, "--json", "--precision", "fp32")

    hits = [json.loads(line) for line in outcome.out.splitlines()]
    found = {Path(hit["path"]).name: hit["similarity"] for hit in hits}
    assert found == pytest.approx(similarities(EXPECTED["texts"]["a cat"]), abs=TOLERANCE)


def test_command_line_reports_the_index(photos: Path, clipkit_command: Clipkit) -> None:
    place_index(photos / ".clipkit")

    synced = clipkit_command("index", photos, "--json", "--precision", "fp32")
    status = clipkit_command("index", photos, "--status", "--json")

    assert (synced.status, status.status) == (0, 0)
    report = json.loads(synced.out)
    assert (report["added"], report["unchanged"]) == (0, len(PHOTOS))
    assert json.loads(status.out)["space_id"] == EXPECTED["status"]["space_id"]


def test_cached_texts_are_known(home: Path) -> None:
    cache = home / "cache" / "texts.sqlite"
    cache.parent.mkdir()
    unpack(FILES / "library" / "texts.sqlite.gz", cache)
    before = cached_keys(cache)
    encoder = clipkit.load("starter", precision="fp32")

    known = encoder.encode_texts(list(EXPECTED["texts"]))

    assert len(before) == len(EXPECTED["texts"])
    assert cached_keys(cache) == before
    # Each value is a checksum of four bytes and the embedding.
    assert {row.tobytes() for row in known} == {value[4:] for value in before.values()}
    encoder.encode_texts(["a text that nobody has asked for"])
    assert len(cached_keys(cache)) == len(before) + 1


def cached_keys(path: Path) -> dict[bytes, bytes]:
    """Return the rows of a cache of texts by their keys."""
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT key, value FROM texts"))
