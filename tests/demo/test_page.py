"""The demo in a real browser: what a visitor types, clicks and sees."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SAMPLES

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')
sync_api = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium here: get one with  apt-get install chromium"
    ),
    # Gradio and what it stands on warn about their own insides.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from demo.app import THEME, build_page

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPKIT_HOME", str(tmp_path_factory.mktemp("home")))
        page = build_page(SAMPLES)
        _, url, _ = page.launch(
            prevent_thread_lock=True, quiet=True, theme=THEME, allowed_paths=[str(SAMPLES)]
        )
        yield url
        page.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def asked() -> list[str]:
    """Addresses that the page asked for."""
    return []


@pytest.fixture
def page(browser: Any, address: str, asked: list[str]) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.get_by_role("heading", name="clipkit").wait_for()
    yield page
    page.close()


def search(page: Any, words: str) -> list[str]:
    """Type a query, press Enter, and return the captions of what is found, best first."""
    page.locator("#query textarea, #query input").first.fill(words)
    with page.expect_response(lambda response: "/queue/data" in response.url):
        page.keyboard.press("Enter")
    page.locator("#found img").first.wait_for()
    captions: list[str] = page.locator("#found .caption-label").all_inner_texts()
    return captions


def test_a_visitor_finds_the_cat(page: Any) -> None:
    captions = search(page, "a cat")
    assert len(captions) == 8
    assert captions[0].startswith("cat")
    picture = page.locator("#found img").first
    assert picture.evaluate("image => image.complete && image.naturalWidth > 0")


def test_an_empty_query_is_told(page: Any) -> None:
    page.locator("#search").click()
    page.get_by_text("Type what you are looking for").wait_for()
    assert page.locator("#found img").count() == 0


def test_a_visitor_classifies_a_picture_of_their_own(page: Any) -> None:
    page.get_by_role("tab", name="Classify").click()
    page.locator("#picture input[type=file]").set_input_files(str(SAMPLES / "owl.jpg"))
    page.locator("#picture img").wait_for()
    page.locator("#labels textarea, #labels input").first.fill("castle, owl, cup of coffee")
    page.locator("#classify").click()
    heading = page.locator("#scores [data-testid=label-output-value]")
    heading.wait_for()
    assert heading.inner_text().strip() == "owl"


def test_classifying_nothing_is_told(page: Any) -> None:
    page.get_by_role("tab", name="Classify").click()
    page.locator("#classify").click()
    page.get_by_text("Give a picture first").wait_for()


def test_no_labels_are_told(page: Any) -> None:
    page.get_by_role("tab", name="Classify").click()
    page.locator("#picture input[type=file]").set_input_files(str(SAMPLES / "owl.jpg"))
    page.locator("#picture img").wait_for()
    page.locator("#labels textarea, #labels input").first.fill(" , ")
    page.locator("#classify").click()
    page.get_by_text("at least one class name is needed").wait_for()


def test_the_page_asks_only_its_own_server(page: Any, address: str, asked: list[str]) -> None:
    search(page, "a castle")
    elsewhere = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert asked
    assert elsewhere == []


def test_the_page_serves_nothing_but_the_pictures(page: Any, address: str) -> None:
    secret = Path(__file__).resolve()
    response = page.request.get(f"{address}gradio_api/file={secret}")
    assert response.status in (403, 404)
