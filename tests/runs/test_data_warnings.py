"""What a run says of the sets that it measures on, before it begins."""

import shutil
from pathlib import Path

import pytest

from clipkit.runs.data import open_data
from clipkit.runs.data_warnings import data_warnings
from clipkit.training.config import RunConfig
from tests.conftest import SAMPLES
from tests.fakes import save_image


def run(folder: Path, **data: object) -> RunConfig:
    content = {
        "output": "run",
        "model": {"base": "starter"},
        "data": {"train": str(folder), **data},
    }
    return RunConfig.from_dict(content).resolve()


def warnings_of(config: RunConfig) -> list[str]:
    return data_warnings(config, open_data(config))


def folder_of(place: Path, count: int) -> Path:
    place.mkdir()
    for number in range(count):
        save_image(place / f"{number}.png", (number, 2, 3))
        (place / f"{number}.txt").write_text(f"image {number}")
    return place


def test_samples_that_are_trained_on_are_no_retention_set(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", 3)
    shutil.copy(SAMPLES / "cat.jpg", folder / "0.jpg")
    (folder / "0.png").unlink()
    (line,) = warnings_of(run(folder))
    assert line.startswith("1 of 45 images of the retention set are trained on too")
    assert "(cat.jpg)" in line


@pytest.mark.parametrize(("count", "share", "away"), [(4, "25.0%", "49%"), (25, "4.0%", "20%")])
def test_few_validation_images_are_named(tmp_path: Path, count: int, share: str, away: str) -> None:
    train, held = (folder_of(tmp_path / name, number) for name, number in (("a", 3), ("b", count)))
    for path in held.glob("*.png"):  # other images than those that are trained on
        save_image(path, (200, int(path.stem), 9))
    (line,) = warnings_of(run(train, validation=str(held)))
    assert line.startswith(f"{count} pairs to validate on hardly tell weights apart: one image is")
    assert f"{share} of the accuracy" in line
    assert f"up to {away} away" in line


def test_enough_images_of_their_own_are_no_cause_to_warn(tmp_path: Path) -> None:
    train, held = folder_of(tmp_path / "a", 3), folder_of(tmp_path / "b", 50)
    for path in held.glob("*.png"):
        save_image(path, (200, int(path.stem), 9))
    assert warnings_of(run(train, validation=str(held))) == []
