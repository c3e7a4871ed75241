"""Columns of tables of any format: gaps, repeated images, contradictions, joins."""

import json
from pathlib import Path

import pytest

from clipkit.data.listed_pairs import ListedPairs
from clipkit.data.table_columns import TableColumns, join_columns, open_table_columns
from clipkit.errors import InputError
from tests.fakes import save_image

ROWS = [
    ("a.png", "x", "1"),
    ("b.png", "", "2"),
    ("c.png", " y  z ", ""),
    ("./a.png", "x", "3"),
    ("gone.png", "x", "1"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place, name in enumerate("abc"):
        save_image(tmp_path / f"{name}.png", (place, 0, 0))
    return tmp_path


def opened(path: Path, columns: tuple[str, ...] = ("side", "number")) -> TableColumns:
    return open_table_columns(path, "", columns, say=lambda line: None)


def write(folder: Path, suffix: str) -> Path:
    path = folder / f"t.{suffix}"
    if suffix == "csv":
        path.write_text("\n".join(["image,side,number", *map(",".join, ROWS)]))
        return path
    names = ("image", "side", "number")
    rows = [{name: cell or None for name, cell in zip(names, row, strict=True)} for row in ROWS]
    if suffix == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
        return path
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_gaps_are_known_and_lose_no_image(folder: Path, suffix: str) -> None:
    table = opened(write(folder, suffix))
    assert [table.dataset.local_name(row) for row in range(3)] == ["a.png", "b.png", "c.png"]
    assert table.cells == {"side": ["x", None, "y z"], "number": [None, "2", None]}
    assert table.contradictions == {"side": 0, "number": 1}
    assert ["gone.png" in str(error) for error in table.dataset.skipped] == [True]


def test_images_in_parquet_have_columns_too(folder: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    content = [(folder / f"{name}.png").read_bytes() for name in "ab"]
    parquet.write_table(
        pyarrow.table({"image": content, "side": ["x", None]}), folder / "t.parquet"
    )
    table = opened(folder / "t.parquet", ("side",))
    assert len(table.dataset) == 2
    assert table.cells == {"side": ["x", None]}


def test_numbers_are_texts_and_nan_is_a_gap(folder: Path) -> None:
    lines = ['{"image": "a.png", "side": 3}', '{"image": "b.png", "side": NaN}']
    (folder / "t.jsonl").write_text("\n".join(lines))
    assert opened(folder / "t.jsonl", ("side",)).cells == {"side": ["3", None]}


def test_a_table_is_joined_by_the_files_themselves(folder: Path) -> None:
    table = opened(write(folder, "csv"))
    (folder / "link.png").symlink_to(folder / "c.png")
    other = ListedPairs(folder, [("link.png", ("",)), ("b.png", ("",)), ("no.png", ("",))])
    assert join_columns(table, other)["side"] == ["y z", None, None]


def test_a_column_that_is_not_there_names_those_that_are(folder: Path) -> None:
    with pytest.raises(InputError, match=r"has no column sid; it has image, side.*nearest: side"):
        opened(write(folder, "csv"), ("sid",))
    with pytest.raises(InputError, match="has no column gone"):
        opened(write(folder, "jsonl"), ("side", "gone"))


def test_a_table_without_images_is_refused(folder: Path) -> None:
    (folder / "t.csv").write_text("image,side\nno.png,x\n")
    with pytest.raises(InputError, match=r"names no image that is there.*no such file: no\.png"):
        opened(folder / "t.csv", ("side",))
    with pytest.raises(InputError, match=r"gone\.csv cannot be read"):
        opened(folder / "gone.csv", ("side",))
    for name, text in (("t.csv", "image,side\n"), ("t.jsonl", "")):
        (folder / name).write_text(text)
        with pytest.raises(InputError, match=rf"{name} names no image: it has no rows"):
            opened(folder / name, ("side",))
    (folder / "t.csv").write_text("image,side\n,x\n")
    with pytest.raises(InputError, match=r"names no image that is there: .* line 2"):
        opened(folder / "t.csv", ("side",))
