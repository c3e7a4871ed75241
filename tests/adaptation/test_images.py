"""Reading what is adapted to: copies are left out, and what cannot be adapted to is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipkit.adaptation.images import read_images
from clipkit.adaptation.options import AdaptationOptions
from clipkit.errors import InputError
from clipkit.progress import Callbacks
from tests.fakes import FakeEncoder, save_image


def write_folder(folder: Path, counts: dict[str, int], *, start: int = 0) -> Path:
    """Write class folders of images, each of another colour."""
    number = start
    for name, count in counts.items():
        for place in range(count):
            number += 1
            color = (250 - 9 * number % 250, 40 * number % 256, 90 * number % 256)
            save_image(folder / name / f"{place}.png", color)
    return folder


def read(
    folder: Path, said: list[str] | None = None, **options: object
) -> tuple[list[str], list[int], int]:
    """Return the class names, the labels and how many images are to adapt with."""
    kept: list[str] = [] if said is None else said
    callbacks = Callbacks(warn=kept.append)
    found = read_images(
        FakeEncoder(),
        str(folder),
        AdaptationOptions(**options),  # type: ignore[arg-type]
        callbacks,
    )
    return [*found.class_names], found.labels.tolist(), found.num_given


def test_class_folders_are_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"b": 2, "a": 3})
    assert read(folder) == (["a", "b"], [0, 0, 0, 1, 1], 5)


def test_a_table_has_a_column_of_labels(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", {"x": 4})
    lines = [f"photos/x/{place}.png,{1 + place % 2}" for place in range(4)]
    (tmp_path / "table.csv").write_text("\n".join(["filepath,species", *lines]))
    names, labels, _ = read(tmp_path / "table.csv", label_column="species")
    assert (names, labels) == (["1", "2"], [0, 1, 0, 1])  # labels may be numbers


def test_test_images_come_last_by_the_numbers_of_the_classes(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "train", {"a": 2, "b": 2})
    test = write_folder(tmp_path / "test", {"b": 1, "a": 2}, start=4)
    assert read(folder, test=test) == (["a", "b"], [0, 0, 1, 1, 0, 0, 1], 4)
    other = write_folder(tmp_path / "other", {"a": 1, "c": 1}, start=8)
    with pytest.raises(InputError, match="must have the same classes"):
        read(folder, test=other)


def test_copies_count_once_and_wrong_labels_are_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"a": 3, "b": 3})
    (folder / "a" / "copy.png").write_bytes((folder / "a" / "0.png").read_bytes())
    (folder / "b" / "wrong.png").write_bytes((folder / "a" / "1.png").read_bytes())
    said: list[str] = []
    assert read(folder, said) == (["a", "b"], [0, 0, 0, 1, 1, 1], 6)
    assert "copies of an image of another class, so that one picture has two labels: 1, " in said[0]
    assert "b/wrong.png" in said[0]
    assert "copies of other images (cosine above 0.999, and the same colours): 2 of 8" in said[1]


def test_images_that_are_alike_to_the_model_alone_are_no_copies(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"a": 2, "b": 2})
    halves = np.full((40, 40, 3), 30, dtype=np.uint8)
    halves[:20] = 200
    for name, pixels in (("a/up", halves), ("b/down", halves[::-1]), ("b/side", halves[:, ::-1])):
        Image.fromarray(pixels).save(folder / f"{name}.png")  # of one mean colour: cosines of 1
    Image.fromarray(halves).resize((90, 60)).save(folder / "a" / "saved.jpg", quality=70)
    said: list[str] = []
    # Mirrored to the side the halves are as they were, and so is what was scaled and saved again.
    assert read(folder, said) == (["a", "b"], [0, 0, 0, 1, 1, 1], 6)
    assert "one picture has two labels: 1, b/side.png" in said[0]
    assert "2 of 8" in said[1]


def test_test_images_that_are_adapted_with_are_left_out(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "train", {"a": 2, "b": 2})
    test = write_folder(tmp_path / "test", {"a": 2, "b": 2}, start=4)
    (test / "a" / "leak.png").write_bytes((folder / "a" / "0.png").read_bytes())
    _, labels, given = read(folder, [], test=test)
    assert (len(labels), given) == (8, 4)


@pytest.mark.parametrize(
    ("counts", "message"),
    [({"a": 3}, 'two classes or more, and .* has one \\("a"\\)'), ({}, "no image")],
)
def test_what_is_no_task_is_refused(counts: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read(write_folder(tmp_path, counts))


def test_a_class_without_readable_images_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"a": 2, "b": 2})
    (folder / "c").mkdir()
    (folder / "c" / "broken.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"1 of 3 classes have no image to adapt with .*: c"):
        read(folder)
