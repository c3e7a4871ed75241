"""Switching the model of a page while it is served: a real command, a real browser."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SAMPLES
from tests.demo.conftest import WARNINGS

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')
sync_api = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")

pytestmark = [pytest.mark.slow, pytest.mark.browser, *WARNINGS]


@pytest.fixture
def page_process(
    tiny_checkpoint: Path, tmp_path: Path
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The page over three photographs with a tiny model on torch, as a command of its own."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("cat", "castle", "owl"):
        shutil.copy(SAMPLES / f"{name}.jpg", folder)
    model = ["--model", str(tiny_checkpoint), "--engine", "torch", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "clipkit", "demo", str(folder), *model],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "CLIPKIT_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert process.stdout
    try:
        yield process.stdout.readline().split()[-1], process
    finally:
        process.kill()
        process.communicate()


def test_a_page_is_served_anew_with_a_model_that_is_here(
    page_process: tuple[str, subprocess.Popen[str]], browser: Any
) -> None:
    address, process = page_process
    page = browser.new_page()
    page.set_default_timeout(60_000)  # two models are loaded meanwhile
    page.goto(address)
    page.locator("#told", has_text="The whole library").wait_for()
    page.get_by_role("tab", name="Model").click()
    assert "Engine" in page.locator("#model").inner_text()
    page.get_by_text("Fetch another model, and search with it").click()
    page.locator("#switch-model").click()
    page.get_by_text("Choose a model that is on this machine first").wait_for()
    page.locator("#search-with input").click()
    page.get_by_role("option", name="starter").click()
    page.locator("#switch-model").click()
    page.get_by_text("The page starts again with starter").wait_for()
    # It opens again by itself, at the same address, over the same folder.
    page.locator("#told", has_text="The whole library, newest first: 3").wait_for()
    page.locator("#query textarea, #query input").first.fill("a cat")
    page.keyboard.press("Enter")
    page.locator("#told", has_text="Found").wait_for()
    assert page.locator("#found .path").first.inner_text() == "cat.jpg"
    page.get_by_role("tab", name="Model").click()
    sync_api.expect(page.locator("#model")).to_contain_text("starter")
    page.close()
    # And it still ends as it did.
    process.send_signal(signal.SIGINT)
    output, notes = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.split()[-1] == address
    assert "the page has the model starter from now on" in notes
