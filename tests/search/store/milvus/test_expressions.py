"""Filters as expressions: checked by a slow reader of expressions, one image at a time."""

import re
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipkit.search.filters import IndexFilter, Selection
from clipkit.search.store.milvus.expressions import (
    expression_of,
    passes_the_rest,
    paths_expression,
    quoted,
)
from clipkit.search.store.milvus.schema import entity_of
from clipkit.search.store.records import ImageRow
from tests.search.store.slow_filter import passes

PATHS = ["a/1.jpg", "a/b/2.jpg", "ab/3.png", "é/4.jpg", 'a/"5\\".jpg', "a\udcff/6.jpg", "7.jpg"]
CAMERAS = ["Canon EOS", "CANON", "Leica"]
IMAGES = st.builds(
    ImageRow,
    path=st.sampled_from(PATHS),
    size=st.just(1),
    mtime_ns=st.sampled_from([0, 1717243200, 1717243201]).map(lambda second: second * 10**9),
    row=st.just(-1),
    width=st.sampled_from([None, 0, 50, 100]),
    height=st.sampled_from([None, 0, 50, 100]),
    taken_at=st.sampled_from([None, "2024-06-01", "2024-06-01T12:00:00", "2023-01-01T00:00:00"]),
    camera=st.sampled_from([None, *CAMERAS]),
)
MOMENTS = ["2024-01-01T00:00:00", "2024-06-01", "2024-06-01T12:00:01", "1600-01-01", "9999-01-01"]
# One or two conditions at a time: of many, nearly every image fails another one.
VALUES: dict[str, list[Any]] = {
    "path": [
        "*.jpg",
        "a",
        "/a/*",
        "a/b/**",
        "é/*",
        "a/1.jpg",
        "./a/b/",
        "a/",
        "",
        "7.jpg/",
        "**/b/*",
    ],
    "not_path": ["b", ["*.png", "a/1.jpg"], "a/b/*", "/a", "a?/**", "/", "./**"],
    "after": MOMENTS,
    "before": MOMENTS,
    "min_width": [50, 51],
    "min_height": [50],
    "orientation": ["portrait", "landscape", "square"],
    "camera": ["", "canon", "EOS", "Nikon"],
    "not_camera": ["leica", ["eos", "L"], "nikon", ""],
}
CONDITIONS = [(name, value) for name, values in VALUES.items() for value in values]
SELECTIONS = st.builds(
    Selection,
    prefix=st.sampled_from(["", "", "a/", "a/b/", "a\udcff/"]),
    accepted=st.lists(st.sampled_from(CONDITIONS), max_size=2).map(
        lambda chosen: IndexFilter(**dict(chosen))
    ),
    hidden=st.frozensets(st.sampled_from(PATHS), max_size=2),
)


@given(image=IMAGES, where=SELECTIONS, knows_cameras=st.booleans())
@settings(max_examples=1000)
def test_an_expression_passes_what_the_filter_does(
    image: ImageRow, where: Selection, *, knows_cameras: bool
) -> None:
    expression, is_exact = expression_of(where, CAMERAS if knows_cameras else None)
    is_asked = _holds(expression, image)
    rest = passes_the_rest(image.path, image.camera or "", where)
    assert (is_asked and rest) == passes(image, where)
    if is_exact:
        assert is_asked == passes(image, where)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (Selection(), ""),
        (Selection("a/"), '(path >= "a/") and (path < "a0")'),
        (
            Selection(accepted=IndexFilter(path="trips/2*/x")),
            '(path >= "trips/2") and (path < "trips/3")',
        ),
        (Selection(accepted=IndexFilter(min_width=5)), "(width >= 5)"),
        (
            Selection("x/", IndexFilter(path="2019/june", not_path="/raw/**")),
            '(path >= "x/") and (path < "x0") and (path == "x/2019/june" or (path >= "x/2019/june/"'
            ' and path < "x/2019/june0")) and (not (path >= "x/raw/" and path < "x/raw0"))',
        ),
        (Selection(accepted=IndexFilter(camera="x")), '(camera != "")'),
        (Selection(hidden=frozenset({"b", "a"})), '(path not in ["a", "b"])'),
    ],
)
def test_what_a_server_is_asked(where: Selection, expected: str) -> None:
    assert expression_of(where).text == expected


def test_cameras_that_are_known_are_asked_for_by_name() -> None:
    where = Selection(accepted=IndexFilter(camera="canon", not_camera="eos"))
    assert expression_of(where, CAMERAS) == (
        '(camera in ["CANON", "Canon EOS"]) and (camera not in ["Canon EOS"])',
        True,
    )
    assert not expression_of(where).is_exact


def test_texts_are_quoted() -> None:
    assert quoted('a"b\\c\nd\re') == '"a\\"b\\\\c\\nd\\re"'
    assert paths_expression(["a", "b\udcff"]) == 'path in ["a", "b\x01dcff"]'


def _holds(expression: str, image: ImageRow) -> bool:
    """Return whether an expression holds for an image: Python reads nearly the same language."""
    values: dict[str, Any] = entity_of(image, [])  # type: ignore[arg-type]
    code = re.sub(r"\s+", " ", expression) or "True"
    return bool(eval(code, {"__builtins__": {}}, values))  # our own expressions


def test_a_moment_is_local_time() -> None:
    where = Selection(accepted=IndexFilter(after="2024-06-01T12:00"))
    start = int(datetime(2024, 6, 1, 12).timestamp()) * 10**9
    assert f"mtime_ns >= {start}" in expression_of(where).text
