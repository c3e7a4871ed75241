"""The whole ladder on coloured images: what it recommends, the head, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipkit.adaptation.head import HeadClassifier
from clipkit.adaptation.options import AdaptationOptions
from clipkit.errors import InputError
from clipkit.progress import Callbacks
from clipkit.runs.adapt import adapt, adapt_images, fit_head
from tests.fakes import FakeEncoder

OPTIONS = AdaptationOptions(templates="{}", baseline=False, retention_set="")


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders: reds called "red", and blues called "green"."""
    folder = tmp_path_factory.mktemp("colors")
    for name, channel in (("red", 0), ("green", 2)):
        (folder / name).mkdir()
        for number in range(12):
            color = [70 * (number // 4), 45 * (number % 4), 70 * (number // 4)]
            color[channel] = 200
            Image.new("RGB", (4, 4), tuple(color)).save(folder / name / f"{number}.png")
    return folder


def test_the_ladder_finds_what_the_names_do_not_say(colors: Path) -> None:
    report = adapt(FakeEncoder(), colors, OPTIONS)
    assert (report.num_images, report.num_classes, report.num_test_images) == (24, 2, 8)
    by_name = {rung.name: rung for rung in report.rungs}
    assert by_name["prompts"].accuracy is not None
    assert by_name["probe"].accuracy is not None
    assert by_name["probe"].accuracy > max(0.6, by_name["prompts"].accuracy)
    assert report.recommended in ("tip-adapter", "ss-text", "gda", "probe")
    assert report.head is not None
    classifier = HeadClassifier(FakeEncoder(), report.head)
    blue = Image.new("RGB", (4, 4), (10, 20, 230))
    assert classifier.classify([blue], k=1)[0][0]["label"] == "green"
    assert report.head.details["num_images"] == 24
    json.dumps(report.to_dict())


def test_what_takes_long_is_said_as_it_starts(colors: Path) -> None:
    said: list[str] = []
    options = replace(OPTIONS, baseline=True, seeds=(0, 1))
    report = adapt(FakeEncoder(), colors, options, callbacks=Callbacks(say=said.append))
    chosen = next(rung.title for rung in report.rungs if rung.name == report.curve_rung)
    assert said[-3:] == [
        "training a small model without the base, split 1 of 2",
        "training a small model without the base, split 2 of 2",
        f"fitting {chosen} with fewer images",
    ]
    assert said[:-3] == [f"fitting {rung.title}" for rung in report.rungs if not rung.lack]


def test_the_same_seeds_give_the_same_report(colors: Path) -> None:
    first, second = (adapt(FakeEncoder(), colors, OPTIONS).to_dict() for _ in range(2))
    for report in (first, second):
        for rung in report["rungs"]:
            rung.pop("seconds")
    assert first == second


def test_test_images_decide_and_the_head_is_of_all_others(colors: Path, tmp_path: Path) -> None:
    for name, color in (("red", (200, 9, 30)), ("green", (30, 9, 200))):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("RGB", (4, 4), (color[0], 100 + 60 * number, color[2])).save(
                tmp_path / name / f"{number}.png"
            )
    options = AdaptationOptions(
        templates="{}", baseline=False, retention_set="", test=tmp_path, shots=4, seeds=(0,)
    )
    report = adapt(FakeEncoder(), colors, options)
    assert report.num_test_images == 4
    assert report.curve[-1].num_images == 8
    assert report.head is not None
    assert report.head.details["num_images"] == 24
    assert report.seeds == (0,)
    # Seeds choose shots; of all the images they choose nothing.
    whole = adapt(FakeEncoder(), colors, replace(options, shots=None, seeds=(3, 4)))
    assert whole.seeds == (3,)
    assert whole.rungs[0].spread == 0
    assert adapt(FakeEncoder(), colors, replace(options, seeds=(3, 4))).seeds == (3, 4)


def test_a_rung_is_fitted_without_measuring(colors: Path) -> None:
    head = fit_head(FakeEncoder(), colors, "gda", OPTIONS)
    assert (head.method, head.class_names) == ("gda", ("green", "red"))
    with pytest.raises(
        InputError, match="there is no rung 'best' that is a head: it is one of prompt"
    ):
        fit_head(FakeEncoder(), colors, "best", OPTIONS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"templates": "no such set"}, "neither a template"),
        ({"templates": "{} {}"}, "exactly one {}"),
        ({"domain": ""}, "domain must be a word"),
        ({"retention_set": "/nowhere"}, "no such folder"),
    ],
)
def test_wrong_options_are_refused_before_any_image_is_embedded(
    changes: dict[str, Any], message: str, colors: Path
) -> None:
    encoder = FakeEncoder()
    with pytest.raises(InputError, match=message):
        adapt(encoder, colors, replace(OPTIONS, **changes))
    assert encoder.encoded_images == []


def test_test_images_that_are_all_copies_are_refused(colors: Path) -> None:
    lines: list[str] = []
    told = Callbacks(warn=lines.append)
    with pytest.raises(InputError, match="no image to measure on is left"):
        adapt(FakeEncoder(), colors, replace(OPTIONS, test=colors), callbacks=told)


def test_classes_are_said_to_be_missing_on_their_own_side(colors: Path, tmp_path: Path) -> None:
    for name in ("red", "blue"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / name / "0.png")
    message = r"1 \('green'\) only in training, 1 \('blue'\) only in the test"
    with pytest.raises(InputError, match=message):
        adapt(FakeEncoder(), colors, replace(OPTIONS, test=tmp_path))


def test_a_table_without_captions_is_told_of_the_column_of_labels(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("filepath,kind\n0.png,a\n")
    with pytest.raises(InputError, match=r"it has filepath, kind.*\(--label-column\)"):
        adapt(FakeEncoder(), tmp_path / "t.csv", OPTIONS)


def test_wrong_options_are_refused(colors: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one or more different numbers"):
        AdaptationOptions(seeds=())
    with pytest.raises(InputError, match="one or more different numbers"):
        AdaptationOptions(seeds=(1, 1))
    with pytest.raises(InputError, match="shots"):
        AdaptationOptions(shots=0)
    with pytest.raises(InputError, match="must be an Encoder"):
        adapt("starter", colors)  # type: ignore[arg-type]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4), (200 * (name == "a"), 9, 9)).save(tmp_path / name / "0.png")
    with pytest.raises(InputError, match="2 of 2 classes have fewer than two images"):
        adapt(FakeEncoder(), tmp_path, OPTIONS)


def _listed(folder: Path) -> tuple[list[Path], list[str]]:
    images = sorted(path for path in folder.glob("*/*.png"))
    return images, [path.parent.name for path in images]


def test_images_in_a_list_are_worth_what_those_of_a_folder_are(colors: Path) -> None:
    images, labels = _listed(colors)
    seen: list[tuple[str, float]] = []
    options = replace(OPTIONS, baseline=True)
    listed = adapt_images(
        FakeEncoder(), images, labels, options=options,
        on_rung=lambda title, accuracy: seen.append((title, accuracy)),
    )  # fmt: skip
    folder = adapt(FakeEncoder(), colors, options)
    assert [replace(rung, seconds=None) for rung in listed.rungs] == [
        replace(rung, seconds=None) for rung in folder.rungs
    ]
    assert listed.baseline is not None
    assert folder.baseline is not None
    assert listed.baseline.accuracy == folder.baseline.accuracy
    assert listed.recommendation == folder.recommendation
    assert seen == [(rung.title, rung.accuracy) for rung in folder.rungs if not rung.lack]


def test_embeddings_that_are_there_are_taken(colors: Path) -> None:
    images, labels = _listed(colors)
    encoder = FakeEncoder()
    rows = encoder.encode_images(images)
    unread = [path.with_suffix(".gone") for path in images]  # nothing is decoded
    found = adapt_images(encoder, unread, labels, embeddings=rows, options=OPTIONS)
    assert found.num_images == 24
    assert not found.skipped
    again = adapt_images(encoder, [*images, unread[0]], [*labels, "red"], options=OPTIONS)
    assert len(again.skipped) == 1
    assert [rung.accuracy for rung in again.rungs] == [rung.accuracy for rung in found.rungs]


@pytest.mark.parametrize(
    ("labels", "options", "told"),
    [
        (["red"], OPTIONS, "each image needs a label, got 1 for 24 images"),
        (["red"] * 24, OPTIONS, "needs two classes or more, got 1"),
        (["red"] * 23 + ["green"], OPTIONS, "fewer than two images"),
        (["red", "green"] * 12, replace(OPTIONS, last_step=5), "got last_step 5"),
    ],
)
def test_what_cannot_be_adapted_to_is_refused(
    colors: Path, labels: list[str], options: AdaptationOptions, told: str
) -> None:
    images, _ = _listed(colors)
    with pytest.raises(InputError, match=told):
        adapt_images(FakeEncoder(), images, labels, options=options)
    with pytest.raises(InputError, match="23 embeddings for 24 images"):
        adapt_images(
            FakeEncoder(), images, ["red", "green"] * 12,
            embeddings=FakeEncoder().encode_images(images[1:]), options=OPTIONS,
        )  # fmt: skip
