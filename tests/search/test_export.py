"""What a library holds, read out by programs that know nothing of clipkit."""

import json
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipkit.cli.main import main
from clipkit.errors import ClipkitError, InputError, LibraryError, MissingExtraError
from clipkit.files import draft_beside
from clipkit.search import export
from clipkit.search.library import PhotoLibrary
from tests.fakes import FakeEncoder, image_embedding, save_image
from tests.full_disk import full_disk

NAMES = ["orange.png", "red.png", "trip/blue.png", "trip/green.png"]  # in the order of the paths


@pytest.fixture
def indexed(library: PhotoLibrary) -> PhotoLibrary:
    library.sync()
    return library


def _expected(photos: Path, names: list[str]) -> np.ndarray:
    return np.concatenate([image_embedding(Image.open(photos / name)) for name in names])


def test_a_library_gives_its_paths_and_embeddings(indexed: PhotoLibrary, photos: Path) -> None:
    paths, embeddings = indexed.embeddings()
    assert paths == [photos / name for name in NAMES]
    assert embeddings.dtype == np.float32
    assert embeddings.space_id == "fake-space"
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(embeddings, _expected(photos, NAMES), atol=1e-3)  # half precision


def test_they_may_be_filtered_and_of_a_part(indexed: PhotoLibrary, photos: Path) -> None:
    assert indexed.embeddings(not_path="trip/*").paths == [photos / name for name in NAMES[:2]]
    part = PhotoLibrary.open_nearest(photos / "trip")
    paths, embeddings = part.embeddings(path="b*")
    assert paths == [photos / "trip" / "blue.png"]
    np.testing.assert_allclose(embeddings, _expected(photos, NAMES[2:3]), atol=1e-3)
    none = indexed.embeddings(path="none")
    assert (none.paths, none.embeddings.shape) == ([], (0, 4))


def test_the_embedding_of_one_image_is_the_stored_one(indexed: PhotoLibrary, photos: Path) -> None:
    row = indexed.embedding_of("trip/blue.png")
    (expected,) = indexed.embeddings(path="blue.png").embeddings
    np.testing.assert_array_equal(row, expected)
    assert (row.shape, row.space_id) == ((4,), "fake-space")
    (photos / "trip" / "blue.png").unlink()  # no file is read
    part = PhotoLibrary.open_nearest(photos / "trip")
    np.testing.assert_array_equal(part.embedding_of("blue.png"), expected)
    for path in ("../red.png", "red.png", "", "/", "blue.png\0", str(photos / "red.png")):
        with pytest.raises(InputError, match="no indexed image"):
            part.embedding_of(path)


def test_blocks_are_put_together(
    indexed: PhotoLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = indexed.embeddings()
    monkeypatch.setattr(export, "_BLOCK", 3)
    paths, embeddings = indexed.embeddings()
    assert paths == whole.paths
    np.testing.assert_array_equal(embeddings, whole.embeddings)


def test_what_was_never_indexed_has_none(library: PhotoLibrary, tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="has not been indexed"):
        library.embeddings()
    with pytest.raises(LibraryError, match="has not been indexed"):
        library.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("table", ["parquet", "jsonl", None])
def test_an_export_is_read_by_numpy_and_by_readers_of_tables(
    indexed: PhotoLibrary, photos: Path, tmp_path: Path, table: str | None
) -> None:
    report = indexed.export(tmp_path / "a" / "out", table=table)  # type: ignore[arg-type]
    out = tmp_path / "a" / "out"
    kind = table or "parquet"
    assert report.files == (out / "embeddings.npy", out / f"images.{kind}", out / "export.json")
    assert sorted(out.iterdir()) == sorted(report.files)
    assert list(out.parent.iterdir()) == [out]  # nothing is left over
    array = np.load(out / "embeddings.npy")
    np.testing.assert_array_equal(array, indexed.embeddings().embeddings)
    if kind == "parquet":
        from pyarrow import parquet

        rows = parquet.read_table(out / "images.parquet").to_pylist()
    else:
        lines = (out / "images.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
    assert [row["path"] for row in rows] == NAMES
    assert rows[0] == {
        "path": "orange.png",
        "width": 2,
        "height": 2,
        "taken_at": None,
        "camera": None,
        "bytes": (photos / "orange.png").stat().st_size,
    }
    about = json.loads((out / "export.json").read_text())
    assert (about["space_id"], about["model"]) == ("fake-space", "fake")
    assert (report.space_id, report.model) == ("fake-space", "fake")
    assert (about["num_images"], about["embed_dim"]) == (4, 4) == tuple(array.shape)


def test_an_earlier_export_is_replaced_and_nothing_else(
    indexed: PhotoLibrary, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    indexed.export(out, table="parquet")
    (out / "mine.txt").write_text("mine")
    (photos / "red.png").unlink()
    indexed.sync()
    report = indexed.export(out, table="jsonl")
    assert report.num_images == 3
    assert {path.name for path in out.iterdir()} == {
        "embeddings.npy", "images.jsonl", "export.json", "mine.txt",
    }  # fmt: skip
    assert len(np.load(out / "embeddings.npy")) == 3
    assert (out / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("about", [None, "{}", "[1]", "no json", '{"written_by": "another"}'])
def test_what_clipkit_did_not_write_is_left_alone(
    indexed: PhotoLibrary, tmp_path: Path, about: str | None
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "embeddings.npy").write_bytes(b"a year of work")
    if about is not None:
        (out / "export.json").write_text(about)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(InputError, match="nothing is overwritten"):
        indexed.export(out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_file_that_was_put_beside_an_export_is_left_alone(
    indexed: PhotoLibrary, tmp_path: Path
) -> None:
    directory = tmp_path / "export"
    indexed.export(directory, table="parquet")
    notes = directory / "images.jsonl"
    notes.write_text("mine")
    with pytest.raises(InputError, match=r"images\.jsonl"):
        indexed.export(directory, table="jsonl")
    indexed.export(directory, table="parquet")
    assert notes.read_text() == "mine"


def test_a_list_of_files_that_leads_elsewhere_is_not_followed(
    indexed: PhotoLibrary, tmp_path: Path
) -> None:
    photo = save_image(tmp_path / "victim.png", (1, 2, 3))
    indexed.export(tmp_path / "out")
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    about["files"] += ["../victim.png", str(photo)]
    (tmp_path / "out" / "export.json").write_text(json.dumps(about))
    indexed.export(tmp_path / "out")
    assert photo.exists()


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_no_file_is_replaced_by_a_directory(
    indexed: PhotoLibrary, photos: Path, tmp_path: Path, kind: str
) -> None:
    target = photos / "red.png"
    if kind == "dangling link":
        target = tmp_path / "link"
        target.symlink_to(tmp_path / "absent")
    with pytest.raises(InputError, match="is no directory"):
        indexed.export(target)
    assert target.is_symlink() or target.is_file()


def test_names_that_are_no_text_come_out(library: PhotoLibrary, tmp_path: Path) -> None:
    raw = os.fsencode(library.folder) + b"/caf\xe9.png"
    save_image(tmp_path / "plain.png", (9, 9, 9)).rename(os.fsdecode(raw))
    library.sync()
    library.export(tmp_path / "lines", table="jsonl", path="caf*")
    (line,) = (tmp_path / "lines" / "images.jsonl").read_text().splitlines()
    assert os.fsencode(json.loads(line)["path"]) == b"caf\xe9.png"
    library.export(tmp_path / "table", table="parquet", path="caf*")
    from pyarrow import parquet

    (row,) = parquet.read_table(tmp_path / "table" / "images.parquet").to_pylist()
    assert row["path"] == r"caf\xe9.png"


def test_without_pyarrow_lines_are_written(
    indexed: PhotoLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert indexed.export(tmp_path / "out").files[1].name == "images.jsonl"
    with pytest.raises(MissingExtraError, match=r"clipkit\[parquet\]"):
        indexed.export(tmp_path / "other", table="parquet")
    with pytest.raises(InputError, match='table must be "parquet" or "jsonl"'):
        indexed.export(tmp_path / "other", table="xlsx")  # type: ignore[arg-type]


def test_a_disk_that_cannot_be_written_is_a_sentence(indexed: PhotoLibrary, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ClipkitError, match="cannot be written"):
        indexed.export(tmp_path / "file" / "out")


def test_a_disk_that_fills_up_leaves_the_earlier_export(
    indexed: PhotoLibrary, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    indexed.export(out, table="jsonl")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with full_disk(100), pytest.raises(LibraryError, match="cannot be written"):
        indexed.export(out, table="jsonl", path="red.png")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_what_a_killed_export_has_left_is_not_in_the_way(
    indexed: PhotoLibrary, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    draft_beside(out / "embeddings.npy").write_bytes(b"half of an array")
    assert indexed.export(out).num_images == 4


@pytest.mark.parametrize("num_renamed", [0, 1, 2])
@pytest.mark.parametrize("is_first", [True, False])
def test_an_export_that_was_killed_between_two_files_says_so_and_is_replaced(
    indexed: PhotoLibrary,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    num_renamed: int,
    is_first: bool,
) -> None:
    out = tmp_path / "out"
    if not is_first:
        indexed.export(out, table="jsonl", path="red.png")
    replace, done = Path.replace, iter(range(10))

    def fail(draft: Path, target: Path) -> Path:
        # The mark that it is unfinished comes before the three files.
        if next(done) > num_renamed:
            raise OSError(5, "killed")
        return replace(draft, target)

    with monkeypatch.context() as patch, pytest.raises(LibraryError):
        patch.setattr(Path, "replace", fail)
        indexed.export(out, table="jsonl")
    assert json.loads((out / "export.json").read_text())["is_finished"] is False
    assert indexed.export(out, table="jsonl").num_images == 4
    about = json.loads((out / "export.json").read_text())
    assert about["is_finished"] is True
    assert len(np.load(out / "embeddings.npy")) == about["num_images"] == 4


def test_a_report_as_json_has_plain_values(indexed: PhotoLibrary, tmp_path: Path) -> None:
    out = tmp_path / "out"
    values = indexed.export(out, table="jsonl").to_dict()
    assert (
        json.loads(json.dumps(values))
        == values
        == {
            "directory": str(out),
            "files": [
                str(out / name) for name in ("embeddings.npy", "images.jsonl", "export.json")
            ],
            "num_images": 4,
            "embed_dim": 4,
            "space_id": "fake-space",
            "model": "fake",
        }
    )


def test_a_library_pickles(indexed: PhotoLibrary) -> None:
    other = pickle.loads(pickle.dumps(PhotoLibrary.open(indexed.folder)))
    np.testing.assert_array_equal(other.embeddings().embeddings, indexed.embeddings().embeddings)
    same = pickle.loads(pickle.dumps(PhotoLibrary.open(indexed.folder, FakeEncoder())))
    assert same.search("red") == indexed.search("red")


# The command


def test_export_prints_what_it_wrote(
    indexed: PhotoLibrary, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["export", str(indexed.folder), "--output", str(out), "--table", "jsonl"]) == 0
    captured = capsys.readouterr()
    names = ["embeddings.npy", "images.jsonl", "export.json"]
    assert captured.out.splitlines() == [str(out / name) for name in names]
    assert "exported: 4 images, 4 dimensions, of fake (space fake-space)" in captured.err
    assert main(["export", str(indexed.folder), "-o", str(indexed.folder)]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err


def test_export_of_what_is_not_indexed_says_what_to_run(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(photos), "-o", str(tmp_path / "out")]) == 2
    assert "has not been indexed: run  clipkit index" in capsys.readouterr().err
