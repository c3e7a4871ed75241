"""Rows of a table as pairs: the same image once, paths as tables spell them."""

import csv
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipkit.data.validation_split import split_pairs
from clipkit.errors import InputError
from tests.data.conftest import TABLE_IMAGES, Write, contents, image, open_titles, reasons


def test_rows_of_one_image_are_one_pair(write: Write) -> None:
    rows = "b,a dog\na,a cat\nb,an animal\nb,a dog\n"
    table = "filepath,title\n" + rows.replace("a,", "photos/a.png,").replace("b,", "photos/b.png,")
    source = open_titles(write({**TABLE_IMAGES, "t.csv": table}) / "t.csv")
    assert contents(source) == [
        (image(2), ("a dog", "an animal")),
        (image(1), ("a cat",)),
    ]


def test_paths_count_from_the_table_then_from_here_and_may_be_whole(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    lines = ["filepath,title", "x.png,a", "y.png,b", f"{tmp_path}/z.png,c"]
    write(
        {
            "there/x.png": image(1),
            "here/x.png": image(2),
            "here/y.png": image(3),
            "z.png": image(4),
            "there/t.csv": "\n".join(lines),
        }
    )
    monkeypatch.chdir(here)
    source = open_titles(there / "t.csv")
    monkeypatch.chdir(tmp_path)  # what was found stays found
    assert [content for content, _ in contents(source)] == [image(1), image(3), image(4)]


def test_paths_may_have_the_separators_of_windows(write: Write) -> None:
    files = {**TABLE_IMAGES, "odd\\name.png": image(3)}
    lines = ["filepath,title", "photos\\a.png,a", ".\\photos\\b.png,b", "odd\\name.png,c"]
    source = open_titles(write({**files, "t.csv": "\n".join([*lines, "C:\\b.png,d"])}) / "t.csv")
    assert contents(source) == [(image(1), ("a",)), (image(2), ("b",)), (image(3), ("c",))]
    assert reasons(source) == ["t.csv line 5: no such file: C:\\b.png"]


def test_letters_with_accents_may_be_composed_in_another_way(write: Write) -> None:
    files = {"e\u0301te\u0301.png": image(1), "\u00fc.png": image(2)}
    table = "filepath,title\n\u00e9t\u00e9.png,a\nu\u0308.png,b\n"
    source = open_titles(write({**files, "t.csv": table}) / "t.csv")
    assert contents(source) == [(image(1), ("a",)), (image(2), ("b",))]
    assert source.skipped == []


def test_rows_of_one_file_are_one_pair_whatever_leads_to_it(write: Write) -> None:
    folder = write(TABLE_IMAGES)
    (folder / "link.png").symlink_to("photos/a.png")
    os.link(folder / "photos" / "a.png", folder / "hard.png")
    names = ["link.png", "./photos/a.png", "hard.png", "photos/b.png", str(folder / "link.png")]
    rows = [f"{name},caption {number}" for number, name in enumerate(names)]
    source = open_titles(write({"t.csv": "\n".join(["filepath,title", *rows])}) / "t.csv")
    assert contents(source) == [
        (image(1), ("caption 0", "caption 1", "caption 2", "caption 4")),
        (image(2), ("caption 3",)),
    ]


def test_an_image_has_one_name_and_place_however_its_path_is_spelled(write: Write) -> None:
    """The name decides whether it is trained or validated on, so that it must not differ."""
    numbers = range(12)
    folder = write({f"photos/{number}.png": image(number) for number in numbers})
    spellings = {
        "plain": "photos/{}.png",
        "dot": "./photos/{}.png",
        "detour": "photos/../photos/./{}.png",
        "spaces": " photos/{}.png ",
        "windows": ".\\photos\\{}.png",
        "whole": f"{folder}/photos/{{}}.png",
        "outside": f"../{folder.name}/photos/{{}}.png",
    }
    names, kept = {}, {}
    for kind, spelling in spellings.items():
        rows = [f"{spelling.format(number)},{number}" for number in numbers]
        source = open_titles(
            write({f"{kind}.csv": "\n".join(["filepath,title", *rows])}) / f"{kind}.csv"
        )
        names[kind] = [source.local_name(row) for row in numbers]
        _, (validation,) = split_pairs([source], 0.25, seed=0)
        kept[kind] = [content for content, _ in contents(validation)]
    for kind in spellings:
        assert names[kind] == [f"photos/{number}.png" for number in numbers], kind
        assert kept[kind] == kept["plain"], kind


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_a_table_that_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"{name} cannot be read: No such file"):
        open_titles(tmp_path / name)


# Names of files are bytes; a caption is a text.
NAMES = st.binary(min_size=1, max_size=20).filter(
    lambda name: (
        not {b"/", b"\0"} & {name[at : at + 1] for at in range(len(name))}
        and name not in (b".", b"..")
    )
)
ODD = st.text(st.sampled_from("ab \t\n\r\"',;|\\\u2028é😀"), max_size=12)
CAPTIONS = (st.text(max_size=20) | ODD).filter(str.strip)


@given(rows=st.dictionaries(NAMES, CAPTIONS, max_size=5), separator=st.sampled_from(",\t;"))
def test_a_table_comes_back_as_csv_wrote_it(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[bytes, str], separator: str
) -> None:
    folder = tmp_path_factory.mktemp("table")
    for name in rows:
        (folder / os.fsdecode(name)).write_bytes(name)
    table = folder.parent / f"{folder.name}.csv"
    with table.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(["filepath", "title"])
        writer.writerows((f"{folder.name}/{os.fsdecode(n)}", text) for n, text in rows.items())
    source = open_titles(table)
    assert contents(source) == [(name, (text.strip(),)) for name, text in rows.items()]
    assert source.skipped == []


@given(rows=st.dictionaries(NAMES, st.lists(CAPTIONS, min_size=1, max_size=3), max_size=5))
def test_a_table_comes_back_as_json_wrote_it(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[bytes, list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("table")
    for name in rows:
        (folder / os.fsdecode(name)).write_bytes(name)
    table = folder.parent / f"{folder.name}.jsonl"
    with table.open("w") as file:
        for name, texts in rows.items():
            entry = {"filepath": str(folder / os.fsdecode(name)), "title": texts}
            file.write(json.dumps(entry) + "\n")
    source = open_titles(table)
    assert contents(source) == [
        (name, tuple(dict.fromkeys(text.strip() for text in texts))) for name, texts in rows.items()
    ]
