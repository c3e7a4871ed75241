"""The table of a sweep: which run is the best, and what is said of it."""

from pathlib import Path

from PIL import Image

from clipkit.runs.report import TrainingReport
from clipkit.runs.sweep_report import SweepReport, SweepRow, finished_row, write_sweep


def row(rate: float, score: float | None, **changes: object) -> SweepRow:
    """Return a row of a run that ended with a score, or of one that waits."""
    values = {"score": score, "final_score": score, "step": 4, "seconds": 1.5} | changes
    status = "waiting" if score is None else "finished"
    return SweepRow({"optimizer.lr": rate}, f"/sweep/lr={rate}", status, **values)  # type: ignore[arg-type]


def test_the_best_has_the_highest_final_score_the_first_of_equal_ones() -> None:
    rows = (row(1e-6, 0.5), row(1e-5, 0.75), row(1e-4, 0.75), row(1e-3, 1.0, final_score=0.25))
    assert SweepReport("/sweep", rows).best is rows[1]
    assert SweepReport("/sweep", (row(1.0, None),)).best is None


def test_lines_are_a_table_and_what_to_know_of_it() -> None:
    failed = SweepRow({"optimizer.lr": 1.0}, "/sweep/lr=1.0", "failed", problem="it diverged")
    report = SweepReport("/sweep", (row(1e-6, 0.5, retention_accuracy=1.0), row(0.1, 0.25), failed))
    assert report.lines() == [
        "| optimizer.lr | run | score | at step | final score | retained | seconds |",
        "|---|---|--:|--:|--:|--:|--:|",
        "| 1e-06 | best | 50.0% | 4 | 50.0% | 100.0% | 1.5 |",
        "| 0.1 | finished | 25.0% | 4 | 25.0% |  | 1.5 |",
        "| 1.0 | failed |  |  |  |  |  |",
        "",
        "the best final weights: /sweep/lr=1e-06/final",
        "the best of 2 settings was chosen on the validation pairs, so its score is optimistic: "
        "measure it on other pairs by clipkit evaluate",
        "lr=1.0 failed: it diverged",
    ]
    assert (report.has_failed, report.is_stopped) == (True, False)


def test_runs_of_the_directory_that_have_no_row_are_named() -> None:
    """Whoever adds a value by itself compares it with nothing, and is told so."""
    report = SweepReport("/sweep", (row(1e-6, 0.5),), others=("lr=0.1", "lr=1.0"))
    note = "lr=0.1, lr=1.0 have been trained in this directory too, and are not compared here"
    assert note in report.lines()[-1]
    assert note in report.to_dict()["notes"][-1]
    assert report.to_dict()["others"] == ["lr=0.1", "lr=1.0"]


def test_a_row_has_what_the_report_of_its_run_says() -> None:
    report = TrainingReport(
        directory="/sweep/lr=1.0",
        is_finished=True,
        step=8,
        num_steps=8,
        seconds=2.5,
        num_pairs=4,
        best_step=4,
        end={"image_to_text_recall@1": 0.25, "text_to_image_recall@1": 0.75, "validation_loss": 3},
        final={"accuracy": 0.125, "retention_accuracy": 0.5},
    )
    found = finished_row(SweepRow({}, "/sweep/lr=1.0", "waiting"), report)
    assert (found.status, found.step, found.seconds) == ("finished", 4, 2.5)
    assert (found.score, found.final_score, found.retention_accuracy) == (0.5, 0.125, 0.5)


def test_words_and_numbers_are_drawn(tmp_path: Path) -> None:
    for name, values in (("words", ("infonce", "sigmoid")), ("rates", (1e-4, 1e-6))):
        folder = tmp_path / name
        folder.mkdir()
        rows = [
            SweepRow({"a.b": value}, str(folder / "run"), "finished", 0.5, 1, 0.5)
            for value in values
        ]
        write_sweep(SweepReport(str(folder), tuple(rows)))
        with Image.open(folder / "sweep.png") as plot:
            assert plot.size == (960, 600)
