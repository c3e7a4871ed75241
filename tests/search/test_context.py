"""Retrieval as context: what of a search becomes context, with a fake encoder and real files."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipkit.data.image_texts import ImageTexts, TextSources
from clipkit.errors import InputError, NotIndexedError
from clipkit.search.context import ContextOptions, query_text, retrieve_context
from clipkit.search.library import PhotoLibrary
from clipkit.search.query import Query, QueryPart, parse_query
from tests.fakes import FakeEncoder

SetRelevance = Callable[..., None]


@pytest.fixture
def set_relevance(monkeypatch: pytest.MonkeyPatch) -> SetRelevance:
    """Return a function that gives the candidates, best first, these relevances."""

    def set_to(*relevance: float) -> None:
        monkeypatch.setattr(
            "clipkit.search.search.relevance_of",
            lambda evidence, count: np.array(relevance)[: len(evidence)],
        )

    return set_to


@pytest.fixture
def indexed(library: PhotoLibrary) -> PhotoLibrary:
    library.sync()
    return library


def drawing(path: Path, seed: int, *, size: int = 128, quality: int = 75) -> Path:
    """Write an image with details of its own, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = np.random.default_rng(seed).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    Image.fromarray(cells).resize((size, size), Image.Resampling.BICUBIC).save(
        path, quality=quality
    )
    return path


def test_an_image_says_what_the_index_knows_and_where_it_is(
    indexed: PhotoLibrary, photos: Path, set_relevance: SetRelevance
) -> None:
    set_relevance(0.9, 0.5, 0.1, 0.0)
    (photos / "red.txt").write_text("a red thing\na second caption\n", encoding="utf-8")

    report = retrieve_context(indexed, "red")

    best, second = report.images
    assert (best.path, second.path) == ("red.png", "orange.png")
    assert best.uri == (photos / "red.png").as_uri()
    assert (best.rank, second.rank) == (1, 2)
    assert best.relevance == 0.9
    assert best.similarity == indexed.search("red")[0].similarity
    assert best.captions == ("a red thing", "a second caption")
    assert (best.width, best.height) == (2, 2)
    assert second.captions == ()
    assert (report.query, report.folder, report.model) == ("red", str(photos), "fake")
    assert (report.verdict, report.num_searched, report.num_found) == ("found", 4, 2)
    assert not report.is_nothing


@pytest.mark.parametrize(
    ("relevance", "bound", "verdict", "num_images"),
    [
        ((0.9, 0.41, 0.39, 0.0), None, "found", 2),  # what counts as found, no filling up
        ((0.39, 0.1, 0.05, 0.04), None, "not sure", 3),
        ((0.04, 0.03, 0.0, 0.0), None, "probably nothing", 0),
        ((0.04, 0.03, 0.0, 0.0), 0.03, "probably nothing", 2),  # who sets a bound has decided
        ((0.9, 0.41, 0.39, 0.0), 0.95, "found", 0),
        ((0.9, 0.41, 0.39, 0.0), 0.0, "found", 4),
    ],
)
def test_only_what_is_relevant_is_context(
    indexed: PhotoLibrary,
    set_relevance: SetRelevance,
    relevance: tuple[float, ...],
    bound: float | None,
    verdict: str,
    num_images: int,
) -> None:
    set_relevance(*relevance)

    report = retrieve_context(indexed, "red", ContextOptions(min_relevance=bound))

    assert report.verdict == verdict
    assert len(report.images) == num_images
    assert report.is_nothing == (num_images == 0)
    if bound is None and num_images == 0:
        assert report.summary.startswith("Probably nothing among 4 images")


def test_filters_and_diversity_are_those_of_a_search(
    indexed: PhotoLibrary, set_relevance: SetRelevance
) -> None:
    set_relevance(0.9, 0.8, 0.7, 0.6)
    report = retrieve_context(indexed, "red", path="trip/*")
    assert {image.path for image in report.images} == {"trip/green.png", "trip/blue.png"}

    for diversity in (0.0, 0.9):
        options = ContextOptions(k=2, diversity=diversity)
        hits = indexed.search("red", k=2, min_relevance=0.4, diversity=diversity)
        shown = [image.path for image in retrieve_context(indexed, "red", options).images]
        assert shown == [hit.path.relative_to(indexed.folder).as_posix() for hit in hits]


def test_no_image_gives_a_report_that_says_so(tmp_path: Path, encoder: FakeEncoder) -> None:
    (tmp_path / "empty").mkdir()
    library = PhotoLibrary.open(tmp_path / "empty", encoder)
    with pytest.raises(NotIndexedError):
        retrieve_context(library, "red")
    library.sync()

    report = retrieve_context(library, "red")

    assert report.is_nothing
    assert report.summary.startswith("No image was searched")


@pytest.fixture
def copies(tmp_path: Path, encoder: FakeEncoder) -> PhotoLibrary:
    """Return a library of two motifs, of which one is there three times."""
    folder = tmp_path / "copies"
    drawing(folder / "a.png", 1)
    drawing(folder / "a-small.png", 1, size=64)
    drawing(folder / "a.jpg", 1, quality=60)
    drawing(folder / "b.png", 2)
    library = PhotoLibrary.open(folder, encoder)
    library.sync()
    return library


def test_near_duplicates_stand_for_one_image(
    copies: PhotoLibrary, set_relevance: SetRelevance
) -> None:
    set_relevance(0.9, 0.8, 0.7, 0.6)

    shown = retrieve_context(copies, "red").images
    everything = retrieve_context(copies, "red", ContextOptions(has_copies=True)).images

    assert sorted(image.path[0] for image in shown) == ["a", "b"]
    assert sorted((image.path[0], image.num_copies) for image in shown) == [("a", 2), ("b", 0)]
    assert [image.rank for image in shown] == [1, 2]
    assert len(everything) == 4
    assert {image.num_copies for image in everything} == {0}


def test_a_thumbnail_is_a_small_upright_jpeg(
    tmp_path: Path, encoder: FakeEncoder, set_relevance: SetRelevance
) -> None:
    # Stored on its side: white at the top of what a person sees is at the left of the file.
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    (tmp_path / "turned").mkdir()
    Image.fromarray(pixels).save(tmp_path / "turned" / "a.jpg", exif=exif)
    library = PhotoLibrary.open(tmp_path / "turned", encoder)
    library.sync()
    set_relevance(0.9)

    (image,) = retrieve_context(library, "red", ContextOptions(thumbnail_size=20)).images

    assert image.thumbnail is not None
    head, _, data = image.thumbnail.partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as thumbnail:
        assert (thumbnail.format, thumbnail.size) == ("JPEG", (10, 20))
        grey = np.asarray(thumbnail.convert("L"))
    assert grey[:8].mean() > 200
    assert grey[-8:].mean() < 50


def test_an_image_that_cannot_be_read_any_more_is_listed_without_a_thumbnail(
    indexed: PhotoLibrary, photos: Path, set_relevance: SetRelevance
) -> None:
    set_relevance(0.9, 0.8, 0.1, 0.1)
    (photos / "red.png").write_bytes(b"no image")
    (photos / "orange.png").unlink()

    broken, gone = retrieve_context(indexed, "red", ContextOptions(thumbnail_size=8)).images

    assert (broken.path, broken.thumbnail) == ("red.png", None)
    assert "image" in (broken.thumbnail_error or "")
    assert (gone.path, gone.thumbnail) == ("orange.png", None)
    assert gone.thumbnail_error


def test_captions_are_few_and_not_endless(
    indexed: PhotoLibrary, photos: Path, set_relevance: SetRelevance
) -> None:
    set_relevance(0.9, 0.1, 0.1, 0.1)
    lines = [f"{number} {'word ' * 200}" for number in range(9)]
    (photos / "red.txt").write_text("\n".join(lines), encoding="utf-8")

    (image,) = retrieve_context(indexed, "red").images

    assert len(image.captions) == 5
    assert all(len(caption) <= 500 and caption.endswith("…") for caption in image.captions)


def test_texts_of_a_table_and_labels_go_with_their_images(
    indexed: PhotoLibrary, photos: Path, set_relevance: SetRelevance
) -> None:
    set_relevance(0.9, 0.8, 0.7, 0.6)
    texts = ImageTexts(photos, TextSources(is_by_class=True))

    shown = retrieve_context(indexed, "green", ContextOptions(texts=texts)).images

    labels = {image.path: image.label for image in shown}
    assert labels["trip/green.png"] == "trip"
    assert labels["red.png"] is None


UNIT = np.array([0.6, 0.8, 0.0, 0.0], dtype=np.float32)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("a cat", "a cat"),
        (parse_query("horse", "+", "stripes", "-", "0.5:night"), "horse + stripes - 0.5:night"),
        (Path("a/b.jpg"), "a/b.jpg"),
        (Query((QueryPart("a", -1.0), QueryPart(b"abc"))), "- a + <bytes>"),
        (np.ones(4, np.float32), "<embedding>"),
        (parse_query("Rex - 2:night", named={"Rex": UNIT}), "Rex - 2:night"),
        (Query((QueryPart(UNIT, 0.5, name="Rex"), QueryPart("sea"))), "0.5:Rex + sea"),
        (None, ""),
    ],
)
def test_a_query_is_written_as_people_write_it(query: object, text: str) -> None:
    assert query_text(query) == text  # type: ignore[arg-type]


def test_numbers_out_of_range_raise() -> None:
    with pytest.raises(InputError, match="k must be at least 1, got 0"):
        ContextOptions(k=0)
    with pytest.raises(InputError, match="min_relevance must be between 0 and 1"):
        ContextOptions(min_relevance=2)
    with pytest.raises(InputError, match="thumbnail_size must be at least 1"):
        ContextOptions(thumbnail_size=0)
