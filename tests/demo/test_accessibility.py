"""The page for those who use no mouse, a screen reader or strong contrasts: axe-core and keys."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import SAMPLES
from tests.demo.conftest import WARNINGS, opened

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')
sync_api = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="it brings axe-core")

pytestmark = [pytest.mark.slow, pytest.mark.browser, *WARNINGS]


def serious_violations(page: Any) -> list[str]:
    """Return what of the page breaks a rule of axe-core whose impact is serious or critical."""
    page.wait_for_timeout(400)  # colours fade in: half of one has less contrast
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response
    return [
        f"{rule['id']}: {node['target']} {node['html'][:200]}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def search(page: Any) -> None:
    page.locator("#told", has_text="The whole library").wait_for()
    page.locator("#query textarea, #query input").first.fill("a castle")
    page.keyboard.press("Enter")
    page.locator("#told", has_text="Found").wait_for()


def show_filters(page: Any) -> None:
    page.get_by_role("button", name="Filters and order").click()
    page.locator("#unset").wait_for()


def enlarge(page: Any) -> None:
    search(page)
    page.locator("#found .tile").first.click()
    page.get_by_role("dialog").wait_for()


def select(page: Any) -> None:
    search(page)
    page.locator("#found .tile").first.focus()
    page.keyboard.press("x")
    page.locator("#found .chosen").wait_for()


def classify(page: Any) -> None:
    files = [str(SAMPLES / f"{name}.jpg") for name in ("owl", "cat")]
    page.locator("#image input[type=file]").set_input_files(files)
    sync_api.expect(page.locator("#image li")).to_have_count(2)
    page.locator("#classify-images").click()
    sync_api.expect(page.locator("#table tbody tr")).to_have_count(2)
    page.locator("#scores li button").first.click()
    page.locator("#scores .legend").wait_for(timeout=60_000)


def teach(page: Any) -> None:
    page.locator("#name input, #name textarea").first.fill("Hedwig")
    page.locator("#shows input[type=file]").set_input_files(str(SAMPLES / "owl.jpg"))
    page.locator("#shows li").wait_for()
    page.locator("#teach").click()
    page.locator("#matches li").first.wait_for(timeout=60_000)


def adapt(page: Any) -> None:
    for number, names in enumerate((("cat", "dog", "owl"), ("castle", "temple", "pyramid")), 1):
        page.locator(f"#class-{number} input, #class-{number} textarea").fill(f"class {number}")
        files = [str(SAMPLES / f"{name}.jpg") for name in names]
        page.locator(f"#images-{number} input[type=file]").set_input_files(files)
        sync_api.expect(page.locator(f"#images-{number} li")).to_have_count(3)
    page.locator("#suggest").click()
    page.locator("#to-label li").first.wait_for(timeout=60_000)
    page.locator("#adapt").click()
    page.locator("#ladder tr.best").wait_for(timeout=60_000)


def make_map(page: Any) -> None:
    pytest.importorskip("embedding_atlas", reason='the map needs  pip install "clipkit[map]"')
    page.locator("#map-labels input, #map-labels textarea").first.fill("animal, building, food")
    page.locator("#make-map").click()
    page.locator("#map .legend li").nth(2).wait_for(timeout=120_000)
    page.locator("#map canvas").focus()
    page.keyboard.press("ArrowRight")
    page.locator("#map .chosen").wait_for()


def check_model(page: Any) -> None:
    page.locator("#check").click()
    page.locator("#checks tr").nth(1).wait_for(timeout=60_000)
    page.get_by_role("button", name="Fetch another model, and search with it").click()
    page.locator("#search-with input").click()
    page.get_by_role("option", name="starter").click()
    page.locator("#try-model").click()
    page.locator("#trial code").wait_for(timeout=60_000)
    page.get_by_role("button", name="Does it treat groups of images differently?").click()
    page.locator("#audit-table .choose").wait_for()


STATES: dict[str, tuple[str, Callable[[Any], None]]] = {
    "what is found": ("Search", search),
    "filters": ("Search", show_filters),
    "an image enlarged": ("Search", enlarge),
    "an image selected": ("Search", select),
    "scores and a heat map": ("Classify", classify),
    "a concept": ("Teach", teach),
    "a ladder": ("Adapt", adapt),
    "a map": ("Map", make_map),
    "a model": ("Model", check_model),
}


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing_serious(
    browser: Any, address: str, state: str, scheme: str, width: int
) -> None:
    tab, show = STATES[state]
    with opened(browser, address, tab, width, scheme) as page:
        show(page)
        assert serious_violations(page) == []


def tab_to(page: Any, selector: str, key: str = "Tab") -> None:
    """Press a key until an element has the focus."""
    for _ in range(80):
        page.keyboard.press(key)
        if page.evaluate("(which) => document.activeElement.matches(which)", selector):
            return
    raise AssertionError(f"{selector} cannot be reached by {key}")


def test_the_keyboard_alone_searches_enlarges_and_classifies(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        page.locator("#told", has_text="The whole library").wait_for()
        page.evaluate("document.activeElement.blur()")
        tab_to(page, "#query input, #query textarea")
        page.keyboard.type("a castle")
        page.keyboard.press("Enter")
        page.locator("#told", has_text="Found").wait_for()
        tab_to(page, "#found .tile")
        page.keyboard.press("ArrowRight")
        second = page.evaluate("document.activeElement.querySelector('.path').textContent")
        page.keyboard.press("Enter")
        path = page.get_by_role("dialog").locator(".path")
        sync_api.expect(path).to_have_text(second)
        page.keyboard.press("ArrowLeft")
        sync_api.expect(path).to_have_text("castle.jpg")
        page.keyboard.press("Escape")
        sync_api.expect(page.get_by_role("dialog")).to_be_hidden()
        # Back to the tabs, and from Search to Classify.
        tab_to(page, "[role=tab]:nth-of-type(2)", "Shift+Tab")
        page.keyboard.press("Enter")
        page.locator("#image input[type=file]").set_input_files(str(SAMPLES / "owl.jpg"))
        sync_api.expect(page.locator("#image li")).to_have_count(1)
        tab_to(page, "#labels textarea")
        page.keyboard.press("Control+A")
        page.keyboard.type("owl, castle")
        tab_to(page, "#classify-images")
        page.keyboard.press("Enter")
        sync_api.expect(page.locator("#scores .label").first).to_have_text("owl")
