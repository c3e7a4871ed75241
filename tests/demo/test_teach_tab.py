"""The tab for teaching in a real browser: images in, what they find, and a word that is kept."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import clipkit
from tests.conftest import SAMPLES
from tests.demo.conftest import NAMELESS, WARNINGS, opened, served

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')
sync_api = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")

pytestmark = [pytest.mark.slow, pytest.mark.browser, *WARNINGS]


@pytest.fixture(scope="module")
def own_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page with a home of its own."""
    with served(SAMPLES, tmp_path_factory.mktemp("home")) as address:
        yield address


@pytest.fixture
def page(browser: Any, own_address: str) -> Iterator[Any]:
    with opened(browser, own_address, "Teach") as page:
        yield page


def drop(page: Any, tray: str, *names: str) -> None:
    files = [str(SAMPLES / f"{name}.jpg") for name in names]
    before = page.locator(f"{tray} li").count()
    page.locator(f"{tray} input[type=file]").set_input_files(files)
    sync_api.expect(page.locator(f"{tray} li")).to_have_count(before + len(names))
    sync_api.expect(page.locator(f"{tray} .told")).to_be_empty()


def teach(page: Any, name: str, kind: str = "") -> str:
    """Teach what is in the trays; return what is told."""
    page.locator("#name input, #name textarea").fill(name)
    page.locator("#kind input, #kind textarea").fill(kind)
    page.locator("#teach").click()
    told = page.locator("#matches .told", has_text=f"{name}, taught from")
    told.wait_for()
    return str(told.inner_text())


def matches(page: Any) -> list[str]:
    return list(page.locator("#matches .file").all_inner_texts())


def test_it_finds_what_the_function_and_the_library_find(page: Any, tmp_path: Path) -> None:
    drop(page, "#shows", "parrot", "kingfisher")
    drop(page, "#shows-not", "hens")
    told = teach(page, "Colourful bird", "a bird")
    assert "2 images and 1 that are not it" in told
    folder = tmp_path / "images"
    shutil.copytree(SAMPLES, folder)
    encoder = clipkit.load()
    library = clipkit.PhotoLibrary.open(folder, encoder, location=tmp_path / "index")
    library.sync()
    taught = clipkit.teach(
        encoder, "Colourful bird", [folder / "parrot.jpg", folder / "kingfisher.jpg"],
        negatives=[folder / "hens.jpg"], kind="a bird", library=library,
    )  # fmt: skip
    hits = library.search(taught.concept.embedding, k=4)
    assert matches(page)[:4] == [hit.path.name for hit in hits]


def test_matches_are_taken_as_more_images(page: Any) -> None:
    drop(page, "#shows", "owl")
    teach(page, "Bird")
    page.get_by_role("button", name="hens.jpg: It is", exact=True).click()
    sync_api.expect(page.locator("#shows li")).to_have_count(2)
    page.get_by_role("button", name="hens.jpg: It is not").click()  # as one changes one's mind
    sync_api.expect(page.locator("#shows-not li")).to_have_count(1)
    sync_api.expect(page.locator("#shows li")).to_have_count(1)
    assert "1 image and 1 that are not it" in teach(page, "No hen")
    assert (
        page.get_by_role("button", name="hens.jpg: It is not").get_attribute("aria-pressed")
        == "true"
    )


def test_of_quick_clicks_none_is_lost_and_a_tray_takes_no_more_than_it_says(page: Any) -> None:
    drop(page, "#shows", *["owl"] * 18)  # each upload is an image of its own
    teach(page, "Owl")
    page.evaluate(
        """() => [...document.querySelectorAll("#matches li")].slice(0, 4).forEach(
            (tile) => tile.querySelector("button").click())"""
    )
    sync_api.expect(page.locator("#shows li")).to_have_count(20)
    sync_api.expect(page.locator("#shows .told")).to_have_text("Up to 20 images: remove one first.")
    assert "20 images" in teach(page, "Owls")


def test_what_is_kept_is_a_word_and_a_label_until_it_is_removed(page: Any) -> None:
    drop(page, "#shows", "owl")
    teach(page, "Hedwig", "a bird")
    page.locator("#keep").click()
    page.locator("#kept", has_text="Kept: Hedwig").wait_for()
    page.locator("#keep").click()
    page.locator("#kept", has_text="There is a concept Hedwig already").wait_for()
    page.locator("#leave").click()
    page.locator("#kept", has_text="Nothing was changed").wait_for()
    page.locator("#keep").click()
    page.locator("#replace").click()
    page.locator("#kept", has_text="Kept: Hedwig").wait_for()
    page.get_by_role("tab", name="Search").click()
    page.locator("#query textarea, #query input").first.fill("Hedwig")
    page.keyboard.press("Enter")
    page.locator("#told", has_text="Hedwig is taken for the taught concept.").wait_for()
    page.get_by_role("tab", name="Classify").click()
    page.locator("#labels textarea").fill("Hedwig, castle")
    page.locator("#examples button").nth(4).click()
    page.get_by_text("Taken for taught concepts: Hedwig.").wait_for()
    page.get_by_role("tab", name="Teach").click()
    page.get_by_role("button", name="Concepts that are kept").click()
    page.get_by_role("button", name="Remove Hedwig").click()
    page.get_by_role("button", name="Keep", exact=True).click()
    page.get_by_role("button", name="Remove Hedwig").click()
    page.get_by_role("button", name="Remove for good").click()
    page.get_by_text("Nothing was taught with this model so far.").wait_for()


def test_the_file_that_is_downloaded_is_the_concept(page: Any) -> None:
    drop(page, "#shows", "owl")
    teach(page, "Hedwig", "a bird")
    with page.expect_download() as waiting:
        page.locator("#fetch-concept").click()
    assert waiting.value.suggested_filename == "Hedwig.safetensors"
    concept = clipkit.Concept.load(waiting.value.path())
    assert (concept.name, concept.kind, concept.num_images) == ("Hedwig", "a bird", 1)
    assert concept.space_id == clipkit.load().space_id


def test_what_is_missing_is_told(page: Any) -> None:
    page.locator("#teach").click()
    page.get_by_text("Give it a name first").wait_for()
    page.locator("#name input, #name textarea").fill("Rex")
    page.locator("#teach").click()
    page.get_by_text("Give an image that shows it first").wait_for()
    page.locator("#keep").click()
    page.get_by_text("Teach something first").wait_for()


def test_every_control_has_a_name_and_it_fits_a_phone(browser: Any, own_address: str) -> None:
    with opened(browser, own_address, "Teach", width=390) as page:
        drop(page, "#shows", "owl")
        teach(page, "Hedwig")
        assert page.evaluate(NAMELESS) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
