"""The grid of images where there are more than one part of it holds, in a real browser."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from tests.demo.conftest import WARNINGS, served, watched

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")

pytestmark = [pytest.mark.slow, pytest.mark.browser, *WARNINGS]

NUM = 400

# Left edge, top and bottom of each row of tiles, and how many tiles it has.
ROWS = """() => {
  const rows = [];
  for (const cell of document.querySelectorAll("#found .cell")) {
    const room = cell.getBoundingClientRect();
    const row = rows.at(-1);
    if (row && Math.abs(row.top - room.top) < 1) row.count += 1;
    else rows.push({ left: room.left, top: room.top, bottom: room.bottom, count: 1 });
  }
  return rows;
}"""
LAID_OUT = """() => [...document.querySelectorAll("#found .cell .path")]
  .filter((path) => path.checkVisibility({ contentVisibilityAuto: true })).length"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page over a folder of plain images, each of another colour."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(NUM):
        Image.new("RGB", (40, 30), (number % 256, number // 2, 90)).save(
            folder / f"{number:03}.png"
        )
    with served(folder, tmp_path_factory.mktemp("home")) as address:
        yield address


@pytest.fixture(params=[1280, 390])
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    """The page on a desktop and on a phone, scrolled to the last image and back."""
    with watched(browser, request.param) as page:
        page.goto(address)
        page.locator("#told", has_text=f"newest first: {NUM}").wait_for()
        for _ in range(200):
            page.mouse.wheel(0, 5000)
            page.wait_for_timeout(50)
            if page.locator("#found .cell").count() == NUM:
                break
        page.evaluate("window.scrollTo(0, 0)")
        page.locator("#found .cell").first.wait_for()
        yield page


def test_rows_follow_each_other_without_a_gap(page: Any) -> None:
    page.add_style_tag(content="#found .part { content-visibility: visible !important; }")
    rows = page.evaluate(ROWS)
    assert sum(row["count"] for row in rows) == NUM
    assert {row["count"] for row in rows[:-1]} == {rows[0]["count"]}  # no row with a hole
    assert {round(row["left"]) for row in rows} == {round(rows[0]["left"])}
    gaps = [after["top"] - before["bottom"] for before, after in itertools.pairwise(rows)]
    assert max(gaps) - min(gaps) < 1


def test_what_is_far_from_the_window_is_not_laid_out(page: Any) -> None:
    assert 0 < page.evaluate(LAID_OUT) <= NUM / 2


def test_arrows_cross_from_one_part_to_the_next(page: Any) -> None:
    tiles = page.locator("#found .tile")
    tiles.nth(119).focus()
    page.keyboard.press("ArrowRight")
    sync_api.expect(tiles.nth(120)).to_be_focused()
    sync_api.expect(tiles.nth(120)).to_be_in_viewport()
    page.keyboard.press("ArrowUp")
    columns = page.evaluate(ROWS)[0]["count"]
    sync_api.expect(tiles.nth(120 - columns)).to_be_focused()
