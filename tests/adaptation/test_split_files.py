"""Splits as files in CoOp's form: read, written, and refused where they are of another one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipkit.adaptation.split_files import read_split_file, split_file_text
from clipkit.adaptation.splits import Split
from clipkit.errors import InputError

ENTRIES: dict[str, Any] = {
    "train": [["a/1.png", 0, "tabby cat"], ["b/1.png", 1, "dog"]],
    "val": [["a/3.png", 0, "tabby cat"]],
    "test": [["b/2.png", 1, "dog"], ["a/2.png", 0, "tabby cat"]],
}


def read(tmp_path: Path, content: object) -> Any:
    path = tmp_path / "split.json"
    path.write_text(json.dumps(content))
    return read_split_file(path, tmp_path / "images")


def test_a_published_split_is_read_without_its_validation_images(tmp_path: Path) -> None:
    train, test = read(tmp_path, ENTRIES)
    assert train.class_names == test.class_names == ("tabby cat", "dog")
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1], [1, 0])
    assert test.dataset[0].image == tmp_path / "images" / "b" / "2.png"
    assert test.dataset.local_name(1) == "a/2.png"


def test_a_split_that_was_written_is_read_again(tmp_path: Path) -> None:
    paths, labels = ["x.png", "y ü.png", "z.png", "w.png"], [0, 1, 1, 0]
    split = Split(0, np.array([0, 2]), np.array([1, 3]))
    text = split_file_text(split, paths, labels, ["cat", "dog"])
    train, test = read(tmp_path, json.loads(text))
    assert [train.dataset.local_name(row) for row in range(2)] == ["x.png", "z.png"]
    assert [test.dataset.local_name(row) for row in range(2)] == ["y ü.png", "w.png"]
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1], [1, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": []}, "needs training and test images"),
        ({"test": []}, "needs training and test images"),
        ({"train": {}}, '"train" must be a list'),
        ({"train": [["a.png", 0]]}, "holds \\['a.png', 0\\]"),
        ({"train": [["a.png", "0", "cat"]]}, "holds"),
        ({"train": [["a.png", True, "cat"]]}, "holds"),
        ({"train": [["", 0, "cat"]]}, "holds"),
        ({"train": [["a.png", 5, "cat"]]}, "labels that count from 0"),
        ({"train": [["a.png", 0, "lion"]]}, 'calls class 0 both "lion" and "tabby cat"'),
    ],
)
def test_other_forms_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, {**ENTRIES, **change})


def test_what_is_no_json_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read(tmp_path, [])
    with pytest.raises(InputError, match="cannot be read"):
        read_split_file(tmp_path / "gone.json", tmp_path)
