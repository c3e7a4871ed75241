"""A calibration measured on images that it was not fitted on, against loops; what is refused."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

import clipkit
from clipkit import EvaluationOptions
from clipkit.embeddings import normalize_rows
from clipkit.errors import InputError, MissingExtraError
from clipkit.evaluation.cross_fitting import measure_calibration
from clipkit.evaluation.options import EvaluationTask
from clipkit.evaluation.report import CalibrationResult
from clipkit.evaluation.report_text import report_tables
from clipkit.runtime.base import Scoring
from clipkit.zero_shot.calibration import fit_scoring
from tests.fakes import FakeEncoder, save_image

OWN = Scoring(math.log(3.0))


def made(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    classes = normalize_rows(rng.normal(size=(4, 8)))
    labels = rng.integers(4, size=size)
    return normalize_rows(classes[labels] + rng.normal(size=(size, 8)) / 2), labels, classes


def test_each_fold_is_measured_by_the_others() -> None:
    images, labels, classes = made(40)
    found = measure_calibration(images, labels, classes, OWN)
    assert found.folds == 5
    folds = np.array_split(np.random.default_rng(0).permutation(40), 5)
    cosines = images.astype(np.float64) @ classes.astype(np.float64).T

    def log_loss(image: int, scoring: Scoring, label: int) -> float:
        powers = np.exp(scoring.logit_scale * cosines[image])
        return -math.log(powers[label] / powers.sum())

    after, held, sizes = [], [], []
    for fold in folds:
        rest = [image for image in range(40) if image not in fold]
        fitted = fit_scoring(cosines[rest], labels[rest], OWN)
        after += [log_loss(image, fitted, labels[image]) for image in fold]
        # 33 times .8 is 26.4: the 27th loss of 32.
        threshold = sorted(log_loss(image, OWN, labels[image]) for image in rest)[26]
        for image in fold:
            some = {label for label in range(4) if log_loss(image, OWN, label) <= threshold}
            some.add(int(cosines[image].argmax()))
            held.append(int(labels[image]) in some)
            sizes.append(len(some))
    before = [log_loss(image, OWN, labels[image]) for image in range(40)]
    assert found.before["nll"] == pytest.approx(np.mean(before), rel=1e-5)
    assert found.after["nll"] == pytest.approx(np.mean(after), rel=1e-4)
    assert found.after["nll"] < found.before["nll"]  # the scale was too low
    assert [entry.coverage for entry in found.label_sets] == [0.8, 0.9, 0.95]
    assert found.label_sets[0].held.mean == pytest.approx(np.mean(held))
    assert found.label_sets[0].mean_size == pytest.approx(np.mean(sizes))


def test_few_images_have_no_sets_and_one_has_nothing() -> None:
    found = measure_calibration(*made(4), OWN)
    assert (found.folds, found.label_sets) == (4, ())
    with pytest.raises(InputError, match="2 labelled images at least"):
        measure_calibration(*made(1), OWN)


def test_a_report_has_the_calibration_and_its_worth(tmp_path: Path) -> None:
    for name, color in {"red": (250, 99, 0), "green": (0, 250, 99)}.items():
        for number in range(3):
            save_image(tmp_path / name / f"{number}.png", (color[0], color[1], 40 * number))
    options = EvaluationOptions(templates=("none",), calibrate=True)
    report = clipkit.evaluate(FakeEncoder(), str(tmp_path), options)
    assert report.calibration is not None
    assert report.calibration.num_images == 6
    assert report.calibration.class_names == ("green", "red")
    headings = [heading for heading, _ in report_tables(report)]
    assert "calibrated, measured on images that it was not fitted on" in headings
    assert "accuracy if only the surest are answered" in headings
    values = report.to_dict()["clipkit"]
    assert values["selective"][-1] == {"coverage": 1.0, "accuracy": report.metrics["acc1"]}
    assert values["calibrated"]["before"]["nll"] == report.metrics["nll"]


@pytest.mark.parametrize(("after", "is_warned"), [(0.4, False), (0.5, True), (0.6, True)])
def test_a_calibration_that_is_not_worth_it_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: float, is_warned: bool
) -> None:
    found = CalibrationResult(2, before={"nll": 0.5}, after={"nll": after}, label_sets=())
    monkeypatch.setattr(
        "clipkit.evaluation.zero_shot_classification.measure_calibration", lambda *given: found
    )
    for name, color in {"red": (250, 0, 0), "green": (0, 250, 0)}.items():
        save_image(tmp_path / name / "1.png", color)
    report = clipkit.evaluate(FakeEncoder(), tmp_path, EvaluationOptions(calibrate=True))
    warned = [line for line in report.warnings if "did not lower the log loss" in line]
    assert bool(warned) == is_warned


def test_other_tasks_have_no_calibration(tmp_path: Path) -> None:
    tasks: tuple[EvaluationTask, ...] = ("retrieval", "probe", "search")
    for task in tasks:
        options = EvaluationOptions(task=task, calibrate=True)
        with pytest.raises(InputError, match="a calibration is of zero-shot classification"):
            clipkit.evaluate(FakeEncoder(), str(tmp_path), options)


def test_without_scipy_nothing_is_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingExtraError, match="evaluate"):
        clipkit.evaluate(FakeEncoder(), str(tmp_path), EvaluationOptions(calibrate=True))
