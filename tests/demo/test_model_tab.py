"""What the page tells of its model, and to whom."""

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')

import clipkit
from clipkit.demo.model_tab import facts_of, models_here
from tests.conftest import SAMPLES
from tests.demo.conftest import WARNINGS, served, watched
from tests.fakes import FakeEncoder

MARKUP = "<img src=nowhere onerror=document.title=1>"


def test_the_facts_are_those_of_the_encoder() -> None:
    facts = dict(facts_of(FakeEncoder(name="fake")))
    assert (facts["Name"], facts["Space"], facts["Dimensions"]) == ("fake", "fake-space", "4")
    assert facts["Engine"] == "fake on cpu"


@pytest.mark.parametrize("name", ["/home/ann/birds.pt", "local-dir:/home/ann/birds", "C:\\birds"])
def test_where_a_model_lies_is_not_told(name: str) -> None:
    assert "birds" not in str(facts_of(FakeEncoder(name=name)))


def test_the_models_that_are_here_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    listings = [
        clipkit.ModelListing("here", 32_000_000, 224, 0.634, Path("/models/here")),
        clipkit.ModelListing("unknown", None, None, None, Path("/models/unknown")),
        clipkit.ModelListing("elsewhere", 1, 224, 0.5, None),
    ]
    monkeypatch.setattr(clipkit, "list_models", lambda: listings)
    assert models_here() == [["here", "32 M", "224", "63.4%"], ["unknown", "", "", ""]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(SAMPLES / "cat.jpg", folder)
    return folder


@pytest.mark.slow
@pytest.mark.browser
class TestInTheBrowser:
    """What a visitor sees of it."""

    pytestmark = WARNINGS

    def test_the_checks_and_the_card_are_made_once(
        self, browser: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[str] = []

        def diagnose(name: str) -> clipkit.Diagnosis:
            made.append(name)
            check = clipkit.HealthCheck("weights", "a file", MARKUP, "problem", "fetch it again")
            return clipkit.Diagnosis(name, "model", (check,))

        def make_model_card(encoder: Any, *, callbacks: clipkit.Callbacks) -> str:
            made.append("card")
            with callbacks.progress_for("embedding images") as progress:
                progress(3, 7)
            return "---\nlicense: mit\n---\n## What it can do\n\ncount to six"

        monkeypatch.setattr(clipkit, "diagnose", diagnose)
        monkeypatch.setattr(clipkit, "make_model_card", make_model_card)
        monkeypatch.setattr(clipkit, "model_card_text", lambda card: card)
        with served(folder, tmp_path / "home") as address, watched(browser, 390) as page:
            for _ in range(2):
                page.goto(address)
                page.get_by_role("tab", name="Model").click()
                page.locator("#check").click()
                row = page.locator("#checks tr", has_text="weights").first
                row.wait_for()
                cells = row.locator("td").all_text_contents()
                assert cells == ["wrong", "weights", MARKUP, "fetch it again"]
                page.locator("#measure").click()
                page.locator("#card", has_text="count to six").wait_for()
                assert "license" not in page.locator("#card").inner_text()
            assert made == ["starter", "card"]
            assert page.title() == "clipkit"
            assert page.evaluate("document.documentElement.scrollWidth") <= 390

    def test_visitors_from_elsewhere_see_the_facts_alone(
        self, browser: Any, folder: Path, tmp_path: Path
    ) -> None:
        with (
            served(folder, tmp_path / "home", allowed=("photos.example",)) as address,
            watched(browser, 390) as page,
        ):
            page.goto(address)
            page.get_by_role("tab", name="Model").click()
            page.locator("#model td", has_text="starter").wait_for()
            for name in ("#check", "#measure", "#models"):
                assert page.locator(name).count() == 0
