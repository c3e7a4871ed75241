"""Rungs on made embeddings: who can be fitted, what is measured, and the learning curve."""

import numpy as np
import pytest

from clipkit.adaptation.ladder import climb, learning_curve, rung_reports
from clipkit.adaptation.rung import HEAD_NAMES, Rung, embedding_rungs
from clipkit.adaptation.splits import draw_splits
from clipkit.adaptation.task import AdaptationTask, Retention
from clipkit.progress import Callbacks
from tests.adaptation.made_support import made_support

NAMES = ("a", "b", "c")


def made_task(count: int = 12, *, wrong_texts: bool = True) -> AdaptationTask:
    support = made_support([count] * 3, wrong_texts=wrong_texts)
    return AdaptationTask(
        NAMES,
        support.embeddings,
        support.labels,
        support.class_embeddings,
        support.class_embeddings,
        support.logit_scale,
        retention=Retention(np.array([True, True, False]), np.array([0.9, 0.8, 0.2])),
    )


def test_images_beat_wrong_texts_on_every_rung_that_uses_them() -> None:
    task = made_task()
    splits = draw_splits(task.labels, NAMES, [0, 1, 2])
    rungs: list[Rung] = [*embedding_rungs(task)]
    results = climb(rungs, splits, task.labels, Callbacks())
    assert tuple(results) == HEAD_NAMES
    for name, found in results.items():
        accuracy = np.mean(found.accuracies)
        assert accuracy < 0.2 if name in ("prompt", "prompts") else accuracy > 0.85, name
        assert found.kept == pytest.approx(2 / 3)
    reports = rung_reports(rungs, results, splits, task.labels, NAMES)
    by_name = {report.name: report for report in reports}
    assert by_name["prompt"].num_bytes == 0
    assert by_name["probe"].num_bytes == 4 * (3 * 8 + 3)
    assert by_name["tip-adapter"].num_bytes == 4 * (3 * 8 + 24 * 8) + 8 * 24
    assert by_name["tip-adapter"].gain == pytest.approx(
        np.nanmean(results["tip-adapter"].per_image - results["prompt"].per_image)
    )


def test_the_calibrated_classifier_is_the_scaled_one() -> None:
    task = made_task()
    (split,) = draw_splits(task.labels, NAMES, [0])
    for rung in embedding_rungs(task):
        found = rung.measure(split)
        expected = found.scale * found.logits
        calibrated = rung.fitted(split.train).logits(task.embeddings[split.test])
        np.testing.assert_allclose(calibrated, expected, rtol=1e-9)


def test_what_a_rung_lacks_is_said() -> None:
    task = made_task(3)  # two of each to adapt with
    splits = draw_splits(task.labels, NAMES, [0])
    rungs: list[Rung] = [*embedding_rungs(task)]
    results = climb(rungs, splits, task.labels, Callbacks())
    assert "gda" not in results
    report = next(
        report
        for report in rung_reports(rungs, results, splits, task.labels, NAMES)
        if report.name == "gda"
    )
    assert report.lack == "needs 3 images a class on average, there are 2.0"
    assert report.accuracy is None


def test_the_curve_doubles_up_to_all_images() -> None:
    task = made_task(18)  # twelve of each to adapt with
    splits = draw_splits(task.labels, NAMES, [0, 1])
    probe = next(rung for rung in embedding_rungs(task) if rung.name == "probe")
    whole = climb([probe], splits, task.labels, Callbacks())["probe"]
    curve = learning_curve(probe, whole)
    assert [(point.shots, point.num_images) for point in curve] == [
        (1, 3),
        (2, 6),
        (4, 12),
        (8, 24),
        (12, 36),
    ]
    assert curve[-1].accuracy == pytest.approx(np.mean(whole.accuracies))


def test_progress_counts_fits() -> None:
    task = made_task()
    seen: list[tuple[int, int | None]] = []

    class Bar:
        def __enter__(self):  # type: ignore[no-untyped-def]
            return lambda done, total: seen.append((done, total))

        def __exit__(self, *_: object) -> None: ...

    splits = draw_splits(task.labels, NAMES, [0, 1])
    rungs: list[Rung] = [*embedding_rungs(task)[:2]]
    climb(rungs, splits, task.labels, Callbacks(progress_for=lambda label: Bar()))
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_each_rung_is_named_as_it_starts() -> None:
    task = made_task()
    said: list[str] = []
    splits = draw_splits(task.labels, NAMES, [0, 1])
    rungs: list[Rung] = [*embedding_rungs(task)[:2]]
    climb(
        rungs,
        splits,
        task.labels,
        Callbacks(say=said.append),
        lambda title, accuracy: said.append(f"measured {title}"),
    )
    assert said == [
        "fitting one prompt",
        "measured one prompt",
        "fitting prompt ensemble",
        "measured prompt ensemble",
    ]
