"""The demo in a real browser: what a visitor types, clicks and sees."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SAMPLES
from tests.demo.conftest import WARNINGS

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')
client = pytest.importorskip("gradio_client", reason="the API is called by gradio_client")
sync_api = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")

pytestmark = [pytest.mark.slow, pytest.mark.browser, *WARNINGS]


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


TOLD = "#told [role=status]"  # the line above the gallery


def search(page: Any, words: str, told: str = "images") -> list[str]:
    """Type a query, press Enter, and return the captions of what is found, best first."""
    type_query(page, words)
    page.keyboard.press("Enter")
    return found(page, told)


def type_query(page: Any, words: str) -> None:
    page.locator("#query textarea, #query input").first.fill(words)


def found(page: Any, told: str) -> list[str]:
    """Wait until the line above the gallery tells something; return the captions."""
    page.locator(TOLD, has_text=told).wait_for()
    captions: list[str] = page.locator("#found .caption-label").all_inner_texts()
    return captions


def relevances(captions: list[str]) -> dict[str, int]:
    """Return each image's relevance in percent."""
    return {caption.split()[0]: int(caption.split()[1]) for caption in captions}


def names(captions: list[str]) -> list[str]:
    return [caption.split()[0] for caption in captions]


def upload(page: Any, image: Path) -> None:
    page.locator("#sought input[type=file]").set_input_files(str(image))
    page.locator("#sought img").wait_for()


def mark(page: Any, name: str, kind: str) -> None:
    """Pick an image in the gallery and say that more, or less, of its like is sought."""
    page.locator("#found button", has_text=name).click()
    page.get_by_role("button", name=f"{kind} like {name}").click()


def test_a_visitor_finds_the_cat(page: Any) -> None:
    captions = search(page, "a cat")
    assert len(captions) == 8
    assert captions[0].startswith("cat")
    image = page.locator("#found img").first
    assert image.evaluate("image => image.complete && image.naturalWidth > 0")


def test_a_caption_tells_name_relevance_and_cosine(page: Any) -> None:
    captions = search(page, "a castle")
    best = re.fullmatch(r"castle\s+(\d+) %\s+\((0\.\d\d)\)", captions[0])
    assert best
    assert 50 <= int(best[1]) <= 100


def test_how_many_were_found_is_told(page: Any) -> None:
    captions = search(page, "a castle", told="Found")
    relevant = sum(percent >= 40 for percent in relevances(captions).values())
    told = f"Found {relevant} among {len(list(SAMPLES.glob('*.jpg')))} images."
    assert page.locator(TOLD).inner_text() == told


def test_that_no_image_surely_fits_is_told(page: Any) -> None:
    captions = search(page, "a dog", told="Not sure that any of these fits")
    assert captions[0].startswith("dog")
    assert 5 <= max(relevances(captions).values()) < 40


def test_that_there_is_probably_nothing_is_told(page: Any) -> None:
    captions = search(page, "a submarine", told="Probably nothing among")
    assert len(captions) == 8
    assert max(relevances(captions).values()) < 5


def test_marks_add_up_and_can_be_forgotten(page: Any) -> None:
    sync_api.expect(page.locator("#more")).to_be_disabled()
    before = names(search(page, "a building"))
    sync_api.expect(page.locator("#more")).to_be_disabled()
    mark(page, before[1], "Less")
    after = names(found(page, f"Less like: {before[1]}."))
    assert before[1] not in after
    mark(page, after[2], "More")
    last = names(found(page, f"More like: {after[2]}. Less like: {before[1]}."))
    assert not {before[1], after[2]} & set(last)
    mark(page, last[3], "Less")
    found(page, f"More like: {after[2]}. Less like: {before[1]}, {last[3]}.")
    page.locator("#forget").click()
    page.locator(TOLD, has_not_text="like:").wait_for()
    assert names(found(page, "images")) == before


def test_more_like_an_image_makes_its_like_more_relevant(page: Any) -> None:
    before = relevances(search(page, "a castle"))
    mark(page, "temple", "More")
    after = relevances(found(page, "More like: temple."))
    assert after["colosseum"] > before["colosseum"]


def test_another_query_forgets_the_marks_and_the_same_keeps_them(page: Any) -> None:
    first, *_ = names(search(page, "a building"))
    mark(page, first, "Less")
    found(page, "Less like")
    page.locator("#count input[type=number]").fill("5")
    page.locator("#count input[type=number]").blur()
    page.locator("#search").click()
    sync_api.expect(page.locator("#found .caption-label")).to_have_count(5)
    assert first not in names(found(page, "Less like"))
    type_query(page, "a tower")
    page.keyboard.press("Enter")
    page.locator(TOLD, has_not_text="Less like").wait_for()


def test_an_image_of_their_own_is_a_query(page: Any) -> None:
    upload(page, SAMPLES / "owl.jpg")
    page.locator("#search").click()
    assert names(found(page, "images"))[0] == "owl"


def test_words_and_an_image_are_one_query(page: Any) -> None:
    upload(page, SAMPLES / "owl.jpg")
    both = names(search(page, "a castle"))
    assert {"owl", "castle"} <= set(both[:4])


def test_words_are_never_read_as_a_path(page: Any) -> None:
    # As the path of an image in the library, it would be left out of its own results.
    assert "owl" in names(search(page, str(SAMPLES / "owl.jpg")))


def test_an_image_that_cannot_be_read_is_told(page: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((SAMPLES / "owl.jpg").read_bytes()[:2000])
    page.locator("#sought input[type=file]").set_input_files(str(broken))
    page.get_by_test_id("toast-body").filter(has_text="broken.jpg").wait_for()


def test_results_can_differ_from_each_other(page: Any) -> None:
    alike = names(search(page, "an animal"))
    page.locator("#diversity input[type=number]").fill("0.9")
    page.locator("#diversity input[type=number]").blur()
    page.locator("#search").click()
    different = page.locator("#found .caption-label").filter(
        has_not_text=re.compile("|".join(alike))
    )
    different.first.wait_for()


def test_the_api_takes_a_query_and_a_count(address: str) -> None:
    gallery = client.Client(address, verbose=False).predict("a cat", 3, api_name="/search")
    assert len(gallery) == 3
    assert gallery[0]["caption"].startswith("cat ")


def test_an_empty_query_is_told(page: Any) -> None:
    page.locator("#search").click()
    page.get_by_text("Type what you are looking for").wait_for()
    assert page.locator("#found img").count() == 0


def test_a_visitor_classifies_an_image_of_their_own(page: Any) -> None:
    page.get_by_role("tab", name="Classify").click()
    page.locator("#image input[type=file]").set_input_files(str(SAMPLES / "owl.jpg"))
    page.locator("#image img").wait_for()
    page.locator("#labels textarea, #labels input").first.fill("castle, owl, cup of coffee")
    page.locator("#classify").click()
    heading = page.locator("#scores [data-testid=label-output-value]")
    heading.wait_for()
    assert heading.inner_text().strip() == "owl"


def test_classifying_nothing_is_told(page: Any) -> None:
    page.get_by_role("tab", name="Classify").click()
    page.locator("#classify").click()
    page.get_by_text("Give an image first").wait_for()


def test_no_labels_are_told(page: Any) -> None:
    page.get_by_role("tab", name="Classify").click()
    page.locator("#image input[type=file]").set_input_files(str(SAMPLES / "owl.jpg"))
    page.locator("#image img").wait_for()
    page.locator("#labels textarea, #labels input").first.fill(" , ")
    page.locator("#classify").click()
    page.get_by_text("at least one class name is needed").wait_for()


def test_the_page_asks_only_its_own_server(page: Any, address: str, asked: list[str]) -> None:
    search(page, "a castle")
    elsewhere = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert asked
    assert elsewhere == []


def test_the_page_serves_nothing_but_the_images(page: Any, address: str) -> None:
    secret = Path(__file__).resolve()
    response = page.request.get(f"{address}gradio_api/file={secret}")
    assert response.status in (403, 404)
