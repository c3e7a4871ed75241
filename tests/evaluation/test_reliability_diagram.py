"""The reliability diagram as an image, in each format, and what cannot be drawn."""

import io

import pytest
from PIL import Image

from clipkit.errors import InputError
from clipkit.evaluation.reliability_diagram import (
    SOFTWARE,
    diagram_format,
    draw_reliability_diagram,
)
from clipkit.metrics.calibration import ReliabilityBin


def test_a_diagram_shows_its_bars() -> None:
    """A bar to the top in the right half, and none in the left."""
    bins = [ReliabilityBin(low=0.5, high=1.0, count=9, confidence=0.75, accuracy=1.0)]
    with Image.open(io.BytesIO(draw_reliability_diagram(bins, "a model", "png"))) as image:
        width, height = image.size
        left = image.convert("RGB").getpixel((width * 3 // 10, height * 3 // 10))
        right = image.convert("RGB").getpixel((width * 7 // 10, height * 3 // 10))
    assert left == (255, 255, 255)
    assert right != (255, 255, 255)


@pytest.mark.parametrize(
    ("suffix", "start"), [(".PNG", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")]
)
def test_each_format_says_who_wrote_it(suffix: str, start: bytes) -> None:
    bins = [ReliabilityBin(0.0, 1.0, 1, 0.5, 0.5)] * 15
    content = draw_reliability_diagram(bins, "a model", diagram_format(suffix))
    assert content.startswith(start)
    assert SOFTWARE.encode() in content[:65_536]


@pytest.mark.filterwarnings("error")
def test_a_title_may_be_any_name() -> None:
    bins = [ReliabilityBin(0.0, 1.0, 1, 0.5, 0.5)]
    draw_reliability_diagram(bins, "$\\frac{ 猫 😀 " + "x" * 1000, "png")


@pytest.mark.parametrize("suffix", ["", ".txt"])
def test_another_format_is_refused(suffix: str) -> None:
    with pytest.raises(InputError, match=r"ends in \.png, \.svg, \.pdf, got"):
        diagram_format(suffix)
