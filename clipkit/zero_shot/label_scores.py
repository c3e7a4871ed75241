"""What a classifier returns: labels with their scores, and batches of them."""

from dataclasses import dataclass
from typing import Any, TypedDict

from clipkit.errors import ImageReadError


class LabelScore(TypedDict):
    """One label of an image, as users of transformers' pipeline expect it."""

    score: float
    label: str


@dataclass(frozen=True)
class ClassifiedBatch:
    """One batch of a stream, in the order of its images."""

    positions: list[int]  # of those that could be read, counted in the stream from 0
    labels: list[list[LabelScore]]  # of each of them, best first
    skipped: list[tuple[int, ImageReadError]]  # position and reason of each of the others

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, as JSON can hold them."""
        return {
            "positions": self.positions,
            "labels": self.labels,
            "skipped": [
                {"position": position, "path": error.path, "reason": error.reason}
                for position, error in self.skipped
            ],
        }
