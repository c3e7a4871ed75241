"""Which share of the trained weights is kept, by how many images say so, and in what words."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from clipkit.runs.report import TrainingReport
from clipkit.runs.validation import RETENTION_ACCURACY, RETENTION_PROBABILITY, SCORE
from clipkit.runs.verdict import Candidate, choose
from clipkit.runs.verdict_notes import intervals, verdict_notes
from clipkit.training.config import RunConfig, WatchConfig
from clipkit.training.data_config import DataConfig, SourceConfig
from clipkit.training.loop import Validation
from clipkit.training.model_config import ModelConfig

CLASSES = 45


def measured(
    score: float | None,
    retained: int | None = None,
    *,
    fine: float | None = None,
    count: int = 45,
    right: Sequence[float] | None = None,
    probable: float | None = None,
) -> Validation:
    """Return a validation with so many right images of a retention set, the first ones.

    The probability of the right label is 1 for those and 0 for others, or as given for all.
    """
    per_image = {}
    metrics = {}
    if retained is not None:
        is_right = (np.arange(count) < retained).astype(float)
        per_image[RETENTION_ACCURACY] = is_right
        per_image[RETENTION_PROBABILITY] = (
            is_right if probable is None else np.full(count, probable)
        )
        metrics[RETENTION_ACCURACY] = retained / count
    if right is not None:
        per_image[SCORE] = np.array(right, dtype=float)
    chance = None if retained is None else 1 / CLASSES
    return Validation(score, metrics, fine_score=fine, per_image=per_image, retention_chance=chance)


def candidates(*validations: Validation) -> list[Candidate]:
    last = max(1, len(validations) - 1)
    return [Candidate(number / last, found) for number, found in enumerate(validations)]


def alpha_of(*validations: Validation, max_forgetting: float = 0.02) -> float:
    return choose(candidates(*validations), max_forgetting=max_forgetting).alpha


@pytest.mark.parametrize(
    ("scores", "alpha"),
    [([0.1, 0.5, 0.3], 0.5), ([0.1, 0.3, 0.3], 0.5), ([0.3, 0.3, 0.3], 0.0), ([0.1, 0.2, 0.3], 1)],
)
def test_the_best_score_is_kept_and_of_equal_ones_the_nearest_to_the_base(
    scores: list[float], alpha: float
) -> None:
    assert alpha_of(*map(measured, scores)) == alpha


def test_equal_scores_are_told_apart_by_the_finer_one() -> None:
    assert alpha_of(measured(0.5, fine=-2.0), measured(0.5, fine=-1.0)) == 1
    assert alpha_of(measured(0.5, fine=-1.0), measured(0.5, fine=-2.0)) == 0
    assert alpha_of(measured(0.5, fine=-1.0), measured(0.6, fine=-2.0)) == 1  # the score is first
    # What neither knows anything of is not trained for: a higher score is chance.
    nothing = -np.log(2)
    alike = [1.0] * 5 + [0.0] * 5, [1.0] * 6 + [0.0] * 4
    before, after = (measured(float(np.mean(each)), fine=nothing, right=each) for each in alike)
    assert alpha_of(before, after) == 0


def test_scores_that_few_images_tell_apart_leave_it_to_the_finer_one() -> None:
    """Of 40 images 20 are right before; four more afterwards may be chance, fifteen are none."""
    before = measured(0.5, fine=-1.0, right=[1] * 20 + [0] * 20)
    few = measured(0.55, fine=-2.0, right=[1] * 17 + [0] * 3 + [1] * 5 + [0] * 15)
    many = measured(0.875, fine=-2.0, right=[1] * 35 + [0] * 5)
    assert alpha_of(before, few) == 0
    assert alpha_of(before, many) == 1
    surer = measured(0.45, fine=-0.5, right=[1] * 15 + [0] * 5 + [1] * 3 + [0] * 17)
    assert alpha_of(before, surer) == 1


@pytest.mark.parametrize(
    ("retained", "probable", "max_forgetting", "alpha"),
    [
        (40, 0.80, 0.02, 1.0),
        (39, 0.79, 0.02, 1.0),  # one photograph of 45 is 2.2 points and may be chance
        (40, 0.77, 0.02, 0.0),  # all are right as before, and less is known of each
        (41, 0.77, 0.02, 0.0),
        (30, 0.60, 0.02, 0.0),
        (30, 0.60, 0.5, 1.0),
        (40, 0.95, 0.0, 1.0),
    ],
)
def test_what_forgets_is_refused_by_the_probability_of_the_right_labels(
    retained: int, probable: float, max_forgetting: float, alpha: float
) -> None:
    start, end = measured(0.1, 40, probable=0.8), measured(0.9, retained, probable=probable)
    assert alpha_of(start, end, max_forgetting=max_forgetting) == alpha


def test_a_set_that_the_base_model_guesses_on_decides_nothing() -> None:
    found = choose(candidates(measured(0.167, 2), measured(0.417, 0)), max_forgetting=0.02)
    assert found.alpha == 1
    assert not found.is_retention_used
    assert choose(candidates(measured(0.1, 20), measured(0.4, 0)), max_forgetting=0.02).alpha == 0


def test_without_scores_the_most_that_does_not_forget_is_kept() -> None:
    assert alpha_of(measured(None), measured(None), measured(None)) == 1
    start = measured(None, 40, probable=0.8)
    near, far = (measured(None, 40, probable=probable) for probable in (0.79, 0.4))
    assert alpha_of(start, near, far) == 0.5
    assert alpha_of(start, far, far) == 0


def config(tmp_path: Path, max_forgetting: float = 0.02) -> RunConfig:
    return RunConfig(
        str(tmp_path / "run"),
        ModelConfig(base="starter"),
        DataConfig((SourceConfig("pairs"),)),
        watch=WatchConfig(max_forgetting=max_forgetting),
    )


def notes(tmp_path: Path, *validations: Validation) -> str:
    found = candidates(*validations)
    alpha = choose(found, max_forgetting=0.02).alpha
    final = next(one.validation for one in found if one.alpha == alpha)
    report = TrainingReport("run", True, 8, 8, 1.0, 9, alpha=alpha, final=final.metrics)
    return "\n".join(
        verdict_notes(config(tmp_path), found, validations[-1], report, tmp_path / "step-8")
    )


def test_notes_say_what_was_forgotten(tmp_path: Path) -> None:
    text = notes(
        tmp_path,
        measured(0.1, 40, probable=0.8),
        measured(0.5, 39, probable=0.79),
        measured(0.9, 30, probable=0.6),
    )
    assert "the right labels of the 45 images of the retention set became 20.0 points less" in text
    assert "more than watch.max_forgetting = 0.02; of 45 images" in text
    assert "10 were right before" in text
    assert "0 the other way (88.9% to 66.7%)" in text
    assert "the final weights are at 86.7%" in text


def test_notes_say_when_few_images_did_not_decide(tmp_path: Path) -> None:
    text = notes(tmp_path, measured(0.1, 40, probable=0.8), measured(0.9, 39, probable=0.795))
    assert "1 were right before" in text
    assert "so few may be chance, and did not decide" in text
    assert "became 0.5 points less probable on average, within watch.max_forgetting" in text


def test_notes_say_when_the_base_model_guesses(tmp_path: Path) -> None:
    text = notes(tmp_path, measured(0.1, 2), measured(0.9, 0))
    assert "the retention set decided nothing: the base model is right for 4.4% of its 45" in text


def test_notes_say_where_the_trained_weights_are_and_how_to_choose_again(tmp_path: Path) -> None:
    text = notes(tmp_path, measured(0.1, 40), measured(0.9, 20))
    assert "alpha 1 measured better and forgot more than watch.max_forgetting = 0.02" in text
    assert f"are in {tmp_path / 'step-8'}" in text
    again = f"clipkit train --finalize {tmp_path / 'run'} --set watch.max_forgetting=0.1"
    assert again in text
    text = notes(tmp_path, measured(0.9, 40), measured(0.1, 40))
    assert "no share of the trained weights measured better" in text
    assert "--finalize" not in text  # it would choose the same
    alike = [1.0] * 5 + [0.0] * 5, [1.0] * 6 + [0.0] * 4
    text = notes(
        tmp_path,
        measured(0.5, fine=-1.0, right=alike[0]),
        measured(0.6, fine=-2.0, right=alike[1]),
    )
    assert "alpha 1 measured better on so few images that it may be chance" in text
    assert "--finalize" not in text


def test_notes_say_when_validation_images_hardly_decide(tmp_path: Path) -> None:
    text = notes(tmp_path, measured(0.5, right=[1, 0]), measured(1.0, right=[1, 1]))
    assert "2 validation images hardly tell the final weights from the base model: 1 are" in text
    many = [0.0] * 20, [1.0] * 20
    assert not notes(tmp_path, measured(0.0, right=many[0]), measured(1.0, right=many[1]))


def test_intervals_are_of_what_was_measured() -> None:
    found = intervals(measured(0.5, 45, right=[1.0, 0.0]))
    assert found.keys() == {SCORE, RETENTION_ACCURACY}
    assert found[RETENTION_ACCURACY][1] == 1.0
    assert found[RETENTION_ACCURACY][0] == pytest.approx(
        45 / (45 + 1.959964**2)
    )  # Wilson, all right
    assert intervals(measured(None)) == {}
