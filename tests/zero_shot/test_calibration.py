"""Calibration by closed forms, by definition and against scikit-learn; files that are damaged."""

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from clipkit.embeddings import EmbeddingArray
from clipkit.errors import InputError, SpaceMismatchError
from clipkit.runtime.base import Scoring
from clipkit.zero_shot import calibration as module
from clipkit.zero_shot.calibration import Calibration, fit_scoring
from clipkit.zero_shot.classifier import ZeroShotClassifier
from tests.fakes import FakeEncoder

NAMES = ["red", "green", "blue"]


def encoder(scale: float = 5.0, bias: float | None = None) -> FakeEncoder:
    fake = FakeEncoder()
    fake.scoring = Scoring(math.log(scale), bias)
    return fake


def classifier(fake: FakeEncoder | None = None, **options: Any) -> ZeroShotClassifier:
    return ZeroShotClassifier(fake or encoder(), NAMES, templates="{}", **options)


def of_losses(*losses: float) -> Calibration:
    return Calibration("fake", "fake-space", Scoring(0.0), ("a",), "", tuple(sorted(losses)))


# The threshold


@pytest.mark.parametrize("coverage", [0.1, 0.5, 0.8, 0.9, 0.95])
def test_the_threshold_is_the_smallest_with_enough_losses(coverage: float) -> None:
    share = Fraction(str(coverage))
    rng = np.random.default_rng(0)
    for size in range(1, 60):
        losses = np.sort(rng.integers(12, size=size) / 4).tolist()  # with ties
        enough = [at for at in losses if sum(x <= at for x in losses) >= (size + 1) * share]
        if enough:
            assert of_losses(*losses).threshold(coverage) == min(enough)
        else:
            with pytest.raises(InputError, match="labelled images"):
                of_losses(*losses).threshold(coverage)


def test_too_few_images_are_told_how_many_are_needed() -> None:
    assert of_losses(*range(9)).threshold(0.9) == 8
    with pytest.raises(InputError, match=r"coverage of 0.9 needs 9 labelled .* is of 8"):
        of_losses(*range(8)).threshold(0.9)
    with pytest.raises(InputError, match="above 0 and below 1, got 1"):
        of_losses(1.0).threshold(1)


@pytest.mark.parametrize("levels", [None, 3])
def test_new_losses_are_below_the_threshold_as_often_as_promised(levels: int | None) -> None:
    rng = np.random.default_rng(1)
    draws, size, coverage = 4000, 30, 0.9
    losses = rng.random((draws, size + 1))
    if levels:
        losses = np.floor(losses * levels)
    held = [row[-1] <= of_losses(*row[:-1].tolist()).threshold(coverage) for row in losses]
    noise = math.sqrt(coverage * (1 - coverage) / draws)
    assert np.mean(held) > coverage - 3 * noise
    if levels is None:  # without ties it is the rank's share exactly: 28 of 31
        assert abs(np.mean(held) - 28 / 31) < 3 * noise


# The fit


def test_the_scale_is_that_of_the_share_that_is_right() -> None:
    """With the same cosines everywhere the best probability is the share that is right."""
    cosines = np.array([[0.5, 0.0]] * 4)
    found = fit_scoring(cosines, np.array([0, 0, 0, 1]), Scoring(0.0), spread=np.inf)
    assert 0.5 * found.logit_scale == pytest.approx(math.log(3), rel=1e-4)
    assert found.logit_bias is None


def test_a_penalised_scale_is_the_best_of_a_grid() -> None:
    rng = np.random.default_rng(2)
    cosines, labels, own = rng.uniform(-1, 1, (12, 4)), rng.integers(4, size=12), 6.0

    def penalised(change: float) -> float:
        powers = np.exp(own * math.exp(change) * cosines)
        right = powers[np.arange(12), labels] / powers.sum(axis=1)
        return float(-np.log(right).sum() + change**2 / (2 * 0.3**2))

    grid = np.arange(-2, 2, 0.001)
    best = grid[np.argmin([penalised(change) for change in grid])]
    found = fit_scoring(cosines, labels, Scoring(math.log(own)), spread=0.3)
    assert found.log_scale - math.log(own) == pytest.approx(best, abs=0.002)


def test_a_sigmoid_is_scikit_learns_logistic_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BIAS_SPREAD", np.inf)
    rng = np.random.default_rng(3)
    labels = rng.integers(5, size=80)
    is_right = np.arange(5) == labels[:, None]
    cosines = 0.3 * is_right + rng.normal(scale=0.3, size=(80, 5))
    found = fit_scoring(cosines, labels, Scoring(0.0, -1.0), spread=np.inf)
    peer = LogisticRegression(C=np.inf, tol=1e-8).fit(cosines.reshape(-1, 1), is_right.ravel())
    assert found.logit_scale == pytest.approx(float(peer.coef_[0, 0]), rel=1e-3)
    assert found.logit_bias == pytest.approx(float(peer.intercept_[0]), rel=1e-3)


@pytest.mark.parametrize("label", [0, 1])
def test_one_image_moves_the_scale_a_little_only(label: int) -> None:
    """The penalty is never above the loss that there was: |change| <= spread sqrt(2 loss)."""
    cosines = np.array([[0.9, 0.1]])
    loss = math.log(1 + math.exp(-8)) if label == 0 else math.log(1 + math.exp(8))
    found = fit_scoring(cosines, np.array([label]), Scoring(math.log(10)), spread=0.3)
    change = found.log_scale - math.log(10)
    assert abs(change) <= 0.3 * math.sqrt(2 * loss)
    assert change > 0 if label == 0 else change < 0


# The classifier


IMAGES = np.array([[0.8, 0.6, 0, 0], [0.6, 0, 0.8, 0], [0, 0, 0.6, 0.8]], np.float32)


def test_a_calibration_holds_the_losses_of_the_checkpoints_own_scale() -> None:
    found = classifier().calibrate(IMAGES, [0, 2, 0])
    losses = [
        math.log(1 + math.exp(5 * 0.6 - 5 * 0.8) + math.exp(-5 * 0.8)),
        math.log(1 + math.exp(5 * 0.6 - 5 * 0.8) + math.exp(-5 * 0.8)),
        math.log(2 + math.exp(5 * 0.6)),
    ]
    assert found.log_losses == pytest.approx(losses, rel=1e-5)
    assert (found.num_images, found.class_names) == (3, tuple(NAMES))
    assert (found.model, found.space_id) == ("fake", "fake-space")


def test_scores_are_by_the_calibrations_scale() -> None:
    calibration = Calibration("fake", "fake-space", Scoring(math.log(2.0)), ("x",), "", (0.1,))
    own = classifier()
    calibrated = own.with_calibration(calibration)
    powers = np.exp(2.0 * np.array([0.8, 0.6, 0.0]))
    assert calibrated.scores(IMAGES[:1])[0] == pytest.approx(powers / powers.sum(), rel=1e-5)
    powers = np.exp(5.0 * np.array([0.8, 0.6, 0.0]))
    assert own.scores(IMAGES[:1])[0] == pytest.approx(powers / powers.sum(), rel=1e-5)


def test_a_sigmoid_stays_a_sigmoid() -> None:
    fake = encoder(4.0, -2.0)
    calibration = Calibration(
        "fake", "fake-space", Scoring(math.log(3.0), -1.0), ("x",), "", (0.1,)
    )
    scores = classifier(fake).with_calibration(calibration).scores(IMAGES[:1])[0]
    logits = 3.0 * np.array([0.8, 0.6, 0.0]) - 1.0
    assert scores == pytest.approx(1 / (1 + np.exp(-logits)), rel=1e-5)
    fitted = classifier(fake).calibrate(IMAGES, [0, 2, 2])
    assert fitted.scoring.logit_bias is not None
    assert fitted.log_losses[0] == pytest.approx(math.log(1 + math.exp(-(4 * 0.8 - 2))), rel=1e-5)


def test_a_set_holds_every_label_up_to_the_threshold() -> None:
    own = classifier()
    losses = own.calibrate(IMAGES, [0, 2, 0]).log_losses
    fitted = own.with_calibration(own.calibrate(IMAGES, [0, 2, 0]))
    # Of three losses the second is for half, the third for three quarters.
    assert losses[1] < 1.4 < losses[2]
    halves = fitted.label_sets(IMAGES, coverage=0.5)
    assert [[item["label"] for item in some] for some in halves] == [["red"], ["blue"], ["blue"]]
    wide = fitted.label_sets(IMAGES, coverage=0.75)
    assert [[item["label"] for item in some] for some in wide] == [
        ["red", "green"],  # blue's loss is 4.3, and the threshold 3.1
        ["blue", "red"],
        ["blue", "red", "green"],
    ]
    assert wide[0] == fitted.rank(IMAGES[:1], k=2)[0]


def test_sets_are_by_the_checkpoints_own_scale() -> None:
    """The fitted one has seen the images that the threshold is of."""
    own = classifier()
    prompts_id = own.calibrate(IMAGES, [0, 2, 0]).prompts_id
    losses = (1.5, 1.5, 1.5)
    steep = Calibration(
        "m", "fake-space", Scoring(math.log(50.0)), tuple(NAMES), prompts_id, losses
    )
    # Green's loss is 1.33 by the scale 5, and 10 by 50.
    assert len(own.with_calibration(steep).label_sets(IMAGES[:1], coverage=0.5)[0]) == 2


def test_a_set_holds_what_is_likeliest_where_scores_are_rounded_to_one() -> None:
    names = ["green", "red"]
    own = ZeroShotClassifier(encoder(100.0, 0.0), names, templates="{}")
    assert own.scores(IMAGES[:1]).tolist() == [[1.0, 1.0]]
    prompts_id = own.calibrate(IMAGES, [0, 0, 0]).prompts_id
    # Red's loss is e^-80, green's e^-60.
    losses = (1e-30, 1e-30, 1e-30)
    fitted = Calibration("m", "fake-space", own._encoder.scoring, tuple(names), prompts_id, losses)
    ((found,),) = own.with_calibration(fitted).label_sets(IMAGES[:1], coverage=0.5)
    assert found == {"label": "red", "score": 1.0}


def test_a_set_has_one_label_at_least() -> None:
    own = classifier()
    fitted = own.with_calibration(own.calibrate(np.eye(4, dtype=np.float32)[[0] * 5], [0] * 5))
    assert [len(some) for some in fitted.label_sets(IMAGES, coverage=0.8)] == [1, 1, 1]


def test_labels_in_another_order_are_the_same() -> None:
    calibration = classifier().calibrate(IMAGES, [0, 2, 0])
    turned = ZeroShotClassifier(encoder(), NAMES[::-1], templates="{}")
    assert len(turned.with_calibration(calibration).label_sets(IMAGES, coverage=0.5)) == 3


def test_sets_of_other_labels_or_prompts_are_refused() -> None:
    calibration = classifier().calibrate(IMAGES, [0, 2, 0])
    with pytest.raises(InputError, match="need a calibration"):
        classifier().label_sets(IMAGES)
    fewer = ZeroShotClassifier(encoder(), NAMES[:2], templates="{}")
    with pytest.raises(InputError, match=r"it has 3, 2 were given.*'blue'"):
        fewer.with_calibration(calibration).label_sets(IMAGES, coverage=0.5)
    others = ZeroShotClassifier(encoder(), NAMES, templates="a {}")
    with pytest.raises(InputError, match="of the same prompts"):
        others.with_calibration(calibration).label_sets(IMAGES, coverage=0.5)
    with pytest.raises(InputError, match="needs 9 labelled images"):
        classifier().with_calibration(calibration).label_sets(IMAGES, coverage=0.9)


def test_what_does_not_fit_is_refused() -> None:
    calibration = classifier().calibrate(IMAGES, [0, 2, 0])
    other = ZeroShotClassifier(FakeEncoder(space_id="other"), NAMES, templates="{}")
    with pytest.raises(SpaceMismatchError, match=r"space fake-space.*space other"):
        other.with_calibration(calibration)
    with pytest.raises(SpaceMismatchError):
        classifier().calibrate(EmbeddingArray(IMAGES, "other"), [0, 2, 0])
    with pytest.raises(InputError, match="multi_label"):
        classifier(multi_label=True).with_calibration(calibration)
    with pytest.raises(InputError, match="multi_label"):
        classifier(multi_label=True).calibrate(IMAGES, [0, 2, 0])
    for labels in ([0, 1], [], [0, 1, 3], [0, -1, 1], [0.5, 1.0, 2.0]):
        with pytest.raises(InputError, match="label"):
            classifier().calibrate(IMAGES, labels)  # type: ignore[arg-type]


def test_a_calibration_of_the_other_loss_is_refused() -> None:
    """Only a file that was written by hand is: of one model there is one loss."""
    for bias, own in ((None, "softmax"), (-2.0, "sigmoid")):
        other = Scoring(1.0, -1.0 if bias is None else None)
        calibration = Calibration("fake", "fake-space", other, ("x",), "", (0.1,))
        with pytest.raises(InputError, match=f"trained with the {own} loss"):
            classifier(encoder(4.0, bias)).with_calibration(calibration)


def test_one_label_is_always_right() -> None:
    own = ZeroShotClassifier(encoder(), ["red"], templates="{}")
    calibration = own.calibrate(IMAGES, [0, 0, 0])
    assert calibration.log_losses == (0, 0, 0)
    assert calibration.scoring.log_scale == pytest.approx(math.log(5))
    sets = own.with_calibration(calibration).label_sets(IMAGES, coverage=0.5)
    assert [[item["label"] for item in some] for some in sets] == [["red"]] * 3


# The file


def test_a_file_holds_the_calibration(tmp_path: Path) -> None:
    losses = tuple(sorted(np.random.default_rng(4).random(20).tolist()))
    for bias in (None, -3.25):
        saved = Calibration("m/ö", "s", Scoring(math.log(7.5), bias), ("猫", "a b"), "p", losses)
        saved.save(tmp_path / "c.json")
        loaded = Calibration.load(tmp_path / "c.json")
        assert loaded.scoring.log_scale == pytest.approx(saved.scoring.log_scale, rel=1e-12)
        assert loaded.scoring.logit_bias == bias
        assert (loaded.model, loaded.class_names) == ("m/ö", ("猫", "a b"))
        assert loaded.log_losses == losses
        assert (loaded.prompts_id, loaded.space_id) == ("p", "s")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clipkit_calibration", 2),
        ("model", None),
        ("space_id", 3),
        ("logit_scale", 0),
        ("logit_scale", "17"),
        ("logit_scale", True),
        ("logit_scale", 10**400),
        ("logit_bias", "no"),
        ("logit_bias", -(10**400)),
        ("class_names", "red"),
        ("class_names", [1]),
        ("class_names", []),
        ("log_losses", []),
        ("log_losses", [0.2, 0.1]),
        ("log_losses", [-1, 0.1]),
        ("log_losses", [0.1, None]),
        ("log_losses", [0.1, 10**400]),
        ("log_losses", [0.1, float("nan")]),
        ("num_images", 7),
    ],
)
def test_a_damaged_file_is_refused_by_what_is_wrong(
    tmp_path: Path, name: str, value: object
) -> None:
    path = tmp_path / "c.json"
    of_losses(0.1, 0.2).save(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, name: value}))
    with pytest.raises(InputError, match=name):
        Calibration.load(path)
    del content[name]
    path.write_text(json.dumps(content))
    if name != "logit_bias":
        with pytest.raises(InputError, match=name):
            Calibration.load(path)


def test_a_label_that_is_no_unicode_is_kept(tmp_path: Path) -> None:
    saved = Calibration("m", "s", Scoring(0.0), ("caf\udce9", "猫"), "p", (0.1,))
    saved.save(tmp_path / "c.json")
    assert "猫" in (tmp_path / "c.json").read_text(encoding="utf-8")
    assert Calibration.load(tmp_path / "c.json").class_names == saved.class_names


@pytest.mark.parametrize("content", ["", "[]", '{"clipkit_calibration": 1', "null"])
def test_what_is_no_object_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(InputError, match=r"c\.json"):
        Calibration.load(tmp_path / "c.json")
    with pytest.raises(InputError, match=r"gone\.json cannot be read"):
        Calibration.load(tmp_path / "gone.json")
