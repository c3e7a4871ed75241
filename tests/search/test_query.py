"""The grammar of queries, against what rclip documents and does."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipkit.errors import InputError
from clipkit.search.query import Query, QueryPart, parse_query
from tests.fakes import save_image


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    for name in ("new york city.jpg", "swimming pool.jpg", "racing car.jpg"):
        save_image(folder / name, (9, 9, 9))
    save_image(tmp_path / "up.png", (9, 9, 9))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    return folder


def _text(content: str, weight: float = 1.0) -> QueryPart:
    return QueryPart(content, weight)


def _image(content: str, weight: float = 1.0) -> QueryPart:
    return QueryPart(content, weight, is_image=True)


def _web_image(content: str, weight: float = 1.0) -> QueryPart:
    return QueryPart(content, weight, is_image=True, allow_urls=True)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["horse"], [_text("horse")]),
        (["horse", "+", "stripes"], [_text("horse"), _text("stripes")]),
        (["apple", "-", "fruit"], [_text("apple"), _text("fruit", -1)]),
        (
            ["./new york city.jpg", "+", "night"],
            [_image("new york city.jpg"), _text("night")],
        ),
        (
            ["2:golden retriever", "+", "./swimming pool.jpg"],
            [_text("golden retriever", 2), _image("swimming pool.jpg")],
        ),
        (
            ["./racing car.jpg", "-", "2:sports car", "+", "2:snow"],
            [_image("racing car.jpg"), _text("sports car", -2), _text("snow", 2)],
        ),
        (["0.5:./swimming pool.jpg"], [_image("swimming pool.jpg", 0.5)]),
        ([".5:cat"], [_text("cat", 0.5)]),
        (["2.:cat"], [_text("cat", 2)]),
        (["../up.png"], [_image("../up.png")]),
        (["HTTPS://example.org/cat.jpg"], [_web_image("HTTPS://example.org/cat.jpg")]),
        (["3:http://example.org/a"], [_web_image("http://example.org/a", 3)]),
        # Existing image files are meant, whatever they begin with; a space makes them words.
        (["racing car.jpg"], [_image("racing car.jpg")]),
        (["2:racing car.jpg"], [_image("racing car.jpg", 2)]),
        ([" racing car.jpg"], [_text("racing car.jpg")]),
        (["x" * 5000 + ".jpg"], [_text("x" * 5000 + ".jpg")]),
        (["null\0.jpg"], [_text("null\0.jpg")]),
        # Words that only look like something else.
        ([" cat.jpg"], [_text("cat.jpg")]),
        (["cat.jp"], [_text("cat.jp")]),
        (["cat + dog"], [_text("cat + dog")]),
        (["cat: the musical"], [_text("cat: the musical")]),
        (["-1:cat"], [_text("-1:cat")]),
        (["1:3:10 to Yuma"], [_text("3:10 to Yuma")]),
        (["http is a protocol"], [_text("http is a protocol")]),
        (["~ 3 cats"], [_text("~ 3 cats")]),
        (["...and dogs"], [_text("...and dogs")]),
        ([" /r/cats"], [_text("/r/cats")]),
        (["dog", "+", "+"], [_text("dog"), _text("+")]),
    ],
)
def test_parse_query_reads_rclips_grammar(words: list[str], parts: list[QueryPart]) -> None:
    assert list(parse_query(*words, allow_urls=True).parts) == parts


def test_an_address_must_be_allowed() -> None:
    with pytest.raises(InputError, match="nothing is fetched unless allow_urls=True"):
        parse_query("cat", "-", "2:https://example.org/cat.jpg")


def test_parse_query_takes_absolute_and_home_and_file_url_images(
    tmp_path: Path, here: Path
) -> None:
    pool = here / "swimming pool.jpg"
    assert parse_query(str(pool)).parts == (_image(str(pool)),)
    assert parse_query("2:~/up.png").parts == (_image(str(tmp_path / "up.png"), 2),)
    url = pool.as_uri()
    assert "%20" in url
    assert parse_query(url).parts == (_image(str(pool)),)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent.jpg"], 'absent.jpg: there is no such image file; .* as in " absent.jpg"'),
        (["cat", "-", "2:trip/absent.HEIC "], "trip/absent.HEIC: there is no such image file"),
        (["./absent.jpg"], "./absent.jpg: there is no such image"),
        (["cat", "-", "/absent.jpg"], "/absent.jpg: there is no such image"),
        (["./"], "./: this is a folder"),
        (["./" + "x" * 300], "cannot be read as an image: File name too long"),
        ([], "got 0 words"),
        (["cat", "+"], r"got 2 words: 'cat \+'"),
        (["cat", "*", "dog"], r"must be \+ or -, got '\*'"),
        ([""], "a part of the query is empty"),
        (["cat", "-", "2: "], "a part of the query is empty"),
        (["0:cat"], "the weight in '0:cat' is 0"),
        (["cat", "+", "0.0:dog"], "the weight in '0.0:dog' is 0"),
    ],
)
def test_parse_query_refuses_with_a_sentence(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_query(*words)


REX = np.array([0.6, 0.8], dtype=np.float32)
NAMED = {"Rex": REX, "old Bella": REX[::-1].copy()}


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["Rex"], [("Rex", 1)]),
        (["Rex "], [("Rex", 1)]),
        (["Rex + beach - night"], [("Rex", 1), ("'beach'", 1), ("'night'", -1)]),
        (["dog - 2:old Bella + 0.5:Rex"], [("'dog'", 1), ("old Bella", -2), ("Rex", 0.5)]),
        (["beach", "+", "Rex", "-", "3:Rex"], [("'beach'", 1), ("Rex", 1), ("Rex", -3)]),
        (["Rex + beach", "-", "night"], [("Rex", 1), ("'beach'", 1), ("'night'", -1)]),
        # No name, or none that stands alone: as without names.
        (["dog + beach - night"], [("'dog + beach - night'", 1)]),
        (["rex + beach"], [("'rex + beach'", 1)]),
        (["Rex on a beach + sea"], [("'Rex on a beach + sea'", 1)]),
        (["Rex+beach"], [("'Rex+beach'", 1)]),
        (["beach", "-", "Rex + dog"], [("'beach'", 1), ("'Rex + dog'", -1)]),
        # A space in front makes words of a name.
        ([" Rex"], [("'Rex'", 1)]),
        (["2: Rex"], [("'Rex'", 2)]),
        ([" Rex + beach"], [("'Rex + beach'", 1)]),
        (["Rex -  Rex"], [("Rex", 1), ("'Rex'", -1)]),
    ],
)
def test_names_stand_for_embeddings(words: list[str], parts: list[tuple[str, float]]) -> None:
    names = {id(row): name for name, row in NAMED.items()}
    found = [
        (names.get(id(part.content), repr(part.content)), part.weight)
        for part in parse_query(*words, named=NAMED).parts
    ]
    assert found == parts


def test_a_missing_image_beside_a_name_is_refused() -> None:
    with pytest.raises(InputError, match=r"\./absent\.jpg: there is no such image"):
        parse_query("Rex + ./absent.jpg", named=NAMED)
    with pytest.raises(InputError, match="a part of the query is empty"):
        parse_query("Rex +   - night", named=NAMED)


def test_a_part_may_be_an_embedding_but_no_array_of_another_shape() -> None:
    part = QueryPart(REX, -2)
    assert (part.is_image, part.path) == (False, None)
    assert QueryPart(REX[None], is_image=True).is_image
    with pytest.raises(InputError, match="image"):
        QueryPart(np.ones((2, 2), np.float32))


def test_a_query_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="the query is empty"):
        Query(())


def test_path_is_that_of_local_images_only() -> None:
    parts = parse_query(
        "cat", "+", "./racing car.jpg", "-", "https://example.org/a.png", allow_urls=True
    )
    assert [part.path for part in parts.parts] == [None, Path("racing car.jpg"), None]


@given(st.text(min_size=1), st.integers(1, 10**6).map(lambda number: number / 1000))
def test_a_shielded_text_always_is_that_text(text: str, weight: float) -> None:
    # A weight and a space in front: nothing else in the text has a meaning.
    if text.strip():
        assert parse_query(f"{weight}: {text}").parts == (_text(text.strip(), weight),)
