from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from torchvision.datasets import ImageFolder

from clipkit.errors import InputError, PromptError
from clipkit.inputs.folders import find_images
from clipkit.pairs.class_folders import ClassFolders, open_class_folders
from clipkit.pairs.class_names import words_of
from tests.pairs.conftest import picture, reasons

Write = Callable[[Mapping[str, bytes | str]], Path]
FILES = {
    "red_panda/b.png": picture(1),
    "red_panda/deep/a.png": picture(2),
    "Zebra/c.png": picture(3),
    "owl-monkey/d.png": picture(4),
}


def _open(folder: Path, *templates: str) -> ClassFolders:
    return open_class_folders(
        folder, find_images(folder), templates=templates or ("a {}.",), say=_unsaid
    )


def _unsaid(line: str) -> None:
    raise AssertionError(line)


def test_classes_and_labels_are_those_of_torchvision(write: Write) -> None:
    folder = write({**FILES, "owl/e.png": picture(5)})  # by paths, owl-monkey/ comes first
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


def test_pictures_without_a_class_are_listed(write: Write) -> None:
    source = _open(write({**FILES, "stray.png": picture(5)}))
    assert len(source) == 4
    assert reasons(source) == ["stray.png: lies in no class's folder"]


def test_two_folders_of_one_class_are_refused(write: Write) -> None:
    folder = write({"red_panda/a.png": picture(1), "red-panda/b.png": picture(2)})
    with pytest.raises(InputError, match="'red panda', red-panda and red_panda: put their"):
        _open(folder)


@pytest.mark.parametrize("template", ["a photo", "{} and {}"])
def test_a_template_needs_one_place_for_the_name(write: Write, template: str) -> None:
    with pytest.raises(PromptError, match=r"one \{\} for the class name, got"):
        _open(write(FILES), template)


def test_no_template_is_refused(write: Write) -> None:
    folder = write(FILES)
    with pytest.raises(PromptError, match="got none"):
        open_class_folders(folder, find_images(folder), templates=(), say=_unsaid)


def test_names_are_always_unicode() -> None:
    assert words_of(["caf\udce9__noir", "_"]) == ("caf\ufffd noir", "_")
