"""Evaluation of search: files of queries, and figures by hand on coloured images."""

from pathlib import Path

import pytest

from clipkit.errors import InputError
from clipkit.evaluation.search_queries import evaluate_search, read_queries
from clipkit.progress import Callbacks
from tests.fakes import FakeEncoder, save_image


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.json", '{"red": ["a.png", "b.png"], "blue": "c.png"}'),
        (
            "q.json",
            '[{"query": "red", "expected": ["a.png", "b.png"]}, {"text": "blue", "path": "c.png"}]',
        ),
        (
            "q.json",
            '[{"query": "red", "path": "a.png"}, {"query": "red ", "path": "b.png"},'
            ' {"query": "blue", "path": "c.png"}]',
        ),
        ("q.csv", "query,filepath\nred,a.png\nred,b.png\nblue,c.png\n"),
        ("q.csv", "\ufeffquery;filepath\r\nred;a.png\r\nred;b.png\r\nblue;c.png\r\n"),
        ("q.tsv", "Image\tText\na.png\tred\nb.png\tred\nc.png\tblue\n"),
    ],
)
def test_queries_are_read(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_queries(tmp_path / name) == {"red": ["a.png", "b.png"], "blue": ["c.png"]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.json", "{", "is no file of queries"),
        ("q.json", "[1]", "it holds 1 in its list"),
        ("q.json", "1", "it holds 1"),
        ("q.json", '{"red": []}', "has \\[\\] for paths"),
        ("q.json", '{" ": ["a"]}', "the query"),
        ("q.json", "{}", "it holds none"),
        ("q.csv", "a,b\n1,2\n", "its columns are a, b"),
        ("q.csv", "query,filepath\nred,\n", "line 2 lacks"),
        ("q.json", '{"red": [""]}', "for paths"),
        ("q.json", '{"red": ["a"], "red": ["b"]}', "'red' is there 2 times"),
        ("q.csv", "query,filepath\nred,a,b\n", "line 2 has more cells"),
        ("q.csv", "", "its columns are none"),
    ],
)
def test_what_is_no_file_of_queries_is_refused(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_queries(tmp_path / name)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"q\.csv cannot be read: No such file"):
        read_queries(tmp_path / "q.csv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images from most red to least: a, b, c."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, color in {"a": (250, 0, 0), "b": (200, 150, 0), "c": (50, 240, 0)}.items():
        save_image(folder / f"{name}.png", color)
    return folder


def test_figures_by_hand(folder: Path) -> None:
    queries = {"red": ["a.png", "c.png"], "green": ["c.png"]}
    report = evaluate_search(FakeEncoder(), str(folder), queries, Callbacks())
    # red lists a b c, of which a and c are right; green lists c first.
    assert report.metrics["map"] == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    assert report.metrics["recall@1"] == 1.0
    assert report.metrics["mrr"] == 1.0
    assert [entry.query for entry in report.queries] == ["red", "green"]
    assert report.queries[0].average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert (report.task, report.data, report.num_images) == ("search", "images", 3)
    # Two of two say little: by Wilson 1 / (1 + 1.96² / 2) and more.
    assert "2 queries are few: recall@1 is 0.34 to 1.00" in report.warnings[0]


def test_paths_that_are_not_in_the_folder_are_counted(folder: Path) -> None:
    queries = {"green": ["c.png"], "red": ["d.png", "a.png", ""]}
    message = r"2 of 4 paths .* not among the 3 images of .*, such as 'd\.png' for 'red'"
    with pytest.raises(InputError, match=message):
        evaluate_search(FakeEncoder(), str(folder), queries, Callbacks())


def test_a_path_that_is_given_twice_counts_once(folder: Path) -> None:
    queries = {"red": ["a.png", "./a.png", str(folder / "a.png")]}
    report = evaluate_search(FakeEncoder(), str(folder), queries, Callbacks())
    assert (report.metrics["map"], report.queries[0].relevant) == (1.0, 1)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"rotten")
    with pytest.raises(InputError, match="holds no images that can be read; 1 were skipped"):
        evaluate_search(FakeEncoder(), str(tmp_path), {"red": ["a.png"]}, Callbacks())
    save_image(tmp_path / "b.png", (250, 0, 0))
    with pytest.raises(InputError, match="has one image only"):
        evaluate_search(FakeEncoder(), str(tmp_path), {"red": ["b.png"]}, Callbacks())
