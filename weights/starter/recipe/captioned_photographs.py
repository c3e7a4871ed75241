"""Photographs, paintings and scanned pages of registry packages, captioned by hand for training.

The captions are those of photograph_captions.txt; the packages, pinned with their licences, are
those of training_packages.txt.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recipe.packages import Cache, Package, RecipeError, read_pin
from recipe.picture import Picture

CAPTION_FILE = Path(__file__).with_name("photograph_captions.txt")
PACKAGE_FILE = Path(__file__).with_name("training_packages.txt")


def read_training_packages(file: Path = PACKAGE_FILE) -> list[Package]:
    """Return the packages that the captioned pictures come from.

    Raises:
        RecipeError: If a line is not a registry, a name, a version, a file name, a SHA-256 and a
            licence, with a bar before the credit.
    """
    packages = []
    for number, line in _content(file):
        pin, _, _credit = line.partition(" | ")
        package = read_pin(pin, "training")
        if package is None:
            raise RecipeError(
                f"{file.name}, line {number}: {line!r} is not 'registry name version file SHA-256 "
                "licence | credit'"
            )
        packages.append(package)
    return packages


def fetch_captioned_photographs(cache: Cache) -> None:
    """Download, check and unpack every package; do nothing for those that are there.

    Raises:
        RecipeError: If a registry's client fails or a file has another SHA-256.
    """
    for package in read_training_packages():
        cache.fetch(package)


def read_captioned_photographs(
    cache: Cache, file: Path = CAPTION_FILE, packages: Sequence[Package] | None = None
) -> list[Picture]:
    """Return the pictures with their captions, in the order of the file.

    Args:
        cache: Where the packages have been unpacked.
        file: Lines of ``package path | caption; caption``.
        packages: The packages that the lines may name, by default those of PACKAGE_FILE.

    Raises:
        RecipeError: If a line has no caption, or names an unknown package or a missing file.
    """
    known = read_training_packages() if packages is None else packages
    folders = {package.name: cache.folder(package) for package in known}
    pictures = []
    for number, line in _content(file):
        place, _, said = line.partition(" | ")
        name, _, inside = place.partition(" ")
        captions = tuple(caption.strip() for caption in said.split(";"))
        if not all(captions):
            raise RecipeError(
                f"{file.name}, line {number}: {line!r} needs a bar and captions with ';' between"
            )
        if name not in folders:
            raise RecipeError(
                f"{file.name}, line {number}: {name!r} is not pinned in {PACKAGE_FILE.name}"
            )
        path = folders[name] / inside
        if not path.is_file():
            raise RecipeError(
                f"{file.name}, line {number}: there is no {path}; fetch {name} or correct the line"
            )
        pictures.append(
            Picture(
                path,
                captions,
                concept=f"photograph {name} {inside}",  # no two pictures show the same thing
                split="train",
                category="photograph",
                is_photograph=True,
            )
        )
    return pictures


def _content(file: Path) -> list[tuple[int, str]]:
    """Return the lines that say something, each with its number."""
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
    return [(number, line) for number, line in lines if line and not line.startswith("#")]
