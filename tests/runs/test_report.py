"""What a run came to: written, read again, and as lines for a person."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from clipkit.runs.report import TrainingReport, draw_curves, read_report, report_lines, write_report
from tests.full_disk import full_disk

REPORT = TrainingReport(
    directory="",
    is_finished=True,
    step=40,
    num_steps=50,
    seconds=90.0,
    num_pairs=12,
    best_step=40,
    alpha=0.4,
    start={"accuracy": 0.25, "validation_loss": 2.5, "retention_accuracy": 0.9},
    end={"accuracy": 0.75, "validation_loss": 1.25, "retention_accuracy": 0.8},
    final={"accuracy": 0.5, "validation_loss": 1.5},
    interpolations=((0.0, {"accuracy": 0.25}), (0.4, {"accuracy": 0.5}), (1.0, {"accuracy": 0.75})),
    bad={"Käse.jpg": "is cut off", "caf\udce9.jpg": "is gone"},  # a name that is not UTF-8
    notes=("nothing was lost",),
)


def test_a_report_that_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    report = replace(REPORT, directory=str(tmp_path))
    assert read_report(tmp_path) is None
    write_report(report)
    assert read_report(tmp_path) == report
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert content["bad"] == REPORT.bad
    assert content["interpolations"][1] == [0.4, {"accuracy": 0.5}]
    assert report.checkpoint == tmp_path / "final"


def test_a_report_of_a_run_without_interpolations_is_read_too(tmp_path: Path) -> None:
    report = TrainingReport(str(tmp_path), is_finished=True, step=1, num_steps=1, seconds=0,
                            num_pairs=2)  # fmt: skip
    write_report(report)
    assert read_report(tmp_path) == report


@pytest.mark.parametrize("content", ["", "{"])
def test_half_a_report_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    assert read_report(tmp_path) is None


def test_lines_are_a_table_with_what_was_measured(tmp_path: Path) -> None:
    lines = report_lines(replace(REPORT, directory="runs/first"))
    assert lines[0] == "40 steps on 12 pairs in 1.5 minutes"
    cells = [[cell for cell in line.split("  ") if cell.strip()] for line in lines[1:6]]
    assert [[cell.strip() for cell in row] for row in cells] == [
        ["accuracy", "validation loss", "retention set"],
        ["start", "25.0%", "2.5000", "90.0%"],
        ["trained", "75.0%", "1.2500", "80.0%"],
        ["alpha 0.4", "50.0%"],
        ["final (0.4)", "50.0%", "1.5000"],
    ]
    # Numbers stand below the ends of their heads.
    ends = [lines[1].index(head) + len(head) for head in ("accuracy", "validation loss")]
    for line, number in ((lines[2], "25.0%"), (lines[3], "75.0%")):
        assert line.index(number) + len(number) == ends[0]
    assert lines[2].index("2.5000") + len("2.5000") == ends[1]
    assert lines[6:] == [
        "2 pairs could not be read: report.json lists them",
        "note: nothing was lost",
        "runs/first/final",
    ]


def test_without_a_measurement_there_is_no_table() -> None:
    bare = TrainingReport("runs/first", is_finished=True, step=5, num_steps=5, seconds=30,
                          num_pairs=8, best_step=5)  # fmt: skip
    assert report_lines(bare) == ["5 steps on 8 pairs in 0.5 minutes", "runs/first/final"]


def test_best_weights_of_an_earlier_step_are_told_of() -> None:
    lines = report_lines(replace(REPORT, best_step=30))
    assert lines[1] == "the best weights are those of step 30"


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
        ("logit scale (natural log)", {"logit_scale": [(1, 2.6), (2, 2.7)]}),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
    with Image.open(tmp_path / "curves.png") as image:
        assert image.format == "PNG"
        assert len(np.unique(np.asarray(image.convert("L")))) > 2


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


def test_an_image_that_a_full_disk_has_no_room_for_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    draw_curves(METRICS, path)
    before = path.read_bytes()

    with full_disk(1000), pytest.raises(OSError, match="File too large") as caught:
        draw_curves(METRICS, path)

    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
