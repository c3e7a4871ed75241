"""clipkit.compare: the same images with several models, and what is noise."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import clipkit
from clipkit import EvaluationOptions
from clipkit.embeddings import Embeddings
from clipkit.errors import ImageReadError, InputError
from clipkit.evaluation.comparison_text import comparison_tables, verdict_lines
from clipkit.inputs.image_input import ImageInput
from tests.fakes import FakeEncoder, save_image

COLORS = {"red": (250, 10, 0), "green": (0, 250, 10), "blue": (10, 0, 250)}
BARE = EvaluationOptions(templates=("none",))


class OddEncoder(FakeEncoder):
    """Takes red for green, or cannot read an image, in files whose path ends in these."""

    def __init__(
        self, name: str, *, wrong: tuple[str, ...] = (), lost: tuple[str, ...] = ()
    ) -> None:
        super().__init__(name=name, space_id=name)
        self.wrong, self.lost = wrong, lost

    def _encode(self, image: ImageInput) -> Embeddings:
        if self.lost and str(image).endswith(self.lost):
            raise ImageReadError(str(image), "is too large")
        vector = super()._encode(image)
        is_wrong = self.wrong and str(image).endswith(self.wrong)
        return vector[:, [1, 0, 2, 3]] if is_wrong else vector


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Twelve images a class."""
    for name, color in COLORS.items():
        for number in range(12):
            save_image(tmp_path / "data" / name / f"{number:02}.png", color)
    return tmp_path / "data"


def first_of_red(count: int) -> tuple[str, ...]:
    return tuple(f"red/{number:02}.png" for number in range(count))


def test_a_model_that_is_worse_by_ten_images_is_worse(folders: Path) -> None:
    worse = OddEncoder("worse", wrong=first_of_red(10))
    report = clipkit.compare([FakeEncoder(), worse], folders, BARE)

    assert [model.metrics["acc1"] for model in report.models] == [1.0, pytest.approx(26 / 36)]
    (found,) = [entry for entry in report.differences if entry.metric == "acc1"]
    assert found.is_deciding
    assert found.difference.mean == pytest.approx(-10 / 36)
    assert found.difference.low < -10 / 36 < found.difference.high < 0
    assert found.probability == 2 / 2**10  # ten flips that all fall on one side
    assert not found.is_noise
    assert not found.is_better
    assert any(
        "worse is worse than fake, acc1: -27.8 points" in line for line in verdict_lines(report)
    )


def test_a_model_that_is_worse_by_five_images_may_be_noise(folders: Path) -> None:
    """Five of five flips on one side come about in 2 of 32 cases."""
    encoders = [OddEncoder("odd", wrong=first_of_red(5)), FakeEncoder()]
    report = clipkit.compare(encoders, str(folders), BARE)
    found = next(entry for entry in report.differences if entry.metric == "acc1")
    assert found.probability == 2 / 2**5
    assert (found.is_noise, found.is_better) == (True, True)
    assert any("is noise on 36 images" in line for line in verdict_lines(report))


def test_what_decides_is_corrected_for_the_number_of_models(folders: Path) -> None:
    encoders = [
        FakeEncoder(),
        *(OddEncoder(str(count), wrong=first_of_red(count)) for count in (6, 10)),
    ]
    report = clipkit.compare(encoders, str(folders), BARE)
    found = {entry.model: entry for entry in report.differences if entry.metric == "acc1"}
    assert found["10"].probability == 2 * 2 / 2**10
    assert found["6"].probability == 2 / 2**6
    other = [entry for entry in report.differences if entry.metric == "nll" and entry.model == "10"]
    assert other[0].probability < 4 / 2**10  # decides nothing, and is not corrected


def test_lower_is_better_for_losses(folders: Path) -> None:
    report = clipkit.compare(
        [FakeEncoder(), OddEncoder("odd", wrong=first_of_red(10))], str(folders), BARE
    )
    found = next(entry for entry in report.differences if entry.metric == "nll")
    assert found.difference.mean > 0
    assert not found.is_better


def test_images_that_one_model_cannot_read_are_left_out_of_the_difference(folders: Path) -> None:
    """The first model reads 34 of the 36; of those the other is wrong with eight."""
    encoders = [
        OddEncoder("blind", lost=first_of_red(2)),
        OddEncoder("odd", wrong=first_of_red(10)),
    ]
    report = clipkit.compare(encoders, str(folders), BARE)
    found = next(entry for entry in report.differences if entry.metric == "acc1")
    assert found.difference.count == report.num_images == 34
    assert found.difference.mean == pytest.approx(-8 / 34)
    assert any("blind 34, odd 36" in line for line in report.warnings)
    assert len(report.skipped) == 2
    heading, rows = comparison_tables(report)[0]
    # Metrics are of what each has read, so the heading has no number that is true of all.
    assert heading == "zeroshot_classification of the images of data that each model could read"
    assert rows[1] == ["images", "34", "36"]


def test_images_that_either_model_cannot_read_are_not_common(folders: Path) -> None:
    """Both have read 35 of 36, and not the same ones."""
    encoders = [
        OddEncoder("one", lost=("red/00.png",)),
        OddEncoder("other", lost=("red/01.png",)),
    ]
    report = clipkit.compare(encoders, str(folders), BARE)
    assert report.num_images == 34
    assert {entry.difference.count for entry in report.differences} == {34}
    assert any("one 35, other 35): differences are of the 34" in line for line in report.warnings)


def test_a_warning_is_told_with_its_model_unless_it_is_of_all(folders: Path) -> None:
    encoders = [FakeEncoder(), OddEncoder("odd", wrong=first_of_red(10))]
    report = clipkit.compare(encoders, str(folders), BARE)
    few = [line for line in report.warnings if "are few" in line]
    assert few == [
        "fake: 36 images are few: acc1 is 0.90 to 1.00 with 95 %",
        "odd: 36 images are few: acc1 is 0.56 to 0.84 with 95 %",
    ]
    same = clipkit.compare([FakeEncoder(), FakeEncoder()], str(folders), BARE)
    assert [line for line in same.warnings if "are few" in line] == [few[0].split(": ", 1)[1]]


def test_captions_are_compared_by_their_images(folders: Path) -> None:
    captions = [f"data/{name}/{number:02}.png,{name}" for name in COLORS for number in range(12)]
    table = folders.parent / "captions.csv"
    table.write_text("\n".join(["filepath,caption", *captions]))
    encoders = [FakeEncoder(), OddEncoder("odd", wrong=first_of_red(12))]
    report = clipkit.compare(encoders, str(table))
    deciding = [entry for entry in report.differences if entry.is_deciding]
    assert [entry.metric for entry in deciding] == [
        "image_retrieval_recall@1",
        "text_retrieval_recall@1",
    ]
    assert all(entry.difference.count == 36 for entry in deciding)


def test_one_model_twice_is_said_and_told_apart(folders: Path) -> None:
    report = clipkit.compare([FakeEncoder(), FakeEncoder()], str(folders), BARE)
    assert [model.label for model in report.models] == [
        "1. fake (fp32, fake)",
        "2. fake (fp32, fake)",
    ]
    assert any("they cannot differ" in line for line in report.warnings)
    assert all(entry.probability == 1 for entry in report.differences)
    (found,) = [entry for entry in report.differences if entry.is_deciding]
    # Few images make nothing certain, not even that none of many others would differ.
    assert found.difference.low < found.difference.mean == 0 < found.difference.high


def test_the_report_is_json_and_tables(folders: Path) -> None:
    report = clipkit.compare([FakeEncoder(), OddEncoder("odd")], str(folders), BARE)
    found = json.loads(json.dumps(report.to_dict()))
    assert found["task"] == "zeroshot_classification"
    assert [model["label"] for model in found["models"]] == ["fake", "odd"]
    assert found["models"][0]["speed"]["times_as_long"] == 1.0
    assert {"is_noise", "is_better"} <= found["differences"][0].keys()
    for _, rows in comparison_tables(report):
        assert len({len(row) for row in rows}) == 1


def test_large_figures_are_no_powers_of_ten(folders: Path) -> None:
    report = clipkit.compare([FakeEncoder(), OddEncoder("odd")], str(folders), BARE)
    first, second = report.models
    fast = replace(first, speed=replace(first.speed, images_per_second=12345.6))
    slow = replace(second, speed=replace(second.speed, times_as_long=123.4))
    report = replace(report, models=(fast, slow))
    text = "".join(str(rows) for _, rows in comparison_tables(report))
    assert "'12,346'" in text
    assert any("takes odd 123 times as long as fake" in line for line in verdict_lines(report))


@pytest.mark.parametrize(
    ("number", "options", "message"),
    [
        (1, BARE, "needs two models at least, got 1"),
        (2, EvaluationOptions(calibrate=True), "calibrate one model"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    folders: Path, number: int, options: EvaluationOptions, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        clipkit.compare([FakeEncoder()] * number, str(folders), options)
