"""Options of an evaluation that do not go together, and the split of a folder."""

from pathlib import Path
from typing import Any

import pytest

from clipkit.errors import InputError
from clipkit.evaluation.options import EvaluationOptions, in_split, task_of
from tests.fakes import save_image


@pytest.mark.parametrize(
    ("given", "task"),
    [
        ({}, "auto"),
        ({"queries": "q.json"}, "search"),
        ({"queries": "q.json", "task": "search"}, "search"),
        ({"train": "t", "shots": 3}, "probe"),
        ({"task": "probe", "label_column": "x"}, "probe"),
        ({"templates": ["photo"]}, "auto"),
    ],
)
def test_the_task_is_what_the_options_say(given: dict[str, Any], task: str) -> None:
    assert task_of(EvaluationOptions(**given)) == task


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "x"}, "task must be one of"),
        ({"task": "search"}, "--queries FILE"),
        ({"task": "classification", "queries": "q"}, 'got queries and the task "classification"'),
        ({"task": "search", "train": "t"}, 'got train and the task "search"'),
        ({"queries": "q", "train": "t"}, "got queries and train"),
        ({"shots": 3}, "shots is for a probe"),
        ({"templates": ("photo",), "queries": "q"}, "templates is for classification"),
        ({"templates": ("photo",), "train": "t"}, "templates is for classification"),
        ({"label_column": "x", "task": "retrieval"}, "label_column is for classification"),
        ({"templates": "photo"}, "put it in a list"),
        ({"calibrate": True, "task": "search"}, "a calibration is of"),
    ],
)
def test_an_option_without_effect_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        task_of(EvaluationOptions(**given))


def test_a_split_is_a_folder_or_refused(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            save_image(tmp_path / split / name / "1.png", (9, 9, 9))
    for name, split in (("train", "train"), ("val", "validation"), ("validation", "validation")):
        found = in_split(str(tmp_path), EvaluationOptions(split=name))
        assert found.layout.split == split
    usual = EvaluationOptions()
    assert in_split(str(tmp_path), usual) == usual
    for path, split in ((tmp_path, "x"), (tmp_path / "train", "train"), (tmp_path / "no", "train")):
        with pytest.raises(InputError, match=f'has no split "{split}"'):
            in_split(str(path), EvaluationOptions(split=split))
