"""Settings of a layout that are for another kind of dataset are named."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from clipkit.data.pair import PairLayout
from clipkit.data.source_kind import unused_settings
from clipkit.data.sources import open_pairs
from clipkit.progress import Callbacks
from tests.data.conftest import image, write_shard

Write = Callable[[Mapping[str, bytes | str]], Path]
COLUMNS = ("image_column", "caption_column")
USED = {
    "folder": ("caption_ending",),
    "classes": ("class_names", "templates"),
    "metadata": COLUMNS,
    "table": COLUMNS,
    "shards": ("caption_ending", "class_names", "templates"),
}


@pytest.fixture
def places(write: Write, tmp_path: Path) -> dict[str, Path]:
    """A dataset of each kind, each with two pairs."""
    folder = write(
        {
            "folder/a.png": image(1),
            "folder/a.txt": "a cat",
            "classes/cat/a.png": image(1),
            "classes/dog/b.png": image(2),
            "metadata/a.png": image(1),
            "metadata/metadata.csv": "file_name,text\na.png,a cat\n",
            "table.csv": "file_name,text\nfolder/a.png,a cat\n",
            "names.txt": "cat\ndog\n",
        }
    )
    shard = write_shard(tmp_path / "0.tar", [{"__key__": "1", "png": image(1), "txt": b"a cat"}])
    names = ("folder", "classes", "metadata", "table.csv")
    return {name.partition(".")[0]: folder / name for name in names} | {"shards": shard}


@pytest.mark.parametrize("kind", USED)
def test_what_a_kind_does_not_use_is_said_by_name(places: dict[str, Path], kind: str) -> None:
    given: dict[str, Any] = {
        "image_column": "file_name",
        "caption_column": "text",
        "caption_ending": "txt",
        "class_names": str(places["folder"].parent / "names.txt"),
        "templates": ("{}!",),
    }
    for setting, value in given.items():
        warned: list[str] = []
        layout = PairLayout(**{setting: value})
        open_pairs(places[kind], layout, callbacks=Callbacks(warn=warned.append))
        unused = [line for line in warned if "is not used" in line]
        assert len(unused) == (setting not in USED[kind]), (setting, warned)
        assert all(line.startswith(f"data.{setting} ") for line in unused)
        assert all(f"{places[kind]} is read as " in line for line in unused)


def test_a_setting_that_one_of_several_uses_is_used() -> None:
    layout = PairLayout(image_column="file")
    assert list(unused_settings(layout, {"a.csv": "table", "b": "folder"})) == []
    assert list(unused_settings(layout, {"a": "classes", "b": "folder"})) == [
        "data.image_column in RUN.toml or --image-column is not used: it is for a table or a "
        "folder with tables, and a is read as a folder of class folders; b is read as a folder of "
        "images with caption files"
    ]
