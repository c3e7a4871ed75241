"""The catalog on real SQLite files: contents, snapshots, and every way a file can be wrong."""

import dataclasses
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clipkit.errors import LibraryError
from clipkit.search.store.local import schema
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.records import CatalogMeta, ImageRow, IndexedFile, SkippedFile

FOLDER = Path("my photos")
META = CatalogMeta(
    folder="/my photos",
    space_id="space",
    embed_dim=4,
    model="starter",
    engine="onnx",
    precision="fp32",
    clipkit_version="1",
    vectors_file="vectors-1.f16",
    num_rows=3,
    exclude=("raw", "a/*"),
)
# Bytes that are no UTF-8 come from Linux file systems as lone surrogates.
NAMES = ["a.png", "b/c.png", "b/d\n.png", "b0.png", "b/猫 \U0001f431.png", "\udcff.png", "x" * 255]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.sqlite"


@pytest.fixture
def catalog(path: Path) -> Iterator[Catalog]:
    with _open(path, create=True) as catalog:
        yield catalog


def _open(path: Path, *, create: bool = False) -> Catalog:
    catalog = Catalog.open(path, FOLDER, create=create)
    assert catalog is not None
    return catalog


def _rows(names: list[str]) -> list[ImageRow]:
    return [
        ImageRow(name, 10 + row, 2**62 + row, row, digest=row.to_bytes(16), width=row)
        for row, name in enumerate(names)
    ]


def test_what_is_written_is_read_back_whatever_the_names(catalog: Catalog, path: Path) -> None:
    catalog.write(META, images=_rows(NAMES), skipped=[SkippedFile("\udcfe", 1, 2, "is ü")])
    with _open(path) as reader:
        assert reader.meta() == META
        assert reader.images() == {row.path: IndexedFile(*row[:5]) for row in _rows(NAMES)}
        assert reader.entries(range(100)) == {row.row: row for row in _rows(NAMES)}
        assert reader.skipped() == {"\udcfe": SkippedFile("\udcfe", 1, 2, "is ü")}
        assert [reader.find(name) for name in NAMES] == _rows(NAMES)
        assert reader.find("absent") is None
        assert reader.paths(range(100)) == dict(enumerate(NAMES))


def test_a_prefix_is_that_folder_and_nothing_that_begins_alike(catalog: Catalog) -> None:
    catalog.write(META, images=_rows(NAMES))
    inside = {"b/c.png", "b/d\n.png", "b/猫 \U0001f431.png"}
    assert set(catalog.images("b/")) == inside
    assert catalog.count("b/") == 3
    assert catalog.rows("b/").tolist() == [1, 2, 4]
    assert catalog.rows().tolist() == list(range(len(NAMES)))


def test_paths_answers_more_rows_than_one_question_may_have(catalog: Catalog) -> None:
    names = [f"{number:04}" for number in range(1201)]
    catalog.write(META, images=_rows(names))
    assert catalog.paths(np.arange(1500)) == dict(enumerate(names))


def test_an_image_is_indexed_or_unreadable_never_both(catalog: Catalog) -> None:
    catalog.write(META, images=[ImageRow("a", 1, 1, 0)])
    catalog.write(META, skipped=[SkippedFile("a", 2, 2, "is broken")])
    assert (catalog.count(), set(catalog.skipped())) == (0, {"a"})
    catalog.write(META, images=[ImageRow("a", 3, 3, 1)])
    assert (catalog.count(), catalog.skipped()) == (1, {})
    catalog.write(META, skipped=[SkippedFile("b", 2, 2, "is broken")], removed=["a"])
    assert (catalog.count(), set(catalog.skipped())) == (0, {"b"})
    catalog.write(META, removed=["b"])
    assert catalog.skipped() == {}


def test_a_write_that_fails_changes_nothing(catalog: Catalog) -> None:
    catalog.write(META, images=_rows(["a", "b"]))
    bad = SkippedFile("b", 1, 1, None)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        catalog.write(dataclasses.replace(META, num_rows=9), removed=["a"], skipped=[bad])
    assert set(catalog.images()) == {"a", "b"}
    assert catalog.meta() == META
    catalog.write(META, removed=["a"])  # and the connection is usable


def test_a_snapshot_does_not_see_a_later_commit(catalog: Catalog, path: Path) -> None:
    catalog.write(META, images=_rows(["a"]))
    with _open(path) as reader:
        with reader.snapshot():
            assert reader.count() == 1
            catalog.write(META, images=[ImageRow("b", 1, 1, 7)])
            assert reader.count() == 1
        assert reader.count() == 2


@pytest.mark.parametrize("rows", [[], [0], [3], [0, 1, 2], [9, 1, 3, 4], [5, 0, 1]])
def test_renumber_moves_every_row_to_its_rank(catalog: Catalog, rows: list[int]) -> None:
    catalog.write(META, images=[ImageRow(f"image {row}", 1, 1, row) for row in rows])
    catalog.renumber(dataclasses.replace(META, num_rows=len(rows)), catalog.rows())
    expected = {f"image {row}": rank for rank, row in enumerate(sorted(rows))}
    assert {path: image.row for path, image in catalog.images().items()} == expected
    found = catalog.meta()
    assert found is not None
    assert found.num_rows == len(rows)


def test_there_is_no_catalog_before_one_is_created(path: Path) -> None:
    assert Catalog.open(path, FOLDER) is None
    path.touch()  # killed between creating the file and writing to it
    assert Catalog.open(path, FOLDER) is None
    assert _open(path, create=True).meta() is None


def test_the_file_says_whose_it_is_and_its_version(catalog: Catalog, path: Path) -> None:
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (0x636C6970,)
        assert connection.execute("PRAGMA user_version").fetchone() == (4,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_newer_schema_is_refused_with_both_ways_out(catalog: Catalog, path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(LibraryError) as caught:
        Catalog.open(path, FOLDER)
    assert str(caught.value) == (
        "the index of my photos was written by a newer clipkit (schema 7, this one knows up to 4):"
        " use that one, or run"
        "  clipkit index --rebuild 'my photos'"
    )


def test_an_older_schema_climbs_the_ladder_and_keeps_its_images(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _open(path, create=True) as old:
        old.write(META, images=_rows(["a"]))
    step = ("ALTER TABLE images ADD COLUMN colors BLOB",)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 5)
    with _open(path) as new:
        assert set(new.images()) == {"a"}
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (5,)
        assert connection.execute("SELECT colors FROM images").fetchall() == [(None,)]
    connection.close()


def test_an_index_from_before_the_count_was_kept_knows_it_once_it_is_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:3])
        patch.setattr(schema, "SCHEMA_VERSION", 3)
        with _open(path, create=True) as old:
            old.write(META, images=_rows(["a", "b"]))
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'num_images'")
    connection.close()
    with _open(path) as new:
        assert new.count() == 2
        new.write(META, images=_rows(["a", "b", "c"]), removed=["a"])
        assert new.count() == len(new.images())


def test_what_an_older_clipkit_writes_meanwhile_is_counted(catalog: Catalog, path: Path) -> None:
    """A process of an older version may hold the file open while a newer one migrates it."""
    catalog.write(META, images=_rows(["a"]))
    older = sqlite3.connect(path)
    with older:
        sql = "INSERT INTO images (row, path, size, mtime_ns) VALUES (?, ?, 1, 1)"
        older.executemany(sql, [(7, "b"), (8, "c")])
        older.execute("DELETE FROM images WHERE path = 'a'")
    older.close()
    assert catalog.count() == 2 == len(catalog.images())


@pytest.mark.parametrize(
    "damage",
    ["DELETE FROM meta WHERE key = 'num_images'", "UPDATE meta SET value = 'abc'"],
)
def test_a_damaged_count_is_a_damaged_index(catalog: Catalog, path: Path, damage: str) -> None:
    with sqlite3.connect(path) as other:
        other.execute(damage)
    other.close()
    with pytest.raises(LibraryError, match=r"is damaged.*--rebuild"):
        catalog.count()


def test_a_step_of_the_ladder_that_fails_leaves_the_old_schema(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _open(path, create=True).close()
    step = ("ALTER TABLE images ADD COLUMN colors BLOB", "nonsense")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))
        patch.setattr(schema, "SCHEMA_VERSION", 5)
        with pytest.raises(LibraryError, match="nonsense"):
            Catalog.open(path, FOLDER)
    with _open(path) as old:
        assert old.images() == {}


@pytest.mark.parametrize(
    "damage",
    [
        b"this is not a database, and long enough to look at" * 40,
        b"SQLite format 3\0" + b"\7" * 4096,
    ],
    ids=["other file", "garbage behind the header"],
)
def test_a_damaged_file_is_refused_with_the_command_that_rebuilds(
    path: Path, damage: bytes
) -> None:
    path.write_bytes(damage)
    with pytest.raises(LibraryError) as caught:
        Catalog.open(path, FOLDER)
    assert str(caught.value).startswith("the index of my photos is damaged (")
    assert str(caught.value).endswith(
        "): run  clipkit index --rebuild 'my photos'  (with the --model that made it, if it was not"
        " the starter)"
    )


def test_a_damaged_page_is_found_when_it_is_read(path: Path) -> None:
    with _open(path, create=True) as catalog:
        catalog.write(META, images=_rows([f"{number:0200}" for number in range(400)]))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (size - 8192))
    with _open(path) as catalog, pytest.raises(LibraryError, match=r"is damaged.*--rebuild"):
        catalog.images()


def test_another_programs_database_is_not_touched(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(LibraryError, match=r"catalog.sqlite is not a clipkit catalog"):
        Catalog.open(path, FOLDER, create=True)
    assert path.read_bytes() == before


def test_a_damaged_entry_of_the_meta_table_is_damage(catalog: Catalog, path: Path) -> None:
    catalog.write(META)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '{' WHERE key = 'embed_dim'")
    connection.close()
    with pytest.raises(LibraryError, match="is damaged"):
        catalog.meta()


def test_an_unknown_entry_of_the_meta_table_is_left_alone(catalog: Catalog, path: Path) -> None:
    catalog.write(META)
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO meta VALUES ('from the future', '1')")
    connection.close()
    assert catalog.meta() == META


def test_a_full_disk_is_a_sentence(catalog: Catalog, path: Path) -> None:
    catalog.write(META)
    # The smallest limit SQLite accepts is what the file has: the next page does not fit.
    catalog._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(
        LibraryError, match=r"no space is left for the index of my photos at .*kept"
    ):
        catalog.write(META, images=_rows([f"{number:0200}" for number in range(400)]))
    assert catalog.count() == 0


def test_a_place_that_cannot_even_be_looked_at_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match=r"index of my photos cannot be opened .*name too long"):
        Catalog.open(tmp_path / ("x" * 300) / "catalog.sqlite", FOLDER)


def test_a_sample_has_each_content_once_and_does_not_depend_on_history(tmp_path: Path) -> None:
    found = []
    contents = [number.to_bytes(16, "big") for number in (5, 3, 3, 9, 1, 5, 7)]
    for order in ([0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0]):
        catalog = Catalog.open(tmp_path / f"{order[0]}.sqlite", Path(), create=True)
        assert catalog is not None
        with catalog:
            for row, number in enumerate(order):
                catalog.write(
                    META, images=[ImageRow(f"{number}", 1, 1, row, digest=contents[number])]
                )
            catalog.write(META, images=[ImageRow("of the first schema", 1, 1, 99)])
            rows = catalog.sample(3)
            found.append([contents[order[row]] for row in rows])
            assert len(catalog.sample(100)) == 5
    assert found[0] == found[1] == [number.to_bytes(16, "big") for number in (1, 3, 5)]
