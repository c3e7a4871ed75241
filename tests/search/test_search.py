"""One search, from query to hits: relevance, diversity, marks, ready embeddings, one snapshot."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clipkit
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.embeddings import EmbeddingArray, normalize_rows
from clipkit.errors import InputError, SpaceMismatchError
from clipkit.search.library import PhotoLibrary
from clipkit.search.query import Query, QueryPart, parse_query
from clipkit.search.query_vectors import PartVector, QueryVectors
from clipkit.search.ranking import mixed_score, plain_score
from clipkit.search.relevance import RelevanceScale, relevance_of
from clipkit.search.rerank import weigh_scores
from clipkit.search.search import SearchHit, SearchHits, evidence_of_candidates
from clipkit.search.store.local import catalog, schema
from tests.fakes import FakeEncoder, image_embedding, save_image, word_embedding

COLORS = [(255, 0, 0), (255, 128, 0), (0, 255, 0), (0, 0, 255), (90, 90, 90), (250, 250, 0)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, color in enumerate(COLORS):
        save_image(tmp_path / "photos" / f"{number}.png", color)
    return tmp_path / "photos"


@pytest.fixture
def library(photos: Path, encoder: FakeEncoder) -> PhotoLibrary:
    library = PhotoLibrary.open(photos, encoder)
    library.sync()
    return library


def _images(photos: Path) -> np.ndarray:
    from PIL import Image

    rows = [image_embedding(Image.open(path)) for path in sorted(photos.iterdir())]
    return np.concatenate(rows)


@pytest.mark.parametrize("words", [("red",), ("red", "+", "2:green")])
def test_relevance_is_that_of_the_everyday_words_and_the_librarys_own_images(
    library: PhotoLibrary, photos: Path, words: tuple[str, ...]
) -> None:
    bank = np.concatenate([word_embedding(name) for name in BACKGROUND_NAMES])
    images = _images(photos)
    query = parse_query(*words)
    evidence = RelevanceScale(bank, images).evidence(
        np.concatenate([word_embedding(str(part.content)) for part in query.parts]),
        [part.weight for part in query.parts],
        [False] * len(query.parts),
        images,
    )
    hits = library.search(query, k=len(COLORS))
    by_name = sorted(hits, key=lambda hit: hit.path.stem)
    scores = [hit.similarity for hit in by_name]
    weighed = weigh_scores(evidence, scores, num_parts=len(query.parts), num_marks=0)
    expected = relevance_of(weighed)
    np.testing.assert_allclose([hit.relevance for hit in by_name], expected, atol=2e-3)  # half


@pytest.mark.parametrize("num_added", [1, 2])
def test_the_more_is_subtracted_the_less_evidence_every_image_has(
    photos: Path, num_added: int
) -> None:
    """Whatever else is subtracted from: also by weights that outweigh everything."""
    bank = np.concatenate([word_embedding(name) for name in BACKGROUND_NAMES])
    images = _images(photos)
    added = [PartVector(word_embedding(word)[0]) for word in ("red", "green")[:num_added]]
    before = np.full(len(COLORS), np.inf)
    for weight in (0, 0.5, 1, 5, 50, 10.0**60):
        away = [PartVector(word_embedding("blue")[0], -weight)] if weight else []
        none = np.empty((0, images.shape[1]), np.float32)
        query = QueryVectors((*added, *away), none, none, frozenset())
        score = plain_score(added[0]) if query.is_plain else mixed_score(query, images, bank)
        found = evidence_of_candidates(query, bank, images, images, score)
        assert (found <= before + 1e-9).all()
        before = found
    assert before.min() < -(10**30)


def test_weights_of_any_size_count_only_beside_each_other(library: PhotoLibrary) -> None:
    expected = [hit.relevance for hit in library.search(parse_query("red", "+", "2:green"))]
    for factor in (1e-8, 1e8):
        query = parse_query(f"{factor:.12f}:red", "+", f"{2 * factor:.12f}:green")
        found = [hit.relevance for hit in library.search(query)]
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("words", [("red", "+", "2:green"), ("red", "-", "blue"), ("red",)])
@pytest.mark.parametrize("marked", [True, False])
def test_the_hits_of_mixed_queries_are_in_the_order_of_their_relevance(
    library: PhotoLibrary, photos: Path, words: tuple[str, ...], marked: bool
) -> None:
    liked, disliked = ([photos / "5.png"], [photos / "3.png"]) if marked else ([], [])
    query = parse_query(*words)
    hits = library.search(query, k=len(COLORS), more_like=liked, less_like=disliked)
    shown = [hit.relevance for hit in hits]
    assert len(shown) == len(COLORS) - 2 * marked
    assert shown == sorted(shown, reverse=True)


def test_a_cut_leaves_out_what_is_less_relevant(library: PhotoLibrary) -> None:
    hits = library.search("red", k=6)
    cut = sorted(hit.relevance for hit in hits)[3]
    assert library.search("red", k=6, min_relevance=cut) == [h for h in hits if h.relevance >= cut]
    assert library.search("red", min_relevance=1.0) == []


def test_the_number_found_says_whether_there_may_be_more(
    library: PhotoLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipkit.search.search.NUM_CANDIDATES", 1)
    monkeypatch.setattr(
        "clipkit.search.search.relevance_of", lambda evidence, _: np.full(len(evidence), 0.9)
    )
    few, all_of_them = library.search("red", k=1), library.search("red", k=2)
    assert (few.num_found, few.num_searched, few.may_be_more) == (4, 6, True)
    assert (all_of_them.num_found, all_of_them.may_be_more) == (6, False)
    some = library.search("red", path="[0-3].png")
    assert (some.num_found, some.num_searched, some.may_be_more) == (4, 4, False)


def test_variety_shows_a_copy_later(photos: Path, library: PhotoLibrary) -> None:
    save_image(photos / "copy.png", (255, 0, 0), size=3)
    library.sync()
    plain = [hit.path.stem for hit in library.search("red", k=3)]
    assert plain == ["0", "copy", "1"]
    varied = [hit.path.stem for hit in library.search("red", k=3, diversity=0.9)]
    assert varied[0] in plain[:2]
    assert varied[1] not in plain[:2]


@pytest.mark.parametrize("name", ["min_relevance", "diversity"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_shares_are_shares(library: PhotoLibrary, name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name} must be between 0 and 1"):
        library.search("red", **{name: value})  # type: ignore[arg-type]


def test_marked_images_are_what_is_sought_and_no_results(
    library: PhotoLibrary, photos: Path, encoder: FakeEncoder
) -> None:
    hits = library.search(more_like=[photos / "0.png"], k=6)
    assert hits[0].path.stem == "1"  # orange is what is closest to red
    assert photos / "0.png" not in [hit.path for hit in hits]
    hits = library.search("red", less_like=[photos / "1.png"], k=6)
    assert len(hits) == 5
    assert sorted(encoder.encoded_images) == [f"{number}.png" for number in range(6)]  # all known


def test_something_must_be_sought(library: PhotoLibrary) -> None:
    with pytest.raises(InputError, match="give a query, or mark images"):
        library.search()


def test_parts_that_are_embeddings_are_as_their_words_or_images(
    library: PhotoLibrary, photos: Path
) -> None:
    image = photos / "1.png"
    ready = _images(photos)[1]
    parts = (QueryPart("red"), QueryPart("green", -0.5), QueryPart(image))
    expected = library.search(Query(parts), k=6)
    made = Query(
        (
            QueryPart(word_embedding("red")[0]),
            QueryPart(word_embedding("green"), -0.5),
            QueryPart(ready, is_image=True),
        )
    )
    found = PhotoLibrary.open(photos).search(made, k=7)  # without an encoder
    kept = [hit for hit in found if hit.path != image]  # which is the query's own only by its path
    assert [hit.path for hit in kept] == [hit.path for hit in expected]
    np.testing.assert_allclose(
        [hit.similarity for hit in kept], [hit.similarity for hit in expected], atol=2e-3
    )


def test_a_part_of_another_space_or_size_is_refused(library: PhotoLibrary) -> None:
    row = word_embedding("red")[0]
    query = Query((QueryPart("green"), QueryPart(EmbeddingArray(row, "other-space"))))
    with pytest.raises(SpaceMismatchError, match="of space other-space, and the index of"):
        library.search(query)
    with pytest.raises(InputError, match="norm 1"):
        library.search(Query((QueryPart("green"), QueryPart(2 * row))))
    with pytest.raises(InputError, match=r"shape \(4,\)"):
        library.search(Query((QueryPart(np.array([0.6, 0.8], np.float32)), QueryPart("red"))))


def test_a_ready_embedding_is_searched_by(library: PhotoLibrary, photos: Path) -> None:
    word = library.search(word_embedding("red"), k=6)
    asked = library.search("red", k=6)
    assert [(hit.path, hit.similarity) for hit in word] == [(h.path, h.similarity) for h in asked]
    image = library.search(_images(photos)[0], k=6)
    asked = library.search(Query((QueryPart(str(photos / "0.png"), is_image=True),)), k=5)
    assert image[0].path == photos / "0.png"  # nobody says which file it is of
    assert [hit.path for hit in image[1:]] == [hit.path for hit in asked]
    with pytest.raises(InputError, match=r"must have shape \(4,\) or \(1, 4\)"):
        library.search(normalize_rows([[1.0, 2.0]]))
    with pytest.raises(InputError, match="norm 1, got shape"):
        library.search(np.ones(4, dtype=np.float32))


def test_an_index_without_everyday_words_gets_them_from_the_encoder(
    library: PhotoLibrary, photos: Path
) -> None:
    expected, ready = library.search("red"), library.search(word_embedding("red"))
    with sqlite3.connect(library.location / "catalog.sqlite") as connection:
        connection.execute("DELETE FROM background WHERE name = 'cat'")
    assert library.search("red") == expected
    with pytest.raises(InputError, match="this needs a model"):
        PhotoLibrary.open(photos).search(word_embedding("red"))
    library.sync()
    assert PhotoLibrary.open(photos).search(word_embedding("red")) == ready


def test_a_hit_is_what_json_takes() -> None:
    hit = SearchHit(
        0.12345678, 0.98765, Path("a/b.jpg"), 4, 3, "2024-06-01", Path("a/b.dng"), "Canon"
    )
    expected = (
        '{"path": "a/b.jpg", "similarity": 0.123457, "relevance": 0.9877, "width": 4, "height": 3, '
        '"taken_at": "2024-06-01", "raw": "a/b.dng", "camera": "Canon", "crop": null}'
    )
    assert json.dumps(hit.to_dict()) == expected
    assert SearchHit(0.5, 0.5, Path("a.jpg")).to_dict()["raw"] is None


def test_a_search_as_a_whole_is_what_json_takes() -> None:
    hit = SearchHit(0.5, 0.5, Path("a.jpg"))
    hits = SearchHits([hit], verdict="found", num_found=1, num_searched=7, may_be_more=True)
    assert json.loads(json.dumps(hits.to_dict())) == {
        "verdict": "found",
        "num_found": 1,
        "num_searched": 7,
        "may_be_more": True,
        "hits": [hit.to_dict()],
    }


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """List the catalog files that are opened."""
    paths: list[Path] = []
    open_file = schema.open_catalog_file

    def note(path: Path, folder: Path, *, create: bool) -> sqlite3.Connection:
        paths.append(path)
        return open_file(path, folder, create=create)

    monkeypatch.setattr(catalog, "open_catalog_file", note)
    return paths


@pytest.mark.parametrize("kind", ["words", "image", "marks", "embedding", "image with two names"])
def test_a_search_opens_the_catalog_once(
    library: PhotoLibrary, photos: Path, opened: list[Path], kind: str
) -> None:
    queries: dict[str, Any] = {
        "words": "red",
        "image": photos / "0.png",
        "marks": None,
        "embedding": word_embedding("red"),
        "image with two names": photos / "0.png",
    }
    if kind == "image with two names":
        (photos / "other.png").hardlink_to(photos / "0.png")
    marked = [photos / "1.png"] if kind == "marks" else []
    assert library.search(queries[kind], k=2, more_like=marked)
    assert opened == [library.location / "catalog.sqlite"]


# The embedded model, on real images


@pytest.fixture(scope="module")
def sample_library(
    starter: clipkit.Encoder, samples: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> PhotoLibrary:
    location = tmp_path_factory.mktemp("index")
    library = PhotoLibrary.open(samples[0].parent, starter, location=location)
    library.sync()
    return library


# What demo/samples shows, by eye.
BIRDS = {"hens", "owl", "duck", "parrot", "kingfisher"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wide", "narrow", "kind", "without"),
    [
        ("a bird", "an owl", BIRDS, "owl"),
        ("a bird", "a duck", BIRDS, "duck"),
        ("a bird", "a parrot", BIRDS, "parrot"),
    ],
)
def test_what_is_subtracted_leaves_the_top_and_the_rest_stays(
    sample_library: PhotoLibrary, wide: str, narrow: str, kind: set[str], without: str
) -> None:
    before = sample_library.search(wide, k=45)
    after = sample_library.search(parse_query(wide, "-", narrow), k=45)
    names, names_after = ([hit.path.stem for hit in hits] for hits in (before, after))
    place, place_after = names.index(without), names_after.index(without)
    assert place_after > place
    assert after[place_after].relevance < before[place].relevance / 2
    assert len((kind - {without}) & set(names_after[:3])) >= 2


@pytest.mark.parametrize("same", ["a cat", "cat", "A CAT", " a cat "])
def test_a_cat_less_a_cat_is_an_error_that_says_so(sample_library: PhotoLibrary, same: str) -> None:
    with pytest.raises(InputError, match="cancel out"):
        sample_library.search(parse_query("a cat", "-", same))


def test_the_only_thing_that_fits_is_said_not_to_when_it_is_subtracted(
    sample_library: PhotoLibrary,
) -> None:
    boats = sample_library.search("a boat", min_relevance=0.5)
    assert [hit.path.stem for hit in boats] == ["sailing_boats"]
    assert (
        sample_library.search(parse_query("a boat", "-", "sailing boats"), min_relevance=0.5) == []
    )
