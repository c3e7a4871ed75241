"""Images that Parquet holds."""

import os
from pathlib import Path
from typing import Any

import pytest

from clipkit.data.pair import PairDataset, PairLayout
from clipkit.data.sources import has_split, open_pairs
from clipkit.errors import ImageReadError, InputError
from clipkit.progress import Callbacks
from tests.data.conftest import contents, image, reasons
from tests.full_disk import full_disk

CAPTIONS = ["a cat", "a dog", "a cow"]


def _write(path: Path, images: list[Any], captions: list[str | None], **options: Any) -> Path:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"image": images, "text": captions}), path, **options)
    return path


def _open(path: Path) -> tuple[PairDataset, list[str]]:
    said: list[str] = []
    return open_pairs(path, callbacks=Callbacks(say=said.append)), said


def _packs() -> list[Path]:
    return sorted(path for path in Path(os.environ["CLIPKIT_HOME"]).rglob("*") if path.is_file())


@pytest.mark.parametrize("form", ["bytes", "struct"])
def test_images_are_those_that_were_written(tmp_path: Path, form: str) -> None:
    images = [image(number) for number in range(3)]
    structs = [{"bytes": content, "path": "x.png"} for content in images]
    cells = structs if form == "struct" else images
    table = _write(tmp_path / "t.parquet", cells, [*CAPTIONS], row_group_size=2)

    source, said = _open(table)

    assert contents(source) == [(image(n), (text,)) for n, text in enumerate(CAPTIONS)]
    assert source[2].name == f"{table}/row 3"
    assert source.local_name(2) == "t.parquet/row 3"
    assert said == [f"the 3 images in {table} are unpacked into {_packs()[0]}"]
    assert _packs()[0].read_bytes() == b"".join(images)


def test_images_are_unpacked_once_and_again_when_the_table_changes(tmp_path: Path) -> None:
    table = _write(tmp_path / "t.parquet", [image(1), image(2)], ["a", "b"])
    first, _ = _open(table)
    (pack,) = _packs()
    stamp = pack.stat().st_mtime_ns
    second, _ = _open(table)
    assert contents(second) == contents(first)
    assert second.fingerprint == first.fingerprint
    assert pack.stat().st_mtime_ns == stamp
    _write(table, [image(3), image(4), image(5)], ["a", "b", "c"])
    third, _ = _open(table)
    assert [image for image, _ in contents(third)] == [image(3), image(4), image(5)]
    assert len(_packs()) == 2


def test_rows_that_lack_something_are_listed(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(image(2))
    cells = [
        {"bytes": image(1), "path": None},
        {"bytes": None, "path": "b.png"},
        {"bytes": image(3), "path": "c.png"},
        {"bytes": b"", "path": ""},
        {"bytes": None, "path": "gone.png"},
        None,
    ]
    texts = ["a", "b", None, "d", "e", "f"]
    source, _ = _open(_write(tmp_path / "t.parquet", cells, texts))
    # A file and bytes in one table: both are pairs.
    assert contents(source) == [(image(2), ("b",)), (image(1), ("a",))]
    assert reasons(source) == [
        "t.parquet row 3: has nothing in the column text",
        "t.parquet row 4: has nothing in the column image",
        "t.parquet row 5: no such file: gone.png",
        "t.parquet row 6: has nothing in the column image",
    ]


def test_what_is_no_image_is_told_when_it_is_read(tmp_path: Path) -> None:
    source, _ = _open(_write(tmp_path / "t.parquet", [image(1)], ["a"]))
    _packs()[0].unlink()
    with pytest.raises(ImageReadError, match=r"t\.parquet/row 1: no such file"):
        source[0]
    again, _ = _open(tmp_path / "t.parquet")  # the cache may be emptied at any time
    assert contents(again) == [(image(1), ("a",))]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    table = _write(tmp_path / "t.parquet", [os.urandom(1 << 20)] * 4, ["a", "b", "c", "d"])
    message = r"t\.parquet cannot be unpacked into .*: File too large"
    with full_disk(3 << 20), pytest.raises(InputError, match=message):
        _open(table)
    assert _packs() == []


def test_a_data_set_of_tables_is_read_by_its_splits(tmp_path: Path) -> None:
    data = tmp_path / "ds" / "data"
    data.mkdir(parents=True)
    names = ["train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001"]
    for number, name in enumerate(names):
        _write(data / f"{name}.parquet", [image(number)], [f"image {number}"])

    source, said = _open(tmp_path / "ds")

    assert contents(source) == [(image(n), (f"image {n}",)) for n in range(2)]
    assert said[0] == (
        f"{tmp_path}/ds: 2 tables of the split train are read, not those for validation"
    )
    held = open_pairs(tmp_path / "ds", PairLayout(split="validation"))
    assert contents(held) == [(image(2), ("image 2",))]
    assert has_split(tmp_path / "ds", "validation")
    with pytest.raises(InputError, match="no table for the split test, but train-00000-of-00002"):
        open_pairs(tmp_path / "ds", PairLayout(split="test"))


def test_tables_whose_names_say_no_split_are_all_read(tmp_path: Path) -> None:
    for number in range(2):
        _write(tmp_path / f"part-{number}.parquet", [image(number)], [f"image {number}"])
    source, _ = _open(tmp_path)
    assert contents(source) == [(image(n), (f"image {n}",)) for n in range(2)]
