"""The reliability diagram as a file, and places where none can be written."""

from pathlib import Path

import pytest
from PIL import Image

from clipkit.errors import InputError
from clipkit.evaluation.reliability_diagram import check_diagram_path, write_reliability_diagram
from clipkit.metrics.calibration import ReliabilityBin


def test_a_diagram_shows_its_bars(tmp_path: Path) -> None:
    """A bar to the top in the right half, and none in the left."""
    bins = [ReliabilityBin(low=0.5, high=1.0, count=9, confidence=0.75, accuracy=1.0)]
    write_reliability_diagram(bins, "a model", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        width, height = image.size
        left = image.convert("RGB").getpixel((width * 3 // 10, height * 3 // 10))
        right = image.convert("RGB").getpixel((width * 7 // 10, height * 3 // 10))
    assert left == (255, 255, 255)
    assert right != (255, 255, 255)


def test_what_is_there_is_replaced_whole(tmp_path: Path) -> None:
    bins = [ReliabilityBin(0.0, 1.0, 1, 0.5, 0.5)]
    write_reliability_diagram(bins, "first", tmp_path / "out.svg")
    write_reliability_diagram(bins, "second", tmp_path / "out.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["out.svg"]


@pytest.mark.parametrize(
    ("name", "message"), [("out.txt", "ends in .png"), ("gone/out.png", "cannot be written")]
)
def test_a_place_without_a_diagram_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_diagram_path(tmp_path / name)
