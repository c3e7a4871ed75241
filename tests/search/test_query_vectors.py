"""What a search takes from Python, and what it says about everything else."""

import datetime
import http.server
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipkit.errors import ClipkitError, ImageReadError, InputError
from clipkit.search.library import PhotoLibrary
from clipkit.search.query import Query, QueryPart, parse_query
from clipkit.search.query_vectors import PartVector, QueryVectors
from tests.fakes import FakeEncoder, image_embedding, save_image, word_embedding

RED = (255, 0, 0)


@pytest.fixture
def library(photos: Path, encoder: FakeEncoder) -> PhotoLibrary:
    library = PhotoLibrary.open(photos, encoder)
    library.sync()
    encoder.encoded_texts.clear()
    encoder.encoded_images.clear()
    return library


@pytest.fixture
def requests() -> Iterator[tuple[str, list[str]]]:
    """Serve a red image at an address, and list what was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(_png())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/red.png", asked
    server.shutdown()
    thread.join()
    server.server_close()


def _png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (2, 2), RED).save(file, "PNG")
    return file.getvalue()


# A string is words


@pytest.mark.parametrize(
    "text",
    ["/etc/passwd", "./red.png", "red.png", "file:///etc/passwd", "~/x", "a cat - dog", "2:red"],
)
def test_a_string_is_words_whatever_it_looks_like(
    library: PhotoLibrary,
    encoder: FakeEncoder,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
) -> None:
    monkeypatch.chdir(photos)
    hits = library.search(text)
    assert encoder.encoded_texts == [text]
    assert encoder.encoded_images == []
    expected = library.search(word_embedding(text))
    assert [(hit.path, hit.similarity) for hit in hits] == [
        (hit.path, hit.similarity) for hit in expected
    ]
    assert len(hits) == 4  # also the image that a path would have named


def test_an_address_is_words_too_and_nothing_is_fetched(
    starter: Any, photos: Path, requests: tuple[str, list[str]]
) -> None:
    address, asked = requests
    library = PhotoLibrary.open(photos, starter)
    library.sync()
    assert len(library.search(address)) == 4
    part = QueryPart(address, is_image=True)
    for act in (
        lambda: library.search(part),
        lambda: library.search(Query((part,))),
        lambda: library.search("red", more_like=[address]),
        lambda: library.search("red", less_like=[address]),
        lambda: parse_query(address),
    ):
        with pytest.raises(InputError, match="nothing is fetched unless allow_urls=True"):
            act()
    assert asked == []


@pytest.mark.slow
def test_an_address_is_fetched_where_that_is_said(
    starter: Any, photos: Path, tmp_path: Path, requests: tuple[str, list[str]]
) -> None:
    address, asked = requests
    library = PhotoLibrary.open(photos, starter, location=tmp_path / "index")
    library.sync()
    hits = library.search(QueryPart(address, is_image=True, allow_urls=True), k=1)
    assert asked == ["/red.png"]
    assert hits[0].path.name == "red.png"
    assert library.search(parse_query(address, allow_urls=True), k=1) == hits


# An image is anything else that an encoder takes


@pytest.mark.parametrize("kind", ["path", "os.PathLike", "bytes", "file", "PIL", "array", "part"])
def test_every_kind_of_image_is_searched_for(
    library: PhotoLibrary, tmp_path: Path, kind: str
) -> None:
    class Custom:
        def __fspath__(self) -> str:
            return str(path)

    path = save_image(tmp_path / "sought.png", (255, 128, 0))
    image = Image.open(path).convert("RGB")
    query: Any = {
        "path": path,
        "os.PathLike": Custom(),
        "bytes": path.read_bytes(),
        "file": io.BytesIO(path.read_bytes()),
        "PIL": image,
        "array": np.asarray(image),
        "part": QueryPart(str(path), is_image=True),
    }[kind]
    expected = library.search(image_embedding(image))
    assert expected[0].path.name == "orange.png"
    assert library.search(query) == expected
    assert library.search(Query((QueryPart(query) if kind != "part" else query,))) == expected
    if kind not in ("part", "file"):
        marked = library.search(more_like=[query], k=1)
        assert [hit.path.name for hit in marked] == ["orange.png"]


def test_arrays_are_told_apart_by_their_numbers(library: PhotoLibrary) -> None:
    red = np.zeros((2, 2, 3), dtype=np.uint8)
    red[..., 0] = 255
    assert library.search(red, k=1)[0].path.name == "red.png"
    for dtype in ("float16", "float32", "float64"):
        embedding: Any = np.array([1, 0, 0, 0], dtype=dtype)
        assert library.search(embedding, k=1)[0].path.name == "red.png"
        assert library.search(embedding[None], k=1)[0].path.name == "red.png"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (np.zeros((2, 2, 3), np.float32), r"uint8 of shape .*; got float32 of shape \(2, 2, 3\)"),
        (np.zeros(4, np.uint8), r"one embedding, floating-point .*; got uint8 of shape \(4,\)"),
        (np.eye(4, dtype=np.float32), r"got float32 of shape \(4, 4\)"),
        (np.array([1, 0, 0, 0]), r"got int64 of shape \(4,\)"),
        (np.zeros((2, 2, 7), np.uint8), r"must have shape .* got \(2, 2, 7\)"),
        (np.array("red"), "got <U3"),
        (7, "a query is words .*, got int"),
        (1.5, "got float"),
        (True, "got bool"),
        (["red"], "got list: search for one thing at a time"),
        (("red", "green"), "got tuple"),
        ({"red": 1}, "got dict"),
        (io.StringIO("red"), "got StringIO"),
        ("", "a part of the query is empty"),
        (" \n", "a part of the query is empty"),
        (Query, "got type"),
    ],
)
def test_anything_else_is_refused_in_a_sentence(
    library: PhotoLibrary, query: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        library.search(query)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("absent.jpg", "no such file"),
        (".", "is a folder"),
        ("a\0b.jpg", "is not a path"),
        ("loop.jpg", "leads back to itself"),
    ],
)
def test_a_path_that_cannot_be_read_is_an_error_with_its_reason(
    starter: Any, photos: Path, tmp_path: Path, path: str, reason: str
) -> None:
    library = PhotoLibrary.open(photos, starter)
    library.sync()
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    with pytest.raises(ImageReadError, match=reason):
        library.search(tmp_path / path)
    with pytest.raises(ImageReadError, match=reason):
        library.search(more_like=[str(tmp_path / path)])


@pytest.mark.parametrize("weight", [0, float("nan"), float("inf"), True, "2", None])
def test_weights_are_numbers(weight: Any) -> None:
    with pytest.raises(InputError, match="weight"):
        QueryPart("red", weight)


def test_one_marked_image_is_no_list_of_them(library: PhotoLibrary, photos: Path) -> None:
    for one in (str(photos / "red.png"), photos / "red.png"):
        with pytest.raises(InputError, match=r"put it in a list"):
            library.search("red", more_like=one)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="an image must be a path"):
        library.search("red", less_like=[3])  # type: ignore[list-item]


# Numbers


@pytest.mark.parametrize("k", [2, np.int64(2), np.uint8(2)])
def test_k_is_a_whole_number_of_any_kind(library: PhotoLibrary, k: Any) -> None:
    assert len(library.search("red", k=k)) == 2


@pytest.mark.parametrize("k", [True, np.True_, 2.5, np.float32(2), "2", None, 0, -1])
def test_k_is_nothing_else(library: PhotoLibrary, k: Any) -> None:
    with pytest.raises(InputError, match="k must be"):
        library.search("red", k=k)


@pytest.mark.parametrize("name", ["min_relevance", "diversity"])
@pytest.mark.parametrize("value", ["0.5", None, True])
def test_shares_are_numbers(library: PhotoLibrary, name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name} must be between 0 and 1, got"):
        library.search("red", **{name: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("path", Path("*.png")),
        ("path", 3),
        ("camera", 3),
        ("after", 20.5),
        ("before", ["2024"]),
        ("min_width", "600"),
        ("min_height", 1.5),
        ("orientation", ["portrait"]),
    ],
)
def test_filters_of_another_type_are_refused_in_a_sentence(
    library: PhotoLibrary, option: str, value: Any
) -> None:
    with pytest.raises(InputError, match=option):
        library.search("red", **{option: value})


def test_filters_take_dates_and_years_as_they_come(library: PhotoLibrary, photos: Path) -> None:
    os.utime(photos / "red.png", (0, 0))  # 1970
    library.sync()
    for before in ("1971", 1971, datetime.date(1971, 1, 1), datetime.datetime(1971, 1, 1)):
        assert [hit.path.name for hit in library.search("red", before=before)] == ["red.png"]


def test_no_error_of_a_search_is_anything_but_clipkits(library: PhotoLibrary) -> None:
    for query in (object(), Ellipsis, {1}, b"", memoryview(b"x"), Image, os):
        with pytest.raises(ClipkitError):
            library.search(query)  # type: ignore[arg-type]


# The parts of a query as vectors


def _vectors(*weights: float, liked: int = 0, disliked: int = 0) -> QueryVectors:
    rows = np.eye(8, dtype=np.float32)
    parts = tuple(PartVector(row, weight) for row, weight in zip(rows, weights, strict=False))
    return QueryVectors(parts, rows[4 : 4 + liked], rows[6 : 6 + disliked], frozenset())


@pytest.mark.parametrize(
    ("query", "added", "subtracted"),
    [
        (_vectors(1, -2, 3), [0, 2], [1]),
        (_vectors(-1, -2), [0, 1], []),  # the way is away from both
        (_vectors(-1, liked=1), [], [0]),  # the liked image says what is sought
        (_vectors(-1, disliked=1), [0], []),
        (_vectors(liked=1), [], []),
    ],
)
def test_a_query_is_split_into_what_is_sought_and_what_is_not(
    query: QueryVectors, added: list[int], subtracted: list[int]
) -> None:
    assert query.split() == (
        [query.parts[place] for place in added],
        [query.parts[place] for place in subtracted],
    )


@pytest.mark.parametrize(
    ("query", "weights"),
    [
        (_vectors(2), [2]),
        (_vectors(1, liked=2), [1, 0.5, 0.5]),  # together as much as one part
        (_vectors(liked=2), [1, 1]),
        (_vectors(-1, liked=2), [-1, 1, 1]),
        (_vectors(1, liked=1, disliked=1), [1, 1]),  # a disliked image says nothing more
        (_vectors(disliked=2), [-1, -1]),  # unless nothing else is known
    ],
)
def test_marked_images_count_as_parts_of_the_query(
    query: QueryVectors, weights: list[float]
) -> None:
    parts = query.with_marks()
    assert [part.weight for part in parts] == weights
    assert [part.is_image for part in parts[len(query.parts) :]] == [True] * (
        len(weights) - len(query.parts)
    )


def test_only_one_text_or_image_alone_is_a_plain_query() -> None:
    assert _vectors(1).is_plain
    assert not any(query.is_plain for query in (_vectors(1, 1), _vectors(1, liked=1), _vectors()))
