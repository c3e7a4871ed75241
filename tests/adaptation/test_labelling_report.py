"""The report of what to label: its reasons, its sentences and the table."""

import csv
import dataclasses
import json
from pathlib import Path

import pytest

from clipkit.adaptation.labelling_report import ImageToLabel, LabellingReport

REPORT = LabellingReport(
    model="fake",
    folder="photos",
    data="pets",
    images=(
        ImageToLabel("photos/a, b.jpg", (("cat", 0.512), ("dog", 0.3)), 3),
        ImageToLabel("photos/c.jpg", (("dog", 0.9991), ("cat", 0.0009)), 1),
    ),
    class_names=("cat", "dog", "cow"),
    without_labels=("cow",),
    num_asked=2,
    num_labelled=1,
    num_without_file=0,
    num_unlabelled=9,
    num_already_labelled=0,
    confidence=0.75,
    labelled_files=((Path("pets/cat/1.jpg"), "cat"),),
)


def test_reasons_are_the_likely_classes_and_what_is_alike() -> None:
    reasons = [image.reason for image in REPORT.images]
    assert reasons == ["cat 51%, dog 30%; like 2 others", "dog 100%; like no other"]
    assert REPORT.images[0]._replace(num_like=2).reason.endswith("; like 1 other")


def test_json_holds_all_but_the_labelled_files() -> None:
    found = json.loads(json.dumps(REPORT.to_dict()))
    assert found["images"][0] == {
        "path": "photos/a, b.jpg",
        "likely": [{"label": "cat", "score": 0.512}, {"label": "dog", "score": 0.3}],
        "num_like": 3,
    }
    names = {field.name for field in dataclasses.fields(REPORT)} - {"labelled_files"}
    assert set(found) == names


def test_the_table_names_files_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [*csv.DictReader(REPORT.table("labels.csv").splitlines())]
    assert [row["filepath"] for row in rows] == [
        "pets/cat/1.jpg",
        "photos/a, b.jpg",
        "photos/c.jpg",
    ]
    assert [row["label"] for row in rows] == ["cat", "", ""]
    assert rows[1]["likely"] == "cat 51%, dog 30%; like 2 others"
    rows = [*csv.DictReader(REPORT.table("photos/labels.csv").splitlines())]
    assert [row["filepath"] for row in rows] == [f"{tmp_path}/pets/cat/1.jpg", "a, b.jpg", "c.jpg"]


def test_sentences_say_what_is_missing_and_what_was_left_out() -> None:
    assert [*REPORT.sentences()] == ["no image is labelled yet as 'cow'"]
    none = dataclasses.replace(REPORT, num_labelled=0)
    assert [*none.sentences()] == []  # it goes without saying
    fewer = dataclasses.replace(REPORT, num_asked=5, without_labels=())
    assert [*fewer.sentences()] == [
        "2 images and not 5: to the model the others are the same as these"
    ]
    all_there = dataclasses.replace(fewer, num_unlabelled=2, num_already_labelled=4)
    assert [*all_there.sentences()] == [
        "2 images and not 5: there are no more",
        "4 images of photos are labelled already, or to the model the same as labelled ones",
    ]
    sure = dataclasses.replace(REPORT, confidence=0.8, without_labels=())
    (line,) = sure.sentences()
    assert line.startswith("the model is sure of most of the images (80% on average): ")
    many = dataclasses.replace(REPORT, num_unlabelled=10_000, without_labels=())
    (line,) = many.sentences()
    assert line.startswith("chosen from 4,096 of 10,000 unlabelled images")
