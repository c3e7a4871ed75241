"""The tab for adapting in a real browser: classes in, the ladder, and a head that is used."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import clipkit
from tests.conftest import SAMPLES
from tests.demo.conftest import NAMELESS, WARNINGS, opened, served

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')
pytest.importorskip("scipy", reason='adapting needs  pip install "clipkit[evaluate]"')
sync_api = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")

pytestmark = [pytest.mark.slow, pytest.mark.browser, *WARNINGS]

CLASSES = {
    "animal": ("cat", "dog", "owl", "koala", "panda", "sheep"),
    "building": ("castle", "eiffel_tower", "pyramid", "windmill", "temple", "colosseum"),
}
HEAD = "My classes, of the tab Adapt"


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with opened(browser, address, "Adapt") as page:
        yield page


def fill(page: Any, number: int, name: str, *images: str) -> None:
    """Name a class and give it images."""
    page.locator(f"#class-{number} input, #class-{number} textarea").fill(name)
    files = [str(SAMPLES / f"{image}.jpg") for image in images]
    page.locator(f"#images-{number} input[type=file]").set_input_files(files)
    sync_api.expect(page.locator(f"#images-{number} li")).to_have_count(len(images))
    sync_api.expect(page.locator(f"#images-{number} .told")).to_be_empty()


def adapt(page: Any) -> list[list[str]]:
    """Measure, and return the rows of the table."""
    page.locator("#adapt").click()
    page.locator("#ladder tr.best").wait_for(timeout=60_000)
    lines = page.locator("#ladder tbody tr").all()
    return [line.locator("td").all_inner_texts() for line in lines]


def test_the_ladder_fills_and_its_head_is_used_and_downloaded(page: Any) -> None:
    for number, (name, images) in enumerate(CLASSES.items(), start=1):
        fill(page, number, name, *images)
    rows = adapt(page)
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "3", "4", "4", ""]
    for _, _, right, _ in rows:
        match = re.match(r"(\d+\.\d) %", right)
        assert match
        assert 0 <= float(match[1]) <= 100
    (best,) = (row[1] for row in rows if "take this" in row[1])
    title = best.removesuffix("← take this").strip()
    told = page.locator("#ladder .told").inner_text()
    assert told.startswith((f"Take {title}: ", "A small task-specific model"))
    with page.expect_download() as waiting:
        page.locator("#fetch-head").click()
    head = clipkit.Head.load(waiting.value.path())
    assert head.class_names == ("animal", "building")
    assert head.details["num_images"] == 12
    # Images that it was not fitted on, by the page and by the file.
    page.get_by_role("tab", name="Classify").click()
    page.get_by_label(HEAD).click()
    names = ["giraffe", "stave_church", "hedgehog"]
    files = [path for name in names if (path := SAMPLES / f"{name}.jpg").is_file()]
    page.locator("#image input[type=file]").set_input_files([str(path) for path in files])
    sync_api.expect(page.locator("#image li")).to_have_count(len(files))
    page.locator("#classify-images").click()
    sync_api.expect(page.locator("#table tbody tr")).to_have_count(len(files))
    shown = page.locator("#table .best span").all_inner_texts()
    found = clipkit.HeadClassifier(clipkit.load(), head).classify(files, k=1)
    assert shown == [ranked[0]["label"] for ranked in found]


def test_images_to_label_next_are_put_to_a_class_by_a_click(page: Any) -> None:
    fill(page, 1, "animal", "cat")
    fill(page, 2, "building", "castle")
    page.locator("#suggest").click()
    tiles = page.locator("#to-label li")
    sync_api.expect(tiles).to_have_count(12)
    names = [name.inner_text() for name in tiles.locator(".file").all()]
    assert len(set(names)) == 12
    assert not {"cat.jpg", "castle.jpg"} & set(names)  # labelled already, or copies
    page.get_by_role("button", name=f"{names[0]}: building").click()
    sync_api.expect(page.locator("#images-2 li")).to_have_count(2)
    page.get_by_role("button", name=f"{names[0]}: animal").click()  # as one changes one's mind
    sync_api.expect(page.locator("#images-1 li")).to_have_count(2)
    sync_api.expect(page.locator("#images-2 li")).to_have_count(1)


def test_folders_of_the_library_are_classes(browser: Any, tmp_path: Path) -> None:
    for name, images in CLASSES.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        for image in images:
            shutil.copy(SAMPLES / f"{image}.jpg", tmp_path / "images" / name)
    folder = tmp_path / "images"
    with served(folder, tmp_path / "home") as address, opened(browser, address, "Adapt") as page:
        page.locator("#classes input").click()
        page.get_by_role("option", name="The whole library (2 folders, 12 images)").click()
        sync_api.expect(page.locator("#slots")).to_be_hidden()
        assert len(adapt(page)) == 8
        page.get_by_text("2 classes, 12 images, of which 4 are measured on").wait_for()
        page.get_by_role("tab", name="Classify").click()
        page.locator("#where input").click()
        page.get_by_role("option", name="building (6)").click()
        page.get_by_label(HEAD).click()
        page.locator("#classify-images").click()
        sync_api.expect(page.locator("#table tbody tr")).to_have_count(6)


def test_classes_are_added_one_by_one_up_to_six(page: Any) -> None:
    for number in (4, 5, 6):
        page.locator("#add-class").click()
        page.locator(f"#class-{number}").wait_for()
    sync_api.expect(page.locator("#add-class")).to_be_hidden()


def test_what_is_missing_is_told(page: Any) -> None:
    page.locator("#adapt").click()
    page.get_by_text("Name two classes or more").wait_for()
    sync_api.expect(page.locator("#fetch-head")).to_be_hidden()  # there is none yet
    page.locator("#suggest").click()
    page.get_by_text("two or more").wait_for()
    page.get_by_role("tab", name="Classify").click()
    page.get_by_label(HEAD).click()
    page.locator("#examples button").first.click()
    page.get_by_text("There are no classes of yours yet").wait_for()


def test_every_control_has_a_name_and_it_fits_a_phone(browser: Any, address: str) -> None:
    with opened(browser, address, "Adapt", width=390) as page:
        fill(page, 1, "animal", "cat", "dog")
        fill(page, 2, "building", "castle", "temple")
        adapt(page)
        assert page.evaluate(NAMELESS) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
