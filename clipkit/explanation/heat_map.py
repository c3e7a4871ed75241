"""The heat map of a text over an image: cosines by place, and whether the text is there at all.

Shapes: H x W places of the map, in reading order.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import check_whole
from clipkit.errors import InputError

Method = Literal["naclip", "clearclip", "patches", "gradient", "windows"]

# Evidence of the best place from which on a text counts as there. Fitted on half of the photographs
# of benchmarks/explain.py, with the starter, and reported on the other half: docs/explain.md.
THERE_FROM = 2.75


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Where in an image a text fits, in raw cosines, as :func:`clipkit.explain` returns it."""

    text: str
    values: NDArray[np.float32]  # cosine of each place with the text, shape (H, W)
    against: tuple[str, ...]  # the contrasting prompts
    contrast: NDArray[np.float32]  # softmax share of the text among them by place, (H, W), 0..1
    score: float  # cosine of the whole image with the text
    evidence: (
        float  # of the best place, in spreads of everyday words' scores: clipkit.word_evidence
    )
    levels: tuple[float, float]  # cosines of a place at evidence 0, and from which a text is there
    method: Method
    model: str
    space_id: str
    image_size: tuple[int, int]  # (width, height) of the upright image, in pixels
    box: tuple[float, float, float, float]  # left, top, right, bottom that the map covers, in those

    @property
    def is_there(self) -> bool:
        """Whether some place shows the text: it scores higher there than words that do not fit."""
        return self.evidence >= THERE_FROM

    @property
    def verdict(self) -> str:
        """What the map says as a whole, as a sentence."""
        measured = f"evidence {self.evidence:.1f}, there from {THERE_FROM} on"
        if self.is_there:
            return f"there: its best place scores above what does not fit ({measured})"
        return f"not there: no place scores above what words that do not fit score ({measured})"

    def on_image(self, size: tuple[int, int] | None = None) -> NDArray[np.float32]:
        """Return the values at the pixels of the upright image.

        Args:
            size: (width, height) that the image is shown at; None: its own.

        Returns:
            float32, shape (height, width): each pixel has the value of its place, not smoothed; NaN
            where the model does not look, as in what a crop cuts off.

        Raises:
            InputError: If size is not two whole numbers of at least 1.
        """
        if size is not None and (not isinstance(size, tuple) or len(size) != 2):
            raise InputError(f"size must be (width, height) in pixels, got {size!r}")
        width, height = (check_whole(side, "a side of size") for side in size or self.image_size)
        left, top, right, bottom = self.box
        rows = _places(height, self.image_size[1], (top, bottom), self.values.shape[0])
        columns = _places(width, self.image_size[0], (left, right), self.values.shape[1])
        pixels: NDArray[np.float32] = self.values[
            np.ix_(np.maximum(rows, 0), np.maximum(columns, 0))
        ]
        pixels[(rows < 0)[:, None] | (columns < 0)] = np.nan
        return pixels

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it; the maps are lists of rows."""
        return {
            "text": self.text,
            "is_there": self.is_there,
            "verdict": self.verdict,
            "score": self.score,
            "evidence": self.evidence,
            "levels": list(self.levels),
            "values": self.values.tolist(),
            "against": list(self.against),
            "contrast": self.contrast.tolist(),
            "method": self.method,
            "model": self.model,
            "space_id": self.space_id,
            "image_size": list(self.image_size),
            "box": list(self.box),
        }


def _places(shown: int, full: int, stretch: tuple[float, float], count: int) -> NDArray[np.int64]:
    """Return the number of the place at each of the shown pixels; -1 outside the stretch."""
    start, end = stretch
    middles = (np.arange(shown) + 0.5) * full / shown
    places = np.floor((middles - start) / (end - start) * count).astype(np.int64)
    places[(places < 0) | (places >= count)] = -1
    return places
