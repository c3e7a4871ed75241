"""The fixed held-out benchmarks: which pictures, which queries, which answers are right.

All pictures of the benchmarks form one list of jobs; a benchmark refers to them by row number.
Splits are by concept and were fixed before anything was tuned.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipe import stamps
from recipe.clipart import read_clipart
from recipe.composites import Backgrounds, ObjectSize, paste_on_background
from recipe.emoji import read_benchmark_emoji
from recipe.foods import food_labels, read_foods
from recipe.gcompris import read_gcompris
from recipe.packages import Cache
from recipe.photographs import read_photographs
from recipe.picture import Picture
from recipe.trunk import ImageJob

COMPOSITES_PER_STAMP = 4
_COMPOSITE_SIZE = 320  # pixels; the tower resizes it to its own size
_COMPOSITE_OBJECTS = ObjectSize(0.55, 0.95)

# Backgrounds of the composites: evaluation only, no training picture comes from these packages.
_WALLPAPERS = {
    "lomiri-wallpapers-16.04": (
        "usr/share/backgrounds",
        "Bridge_by_Sander_Klootwijk Picture_0B_by_freespace Picture_1A_by_freespace "
        "aitzgorri_by_Aitzol_Berasategi free_by_Peter_Nerlich greentock_by_Peter_Nerlich "
        "life_by_Aitzol_Berasategi picosdeeuropa_by_Aitzol_Berasategi "
        "seeding_by_Clements_Engelhardt sunset_by_Aitzol_Berasategi umang_by_Abhishek_Mudgal",
        ".jpg",
    ),
    "ukui-wallpapers": ("usr/share/backgrounds", "calla city desert rollpaper", ".png"),
    "mate-backgrounds": (
        "usr/share/backgrounds/mate/nature",
        "Aqua Dune Garden GreenMeadow RainDrops Storm Wood",
        ".jpg",
    ),
}

# Everyday queries and the folders of the collections that answer them: stamps/<folder> with all
# its subfolders, foods/<first letter of the food table's code>.
CATEGORY_QUERIES: dict[str, tuple[str, ...]] = {
    "birds": ("stamps/animals/birds",),
    "fish": ("stamps/animals/fish", "foods/P", "foods/S"),
    "insects": ("stamps/animals/insects",),
    "mammals": ("stamps/animals/mammals",),
    "cattle": ("stamps/animals/mammals/bovines",),
    "rodents": ("stamps/animals/mammals/rodents",),
    "fruit": ("stamps/food/fruit", "foods/E"),
    "vegetables": ("stamps/food/vegetables", "foods/C", "foods/D", "foods/F"),
    "nuts": ("stamps/food/nuts", "foods/H"),
    "spices": ("stamps/food/spices", "foods/G"),
    "flowers": ("stamps/plants/flowers",),
    "trees": ("stamps/plants/trees",),
    "mushrooms": ("stamps/plants/mushrooms", "foods/J"),
    "musical instruments": ("stamps/hobbies/music",),
    "tools": ("stamps/household/tools",),
    "vehicles": ("stamps/vehicles", "stamps/military/vehicles"),
    "road signs": ("stamps/town/roadsigns",),
    "planets": ("stamps/space/planets",),
    "clothes": ("stamps/clothes",),
}


@dataclass(frozen=True)
class Retrieval:
    """Find a picture by its caption; several pictures may carry the same caption."""

    name: str
    rows: tuple[int, ...]
    captions: tuple[str, ...]  # of each row


@dataclass(frozen=True)
class Classification:
    """Name a picture out of a list of names; the score is the mean over classes."""

    name: str
    rows: tuple[int, ...]
    labels: tuple[int, ...]  # of each row, into class_names
    class_names: tuple[str, ...]
    scored_classes: tuple[int, ...]  # the classes that count; the others are only wrong answers


@dataclass(frozen=True)
class CategorySearch:
    """Rank all photographs for an everyday category word."""

    name: str
    rows: tuple[int, ...]
    relevant: dict[str, frozenset[int]]  # query: positions in ``rows``


Benchmark = Retrieval | Classification | CategorySearch


@dataclass(frozen=True)
class BenchmarkSuite:
    """Every benchmark and the pictures they share."""

    jobs: tuple[ImageJob, ...]
    benchmarks: tuple[Benchmark, ...]


class _Rows:
    """Collects the jobs and hands out their row numbers."""

    def __init__(self) -> None:
        self.jobs: list[ImageJob] = []

    def add(self, pictures: Sequence[Picture]) -> tuple[int, ...]:
        first = len(self.jobs)
        self.jobs.extend(picture_job(picture) for picture in pictures)
        return tuple(range(first, len(self.jobs)))


def picture_job(picture: Picture) -> ImageJob:
    """Return the job that loads a picture as it is."""
    return ImageJob("/".join(picture.path.parts[-5:]), picture.load)


def build_suite(cache: Cache) -> BenchmarkSuite:
    """Return the fixed benchmarks in the order of the table's columns."""
    rows = _Rows()
    all_stamps = stamps.read_stamps(cache)
    photographs = [stamp for stamp in all_stamps if stamp.is_photograph]
    photograph_rows = rows.add(photographs)
    held_out = [i for i, stamp in enumerate(photographs) if stamp.split == "test"]
    drawings = [s for s in all_stamps if not s.is_photograph and s.split == "test"]
    foods = read_foods(cache)
    food_rows = rows.add(foods)
    singles = read_photographs(cache)
    single_rows = rows.add(singles)
    google, openmoji = (read_benchmark_emoji(cache, vendor) for vendor in ("google", "openmoji"))
    clipart = [picture for picture in read_clipart(cache) if picture.split == "test"]
    short_names = [stamps.short_name(stamp) for stamp in photographs]
    composites = _composite_jobs(cache, photographs, short_names)
    first_composite = len(rows.jobs)
    rows.jobs.extend(composites)
    return _assemble(
        rows,
        (
            *_tux60(photograph_rows, short_names, first_composite),
            Retrieval(
                "tuxT photo",
                tuple(photograph_rows[i] for i in held_out),
                tuple(photographs[i].captions[0] for i in held_out),
            ),
            Retrieval("tux430", photograph_rows, tuple(s.captions[0] for s in photographs)),
            *_food_benchmarks(food_rows, foods),
            _one_of_each("misc38", single_rows, singles),
            _category_search(
                (*photograph_rows, *food_rows, *single_rows), [*photographs, *foods, *singles]
            ),
            _retrieval("tuxT drawing", rows, drawings),
            _retrieval("emoji-g", rows, google),
            _retrieval("emoji-o", rows, openmoji),
            _retrieval("clip", rows, clipart),
        ),
    )


def build_validation(cache: Cache) -> BenchmarkSuite:
    """Return the photographs that settings and the logit scale are chosen on."""
    pictures = read_gcompris(cache)
    names = tuple(dict.fromkeys(picture.concept for picture in pictures))
    rows = _Rows()
    benchmark = Classification(
        "gcompris",
        rows.add(pictures),
        tuple(names.index(picture.concept) for picture in pictures),
        names,
        tuple(range(len(names))),
    )
    return _assemble(rows, (benchmark,))


def _assemble(rows: _Rows, benchmarks: tuple[Benchmark, ...]) -> BenchmarkSuite:
    return BenchmarkSuite(tuple(rows.jobs), benchmarks)


def _retrieval(name: str, rows: _Rows, pictures: Sequence[Picture]) -> Retrieval:
    return Retrieval(name, rows.add(pictures), tuple(picture.captions[0] for picture in pictures))


def _tux60(
    photograph_rows: Sequence[int], short_names: Sequence[str | None], first_composite: int
) -> tuple[Classification, Classification]:
    """Return tux60 on photographic backgrounds and on white."""
    names = tuple(name for name in stamps.SHORT_NAMES if name in short_names)
    named = [i for i, name in enumerate(short_names) if name is not None]
    labels = tuple(names.index(short_names[i] or "") for i in named)
    every_class = tuple(range(len(names)))
    num_composites = len(named) * COMPOSITES_PER_STAMP
    return (
        Classification(
            "tux60-bg",
            tuple(range(first_composite, first_composite + num_composites)),
            tuple(label for label in labels for _ in range(COMPOSITES_PER_STAMP)),
            names,
            every_class,
        ),
        Classification(
            "tux60 white", tuple(photograph_rows[i] for i in named), labels, names, every_class
        ),
    )


def _composite_jobs(
    cache: Cache, photographs: Sequence[Picture], short_names: Sequence[str | None]
) -> list[ImageJob]:
    paths = [
        cache.package_folder(package) / folder / (name + ending)
        for package, (folder, names, ending) in _WALLPAPERS.items()
        for name in names.split()
    ]
    opened: list[Backgrounds] = []  # decoded at the first use: features may be cached

    def backgrounds() -> Backgrounds:
        if not opened:
            opened.append(Backgrounds(paths))
        return opened[0]

    def job(path: Path, identity: str) -> ImageJob:
        return ImageJob(
            identity,
            lambda: paste_on_background(
                path,
                backgrounds(),
                random.Random(identity),
                size=_COMPOSITE_SIZE,
                object_size=_COMPOSITE_OBJECTS,
            ),
        )

    return [
        job(stamp.path, f"tux60-bg {stamp.category}/{stamp.path.name} {repetition}")
        for stamp, name in zip(photographs, short_names, strict=True)
        if name is not None
        for repetition in range(COMPOSITES_PER_STAMP)
    ]


def _food_benchmarks(
    food_rows: Sequence[int], foods: Sequence[Picture]
) -> tuple[Classification, Classification]:
    """Return naming among 85 foods, scored on foods with and without an ImageNet-1k class."""
    labels = food_labels()
    names = sorted({label.name for label in labels.values()})
    labelled = [i for i, food in enumerate(foods) if food.category in labels]
    rows = tuple(food_rows[i] for i in labelled)
    numbers = tuple(names.index(labels[foods[i].category].name) for i in labelled)
    seen = frozenset(names.index(label.name) for label in labels.values() if label.is_seen)

    def scored(name: str, keep: Callable[[int], bool]) -> Classification:
        classes = tuple(sorted({number for number in numbers if keep(number)}))
        return Classification(name, rows, numbers, tuple(names), classes)

    return (
        scored("food seen", lambda number: number in seen),
        scored("food unseen", lambda number: number not in seen),
    )


def _one_of_each(name: str, rows: tuple[int, ...], pictures: Sequence[Picture]) -> Classification:
    every_class = tuple(range(len(pictures)))
    class_names = tuple(picture.concept for picture in pictures)
    return Classification(name, rows, every_class, class_names, every_class)


def _category_search(rows: tuple[int, ...], pictures: Sequence[Picture]) -> CategorySearch:
    places = [
        f"foods/{picture.category[0]}/"
        if picture.category[1:].isdigit()
        else f"stamps/{picture.category}/"
        for picture in pictures
    ]
    relevant = {
        query: frozenset(
            position
            for position, place in enumerate(places)
            if place.startswith(tuple(folder + "/" for folder in folders))
        )
        for query, folders in CATEGORY_QUERIES.items()
    }
    return CategorySearch("P@10", rows, relevant)
