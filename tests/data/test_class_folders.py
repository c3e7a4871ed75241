import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from torchvision.datasets import ImageFolder

from clipkit.data.class_folders import ClassFolders, open_class_folders
from clipkit.data.class_names import ClassNames, words_of
from clipkit.errors import InputError, PromptError
from clipkit.inputs.folders import find_images
from clipkit.progress import Callbacks
from tests.data.conftest import image, reasons

Write = Callable[[Mapping[str, bytes | str]], Path]
FILES = {
    "red_panda/b.png": image(1),
    "red_panda/deep/a.png": image(2),
    "Zebra/c.png": image(3),
    "owl-monkey/d.png": image(4),
}


def _open(folder: Path, *templates: str) -> ClassFolders:
    return open_class_folders(
        folder, find_images(folder), templates=templates or ("a {}.",), callbacks=_SILENT
    )


def _unsaid(line: str) -> None:
    raise AssertionError(line)


_SILENT = Callbacks(say=_unsaid, warn=_unsaid)


def test_classes_and_labels_are_those_of_torchvision(write: Write) -> None:
    folder = write({**FILES, "owl/e.png": image(5)})  # by paths, owl-monkey/ comes first
    expected = ImageFolder(str(folder))
    source = _open(folder)
    assert words_of(expected.classes) == source.class_names
    found = [(str(source[row].image), source.label(row)) for row in range(len(source))]
    assert sorted(found) == sorted(expected.samples)


def test_captions_are_the_templates_filled_in(write: Write) -> None:
    source = _open(write(FILES), "a {}.", "{} outside", "a {}.")
    assert source.class_names == ("Zebra", "owl monkey", "red panda")
    assert source[3].captions == ("a red panda.", "red panda outside")
    assert [source.label(row) for row in range(4)] == [0, 1, 2, 2]
    assert source.local_name(3) == "red_panda/deep/a.png"
    assert source.fingerprint == _open(write({}), "a {}.", "{} outside").fingerprint
    assert source.fingerprint != _open(write({}), "a {}.").fingerprint


def test_images_without_a_class_are_listed(write: Write) -> None:
    source = _open(write({**FILES, "stray.png": image(5)}))
    assert len(source) == 4
    assert reasons(source) == ["stray.png: lies in no class's folder"]


def test_two_folders_of_one_class_are_refused(write: Write) -> None:
    folder = write({"red_panda/a.png": image(1), "red-panda/b.png": image(2)})
    with pytest.raises(InputError, match="'red panda', 'red-panda' and 'red_panda': put their"):
        _open(folder)


@pytest.mark.parametrize("template", ["a photo", "{} and {}"])
def test_a_template_needs_one_place_for_the_name(write: Write, template: str) -> None:
    with pytest.raises(PromptError, match=r"one \{\} for the class name, got"):
        _open(write(FILES), template)


def test_no_template_is_refused(write: Write) -> None:
    folder = write(FILES)
    with pytest.raises(PromptError, match="got none"):
        open_class_folders(folder, find_images(folder), templates=(), callbacks=_SILENT)


def test_names_are_always_unicode() -> None:
    assert words_of(["caf\udce9__noir", "_"]) == ("caf\ufffd noir", "_")


def _told(folder: Path, names: ClassNames | None = None) -> tuple[ClassFolders, list[str]]:
    told: list[str] = []
    scan = find_images(folder)
    callbacks = Callbacks(say=told.append, warn=lambda line: told.append(f"warning: {line}"))
    source = open_class_folders(folder, scan, templates=["{}"], names=names, callbacks=callbacks)
    return source, told


def test_names_may_come_from_a_file(write: Write, tmp_path: Path) -> None:
    folder = write({"ds/n2/a.png": image(1), "ds/n1/b.png": image(2)}) / "ds"
    names = ClassNames(tmp_path / "names.json", {"n1": "tench", "n2": "shark"}, ())
    source, said = _told(folder, names)
    assert source.class_names == ("tench", "shark")
    assert [source[row].captions for row in range(2)] == [("tench",), ("shark",)]
    assert said == []


def test_folders_that_a_file_gives_one_name_are_one_class(write: Write, tmp_path: Path) -> None:
    # As in ImageNet, whose list has a bird and a machine that are called "crane".
    folder = write({f"ds/n{number}/a.png": image(number) for number in range(4)}) / "ds"
    names = ClassNames(tmp_path / "names.txt", {}, ("crane", "boat", "crane", "owl"))
    source, said = _told(folder, names)
    assert source.class_names == ("crane", "boat", "owl")
    assert [source.label(row) for row in range(4)] == [0, 1, 0, 2]
    assert [source.class_name(row) for row in range(4)] == ["crane", "boat", "crane", "owl"]
    assert said == [
        f"warning: {folder}: 4 folders have 3 different names by {names.path}, and those of one "
        "name are one class: n0 and n2 are crane"
    ]


def test_numbers_taken_off_and_odd_names_are_said(write: Write) -> None:
    folder = write({f"ds/{n:02}_{name}/a.png": image(n) for n, name in enumerate("abcdef")})
    _, said = _told(folder / "ds")
    assert said == [
        f"{folder}/ds: class names are read without their numbers: "
        "00_a is a; 01_b is b; 02_c is c; and 3 more"
    ]
    _, said = _told(write({"wn/n01440764/a.png": image(1)}) / "wn")
    assert said[0].startswith("warning: 1 of 1 class names are numbers of WordNet")


def test_folders_without_an_image_are_named(write: Write) -> None:
    folder = write({"a/1.png": image(1), "b/1.png": image(2)})
    for name in ("c", "d", ".git"):
        (folder / name).mkdir()
    (folder / "c" / "notes.txt").touch()
    dataset, told = _told(folder)
    assert dataset.class_names == ("a", "b")
    assert told == [
        f"warning: folders of {folder} in which no image was found are no classes: c; d"
    ]


def test_kinds_of_files_are_no_classes(write: Write) -> None:
    folder = write({"Images/a.png": image(1), "masks/a.png": image(2)})
    with pytest.raises(InputError, match=r"no class folders: Images, masks say what kind of files"):
        _told(folder)
    # Beside real classes it may be one after all.
    source, said = _told(write({"cat/a.png": image(3)}))
    assert source.class_names == ("Images", "cat", "masks")
    assert said[0].startswith("warning: 2 of 3 class names name a kind of files")


def test_an_image_with_several_paths_counts_once(write: Write) -> None:
    folder = write({"cat/a.png": image(1), "dog/b.png": image(2)})
    (folder / "dog" / "a.png").symlink_to("../cat/a.png")
    os.link(folder / "dog" / "b.png", folder / "dog" / "c.png")
    source, said = _told(folder)
    assert [source.local_name(row) for row in range(len(source))] == ["cat/a.png", "dog/b.png"]
    assert [source.label(row) for row in range(len(source))] == [0, 1]
    assert said == [
        f"{folder}: 2 images have other paths, by links; each counts once: "
        "cat/a.png = dog/a.png; dog/b.png = dog/c.png"
    ]
