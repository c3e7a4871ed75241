"""Reading labelled and unlabelled images: which classes there are, the index, and bad folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipkit.adaptation.options import AdaptationOptions
from clipkit.adaptation.unlabelled import read_labelled, read_unlabelled
from clipkit.errors import InputError
from clipkit.progress import Callbacks
from clipkit.search.library import PhotoLibrary
from tests.fakes import FakeEncoder

OPTIONS = AdaptationOptions()


def paint(path: Path, color: tuple[int, int, int]) -> Path:
    """Write an image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), color).save(path)
    return path


def test_classes_of_the_data_come_first_and_none_twice(tmp_path: Path) -> None:
    paint(tmp_path / "red" / "1.png", (200, 0, 0))
    found = read_labelled(
        FakeEncoder(), str(tmp_path), ["blue", "red", "blue"], OPTIONS, Callbacks()
    )
    assert found.class_names == ("red", "blue")
    assert found.labels.tolist() == [0]
    assert found.files == ((tmp_path / "red" / "1.png", "red"),)
    none = read_labelled(FakeEncoder(), "", ["blue", "red"], OPTIONS, Callbacks())
    assert (none.class_names, none.embeddings.shape, none.files) == (("blue", "red"), (0, 4), ())


def test_one_class_is_none_to_choose_by(tmp_path: Path) -> None:
    paint(tmp_path / "red" / "1.png", (200, 0, 0))
    for data, names in ((str(tmp_path), []), ("", ["red", "red"])):
        with pytest.raises(InputError, match="two or more, got 'red'"):
            read_labelled(FakeEncoder(), data, names, OPTIONS, Callbacks())
    with pytest.raises(InputError, match="two or more, got none"):
        read_labelled(FakeEncoder(), "", [], OPTIONS, Callbacks())


def test_unreadable_images_are_skipped_and_the_rest_is_kept(tmp_path: Path) -> None:
    paint(tmp_path / "in" / "b.png", (0, 200, 0))
    (tmp_path / "a.png").write_bytes(b"no image")
    found = read_unlabelled(FakeEncoder(), tmp_path, Callbacks())
    assert found.paths == ("in/b.png",)
    assert [Path(error.path).name for error in found.skipped] == ["a.png"]
    again = FakeEncoder()
    read_unlabelled(again, tmp_path, Callbacks())
    assert again.encoded_images == ["a.png"]  # only what could not be read is tried again


def test_the_index_of_a_folder_is_used(tmp_path: Path) -> None:
    for number, name in enumerate(("c", "a", "b")):
        paint(tmp_path / f"{name}.png", (200, 90 * number, 0))
    plain = read_unlabelled(FakeEncoder(), tmp_path, Callbacks())
    PhotoLibrary.open(tmp_path, FakeEncoder()).sync()
    paint(tmp_path / "aa.png", (0, 0, 200))
    (tmp_path / "bad.png").write_bytes(b"no image")
    encoder, said = FakeEncoder(), list[str]()
    found = read_unlabelled(encoder, tmp_path, Callbacks(say=said.append))
    assert found.paths == ("a.png", "aa.png", "b.png", "c.png")
    assert encoder.encoded_images == ["aa.png", "bad.png"]
    assert np.allclose(found.embeddings[[0, 2, 3]], plain.embeddings, atol=1e-3)
    assert [Path(error.path).name for error in found.skipped] == ["bad.png"]
    assert said == ["3 of 5 images are looked up in the index"]


def test_a_folder_without_images_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no images: name the folder"):
        read_unlabelled(FakeEncoder(), tmp_path, Callbacks())
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="none of 1 images can be read"):
        read_unlabelled(FakeEncoder(), tmp_path, Callbacks())
    with pytest.raises(InputError, match="gone"):
        read_unlabelled(FakeEncoder(), tmp_path / "gone", Callbacks())
