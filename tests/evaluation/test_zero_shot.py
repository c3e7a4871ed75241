"""Accuracies by hand on coloured images; then the embedded model on the sample photographs."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

import clipkit
from clipkit.data.pair import Pair
from clipkit.errors import ImageReadError, InputError
from clipkit.evaluation.zero_shot import evaluate_classes, evaluate_zero_shot, sample_accuracy
from clipkit.runtime.base import Scoring
from tests.fake_pairs import ListSource
from tests.fakes import FakeEncoder, save_image

NAMES = ("red", "green", "blue")
# The last one is called blue, but is greener than blue and redder than green.
COLORS = [(255, 0, 0), (255, 0, 0), (0, 255, 0), (204, 102, 51)]
LABELS = [0, 0, 1, 2]


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return [save_image(tmp_path / f"{n}.png", color) for n, color in enumerate(COLORS)]


def _log_probability(color: tuple[int, int, int], label: int, scale: float = 1.0) -> float:
    norm = math.sqrt(sum(part**2 for part in color) + 1)
    logits = [scale * part / norm for part in color]
    return logits[label] - math.log(sum(map(math.exp, logits)))


def test_accuracies_by_hand(images: list[Path]) -> None:
    report = evaluate_zero_shot(FakeEncoder(), images, LABELS, NAMES, templates="{}")
    assert (report.num_images, report.num_classes) == (4, 3)
    assert report.top_1 == 3 / 4
    assert report.top_5 == 1.0
    assert report.mean_per_class == pytest.approx((1 + 1 + 0) / 3)
    expected = [_log_probability(*case) for case in zip(COLORS, LABELS, strict=True)]
    assert report.mean_log_probability == pytest.approx(sum(expected) / 4, abs=1e-6)
    assert report.skipped == []


@pytest.mark.parametrize("scale", [1.0, 0.1, 10.0])
def test_the_best_log_probability_is_the_same_however_sure_the_model_is(
    scale: float, images: list[Path]
) -> None:
    encoder = FakeEncoder()
    encoder.scoring = Scoring(math.log(scale))
    report = evaluate_zero_shot(encoder, images, LABELS, NAMES, templates="{}")
    tried = [
        np.mean([_log_probability(*case, factor) for case in zip(COLORS, LABELS, strict=True)])
        for factor in np.geomspace(0.01, 100, 2000)
    ]
    assert report.best_log_probability == pytest.approx(max(tried), abs=1e-5)
    expected = np.exp(
        [
            _log_probability(*case, np.geomspace(0.01, 100, 2000)[int(np.argmax(tried))])
            for case in zip(COLORS, LABELS, strict=True)
        ]
    )
    np.testing.assert_allclose(report.label_probabilities, expected, atol=2e-3)


def test_a_report_is_json_with_what_was_skipped(images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    report = evaluate_zero_shot(
        FakeEncoder(), [*images, tmp_path / "empty.png"], [*LABELS, 0], NAMES, templates="{}"
    )
    assert json.loads(json.dumps(report.to_dict())) == {
        "num_images": 4,
        "num_classes": 3,
        "top_1": 3 / 4,
        "top_5": 1.0,
        "mean_per_class": pytest.approx(2 / 3),
        "mean_log_probability": report.mean_log_probability,
        "best_log_probability": report.best_log_probability,
        "skipped": [{"path": str(tmp_path / "empty.png"), "reason": report.skipped[0].reason}],
    }


def test_labels_of_a_series_are_taken_by_place(images: list[Path]) -> None:
    labels: Any = pandas.Series(LABELS, index=[3, 2, 1, 0])
    report = evaluate_zero_shot(FakeEncoder(), images, labels, NAMES, templates="{}")
    assert report.top_1 == 3 / 4


def test_the_sixth_guess_does_not_count(images: list[Path]) -> None:
    # A red image: "dark" is last but for "green" and "blue", at a cosine of 0.
    names = ["green", "blue", "dark", "red"]
    report = evaluate_zero_shot(FakeEncoder(), images[:1], [2], names, templates="{}")
    assert (report.top_1, report.top_5) == (0.0, 1.0)
    # Six classes, all 0 but red and dark; of equal ones the lower number comes first, so that
    # class 5 is sixth.
    names = ["red", "dark", "green", "blue", "cyan", "black"]
    encoder = FakeEncoder()
    encoder.encode_texts = lambda texts, **_: np.eye(4, dtype=np.float32)[  # type: ignore[method-assign, assignment]
        [{"red": 0, "dark": 3}.get(text, 1) for text in texts]
    ]
    for label, top_5 in ((4, 1.0), (5, 0.0)):
        report = evaluate_zero_shot(encoder, images[:1], [label], names, templates="{}")
        assert (report.top_1, report.top_5) == (0.0, top_5)


def test_a_vanishing_probability_has_a_logarithm(images: list[Path]) -> None:
    encoder = FakeEncoder()
    encoder.scoring = Scoring(log_scale=math.log(1e4))
    report = evaluate_zero_shot(encoder, images[:1], [1], ("red", "green"), templates="{}")
    # cosines 255 / sqrt(255² + 1) and 0: the probability is e^-10000
    assert report.mean_log_probability == pytest.approx(-1e4 * 255 / math.sqrt(255**2 + 1))


def test_the_bias_of_sigmoid_checkpoints_changes_nothing(images: list[Path]) -> None:
    encoder = FakeEncoder()
    plain = evaluate_zero_shot(encoder, images, LABELS, NAMES, templates="{}")
    encoder.scoring = Scoring(log_scale=0.0, logit_bias=-10.0)
    assert evaluate_zero_shot(encoder, images, LABELS, NAMES, templates="{}") == plain


def test_unreadable_images_are_left_out_with_their_labels(
    images: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    report = evaluate_zero_shot(
        FakeEncoder(), [tmp_path / "bad.png", *images], [2, *LABELS], NAMES, templates="{}"
    )
    assert (report.num_images, report.top_1) == (4, 3 / 4)
    assert [Path(error.path).name for error in report.skipped] == ["bad.png"]


def test_class_folders_are_labelled_by_row(images: list[Path]) -> None:
    rows: list[Pair | ImageReadError] = [Pair(path, (), path.name) for path in images]
    gone = ImageReadError("gone.png", "no such file")
    source = ListSource([gone, *rows], labels=[1, *LABELS], class_names=NAMES)
    report = evaluate_classes(FakeEncoder(), source, templates="{}")
    direct = evaluate_zero_shot(FakeEncoder(), images, LABELS, NAMES, templates="{}")
    assert report.skipped == [gone]
    assert report.top_1 == direct.top_1
    assert report.mean_log_probability == pytest.approx(direct.mean_log_probability)


def test_what_has_no_classes_is_told(images: list[Path]) -> None:
    rows = [Pair(path, ("red",), path.name) for path in images]
    with pytest.raises(InputError, match="got pairs without: give a folder with one folder"):
        evaluate_classes(FakeEncoder(), ListSource(rows))
    with pytest.raises(InputError, match="row 0 has none"):
        evaluate_classes(FakeEncoder(), ListSource(rows, class_names=NAMES))


def test_equal_names_tie_and_the_lower_number_comes_first(images: list[Path]) -> None:
    names = ("red", "green", "blue", "red", "red")
    report = evaluate_zero_shot(FakeEncoder(), images[:3], [3, 0, 1], names, templates="{}")
    assert (report.num_classes, report.top_1, report.top_5) == (5, 2 / 3, 1.0)
    assert report.mean_per_class == pytest.approx((0 + 1 + 1) / 3)
    # Red stands three times among the five, so its odds count three times.
    expected = []
    for color, name in zip(COLORS[:3], ("red", "red", "green"), strict=True):
        odds = {n: math.exp(_log_probability(color, NAMES.index(n))) for n in NAMES}
        expected.append(math.log(odds[name] / (odds["green"] + odds["blue"] + 3 * odds["red"])))
    assert report.mean_log_probability == pytest.approx(sum(expected) / 3, abs=1e-6)


def test_what_does_not_fit_is_told(images: list[Path], tmp_path: Path) -> None:
    encoder = FakeEncoder()
    with pytest.raises(InputError, match="got 4 images and 3 labels"):
        evaluate_zero_shot(encoder, images, LABELS[:3], NAMES)
    with pytest.raises(InputError, match=r"labels must be in 0\.\.1"):
        evaluate_zero_shot(encoder, images, LABELS, NAMES[:2])
    with pytest.raises(InputError, match=r"none of the images can be read.*1 were skipped"):
        evaluate_zero_shot(encoder, [tmp_path / "gone.png"], [0], NAMES)


@pytest.mark.slow
def test_the_samples_are_classified_as_the_classifier_does(
    starter: clipkit.Encoder, sample_labels: dict[str, str], samples: list[Path]
) -> None:
    report = sample_accuracy(starter)
    names = sorted(set(sample_labels.values()))
    classifier = clipkit.ZeroShotClassifier(starter, names)
    ranked = classifier.classify(samples, k=5)
    right = [
        [item["label"] for item in labels].index(sample_labels[path.name])
        if sample_labels[path.name] in [item["label"] for item in labels]
        else 5
        for path, labels in zip(samples, ranked, strict=True)
    ]
    assert (report.num_images, report.num_classes) == (len(samples), len(names))
    assert report.top_1 == pytest.approx(np.mean(np.array(right) == 0))
    assert report.top_5 == pytest.approx(np.mean(np.array(right) < 5))
    scores = classifier.scores(starter.encode_images(samples)).astype(np.float64)
    chosen = [
        scores[row, names.index(sample_labels[path.name])] for row, path in enumerate(samples)
    ]
    assert report.mean_log_probability == pytest.approx(np.mean(np.log(chosen)), rel=1e-4)
    assert report.skipped == []
