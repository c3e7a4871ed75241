"""Class folders for a training run: links, copies of bytes, names that no folder can have."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipkit.adaptation.images import AdaptationImages, read_images
from clipkit.adaptation.options import AdaptationOptions
from clipkit.data.pair import Pair, PairLayout
from clipkit.data.sources import open_pairs
from clipkit.inputs.image_input import ImageInput
from clipkit.progress import Callbacks
from clipkit.runs.training_images import TrainingFolder
from tests.fake_pairs import ListSource
from tests.fakes import FakeEncoder

NAMES = ("a/b", "..", "café “one”")


@pytest.fixture
def images(tmp_path: Path) -> AdaptationImages:
    """Six images in a table, whose classes have odd names."""
    lines = ["filepath,kind"]
    for number in range(6):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (4, 4), (40 * number, 9, 200 - 40 * number)).save(path)
        lines.append(f'{path},"{NAMES[number % 3]}"')
    (tmp_path / "table.csv").write_text("\n".join(lines), encoding="utf-8")
    options = AdaptationOptions(label_column="kind")
    return read_images(FakeEncoder(), str(tmp_path / "table.csv"), options, Callbacks())


def test_class_folders_are_read_as_the_same_images_and_names(
    images: AdaptationImages, tmp_path: Path
) -> None:
    folder = TrainingFolder(tmp_path / "run")
    rows = np.array([0, 1, 2, 4])
    folder.write(images, rows)
    pairs = open_pairs(folder.images, PairLayout(class_names=str(folder.class_names)))
    found = {(_content(pairs[place].image), pairs.class_name(place)) for place in range(len(pairs))}
    assert found == {
        (_content(images.image(row)), images.class_names[images.labels[row]])
        for row in rows.tolist()
    }
    folder.write(images, rows[:2])  # what was there is gone
    assert len(list(folder.images.rglob("*.png"))) == 2
    assert len(json.loads(folder.class_names.read_text(encoding="utf-8"))) == 2


def test_bytes_of_an_archive_become_files(images: AdaptationImages, tmp_path: Path) -> None:
    content = [_content(images.image(row)) for row in range(6)]
    pairs = ListSource([Pair(some, ("x",), f"{row}") for row, some in enumerate(content)])
    packed = replace(images, sources=tuple((pairs, row) for row in range(6)))
    folder = TrainingFolder(tmp_path / "run")
    folder.write(packed, np.arange(6))
    assert sorted(path.read_bytes() for path in folder.images.rglob("*.jpg")) == sorted(content)


def test_without_links_files_are_copied(
    images: AdaptationImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(1, "A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    folder = TrainingFolder(tmp_path / "run")
    folder.write(images, np.arange(6))
    files = list(folder.images.rglob("*.png"))
    assert not any(path.is_symlink() for path in files)
    assert {path.read_bytes() for path in files} == {
        _content(images.image(row)) for row in range(6)
    }


def _content(image: ImageInput) -> bytes:
    assert isinstance(image, str | Path)
    return Path(image).read_bytes()
