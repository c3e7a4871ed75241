"""The table of an audit: which columns are what, and which rows are of the library."""

import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')

import clipkit
from clipkit.demo.audit_table import read_audit_table
from tests.conftest import SAMPLES


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[clipkit.PhotoLibrary]:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    (tmp_path / "images" / "pets").mkdir(parents=True)
    for name in ("cat", "dog"):
        shutil.copy(SAMPLES / f"{name}.jpg", tmp_path / "images" / "pets")
    found = clipkit.PhotoLibrary.open(tmp_path / "images", clipkit.load(cache_texts=False))
    found.sync()
    (tmp_path / "images" / "pets" / "notes.txt").write_text("not an image")
    (tmp_path / "outside.jpg").write_bytes((SAMPLES / "owl.jpg").read_bytes())
    yield found


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_are_found_by_name_and_rows_by_the_library(
    library: clipkit.PhotoLibrary, delimiter: str
) -> None:
    whole = library.folder / "pets" / "dog.jpg"
    rows = [
        ["Path", "camera", "Label", "age"],
        ["pets/cat.jpg", "old", "cat", "1"],
        [str(whole), "new", "dog"],
        ["pets/notes.txt", "old", "", ""],
        ["../outside.jpg", "old", "", ""],
        [str(library.folder.parent / "outside.jpg"), "old", "", ""],
        ["", "old"],
    ]
    text = "\ufeff" + "\n".join(delimiter.join(row) for row in rows)
    table = read_audit_table(text, library)
    assert (table.group_columns, table.label_column) == (("camera", "age"), "Label")
    assert (table.num_images, table.num_unknown) == (2, 3)
    assert list(csv.reader(io.StringIO(table.text))) == [
        ["filepath", "camera", "age", "Label"],
        [str(library.folder / "pets" / "cat.jpg"), "old", "1", "cat"],
        [str(whole), "new", "", "dog"],
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Choose a table first"),
        ("name,group\na,b", "needs a column of images called path, got name, group"),
        ("path,label\na,b", "needs a column with the group of each image"),
        ("path,group\nnowhere.jpg,b", "None of the table"),
    ],
)
def test_what_is_missing_is_told(library: clipkit.PhotoLibrary, text: str, told: str) -> None:
    gradio = pytest.importorskip("gradio")
    with pytest.raises(gradio.Error, match=told):
        read_audit_table(text, library)
