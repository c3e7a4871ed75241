"""The curves: one panel for each kind of metric that was measured."""

from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from clipkit.runs.curves import draw_curves

Lines = dict[str, list[tuple[float, float]]]


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Lines]]:
    """Title and lines of each panel of the figure that is drawn next."""
    found: list[tuple[str, Lines]] = []
    save = matplotlib.figure.Figure.savefig

    def note(figure: matplotlib.figure.Figure, *words: Any, **options: Any) -> None:
        for axes in figure.axes:
            lines = {
                str(line.get_label()): [
                    (float(x), float(y)) for x, y in np.asarray(line.get_xydata())
                ]
                for line in axes.get_lines()
            }
            found.append((axes.get_title(), lines))
        save(figure, *words, **options)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", note)
    return found


METRICS = [
    {"step": 0, "kind": "validation", "score": None, "validation_loss": 2.5, "recall": 0.1},
    {"step": 1, "kind": "training", "loss": 2.0, "lr": 0.1, "logit_scale": 2.6},
    {"step": 2, "kind": "training", "loss": None, "lr": 0.2, "logit_scale": 2.7},
    {"step": 4, "kind": "validation", "score": 0.5, "validation_loss": 1.5},
]


def test_each_metric_is_a_line_over_steps(tmp_path: Path, panels: list[tuple[str, Lines]]) -> None:
    """What is no number is left out, and so is a panel without one."""
    draw_curves(METRICS, tmp_path / "curves.png")
    assert panels == [
        ("loss", {"loss": [(1, 2)], "validation_loss": [(0, 2.5), (4, 1.5)]}),
        ("learning rate", {"lr": [(1, 0.1), (2, 0.2)]}),
        ("scale of cosines", {"logit_scale": [(1, 2.6), (2, 2.7)]}),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"
        assert len(np.unique(np.asarray(picture.convert("L")))) > 2


def test_a_long_run_is_drawn_without_marks(tmp_path: Path, panels: list[tuple[str, Lines]]) -> None:
    draw_curves([{"step": step, "loss": 1 / (1 + step)} for step in range(60)], tmp_path / "a.png")
    assert len(panels[0][1]["loss"]) == 60


@pytest.mark.parametrize(
    "metrics", [[], [{"step": 0, "kind": "validation"}], [{"step": 1, "loss": None, "lr": None}]]
)
def test_without_a_number_there_is_nothing_to_draw(
    tmp_path: Path, metrics: list[dict[str, Any]]
) -> None:
    draw_curves(metrics, tmp_path / "curves.png")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_finished_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_curves(METRICS, tmp_path / "curves.png")
    before = (tmp_path / "curves.png").read_bytes()

    def fail(figure: object, path: Path, **options: object) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", fail)
    with pytest.raises(OSError, match="No space"):
        draw_curves(METRICS, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes() == before
