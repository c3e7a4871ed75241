"""Filters as visitors choose them, and what there is to choose from."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')

import gradio as gr

import clipkit
from clipkit.demo.search_filters import places_of, read_filters


def filters(**chosen: Any) -> clipkit.FilterOptions:
    days = (chosen.pop("first", ""), chosen.pop("last", ""))
    unset = {"place": "", "camera": "", "side": 0, "shape": ""}
    return read_filters(days, **{**unset, **chosen})


@pytest.mark.parametrize(
    ("text", "first", "after"),
    [
        ("2024", date(2024, 1, 1), date(2025, 1, 1)),
        ("2024-12", date(2024, 12, 1), date(2025, 1, 1)),
        (" 2024-02 ", date(2024, 2, 1), date(2024, 3, 1)),
        ("2024-02-28", date(2024, 2, 28), date(2024, 2, 29)),
        ("2023-12-31", date(2023, 12, 31), date(2024, 1, 1)),
    ],
)
def test_a_day_a_month_and_a_year_begin_and_end(text: str, first: date, after: date) -> None:
    assert filters(first=text, last=text) == {"after": first, "before": after}


@pytest.mark.parametrize("text", ["2023-02-29", "24", "2024-1", "0000", "9999", "soon", "٢٠٢٤"])
def test_what_is_no_day_is_told(text: str) -> None:
    with pytest.raises(gr.Error, match="as in 2024-06-01, 2024-06 or 2024, got"):
        filters(last=text)


def test_nothing_chosen_is_no_filter_and_the_rest_is_as_the_library_has_it() -> None:
    assert read_filters((None, None), None, None, None, None) == {}
    assert filters(place="/a[1]/b/", camera=" Nikon ", side=640, shape="square") == {
        "path": "/a[[]1]/b", "camera": "Nikon", "min_width": 640, "min_height": 640,
        "orientation": "square",
    }  # fmt: skip
    for wrong in ({"side": -1}, {"side": 1e300}, {"place": "a" * 501}, {"camera": "a" * 501}):
        with pytest.raises(gr.Error):
            filters(**wrong)


def test_folders_and_cameras_are_offered_as_far_as_they_can_be_shown() -> None:
    folder = Path("/photos")
    images = [
        clipkit.LibraryImage(folder / path, camera=camera)
        for path, camera in (
            ("a.jpg", None), ("trips/rome/b.jpg", "Nikon"), ("trips/c.jpg", "Canon"),
            ("x\udcff/d.jpg", "Nikon"), ("line\nbreak/e.jpg", "\x1b"),
        )
    ]  # fmt: skip
    assert places_of(images, folder) == (["trips", "trips/rome"], ["Canon", "Nikon"])
