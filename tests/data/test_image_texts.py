"""What is known of single images in words."""

import json
from pathlib import Path

import pytest

from clipkit.data.image_texts import ImageTexts, KnownTexts, TextSources
from clipkit.errors import InputError
from clipkit.progress import Callbacks
from tests.fakes import save_image

PATHS = ["a.png", "red_panda/b.png"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path in PATHS:
        save_image(tmp_path / "photos" / path, (1, 2, 3))
    return tmp_path / "photos"


def test_captions_beside_images_are_read_without_being_asked_for(folder: Path) -> None:
    (folder / "a.txt").write_text("a thing\n", encoding="utf-8")
    (folder / "red_panda" / "b.json").write_text('{"caption": "a panda"}', encoding="utf-8")

    assert ImageTexts(folder).look_up([*PATHS, "c.png"]) == [
        KnownTexts(("a thing",)),
        KnownTexts(("a panda",)),
        KnownTexts(),
    ]


def test_a_caption_file_that_holds_none_is_said(folder: Path) -> None:
    (folder / "a.txt").write_bytes(b"\xff\x00")
    said: list[str] = []

    known = ImageTexts(folder, callbacks=Callbacks(say=said.append)).look_up(PATHS)

    assert known == [KnownTexts(), KnownTexts()]
    assert said == ["no caption of a.png from a.txt is not UTF-8"]


def test_captions_in_a_folder_of_their_own_have_the_paths_of_the_images(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "captions" / "red_panda").mkdir(parents=True)
    (tmp_path / "captions" / "red_panda" / "b.txt").write_text("a panda", encoding="utf-8")

    texts = ImageTexts(folder, TextSources(captions=tmp_path / "captions"))

    assert texts.look_up(PATHS) == [KnownTexts(), KnownTexts(("a panda",))]


def test_a_table_gives_captions_and_labels_by_the_files_themselves(
    folder: Path, tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    table.write_text(
        "file,text,kind\nphotos/a.png,one,7\n./photos/a.png,two,7\nphotos/red_panda/b.png,,bear\n"
        "photos/gone.png,three,x\n",
        encoding="utf-8",
    )
    said: list[str] = []
    callbacks = Callbacks(say=said.append)

    texts = ImageTexts(folder, TextSources(table, label_column="kind"), callbacks=callbacks)

    assert texts.look_up(PATHS) == [KnownTexts(("one", "two"), "7"), KnownTexts((), "bear")]
    assert len(said) == 1
    assert "2 rows give no caption" in said[0]


def test_a_table_of_labels_alone_will_do(folder: Path) -> None:
    table = folder / "labels.jsonl"
    table.write_text(json.dumps({"path": "a.png", "kind": 3}) + "\n", encoding="utf-8")

    texts = ImageTexts(folder, TextSources(table, label_column="kind"))

    assert texts.look_up(PATHS) == [KnownTexts((), "3"), KnownTexts()]


def test_a_table_that_says_nothing_of_any_image_is_warned_of(folder: Path, tmp_path: Path) -> None:
    save_image(tmp_path / "other" / "a.png", (9, 9, 9))
    table = tmp_path / "other" / "table.csv"
    table.write_text("path,caption\na.png,another\n", encoding="utf-8")
    warned: list[str] = []

    texts = ImageTexts(folder, TextSources(table), callbacks=Callbacks(warn=warned.append))

    assert texts.look_up(PATHS) == [KnownTexts(), KnownTexts()]
    assert len(warned) == 1
    assert "says nothing of the images that were found" in warned[0]


def test_class_folders_give_labels_in_words_and_no_others(folder: Path) -> None:
    save_image(folder / "images" / "c.png", (1, 2, 3))

    texts = ImageTexts(folder, TextSources(is_by_class=True))

    labels = [known.label for known in texts.look_up([*PATHS, "images/c.png"])]
    assert labels == [None, "red panda", None]


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (TextSources("nowhere.csv"), "there is no such table of captions"),
        (TextSources(caption_column="text"), "'text' would be a column of a table"),
        (TextSources("photos", label_column="kind"), "'kind' would be a column of a table"),
        (TextSources("t.csv", label_column="kind", is_by_class=True), "leave one out"),
        (TextSources("t.csv", label_column="kin"), "has no column kin; it has file, kind"),
        (TextSources("t.csv"), r"has no column for captions.*name it \(--caption-column\)"),
        (TextSources("t.csv", image_column="x"), "has no column x"),
    ],
)
def test_sources_that_will_not_do_are_refused_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, sources: TextSources, message: str
) -> None:
    monkeypatch.chdir(folder.parent)
    Path("t.csv").write_text("file,kind\nphotos/a.png,x\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        ImageTexts(folder, sources)
