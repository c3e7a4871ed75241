"""The sets for few-shot measurements: what is in which half, and what is read. No network."""

import importlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from tests.benchmarks.clip_data import write_clip_data

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _scripts() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))  # its files import each other as scripts do
        yield


def module(name: str) -> Any:
    return importlib.import_module(name)


@given(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=40))
def test_a_kind_is_in_one_half_and_the_halves_are_alike(kinds: list[str]) -> None:
    halves = module("few_shot_folders").halves(kinds)
    assert len(set(zip(kinds, halves, strict=True))) == len(set(kinds))
    sizes = Counter(halves)
    assert abs(sizes["train"] - sizes["test"]) <= max(Counter(kinds).values())
    assert module("few_shot_folders").halves(kinds[::-1]) == halves[::-1]


def test_images_that_share_a_word_through_others_are_of_one_kind() -> None:
    words = [{"hen"}, {"lion", "sea"}, {"lion"}, {"sea", "otter"}, {"cat"}]
    hen, sea_lion, lion, otter, cat = module("few_shot_folders").join_kinds(words)
    assert sea_lion == lion == otter
    assert len({hen, lion, cat}) == 3


@pytest.mark.parametrize(
    ("name", "kind"),
    [("Rice, raw, brown", "rice"), ("Brinjal 12", "brinjal"), ("Gauva, pink flesh", "guava")],
)
def test_the_kind_of_a_food_is_its_first_word(name: str, kind: str) -> None:
    assert module("few_shot_photos").food_kind(name) == kind


@pytest.mark.parametrize(
    ("code", "group"),
    [("E004", "fruit"), ("S002", "fish"), ("S008", "shellfish"), ("R001", "shellfish")],
)
def test_foods_have_the_group_of_their_code(code: str, group: str) -> None:
    assert module("few_shot_photos").food_group(code) == group


def test_foods_of_small_groups_are_left_out() -> None:
    assert module("few_shot_photos").food_group("K001") is None  # drinks: there are two


def test_no_more_than_four_of_a_kind_are_kept() -> None:
    foods = [("brinjal", number) for number in range(6)] + [("okra", 6)]
    kept = module("few_shot_photos").few_of_a_kind(foods)
    assert [food for _, food in kept] == [0, 1, 2, 3, 6]


def test_digits_are_dark_on_white_and_halved_in_their_order(tmp_path: Path) -> None:
    module("few_shot_photos").make_digits(tmp_path)
    target = load_digits().target
    for half, labels in (("train", target[:898]), ("test", target[898:])):
        numbers = {path.parent.name: 0 for path in (tmp_path / half).glob("*/*")}
        for path in (tmp_path / half).glob("*/*"):
            numbers[path.parent.name] += 1
        expected = np.bincount(labels).tolist()
        assert [numbers[name] for name in module("few_shot_photos").DIGITS] == expected
    with Image.open(tmp_path / "train" / "zero" / "0000.png") as image:  # the first is a zero
        pixels = np.asarray(image)
    assert pixels.shape == (64, 64)
    assert pixels[0, 0] == 255
    assert pixels.min() < 40
    assert (tmp_path / "CARD.md").is_file()


def test_sets_without_a_card_are_made_anew_and_others_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets, made = module("few_shot_sets"), []

    def make(directory: Path, **_: Any) -> None:
        made.append(directory.name)
        (directory / "train" / "cat").mkdir(parents=True)
        (directory / "CARD.md").touch()

    for name in ("make_digits", "make_foods", "make_solar_cells"):
        monkeypatch.setattr(sets, name, make)
    monkeypatch.setattr(sets, "_draw", lambda workplace, name, directory: make(directory))
    workplace = module("workplace").Workplace(tmp_path)
    half_made = tmp_path / "few_shot" / "foods" / "train" / "dog"
    half_made.mkdir(parents=True)
    first = sets.make_image_sets(workplace)
    assert made == [
        "emoji", "digits", "stamps", "foods", "solar cells", "solar cells of all modules",
    ]  # fmt: skip
    assert not half_made.exists()
    assert sets.make_image_sets(workplace) == first
    assert len(made) == 6
    assert first[3].class_names == ["cat"]


@pytest.fixture
def embedded(tmp_path: Path) -> dict[str, Any]:
    write_clip_data(tmp_path)
    return {one.name: one for one in module("few_shot_embeddings").read_embedded_sets(tmp_path)}


def test_all_embeddings_have_norm_one_and_every_class_a_text(embedded: dict[str, Any]) -> None:
    for one in embedded.values():
        for rows in (one.images, one.texts, one.ensemble_texts):
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
        assert len(one.texts) == len(one.ensemble_texts) == len(one.class_names)
        assert len(one.images) == len(one.labels)


def test_of_coco_photographs_of_one_class_that_others_show_too_are_left(
    embedded: dict[str, Any],
) -> None:
    coco = embedded["COCO, one class"]
    assert coco.class_names == ["bird", "dog"]
    assert coco.labels.tolist() == [0, 1, 0, 1]


def test_folders_of_several_things_are_left_out(embedded: dict[str, Any]) -> None:
    folders = embedded["four folders"]
    named: NDArray[np.str_] = np.array(folders.class_names)[folders.labels]
    assert named.tolist() == ["cat", "bicycle", "car", "dog"]


def test_prototypes_are_learnt_from_and_never_measured_on(embedded: dict[str, Any]) -> None:
    images, prototypes = embedded["CIFAR-10"], embedded["CIFAR-10 from LVIS"]
    assert prototypes.train.tolist() == list(range(10)) == prototypes.labels[:10].tolist()
    np.testing.assert_array_equal(prototypes.images[10:], images.images)
    assert prototypes.accuracy(prototypes.texts) == images.accuracy(images.texts)
    assert prototypes.accuracy(prototypes.images[:10]) == 1  # each image is of its prototype
