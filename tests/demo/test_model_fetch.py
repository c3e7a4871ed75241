"""Models to fetch, from a hub on this machine, and how long the library takes with one."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')

import clipkit
from clipkit.demo.model_fetch import models_to_fetch
from tests.conftest import SAMPLES
from tests.demo.conftest import NAMELESS, WARNINGS, opened, served
from tests.demo.visitor import Visitor
from tests.models.hub_server import Hub, ask_this_hub, serve_hub

NAME = "ViT-B-32/laion2b_s34b_b79k"
WEIGHTS = "open_clip_model.safetensors"


def test_those_to_begin_with_come_first_and_say_their_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listings = [
        clipkit.ModelListing("here", 1, 224, None, Path("/models/here")),
        clipkit.ModelListing("other", None, None, None, None),
        clipkit.ModelListing(
            "small", 151_000_000, 256, 0.728, None,
            clipkit.ModelRecommendation("small", "small", "MIT", 5.0),
        ),
    ]  # fmt: skip
    monkeypatch.setattr(clipkit, "list_models", lambda: listings)
    assert models_to_fetch() == [
        ("small (0.6 GB, ImageNet 72.8%, small, MIT)", "small"),
        ("other", "other"),
    ]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub with the weights of one model, and an empty cache."""
    pytest.importorskip("huggingface_hub")
    (tmp_path / WEIGHTS).write_bytes(os.urandom(3_000_000))
    with serve_hub() as server:
        server.files = {WEIGHTS: tmp_path / WEIGHTS}
        ask_this_hub(monkeypatch, server, tmp_path / "hub")
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "my images"
    folder.mkdir()
    for name in ("cat", "dog", "owl"):
        shutil.copy(SAMPLES / f"{name}.jpg", folder)
    return folder


@pytest.mark.slow
@pytest.mark.browser
class TestInTheBrowser:
    """What the user of the machine sees."""

    pytestmark = WARNINGS

    def choose(self, page: Any, where: str, words: str) -> None:
        page.locator(f"{where} input").click()
        page.locator(f"{where} input").fill(words)
        page.get_by_role("option", name=words).first.click()

    def show(self, page: Any) -> None:
        page.get_by_role("button", name="Fetch another model, and search with it").click()
        page.locator("#fetch").wait_for()

    def test_a_download_that_was_left_goes_on_and_the_model_is_here_then(
        self, browser: Any, folder: Path, tmp_path: Path, hub: Hub
    ) -> None:
        hub.stops_at = 2_000_000
        with served(folder, tmp_path / "home") as address:
            with opened(browser, address, "Model") as page:
                self.show(page)
                page.locator("#fetch").click()
                page.get_by_text("Choose a model of the list first").wait_for()
                self.choose(page, "#to-fetch", NAME)
                page.locator("#fetch").click()
                page.locator("#fetch-told .told", has_text="of 3.0 MB").wait_for()
                share = page.locator("#fetch-told progress")
                assert 0 <= float(share.evaluate("bar => bar.value")) < 0.9
            page_left_with = len(hub.ranges)
            time.sleep(4)  # until the page has noticed that its visitor has left
            hub.stops_at = None
            hub.may_go_on.set()
            with opened(browser, address, "Model") as page:
                self.show(page)
                self.choose(page, "#to-fetch", NAME)
                for _ in range(50):  # until the one that was left has ended
                    page.locator("#fetch").click()
                    page.wait_for_timeout(300)
                    if len(hub.ranges) > page_left_with:
                        break
                told = page.locator("#fetch-told .told")
                told.get_by_text(f"{NAME} is here").wait_for(timeout=60_000)
                page.locator("#search-with input").click()
                page.get_by_role("option", name=NAME).wait_for()
                page.keyboard.press("Escape")
                assert page.evaluate(NAMELESS) == []
            with opened(browser, address, "Model") as page:  # as one who comes later
                page.locator("#models td", has_text=NAME).wait_for()
                self.show(page)
                self.choose(page, "#search-with", NAME)
            assert hub.ranges[-1].startswith("bytes=")  # only what was missing
            assert int(hub.ranges[-1].removeprefix("bytes=").removesuffix("-")) > 0
        (weights,) = (tmp_path / "hub").glob(f"**/snapshots/*/{WEIGHTS}")
        assert weights.read_bytes() == hub.files[WEIGHTS].read_bytes()

    def test_what_the_hub_refuses_is_told(
        self, browser: Any, folder: Path, tmp_path: Path, hub: Hub
    ) -> None:
        hub.refusal = 503, ""
        with (
            served(folder, tmp_path / "home") as address,
            opened(browser, address, "Model", width=390) as page,
        ):
            self.show(page)
            self.choose(page, "#to-fetch", NAME)
            page.locator("#fetch").click()
            page.get_by_test_id("toast-body").filter(has_text="cannot be fetched").wait_for(
                timeout=60_000
            )
            assert page.evaluate("document.documentElement.scrollWidth") <= 390

    def test_how_long_it_takes_is_measured_before_anything_is_indexed(
        self, browser: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with (
            served(folder, tmp_path / "home") as address,
            opened(browser, address, "Model") as page,
        ):
            self.show(page)
            self.choose(page, "#search-with", "starter")
            page.locator("#try-model").click()
            command = page.locator("#trial code")
            sync_api = pytest.importorskip("playwright.sync_api")
            sync_api.expect(command).to_have_text(f"clipkit demo '{folder}' --model starter")
            page.get_by_text("All images are indexed with starter already").wait_for()
            # As with another model, of which there is no index yet.
            monkeypatch.setattr(clipkit.PhotoLibrary, "is_indexed", False)
            page.locator("#try-model").click()
            page.get_by_text("With starter 3 images to index take about 1 s").wait_for()

    def test_visitors_from_elsewhere_fetch_audit_and_try_nothing(
        self, folder: Path, tmp_path: Path
    ) -> None:
        with (
            served(folder, tmp_path / "home", allowed=("photos.example",)) as address,
            Visitor(address) as visitor,
        ):
            for name in ("fetch", "try-model", "audit", "make-map"):
                with pytest.raises(KeyError):
                    visitor.function(name)
