"""Collections of every kind: what each holds, by which names, and how it is cut."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipkit.bulk_embedding.images import BulkImage, ReadImage, read_bulk_image
from clipkit.bulk_embedding.source import BulkSource, open_bulk_source
from clipkit.errors import ImageReadError, InputError
from tests.bulk_embedding.made_sources import (
    COLORS,
    digest,
    image_bytes,
    make_folder,
    make_parquet,
    make_shard,
)

FILES = [image_bytes(color) for color in COLORS]


@pytest.fixture
def memory() -> Iterator[str]:
    """The URL of an empty folder in a file system that fsspec keeps in memory."""
    import fsspec

    files = fsspec.filesystem("memory")
    yield "memory://bulk"
    if files.exists("/bulk"):
        files.rm("/bulk", recursive=True)


def _read(source: BulkSource, part_size: int = 100) -> dict[str, bytes | str]:
    """Return the hash of the bytes of each image by its id, or why there is none."""
    found: dict[str, bytes | str] = {}
    for piece in source.pieces(source.images, frozenset(), part_size):
        for image in piece.read():
            assert isinstance(image, BulkImage)
            assert image.id not in found
            reading = ReadImage(image)
            try:
                read_bulk_image(reading)
            except ImageReadError as error:
                found[error.path] = error.reason
            else:
                found[image.id] = reading.digest
    return found


def test_a_folder(tmp_path: Path) -> None:
    make_folder(tmp_path / "photos", 3)
    source = open_bulk_source(tmp_path / "photos")
    assert _read(source) == {
        "0.png": digest(FILES[0]),
        "2.png": digest(FILES[2]),
        "inside/1.png": digest(FILES[1]),
    }
    status = (tmp_path / "photos" / "0.png").stat()
    first = source.images[0]
    assert (first.size, first.mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert [len(piece.images) for piece in source.pieces(source.images, frozenset(), 2)] == [2, 1]  # type: ignore[union-attr]


def test_a_name_that_is_no_unicode(tmp_path: Path) -> None:
    (tmp_path / "caf\udce9.png").write_bytes(FILES[0])
    assert _read(open_bulk_source(tmp_path)) == {"caf\\xe9.png": digest(FILES[0])}


def test_a_list_counts_from_its_folder_or_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path / "photos", 2)
    make_folder(tmp_path / "other", 3)
    monkeypatch.chdir(tmp_path / "other")
    lines = ["0.png", "2.png", "0.png", "", "gone.png", "http://localhost/a.png"]
    (tmp_path / "photos" / "list.txt").write_text("\n".join(lines))
    source = open_bulk_source(str(tmp_path / "photos" / "list.txt"))
    assert _read(source) == {
        "0.png": digest(FILES[0]),
        "2.png": digest(FILES[2]),
        "gone.png": "no such file",
    }
    (left_out,) = source.skipped
    assert left_out.path == "http://localhost/a.png" and "--allow-urls" in left_out.reason


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_tables_of_paths(tmp_path: Path, kind: str) -> None:
    make_folder(tmp_path, 3)
    paths = ["0.png", "inside/1.png", str(tmp_path / "2.png")]
    table = tmp_path / f"table.{kind}"
    if kind == "csv":
        table.write_text("number,image\n" + "".join(f"7,{path}\n" for path in paths))
    elif kind == "jsonl":
        table.write_text("".join(json.dumps({"image": path}) + "\n" for path in paths))
    else:
        make_parquet(table, {"number": [1, 2, 3], "image": paths})
    expected = {path: digest(FILES[number]) for number, path in enumerate(paths)}
    assert _read(open_bulk_source(table)) == expected
    assert _read(open_bulk_source(table, image_column="image")) == expected
    with pytest.raises(InputError, match="has no column picture"):
        open_bulk_source(table, image_column="picture")


@pytest.mark.parametrize("is_struct", [False, True])
def test_parquet_of_files(tmp_path: Path, is_struct: bool) -> None:
    cells: list[object] = list(FILES[:5])
    if is_struct:
        cells = [{"bytes": content, "path": "a.png"} for content in FILES[:5]]
    make_parquet(tmp_path / "table.parquet", {"image": [*cells, None]}, group=4)
    source = open_bulk_source(str(tmp_path / "table.parquet"))
    expected: dict[str, bytes | str] = {
        f"table.parquet/row {number + 1}": digest(FILES[number]) for number in range(5)
    }
    expected["table.parquet/row 6"] = "has no bytes in the column of images"
    for part_size in (1, 2, 3, 6, 7):  # groups of four rows end where parts do not
        assert _read(source, part_size) == expected
    assert [piece.count for piece in source.pieces([], frozenset(), 4)] == [4, 2]


def test_shards(tmp_path: Path) -> None:
    make_shard(
        tmp_path / "000.tar",
        {"a.png": FILES[0], "a.txt": b"words", "b.txt": b"no image", "folder/c.png": FILES[1]},
    )
    make_shard(tmp_path / "001.tar", {"a.png": FILES[2]})
    expected = {
        "000.tar/a": digest(FILES[0]),
        "000.tar/b": "has no image, only .txt",
        "000.tar/folder/c": digest(FILES[1]),
        "001.tar/a": digest(FILES[2]),
    }
    assert _read(open_bulk_source(str(tmp_path / "{000..001}.tar"))) == expected
    assert _read(open_bulk_source(tmp_path)) == expected  # a folder of shards
    with pytest.raises(InputError, match="1 of 3 shards are not there"):
        open_bulk_source(str(tmp_path / "{000..002}.tar"))


def test_shards_of_one_name_in_two_folders_keep_their_paths(tmp_path: Path) -> None:
    paths = [make_shard(tmp_path / name / "0.tar", {"a.png": FILES[0]}) for name in ("x", "y")]
    found = _read(open_bulk_source("::".join(map(str, paths))))
    assert list(found) == [f"{path}/a" for path in paths]


def test_a_shard_that_is_cut_off_says_so(tmp_path: Path) -> None:
    """Whether the second sample has more members is not known: it is lost with the third."""
    files = {"a.png": FILES[0], "b.png": FILES[1], "c.png": FILES[2] * 100}
    shard = make_shard(tmp_path / "0.tar", files)
    shard.write_bytes(shard.read_bytes()[:4000])
    found = _read(open_bulk_source(shard))
    assert found["0.tar/a"] == digest(FILES[0])
    assert "cut off after 1 samples" in str(found["0.tar"])


def test_a_key_changes_with_the_shard(tmp_path: Path) -> None:
    make_shard(tmp_path / "0.tar", {"a.png": FILES[0]})
    (before,) = open_bulk_source(tmp_path).shards
    make_shard(tmp_path / "0.tar", {"a.png": FILES[0], "b.png": FILES[1] * 100})
    (after,) = open_bulk_source(tmp_path).shards
    assert before.key != after.key


def test_urls_of_any_file_system(memory: str, tmp_path: Path) -> None:
    import fsspec

    files = fsspec.filesystem("memory")
    files.pipe_file("/bulk/photos/a.png", FILES[0])
    files.pipe_file("/bulk/photos/inside/b.PNG", FILES[1])
    files.pipe_file("/bulk/photos/notes.md", b"no image")
    files.pipe_file("/bulk/list.txt", b"photos/a.png\nphotos/none.png\n")
    shard = make_shard(tmp_path / "0.tar", {"a.png": FILES[2]})
    files.pipe_file("/bulk/0.tar", shard.read_bytes())
    table = make_parquet(tmp_path / "t.parquet", {"image": FILES[:3]})
    files.pipe_file("/bulk/t.parquet", table.read_bytes())

    folder = open_bulk_source(f"{memory}/photos")
    assert _read(folder) == {"a.png": digest(FILES[0]), "inside/b.PNG": digest(FILES[1])}
    assert folder.images[0].size == len(FILES[0]) and folder.images[0].mtime_ns
    listed = _read(open_bulk_source(f"{memory}/list.txt"))
    assert listed == {"photos/a.png": digest(FILES[0]), "photos/none.png": "no such file"}
    assert _read(open_bulk_source(f"{memory}/0.tar")) == {"0.tar/a": digest(FILES[2])}
    assert len(_read(open_bulk_source(f"{memory}/t.parquet"))) == 3
    paths = [f"{memory}/photos/a.png"]
    assert _read(open_bulk_source(paths, allow_urls=True)) == {paths[0]: digest(FILES[0])}


def test_what_holds_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(FILES[0])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(InputError, match="give a folder of images, a list"):
        open_bulk_source(tmp_path / "one.png")
    for name in ("empty", "empty.txt"):
        with pytest.raises(InputError, match="holds no images"):
            open_bulk_source(tmp_path / name)
    with pytest.raises(InputError, match="no such folder"):
        open_bulk_source(tmp_path / "none")
    with pytest.raises(InputError, match="path or a URL"):
        open_bulk_source("")
