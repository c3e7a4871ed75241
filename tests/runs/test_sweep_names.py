"""Values of a sweep as words, and folders named by them."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipkit.errors import InputError
from clipkit.runs.sweep_names import folder_name, parse_sweeps


@pytest.mark.parametrize(
    ("word", "key", "values"),
    [
        ("optimizer.lr=1e-6,1e-5", "optimizer.lr", [1e-6, 1e-5]),
        ("seed=0, 1 ,2", "seed", [0, 1, 2]),
        ("model.lock_image=true,false", "model.lock_image", [True, False]),
        ("loss.kind=infonce,sigmoid", "loss.kind", ["infonce", "sigmoid"]),
        ("data.crop_scale=[0.5, 1.0],[0.9,1.0]", "data.crop_scale", [[0.5, 1.0], [0.9, 1.0]]),
        ('data.templates=["a {}, b"],["c {}"]', "data.templates", [["a {}, b"], ["c {}"]]),
        ('model.base="a,b",starter', "model.base", ["a,b", "starter"]),
        ('data.train={path = "a", weight = 2},b', "data.train", [{"path": "a", "weight": 2}, "b"]),
    ],
)
def test_values_are_what_set_takes(word: str, key: str, values: list[Any]) -> None:
    assert parse_sweeps([word]) == {key: values}


@pytest.mark.parametrize("word", ["optimizer.lr", "optimizer.lr=", "=1", "seed=1,,2", "seed=1,"])
def test_nonsense_is_refused(word: str) -> None:
    with pytest.raises(InputError, match=r"must be KEY=VALUE"):
        parse_sweeps([word])


def test_a_key_comes_once() -> None:
    with pytest.raises(InputError, match="seed is given twice"):
        parse_sweeps(["seed=1", "seed=2"])


def test_keys_keep_their_section_where_they_would_be_one() -> None:
    assert folder_name({"seed": 1, "optimizer.lr": 1e-5}) == "seed=1,lr=1e-05"
    assert folder_name({"a.kind": 1, "b.kind": 2}) == "a.kind=1,b.kind=2"
    assert folder_name({"model.lock_image": True}) == "lock_image=true"


_TEXTS = st.text(max_size=300)
_VALUES = st.one_of(st.floats(allow_nan=False), st.integers(), st.booleans(), _TEXTS) | st.lists(
    st.floats(allow_nan=False) | _TEXTS, max_size=4
)
_SETTINGS = st.dictionaries(
    st.sampled_from(["seed", "optimizer.lr", "model.base", "data.train", "loss.kind", "a.kind"]),
    _VALUES,
    min_size=1,
)


@given(_SETTINGS)
@settings(deadline=None, max_examples=300)
def test_a_name_is_safe_in_every_file_system(swept: dict[str, Any]) -> None:
    name = folder_name(swept)
    assert re.fullmatch(r"[A-Za-z0-9_.+=,-]{1,100}", name), name
    assert Path(name).name == name
    assert name[-1] != "." and name[0] not in ".-"
    assert os.fsencode(name).isascii()


@example("1", 1)
@example("true", True)
@example("ViT", "vit")
@example("1e-05", 1e-5)
@given(_VALUES, _VALUES)
@settings(deadline=None, max_examples=300)
def test_two_values_have_two_names_also_where_capitals_do_not_count(
    first: object, second: object
) -> None:
    names = [folder_name({"model.base": value}).casefold() for value in (first, second)]
    is_one = type(first) is type(second) and repr(first) == repr(second)
    assert (names[0] == names[1]) is is_one


def test_long_names_are_cut_and_differ() -> None:
    many = {f"data.a_long_name_of_a_setting_{number}": 1 for number in range(9)}
    one, two = folder_name(many), folder_name({**many, "data.a_long_name_of_a_setting_8": 2})
    assert (len(one), len(two)) == (100, 100)
    assert one != two
