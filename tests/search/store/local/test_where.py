"""Filters as SQL, against the obvious way to apply them."""

import itertools
import time
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipkit.inputs.globs import literal_start, matches_glob
from clipkit.search.filters import IndexFilter
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.records import CatalogMeta, ImageRow
from tests.search.store.slow_filter import meets, moment

META = CatalogMeta("", "space", 2, "", "", "", "", "vectors-1.f16")
NAMES = [
    "a.jpg",
    "in/a.jpg",
    "in/deep/b.png",
    "inn/\udcff.jpg",
    "in/n\u00fc\nx.jpg",
    "\udcff/c.png",
]
DATES = [None, "2023-12-31T23:59:59", "2024-01-01T00:00:00", "2024-06-15T12:30:00", "2024-01-01"]
CAMERAS = [None, "Canon EOS 80D", "NIKON D90", "Zei\u00df \u00c4"]
SIZES = [(None, None), (10, 20), (20, 10), (20, 20)]
NOON = int(datetime(2024, 6, 15, 12, 30).timestamp()) * 10**9  # local time, as people say it


def _images() -> list[ImageRow]:
    kinds = itertools.product(DATES, CAMERAS, SIZES)
    return [
        ImageRow(
            path=f"{number}/{NAMES[number % len(NAMES)]}",
            size=1,
            mtime_ns=NOON + number * 40 * 86400 * 10**9,
            row=number,
            width=size[0],
            height=size[1],
            taken_at=taken,
            camera=camera,
        )
        for number, (taken, camera, size) in enumerate(kinds)
    ]


IMAGES = _images()


@pytest.fixture(scope="module", autouse=True)
def far_from_greenwich() -> Iterator[None]:
    """Dates are local: where local time is that of Greenwich, nobody would see a mistake."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "XXX-5:30")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    path = tmp_path_factory.mktemp("index") / "catalog.sqlite"
    catalog = Catalog.open(path, Path(), create=True)
    assert catalog is not None
    with catalog:
        catalog.write(META, images=IMAGES)
        yield catalog


MOMENTS = st.sampled_from(
    ["2024-01-01", "2024-06-15T12:30:00", "2024-06-15T12:30:01", "2026-01-01"]
)
GLOBS = st.sampled_from(["*.jpg", "in", "**/deep/*", "\udcff*", "1?", "/3/*", "[!0-4]*"])
NAMES_OF_CAMERAS = st.sampled_from(["canon", "D90", "nikon d", "zei\u00df", "\u00c4", "none such"])
WISHES = st.fixed_dictionaries(
    {},
    optional={
        "path": GLOBS,
        "not_path": st.lists(GLOBS, max_size=2),
        "after": MOMENTS,
        "before": MOMENTS,
        "min_width": st.sampled_from([0, 1, 10, 11, 20, 21]),
        "min_height": st.sampled_from([0, 1, 10, 11, 20, 21]),
        "orientation": st.sampled_from(["portrait", "landscape", "square"]),
        "camera": NAMES_OF_CAMERAS,
        "not_camera": st.lists(NAMES_OF_CAMERAS, max_size=2),
    },
)


@given(wanted=WISHES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_filters_are_the_obvious_ones(catalog: Catalog, wanted: dict[str, Any]) -> None:
    expected = [image.row for image in IMAGES if meets(image, wanted)]
    assert catalog.rows("", IndexFilter(**wanted)).tolist() == expected
    inside = [row for row in expected if IMAGES[row].path.startswith("7/")]
    assert catalog.rows("7/", IndexFilter(**wanted)).tolist() == inside


def test_every_wish_is_met_by_some_images_and_not_by_all(catalog: Catalog) -> None:
    """Or the test above would say nothing about it."""
    wishes: dict[str, Any] = {
        "path": "in",
        "after": "2024-01-01",
        "before": "2024-01-01",
        "min_width": 20,
        "min_height": 20,
        "orientation": "square",
        "camera": "canon",
        "not_path": "in",
        "not_camera": "canon",
    }
    for name, value in wishes.items():
        assert 0 < len(catalog.rows("", IndexFilter(**{name: value}))) < len(IMAGES)


@pytest.mark.parametrize(
    ("written", "start"),
    [
        ("2024", "2024-01-01"),
        (2024, "2024-01-01"),
        (np.datetime64("2024-06-15"), "2024-06-15"),
        ("2024-06", "2024-06-01"),
        (" 2024-06-15 ", "2024-06-15"),
        ("2024-06-15T12:30", "2024-06-15T12:30:00"),
        (date(2024, 6, 15), "2024-06-15"),
        (datetime(2024, 6, 15, 12, 30), "2024-06-15T12:30:00"),
    ],
)
def test_a_date_stands_for_its_first_second(catalog: Catalog, written: Any, start: str) -> None:
    after = [image.row for image in IMAGES if moment(image) >= datetime.fromisoformat(start)]
    assert catalog.rows("", IndexFilter(after=written)).tolist() == after
    before = sorted(set(range(len(IMAGES))) - set(after))  # half-open: nothing is lost between
    assert catalog.rows("", IndexFilter(before=written)).tolist() == before


def test_a_glob_is_about_the_folder_that_is_searched(tmp_path: Path) -> None:
    catalog = Catalog.open(tmp_path / "catalog.sqlite", Path(), create=True)
    assert catalog is not None
    paths = ["a.jpg", "caf\udce9/a.jpg", "caf\udce9/in/a.jpg", "caf\udce9/in/b.jpg"]
    with catalog:
        catalog.write(META, images=[ImageRow(path, 1, 1, row) for row, path in enumerate(paths)])
        for pattern, expected in [
            ("a.jpg", [1, 2]),
            ("in/*", [2, 3]),
            ("/a.jpg", [1]),
            ("caf*", []),
        ]:
            found = catalog.rows("caf\udce9/", IndexFilter(path=pattern))
            assert found.tolist() == expected, pattern


PARTS = st.text("abu*?[]/.\udcff\u00fc\u0308", max_size=8)


@given(PARTS, PARTS, st.text("abu/.\udcff\u00fc\u0308", min_size=1, max_size=8))
def test_what_every_match_begins_with_leaves_no_match_out(start: str, end: str, path: str) -> None:
    pattern = start + end
    if matches_glob(path, pattern):
        assert path.startswith(literal_start(pattern))
