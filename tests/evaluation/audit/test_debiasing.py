"""Debiased texts: directions, projection, and what is measured on held-out images."""

import dataclasses

import numpy as np
import pytest

from clipkit.evaluation.audit.column import measure_column
from clipkit.evaluation.audit.debiasing import (
    group_directions,
    measure_debiasing,
    project_out,
    span_of,
)
from clipkit.evaluation.audit.grouped_images import column_groups
from clipkit.evaluation.audit.report import DebiasResult
from clipkit.evaluation.audit.scores import AuditImages, score_texts
from clipkit.runtime.base import Scoring
from tests.evaluation.audit.conftest import made_images, made_texts

GROUPS = np.tile([0, 1], 150)
CELLS = ["one" if group else "none" for group in GROUPS]


def test_the_span_is_orthonormal_and_without_repeats() -> None:
    found = span_of(np.array([[1.0, 0, 0], [2, 0, 0], [1, 1, 0]]))
    assert found.shape == (2, 3)
    assert found @ found.T == pytest.approx(np.eye(2))
    assert span_of(np.zeros((2, 3))).shape == (0, 3)


def test_what_is_projected_out_is_gone() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 4))
    direction = span_of(np.array([[1.0, 1, 0, 0]]))
    found = project_out(rows.astype(np.float32), direction)
    assert found @ direction.T == pytest.approx(np.zeros((5, 1)), abs=1e-6)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(5))
    assert project_out(np.array([[3.0, 3, 0, 0]], np.float32), direction).tolist() == [[0.0] * 4]


def test_directions_are_those_within_classes() -> None:
    """The group goes with the class, which lies along the first axis, and with the third."""
    labels = np.repeat([0, 1], 100)
    groups = np.concatenate([np.repeat([0, 1], [80, 20]), np.repeat([0, 1], [20, 80])])
    rows = np.zeros((200, 3))
    rows[np.arange(200), labels] = 1.0
    rows[groups == 1, 2] = 0.5
    images = AuditImages(rows.astype(np.float32), labels, Scoring(log_scale=0.0))
    column = column_groups("side", [str(group) for group in groups])
    (direction,) = group_directions(images, column)
    assert np.abs(direction) == pytest.approx([0, 0, 1], abs=1e-6)


def debiased(images: AuditImages, directions: np.ndarray | None = None) -> DebiasResult:
    texts = made_texts()
    scores = score_texts(images, texts)
    before = measure_column("made", CELLS, scores, texts, families=3), scores
    return measure_debiasing(images, texts, CELLS, before, families=3, word_directions=directions)


def test_a_bias_that_is_found_is_taken_out() -> None:
    result = debiased(made_images(0, GROUPS, bias=1.5))
    assert result.num_findings[0] >= 1
    assert result.num_findings[1] < result.num_findings[0]
    assert result.verdict.startswith("fewer differences")
    assert result.num_directions == 1
    figures = {name: (before, after) for name, before, after in result.figures}
    before, after = figures["mean size of associations"]
    assert after < before / 2


@pytest.mark.parametrize("labels", [np.arange(300), GROUPS])
def test_where_classes_tell_the_groups_nothing_is_taken_out(labels: np.ndarray) -> None:
    """Each class has one image, or one group: no difference of groups is left within it."""
    images = made_images(0, GROUPS, bias=1.5)
    texts = made_texts()
    scores = score_texts(images, texts)
    before = measure_column("made", CELLS, scores, texts, families=3), scores
    told = dataclasses.replace(images, labels=labels.astype(np.intp))
    result = measure_debiasing(told, texts, CELLS, before, families=3, word_directions=None)
    assert (result.num_directions, result.figures, result.accuracy_change) == (0, (), None)
    assert result.verdict.startswith("nothing was taken out: among images of one class")


def test_directions_of_words_may_cost_accuracy() -> None:
    """Words that lie along a class take that class out."""
    axis = np.eye(16)[:1]
    result = debiased(made_images(0, GROUPS), axis)
    assert result.directions == "words"
    assert result.accuracy_change is not None
    assert result.accuracy_change.high < -0.05
    assert result.verdict.startswith("worse than doing nothing")


def test_directions_are_measured_on_images_that_they_are_not_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fitted: list[np.ndarray] = []
    scored: list[np.ndarray] = []
    module = "clipkit.evaluation.audit.debiasing"
    real = score_texts

    def directions(images: AuditImages, column: object) -> np.ndarray:
        fitted.append(column.images)  # type: ignore[attr-defined]
        return np.eye(16)[:1]

    def score(images: AuditImages, texts: object) -> object:
        scored.append(images.embeddings)
        return real(images, texts)  # type: ignore[arg-type]

    images = made_images(0, GROUPS)
    monkeypatch.setattr(f"{module}.group_directions", directions)
    monkeypatch.setattr(f"{module}.score_texts", score)
    debiased(images)
    for rows, measured in zip(fitted, scored, strict=True):
        known = {row.tobytes() for row in images.embeddings[rows]}
        assert not known & {row.tobytes() for row in measured}
    assert sum(map(len, scored)) == len(GROUPS)
