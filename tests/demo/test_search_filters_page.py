"""Filters and orders on the page: what they leave of a folder whose images are known."""

from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from tests.conftest import SAMPLES
from tests.demo.conftest import WARNINGS, served, watched

client = pytest.importorskip("gradio_client", reason="the API is called by gradio_client")

pytestmark = [pytest.mark.slow, *WARNINGS]

TAKEN, IFD, MAKER = 36867, 34665, 271  # tags of EXIF
# By path: a sample, when it was taken, what with, and its size.
IMAGES = {
    "2023/rome/colosseum.jpg": ("colosseum", "2023:06:30 23:59:59", "Nikon", (900, 600)),
    "2023/owl.jpg": ("owl", "2023:07:01 00:00:00", "Canon", (600, 900)),
    "2024/cat.jpg": ("cat", "2024:02:29 12:00:00", "Nikon", (700, 700)),
    "castle.jpg": ("castle", "2024:12:31 12:00:00", None, (400, 300)),
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("own") / "images"
    for path, (name, taken, maker, size) in IMAGES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif.get_ifd(IFD)[TAKEN] = taken
        if maker:
            exif[MAKER] = maker
        with Image.open(SAMPLES / f"{name}.jpg") as image:
            image.resize(size).save(folder / path, exif=exif)
    with served(folder, tmp_path_factory.mktemp("home")) as address:
        yield address


@pytest.mark.parametrize("query", ["", "a photo"])
@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ({"date_from": "2023-07"}, {"owl", "cat", "castle"}),
        ({"date_to": "2023-06"}, {"colosseum"}),
        ({"date_from": "2024-02-29", "date_to": "2024-02-29"}, {"cat"}),
        ({"folder": "2023"}, {"colosseum", "owl"}),
        ({"folder": "2023/rome"}, {"colosseum"}),
        ({"camera": "nikon"}, {"colosseum", "cat"}),
        ({"size": 640}, {"cat"}),
        ({"shape": "portrait"}, {"owl"}),
        ({"shape": "square"}, {"cat"}),
        ({"shape": "landscape", "folder": "2023"}, {"colosseum"}),
        ({"folder": "rome"}, set()),
    ],
)
def test_filters_hold_for_the_library_and_for_words(
    address: str, query: str, chosen: dict[str, Any], names: set[str]
) -> None:
    found = client.Client(address, verbose=False).predict(query, 24, api_name="/search", **chosen)
    assert {item["name"] for item in found["images"]} == names
    total = len(IMAGES)
    among = f"{len(names)} of {total} images"
    assert (among if names else f"None of {total} images passes the filters") in found["told"]


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("best", ["castle", "cat", "owl", "colosseum"]),  # a listing has no best: the newest first
        ("newest", ["castle", "cat", "owl", "colosseum"]),
        ("oldest", ["colosseum", "owl", "cat", "castle"]),
        ("name", ["castle", "cat", "colosseum", "owl"]),
        ("largest", ["owl", "colosseum", "cat", "castle"]),  # the first two alike: by their paths
    ],
)
def test_the_library_is_listed_in_each_order(address: str, sort: str, names: list[str]) -> None:
    found = client.Client(address, verbose=False).predict("", 24, api_name="/search", sort=sort)
    assert [item["name"] for item in found["images"]] == names


def test_in_another_order_what_is_not_found_is_left_out(address: str) -> None:
    visitor = client.Client(address, verbose=False)
    assert len(visitor.predict("a cat", 24, api_name="/search")["images"]) == len(IMAGES)
    oldest = visitor.predict("a cat", 24, api_name="/search", sort="oldest")
    assert [item["name"] for item in oldest["images"]] == ["cat"]
    assert oldest["told"] == "Found 1 among 4 images, oldest first."
    nothing = visitor.predict("a submarine", 24, api_name="/search", sort="oldest")
    assert len(nothing["images"]) == len(IMAGES)  # the closest, as without an order


@pytest.mark.browser
def test_a_visitor_filters_sorts_and_clears_the_filters(browser: Any, address: str) -> None:
    with watched(browser, 390) as page:
        page.goto(address)
        told = page.locator("#told [role=status]")
        told.filter(has_text="The whole library, newest first: 4.").wait_for()
        page.get_by_role("button", name="Filters and order").click()
        choose(page, "place", "2023")
        told.filter(has_text="2 of 4 images, newest first.").wait_for()
        choose(page, "sort", "By name")
        told.filter(has_text="2 of 4 images, by name.").wait_for()
        assert page.locator("#found .path").all_text_contents()[:2] == [
            "2023/rome/colosseum.jpg", "2023/owl.jpg",
        ]  # fmt: skip
        page.locator("#from textarea, #from input").fill("2023-07")
        page.keyboard.press("Enter")
        told.filter(has_text="1 of 4 images, by name.").wait_for()
        page.locator("#until textarea, #until input").fill("no day")
        page.keyboard.press("Enter")
        page.get_by_test_id("toast-body").filter(has_text="got no day").wait_for()
        page.locator("#unset").click()
        told.filter(has_text="The whole library, newest first: 4.").wait_for()
        assert page.locator("#until textarea, #until input").input_value() == ""
        assert page.locator("#place input").input_value() == "Any folder"
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def choose(page: Any, name: str, choice: str) -> None:
    """Choose from a list."""
    page.locator(f"#{name} input").click()
    page.get_by_role("option", name=choice, exact=True).click()
