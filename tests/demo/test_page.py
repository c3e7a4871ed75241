"""The demo in a real browser: what a visitor types, clicks and sees."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import clipkit
from tests.conftest import SAMPLES
from tests.demo.conftest import WARNINGS, served, watched
from tests.demo.visitor import Visitor

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
    with watched(browser) as page:
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.get_by_role("heading", name="clipkit").wait_for()
        page.locator("#told", has_text="The whole library").wait_for()
        yield page


TOLD = "#told [role=status]"  # the line above the grid
TOTAL = len(list(SAMPLES.glob("*.jpg")))


def search(page: Any, words: str, told: str = "images") -> list[str]:
    """Type a query, press Enter, and return the names of what is found, best first."""
    type_query(page, words)
    page.keyboard.press("Enter")
    return found(page, told)


def type_query(page: Any, words: str) -> None:
    page.locator("#query textarea, #query input").first.fill(words)


def found(page: Any, told: str) -> list[str]:
    """Wait until the line above the grid tells something; return the names, without .jpg."""
    page.locator(TOLD, has_text=told).wait_for()
    names: list[str] = page.locator("#found .caption-label").all_text_contents()
    return [name.removesuffix(".jpg") for name in names]


def relevances(page: Any) -> dict[str, int]:
    """Return each image's relevance in percent."""
    tiles = page.locator("#found .tile").all_text_contents()  # at once: more may come meanwhile
    found = [re.fullmatch(r"(.+?)\.jpg(\d+) % relevant", tile) for tile in tiles]
    return {match[1]: int(match[2]) for match in found if match}


def upload(page: Any, image: Path) -> None:
    page.locator("#sought input[type=file]").set_input_files(str(image))
    page.locator("#sought img").wait_for()


def mark(page: Any, name: str, kind: str) -> None:
    """Open an image and say that more, or less, of its like is sought."""
    page.locator("#found .tile", has_text=name).first.click()
    page.get_by_role("button", name=f"{kind} like {name}").click()


def test_it_opens_on_the_whole_library_and_reads_on_as_one_scrolls(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    found(page, f"The whole library, newest first: {TOTAL}.")
    tiles = page.locator("#found .tile")
    for _ in range(20):
        if tiles.count() == TOTAL:
            break
        tiles.last.scroll_into_view_if_needed()
        page.wait_for_timeout(100)
    assert sorted(found(page, "library")) == sorted(path.stem for path in SAMPLES.glob("*.jpg"))
    sync_api.expect(page.locator("#found .end")).to_be_hidden()


def test_an_empty_query_shows_the_library_again(page: Any) -> None:
    search(page, "a cat")
    search(page, "", told="The whole library")
    sync_api.expect(page.locator("#found .relevance")).to_have_count(0)
    assert page.get_by_test_id("toast-body").count() == 0


def test_a_visitor_finds_the_cat(page: Any) -> None:
    assert search(page, "a cat")[0] == "cat"
    image = page.locator("#found img").first
    sync_api.expect(image).to_have_js_property("complete", value=True)
    assert image.evaluate("image => image.naturalWidth > 0")


def test_a_tile_tells_path_and_relevance_and_fits_the_width(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    search(page, "sailing boats")
    best = page.locator("#found .tile").first
    assert re.fullmatch(r"sailing_boats?\.jpg\s+\d+ % relevant", best.inner_text().strip())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_how_many_were_found_is_told(page: Any) -> None:
    search(page, "a castle", told="Found")
    relevant = sum(percent >= 40 for percent in relevances(page).values())
    assert page.locator(TOLD).inner_text() == f"Found {relevant} among {TOTAL} images."
    sync_api.expect(page.locator("#found .cell.found")).to_have_count(relevant)


def test_that_no_image_surely_fits_is_told(page: Any) -> None:
    assert search(page, "food", told="Not sure that any of these fits")[0] == "fig"
    assert 5 <= max(relevances(page).values()) < 40


def test_that_there_is_probably_nothing_is_told(page: Any) -> None:
    search(page, "a submarine", told="Probably nothing among")
    assert max(relevances(page).values()) < 5


def test_an_example_is_searched_for(page: Any) -> None:
    page.locator("#try button", has_text="musical instrument").click()
    assert found(page, "images")
    assert page.locator("#query textarea, #query input").first.input_value() == "musical instrument"


def test_the_large_view_is_driven_by_keys(page: Any) -> None:
    names = search(page, "a castle", told="Found")
    page.keyboard.press("Escape")
    page.locator("#found .tile").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    sync_api.expect(dialog.locator(".path")).to_have_text(f"{names[1]}.jpg")
    page.keyboard.press("ArrowRight")
    sync_api.expect(dialog.locator(".path")).to_have_text(f"{names[2]}.jpg")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    sync_api.expect(dialog.locator(".path")).to_have_text(f"{names[0]}.jpg")
    sync_api.expect(dialog.locator(".facts")).to_contain_text("cosine 0.")
    assert dialog.locator(".previous").is_disabled()
    picture = dialog.locator(".picture")
    sync_api.expect(picture).not_to_have_attribute("src", re.compile("-small$"))
    page.keyboard.press("Escape")
    sync_api.expect(dialog).to_be_hidden()
    page.keyboard.press("/")
    query = page.locator("#query textarea, #query input").first
    sync_api.expect(query).to_be_focused()
    assert query.input_value() == "a castle"


def test_the_keyboard_alone_searches_and_opens_an_image(page: Any) -> None:
    page.keyboard.press("/")
    page.keyboard.type("a cat")
    page.keyboard.press("Enter")
    found(page, "Found 1 among")
    for _ in range(40):  # past the buttons, the examples, the image and the filters
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('#found .tile')"):
            break
    page.keyboard.press("Enter")
    sync_api.expect(page.get_by_role("dialog").locator(".path")).to_have_text("cat.jpg")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent").startswith("cat.jpg")
    page.keyboard.press("x")
    sync_api.expect(page.locator("#found .number")).to_have_text("1 selected")
    page.keyboard.press("Escape")
    sync_api.expect(page.locator("#found .chosen")).to_be_hidden()


def test_marks_add_up_and_can_be_forgotten(page: Any) -> None:
    sync_api.expect(page.locator("#forget")).to_be_hidden()
    before = search(page, "a building")
    mark(page, before[1], "Less")
    after = found(page, f"Less like: {before[1]}.")
    assert before[1] not in after
    mark(page, after[2], "More")
    last = found(page, f"More like: {after[2]}. Less like: {before[1]}.")
    assert not {before[1], after[2]} & set(last)
    page.locator("#forget").click()
    page.locator(TOLD, has_not_text="like:").wait_for()
    assert found(page, "images")[:24] == before[:24]
    sync_api.expect(page.locator("#forget")).to_be_hidden()


def test_more_like_an_image_of_the_library_needs_no_words(page: Any) -> None:
    found(page, "The whole library")
    mark(page, "castle", "More")
    assert "temple" in found(page, "More like: castle.")[:5]


def test_more_like_an_image_makes_its_like_more_relevant(page: Any) -> None:
    search(page, "a castle")
    before = relevances(page)
    mark(page, "temple", "More")
    found(page, "More like: temple.")
    assert relevances(page)["colosseum"] > before["colosseum"]


def test_another_query_forgets_the_marks_and_the_same_keeps_them(page: Any) -> None:
    first, *_ = search(page, "a building")
    mark(page, first, "Less")
    found(page, "Less like")
    page.locator("#search").click()
    assert first not in found(page, "Less like")
    type_query(page, "a tower")
    page.keyboard.press("Enter")
    page.locator(TOLD, has_not_text="Less like").wait_for()


def test_who_asks_again_while_an_answer_comes_is_shown_the_last(page: Any) -> None:
    for words in ("a cat", "a castle", "a tower", "a submarine"):  # no waiting in between
        type_query(page, words)
        page.keyboard.press("Enter")
    found(page, "Probably nothing among")
    page.locator("#found .tile").last.scroll_into_view_if_needed()
    sync_api.expect(page.locator("#found .tile")).to_have_count(TOTAL)
    assert found(page, "Probably nothing among")
    assert max(relevances(page).values()) < 5  # also of what was read on


def test_who_searches_before_the_library_is_listed_sees_what_was_found(address: str) -> None:
    with Visitor(address, "quick") as visitor:
        visitor.search("a castle")
        opened = visitor.call("open", None)["output"]["data"][0]
    assert opened["told"].startswith("Found")
    assert opened["images"][0]["name"] == "castle"


def test_an_image_of_their_own_is_a_query(page: Any) -> None:
    upload(page, SAMPLES / "owl.jpg")  # is searched for at once
    assert found(page, "images")[0] == "owl"
    page.locator("#sought").get_by_role("button", name=re.compile("clear|remove", re.I)).click()
    found(page, "The whole library")


def test_words_and_an_image_are_one_query(page: Any) -> None:
    upload(page, SAMPLES / "owl.jpg")
    found(page, "images")
    type_query(page, "a castle")
    page.keyboard.press("Enter")
    page.locator("#found .tile", has_text="castle").first.wait_for()
    page.wait_for_function(
        "[...document.querySelectorAll('#found .path')].slice(0, 4)"
        ".some((path) => path.textContent == 'castle.jpg')"
    )
    assert "owl" in found(page, "images")[:4]


def test_words_are_never_read_as_a_path(page: Any) -> None:
    # As the path of an image in the library, it would be left out of its own results.
    assert "owl" in search(page, str(SAMPLES / "owl.jpg"))


def test_an_image_that_cannot_be_read_is_told(page: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((SAMPLES / "owl.jpg").read_bytes()[:2000])
    page.locator("#sought input[type=file]").set_input_files(str(broken))
    page.get_by_test_id("toast-body").filter(has_text="broken.jpg").wait_for()


def set_diversity(page: Any, value: str) -> None:
    """Set the slider, again if Gradio sets it to its default as the part that it lies in opens."""
    for _ in range(20):
        page.locator("#diversity input[type=number]").fill(value)
        page.locator("#diversity input[type=number]").blur()
        page.wait_for_timeout(100)
        if page.locator("#diversity input[type=range]").input_value() == value:
            return
    raise AssertionError("the slider does not keep its value")


def test_results_can_differ_from_each_other(page: Any) -> None:
    alike = search(page, "an animal")[:8]
    page.get_by_role("button", name="Filters and order").click()
    set_diversity(page, "0.9")
    page.locator("#search").click()
    page.wait_for_function(
        "(alike) => ![...document.querySelectorAll('#found .path')].slice(0, 8)"
        ".every((path) => alike.includes(path.textContent.replace('.jpg', '')))",
        arg=alike,
    )


def test_the_api_takes_a_query_and_a_count(address: str) -> None:
    found = client.Client(address, verbose=False).predict("a cat", 3, api_name="/search")
    assert len(found["images"]) == 3
    assert found["images"][0]["caption"].startswith("cat ")
    assert found["told"].startswith("Found")


def test_the_api_takes_an_image(address: str) -> None:
    owl = client.handle_file(str(SAMPLES / "owl.jpg"))
    visitor = client.Client(address, verbose=False)
    found = visitor.predict("", 3, image=owl, api_name="/search")
    assert found["images"][0]["name"] == "owl"


def test_what_is_found_is_put_in_order(address: str) -> None:
    visitor = client.Client(address, verbose=False)
    best = visitor.predict("a castle", 24, api_name="/search")["images"]
    relevant = [item["name"] for item in best if item["relevance"] >= 40]
    assert len(relevant) > 1
    by_name = visitor.predict("a castle", 24, api_name="/search", sort="name")["images"]
    assert [item["name"] for item in by_name] == sorted(relevant)


CODE = "${Object.assign(window,{owned:1})}"  # a template of Gradio's would run it


def test_a_name_is_never_code(browser: Any, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    (folder / CODE).mkdir(parents=True)
    shutil.copy(SAMPLES / "cat.jpg", folder / CODE / f"{CODE}.jpg")
    shutil.copy(SAMPLES / "dog.jpg", folder / "dog.jpg")
    with served(folder, tmp_path / "home") as address, watched(browser) as page:
        page.goto(address)
        found(page, "The whole library")
        assert f"{CODE}/{CODE}" in found(page, "")  # its path in the folder
        mark(page, CODE, "More")
        found(page, f"More like: {CODE}.")
        page.get_by_role("tab", name="Classify").click()
        page.locator("#image input[type=file]").set_input_files(str(SAMPLES / "owl.jpg"))
        page.locator("#image img").wait_for()
        page.locator("#labels textarea, #labels input").first.fill(f'"{CODE}"\nan owl')
        page.locator("#classify-images").click()
        page.locator("#scores", has_text=CODE).wait_for()
        assert page.evaluate("window.owned") is None


def test_the_name_of_a_taught_concept_is_a_word(browser: Any, tmp_path: Path) -> None:
    with served(SAMPLES, tmp_path) as address, watched(browser) as page:
        encoder = clipkit.load(cache_texts=False)
        taught = clipkit.teach(encoder, "Hedwig", [SAMPLES / "owl.jpg"], kind="a bird")
        clipkit.ConceptStore().save(taught.concept)
        page.goto(address)
        found(page, "The whole library")
        assert search(page, "Hedwig")[0] == "owl"
        found(page, "Hedwig is taken for the taught concept.")


def test_the_page_asks_only_its_own_server(page: Any, address: str, asked: list[str]) -> None:
    search(page, "a castle")
    elsewhere = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert asked
    assert elsewhere == []


def test_the_page_serves_nothing_but_the_images(page: Any, address: str) -> None:
    secret = Path(__file__).resolve()
    response = page.request.get(f"{address}gradio_api/file={secret}")
    assert response.status in (403, 404)
