"""The audit of the page: a table in, the report of ``clipkit audit`` out."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import SAMPLES
from tests.demo.conftest import NAMELESS, WARNINGS, opened, served

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')
pytest.importorskip("matplotlib", reason='the report needs  pip install "clipkit[evaluate]"')
sync_api = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")

pytestmark = [pytest.mark.slow, pytest.mark.browser, *WARNINGS]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty-eight images: half of them are parts of one photograph, half of another."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(48):
        with Image.open(sorted(SAMPLES.glob("*.jpg"))[number % 2]) as photo:
            photo.convert("RGB").resize((64 + number, 64)).save(folder / f"{number}.png")
    return folder


def test_a_table_is_audited_and_the_report_is_shown_and_downloaded(
    browser: Any, folder: Path, tmp_path: Path
) -> None:
    rows = [f"{number}.png,{'xy'[number % 2]},{['cat', 'dog'][number % 2]}" for number in range(48)]
    table, large = tmp_path / "people.csv", tmp_path / "large.csv"
    table.write_text("\n".join(["path,side,label", *rows, "nowhere.png,x,cat"]))
    large.write_text("path,side\n" + "a,b\n" * 30_000)
    with (
        served(folder, tmp_path / "home") as address,
        opened(browser, address, "Model") as page,
    ):
        page.get_by_role("button", name="Does it treat groups of images differently?").click()
        page.locator("#audit").click()
        page.get_by_text("Choose a table first").wait_for()
        chooser = page.locator("#audit-table input[type=file]")
        chooser.set_input_files(str(large))
        page.get_by_text("large.csv: up to 100 kB here").wait_for()
        chooser.set_input_files(str(table))
        page.get_by_text("people.csv: 49 rows").wait_for()
        page.locator("#audit-queries textarea").fill("a photo of a doctor")
        page.locator("#audit").click()
        told = page.locator("#audit-told .told")
        sync_api.expect(told).to_have_text(
            "48 images. Left out: 1 whose image is not in this library.", timeout=120_000
        )
        frame = page.frame_locator("#audit-page iframe")
        frame.get_by_text("side: 'x' is closer to").first.wait_for()
        frame.get_by_text("a photo of a doctor").first.wait_for()
        assert frame.locator("figure svg").count() > 0
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download the report").click()
        assert waiting.value.suggested_filename == "audit.html"
        assert "<svg" in waiting.value.path().read_text()
        assert page.evaluate(NAMELESS) == []
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_table_that_cannot_be_audited_is_told(browser: Any, folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    table.write_text("path,side\n" + "\n".join(f"{number}.png,x" for number in range(48)))
    with (
        served(folder, tmp_path / "home") as address,
        opened(browser, address, "Model") as page,
    ):
        page.get_by_role("button", name="Does it treat groups of images differently?").click()
        page.locator("#audit-table input[type=file]").set_input_files(str(table))
        page.get_by_text("people.csv: 48 rows").wait_for()
        page.locator("#audit").click()
        page.get_by_test_id("toast-body").filter(has_text="side").wait_for()
