from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from clipkit.data.pair import Format, PairLayout
from clipkit.data.sources import has_split, open_pairs
from clipkit.errors import ClipkitWarning, InputError
from clipkit.progress import Callbacks
from tests.data.conftest import contents, image, write_shard

Write = Callable[[Mapping[str, bytes | str]], Path]
CAPTIONED: dict[str, bytes | str] = {"a.png": image(1), "a.txt": "a cat"}
CLASSES: dict[str, bytes | str] = {"cat/a.png": image(1), "dog/b.png": image(2)}


def test_each_kind_is_found_by_looking(write: Write, tmp_path: Path) -> None:
    pair = [(image(1), ("a cat",))]
    write({**CAPTIONED, "t.csv": "filepath,title\na.png,a cat\n"})
    write({f"classes/{name}": content for name, content in CLASSES.items()})
    shard = write_shard(tmp_path / "0.tar", [{"__key__": "1", "png": image(1), "txt": b"a cat"}])
    assert contents(open_pairs(tmp_path / "t.csv")) == pair
    assert contents(open_pairs(str(shard))) == pair
    source = open_pairs(tmp_path / "classes", PairLayout(templates=("{}!",)))
    assert source.class_names == ("cat", "dog")
    assert source[1].captions == ("dog!",)
    with pytest.warns(ClipkitWarning, match=r"data\.templates is not used"):
        assert contents(open_pairs(tmp_path, PairLayout(templates=("{}!",)))) == pair
    for place in (tmp_path, tmp_path / "t.csv", shard):
        assert open_pairs(place).label(0) is None


def test_captions_beside_images_come_before_classes(write: Write) -> None:
    folder = write({**CLASSES, "dog/b.txt": "my dog"})
    source = open_pairs(folder)
    assert contents(source) == [(image(2), ("my dog",))]
    assert len(source.skipped) == 1
    assert open_pairs(folder, PairLayout(format="classes")).class_names == ("cat", "dog")


def test_a_format_may_be_given(write: Write, tmp_path: Path) -> None:
    folder = write({**CAPTIONED, "list": "name\ttext\na.png\ta dog\n", "shard.bin": b""})
    layout = PairLayout(format="table", image_column="name", caption_column="text")
    source = open_pairs(folder / "list", layout)
    assert contents(source) == [(image(1), ("a dog",))]
    write_shard(tmp_path / "shard.bin", [{"__key__": "1", "png": image(1), "txt": b"a cat"}])
    assert len(open_pairs(folder / "shard.bin", PairLayout(format="shards"))) == 1


def test_a_format_that_nobody_knows_is_refused(write: Write) -> None:
    with pytest.raises(
        InputError, match='one of auto, folder, classes, table, shards, got "tabel"'
    ):
        open_pairs(write(CAPTIONED), PairLayout(format="tabel"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("files", "path", "message"),
    [
        ({}, "", "holds no images$"),
        ({}, "gone", "no such folder: .*gone"),
        ({"a.png": image(1)}, "", "has 1 images and no captions: put a text file"),
        ({"a.txt": "a cat"}, "", "holds no images$"),
        ({"0.tar": b""}, "", r"holds shards: name them, as in .*\{0\.tar,…\}"),
        (
            {"a.xls": b"x"},
            "a.xls",
            r"a\.xls is no dataset of pairs: give a folder, a table \(\.csv",
        ),
        ({"t.csv": "filepath,title\n"}, "t.csv", r"t\.csv holds no pairs$"),
        (
            {"t.csv": "filepath,title\n" + "no.png,a\n" * 5},
            "t.csv",
            r"holds no pairs: .*line 2: no such file.*line 4: no such file: no\.png; and 2 more",
        ),
        ({"a.png": image(1), "a.txt": ""}, "", r"holds no pairs: .*a\.txt holds no caption"),
        ({}, "gone.tar", "1 of 1 shards are not there"),
        ({}, "gone.csv", r"gone\.csv cannot be read: No such file"),
        ({"0.tar.gz": b"\x1f\x8b\x08"}, "0.tar.gz", r"0\.tar\.gz is no tar file.*: unpack it"),
        ({}, "x" * 300, "the folder .*x cannot be read"),
        ({}, "x" * 300 + ".csv", r"x\.csv cannot be read: File name too long"),
        ({}, "x" * 300 + ".tar", "1 of 1 shards are not there"),
        ({"0.tar": b"\0" * 1024}, "0.tar", r"0\.tar (holds no pairs|is no tar file)"),
    ],
)
def test_what_is_no_source_is_told(
    write: Write, files: dict[str, bytes | str], path: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_pairs(write(files) / path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format_", ["auto", "folder"])
@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a.txt": "a cat", "b.json": '"a dog"', "c.txt": "a bee"},
            "has 3 images, none with a caption file that ends in .caption, as data.caption_ending "
            "in RUN.toml or --caption-ending asks; the caption files there end in others, 2 in "
            ".txt, 1 in .json: leave the setting out",
        ),
        (
            {},
            "has 3 images, none with a caption file that ends in .caption, as data.caption_ending "
            "in RUN.toml or --caption-ending asks, nor in .txt or .json: put such a file beside "
            "each (boat.jpg, boat.caption)",
        ),
    ],
)
def test_an_ending_that_no_caption_file_has_is_told_with_those_there_are(
    write: Write, files: dict[str, bytes | str], message: str, format_: Format
) -> None:
    folder = write({f"{name}.png": image(number) for number, name in enumerate("abc")} | files)
    with pytest.raises(InputError) as caught:
        open_pairs(folder, PairLayout(format=format_, caption_ending="caption"))
    assert str(caught.value) == f"{folder} {message}"


def test_one_pair_is_a_source(write: Write) -> None:
    assert len(open_pairs(write(CAPTIONED))) == 1


def test_pairs_in_a_users_home_are_found(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(write(CAPTIONED)))
    assert len(open_pairs("~")) == 1


@pytest.mark.parametrize("path", ["~nobody-of-this-name/photos", "~nobody-of-this-name/0.tar"])
def test_a_home_of_nobody_is_not_there(path: str) -> None:
    with pytest.raises(InputError, match=r"no such folder|shards are not there"):
        open_pairs(path)


@pytest.mark.parametrize("path", ["", "photos\0"])
def test_what_is_no_path_is_told(path: str) -> None:
    with pytest.raises(InputError, match=r"a dataset of pairs needs a path, got '(photos.*)?'"):
        open_pairs(path)


def test_what_is_here_is_no_address_whatever_its_name(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write({f"trip:rome/{name}": content for name, content in CAPTIONED.items()})
    write_shard(folder / "shard:1.tar", [{"__key__": "1", "png": image(1), "txt": b"a cat"}])
    monkeypatch.chdir(folder)
    for name in ("trip:rome", "shard:1.tar", "shard:{1..1}.tar"):
        assert contents(open_pairs(name)) == [(image(1), ("a cat",))]


def test_a_folder_may_be_called_like_a_table(write: Write) -> None:
    folder = write({f"t.csv/{name}": content for name, content in CAPTIONED.items()})
    assert len(open_pairs(folder / "t.csv")) == 1


METADATA: dict[str, bytes | str] = {
    "train/a.png": image(1),
    "train/deep/b.png": image(2),
    "test/c.png": image(3),
}


@pytest.mark.parametrize(
    "tables",
    [
        {
            "metadata.csv": "file_name,text\ntrain/a.png,a cat\ntrain/deep/b.png,a dog\n"
            "test/c.png,x\n"
        },
        {"train/metadata.csv": "file_name,text\na.png,a cat\ndeep\\b.png,a dog\n"},
        {
            "train/metadata.jsonl": '{"file_name": "a.png", "text": "a cat"}\n'
            '{"file_name": "deep/b.png", "text": "a dog"}\n'
        },
    ],
)
def test_an_image_folder_has_its_captions_in_a_table(
    write: Write, tables: dict[str, bytes | str]
) -> None:
    folder = write({**METADATA, **tables})
    said: list[str] = []
    source = open_pairs(folder, callbacks=Callbacks(say=said.append))
    assert contents(source) == [(image(1), ("a cat",)), (image(2), ("a dog",))]
    assert source.skipped == []
    table = folder / next(iter(tables))
    assert said == [
        f"{folder} is divided into splits: {folder}/train is read, not test; to "
        "read another, name it",
        f"{folder}/train: captions are those of {table}",
    ]


def test_images_without_a_row_and_rows_without_an_image_are_listed(write: Write) -> None:
    folder = write(
        {
            "a.png": image(1),
            "b.png": image(2),
            "c.png": image(3),
            "metadata.csv": "file_name,text\na.png,a cat\ngone.png,a dog\nb.png,\n",
        }
    )
    (folder / "link.png").symlink_to("a.png")  # the same image as one that has a row
    source = open_pairs(folder)
    assert contents(source) == [(image(1), ("a cat",))]
    assert [str(error).removeprefix(f"{folder}/") for error in source.skipped] == [
        "metadata.csv line 3: no such file: gone.png",
        "metadata.csv line 4: has nothing in the column text",
        "c.png: has no row in metadata.csv",
    ]


@pytest.mark.parametrize(
    "table",
    [
        "id,split\n1,train\n",
        "file_name,label\ncat/a.png,1\n",
        "path,text\nsound.wav,a bark\n",
        "",
    ],
)
def test_a_table_of_something_else_is_said_and_passed_over(write: Write, table: str) -> None:
    folder = write({**CLASSES, "metadata.csv": table})
    warned: list[str] = []
    source = open_pairs(folder, callbacks=Callbacks(warn=warned.append))
    assert source.class_names == ("cat", "dog")
    assert warned[0].startswith(f"{folder}/metadata.csv is not read as captions")
    # Nor is it where classes are asked for.
    write({"metadata.csv": "file_name,text\ncat/a.png,a cat\n"})
    assert open_pairs(folder, PairLayout(format="classes")).class_names == ("cat", "dog")


def test_images_and_captions_have_a_folder_each(write: Write) -> None:
    folder = write(
        {
            "images/train/trip/a.png": image(1),
            "images/val/b.png": image(2),
            "captions/train/trip/a.txt": "a cat",
            "captions/val/b.txt": "a dog",
        }
    )
    assert contents(open_pairs(folder)) == [(image(1), ("a cat",))]
    held = open_pairs(folder, PairLayout(split="validation"))
    assert contents(held) == [(image(2), ("a dog",))]
    assert has_split(folder, "validation")


def test_boxes_beside_images_are_no_captions(write: Write) -> None:
    folder = write({"images/a.png": image(1), "labels/a.txt": "0 0.5 0.5 0.1 0.1\n"})
    with pytest.raises(InputError, match=r"holds no pairs: .*a\.txt holds boxes or outlines"):
        open_pairs(folder)


def test_a_folder_without_a_split_for_it_has_no_validation(write: Write) -> None:
    folder = write({"train/cat/a.png": image(1), "test/cat/b.png": image(2), "t.csv": ""})
    assert not has_split(folder, "validation")
    assert not has_split(folder / "t.csv", "validation")
    assert not has_split("x" * 300, "validation")
    assert open_pairs(folder).class_names == ("cat",)
