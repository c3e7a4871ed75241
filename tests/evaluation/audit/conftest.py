"""Images by class and group, made from numbers, and tables of small images on disk."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from clipkit.embeddings import normalize_rows
from clipkit.evaluation.audit.scores import AuditImages, AuditTexts
from clipkit.runtime.base import Scoring
from tests.fakes import save_image

COLORS = {"red": (250, 10, 0), "green": (0, 250, 10), "blue": (10, 0, 250)}
Table = Callable[..., Path]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Return a function that writes images of colours and a table with the columns given."""

    def write(colors: Sequence[str], name: str = "images.csv", **columns: Sequence[str]) -> Path:
        shades = np.random.default_rng(0).integers(8, size=len(colors)).tolist()
        lines = [",".join(["filepath", *columns])]
        for number, cells in enumerate(zip(colors, *columns.values(), strict=True)):
            path = tmp_path / "images" / f"{number}.png"
            red, green, blue = COLORS[cells[0]]
            save_image(path, (red, green, blue ^ shades[number]))
            lines.append(",".join([f"images/{number}.png", *cells[1:]]))
        (tmp_path / name).write_text("\n".join(lines))
        return tmp_path / name

    return write


DIMENSIONS, CLASSES = 16, 4


def made_texts() -> AuditTexts:
    """Four classes, two queries and two concepts, along axes of their own; "plus" along two."""
    axes = np.eye(DIMENSIONS, dtype=np.float32)
    return AuditTexts(
        class_names=("a", "b", "c", "d"),
        classes=axes[:4],
        query_names=("first", "second"),
        queries=axes[4:6],
        concept_names=("plus", "minus"),
        concepts=normalize_rows([axes[6] + axes[12], axes[7]]),
        everyday=axes[8:12],
    )


def made_images(
    seed: int, groups: np.ndarray, *, bias: float = 0.0, toward: int = 6
) -> AuditImages:
    """Noisy images of the classes, with the group of each copied into the embedding.

    The second group is moved by `bias` along an axis; noise has the size 1 on each.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=len(groups))
    rows = rng.normal(size=(len(groups), DIMENSIONS))
    rows[np.arange(len(groups)), labels] += 2.0
    rows[groups == 1, toward] += bias
    return AuditImages(normalize_rows(rows), labels.astype(np.intp), Scoring(log_scale=3.0))
