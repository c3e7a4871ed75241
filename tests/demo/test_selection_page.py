"""Selecting images on the page, and taking them along; the duplicates of a folder."""

import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import SAMPLES
from tests.demo.conftest import WARNINGS, served, watched

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")

pytestmark = [pytest.mark.slow, pytest.mark.browser, *WARNINGS]

NAMES = ("bee", "castle", "cat", "dog", "owl")  # in this order of time


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page over five photographs in a folder, one of them twice and once more smaller."""
    folder = tmp_path_factory.mktemp("own") / "images"
    (folder / "in").mkdir(parents=True)
    for day, name in enumerate(NAMES, start=1):
        exif = Image.Exif()
        exif.get_ifd(34665)[36867] = f"2024:01:{day:02} 12:00:00"
        with Image.open(SAMPLES / f"{name}.jpg") as image:
            image.save(folder / "in" / f"{name}.jpg", exif=exif, quality=95)
    shutil.copy(folder / "in" / "owl.jpg", folder / "in" / "copy of owl.jpg")
    with Image.open(SAMPLES / "cat.jpg") as image:
        image.resize((image.width // 2, image.height // 2)).save(folder / "small cat.jpg")
    with served(folder, tmp_path_factory.mktemp("home")) as address:
        yield address


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with watched(browser) as page:
        page.goto(address)
        page.locator("#told", has_text="The whole library").wait_for()
        yield page


def boxes(page: Any) -> Any:
    return page.locator("#found .pick input")


def take(page: Any, kind: str) -> list[str]:
    """Return the lines of a text that is made of what is selected."""
    page.locator(f"[data-kind={kind}]").click()
    text = page.locator("#taken textarea")
    text.wait_for()
    lines: list[str] = text.input_value().splitlines()
    page.locator("#taken .close").click()
    return lines


def save(page: Any) -> Path:
    """Return the file of what was made last."""
    with page.expect_download() as download:
        page.locator("#taken .save").click()
    return Path(download.value.path())


def shown(page: Any) -> list[str]:
    names: list[str] = page.locator("#found .tile .path").all_text_contents()
    return names


def test_images_are_selected_one_by_one_in_a_range_and_by_a_key(page: Any) -> None:
    names = shown(page)
    sync_api.expect(page.locator("#found .chosen")).to_be_hidden()
    boxes(page).nth(1).click()
    boxes(page).nth(4).click(modifiers=["Shift"])
    sync_api.expect(page.locator("#found .number")).to_have_text("4 selected")
    page.locator("#found .tile").nth(2).focus()
    page.keyboard.press("x")
    assert take(page, "list") == [names[1], names[3], names[4]]
    page.locator("#found .none").click()
    sync_api.expect(page.locator("#found .chosen")).to_be_hidden()
    assert not boxes(page).nth(1).is_checked()


def test_all_but_one_of_the_library_are_taken_as_a_table(page: Any) -> None:
    names = shown(page)
    page.locator("#found .all").click()
    boxes(page).nth(0).click()
    sync_api.expect(page.locator("#found .number")).to_have_text(f"{len(names) - 1} selected")
    page.locator("[data-kind=table]").click()
    page.locator("#taken textarea").wait_for()
    rows = list(csv.DictReader(io.StringIO(save(page).read_text(encoding="utf-8"))))
    assert [row["path"] for row in rows] == names[1:]
    taken = {row["path"]: row["taken_at"] for row in rows}
    assert taken["in/castle.jpg"] == "2024-01-02T12:00:00"


def test_what_is_found_is_selected_and_a_new_search_forgets_it(page: Any) -> None:
    page.locator("#query textarea, #query input").first.fill("an owl")
    page.keyboard.press("Enter")
    page.locator("#told", has_text="Found").wait_for()
    owls = {"in/owl.jpg", "in/copy of owl.jpg"}
    page.locator("#found .all", has_text="Select all 2 found").click()
    assert set(take(page, "list")) == owls
    (first, *_, last) = take(page, "command")
    assert (first, last) == ("mkdir -p selection/ && cp -- \\", "  selection/")
    page.locator("#query textarea, #query input").first.fill("")
    page.keyboard.press("Enter")
    page.locator("#told", has_text="The whole library").wait_for()
    sync_api.expect(page.locator("#found .chosen")).to_be_hidden()


def test_a_contact_sheet_is_saved_and_shows_the_images(
    page: Any, browser: Any, tmp_path: Path
) -> None:
    boxes(page).nth(0).click()
    boxes(page).nth(1).click()
    page.locator("[data-kind=sheet]").click()
    page.locator("#taken .note", has_text="2 images").wait_for()
    sheet = tmp_path / "sheet.html"
    shutil.copy(save(page), sheet)
    other = browser.new_page()
    other.goto(sheet.as_uri())
    pictures = other.locator("img")
    assert pictures.count() == 2
    assert pictures.first.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    links = other.locator("a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert [link.replace("%20", " ") for link in links] == shown(page)[:2]
    other.close()


def test_duplicates_are_shown_in_groups_and_the_spare_ones_selected(page: Any) -> None:
    page.get_by_role("button", name="Filters and order").click()
    page.locator("#copies").click()
    page.locator("#told", has_text="Images with duplicates: 2. Spare copies: 2").wait_for()
    assert page.locator("#found .group").all_text_contents() == [
        "2 files with the same bytes", "2 images that look the same",
    ]  # fmt: skip
    names = shown(page)
    assert set(names[:2]) == {"in/owl.jpg", "in/copy of owl.jpg"}
    assert names[2:] == ["in/cat.jpg", "small cat.jpg"]  # the one with more pixels first
    page.locator("#found .all", has_text="Select all 2 spare copies").click()
    assert take(page, "list") == [names[1], names[3]]
