"""The tab for classification in a real browser: what a visitor drops, types, clicks and sees."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import clipkit
from clipkit.cli.main import main
from tests.conftest import SAMPLES
from tests.demo.conftest import NAMELESS, WARNINGS, opened, served

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')
sync_api = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")

pytestmark = [pytest.mark.slow, pytest.mark.browser, *WARNINGS]

IMAGES = sorted(SAMPLES.glob("*.jpg"))
NONE, SEVERAL = "One of the labels, or none of these", "Several may apply, or none"
LABELS = "castle\nowl\ncup of coffee"


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with opened(browser, address, "Classify") as page:
        yield page


def drop(page: Any, *names: str) -> None:
    before = page.locator("#image li").count()
    files = [str(SAMPLES / f"{name}.jpg") for name in names]
    page.locator("#image input[type=file]").set_input_files(files)
    sync_api.expect(page.locator("#image li")).to_have_count(before + len(names))
    sync_api.expect(page.locator("#image .told")).to_be_empty()


def classify(page: Any, labels: str = LABELS) -> None:
    page.locator("#labels textarea").fill(labels)
    page.locator("#classify-images").click()


def choose_place(page: Any, name: str) -> None:
    page.locator("#where input").click()
    page.get_by_role("option", name=name).click()


def bars(page: Any) -> dict[str, float]:
    """Return each label's percent, best first, once the labels asked for are there."""
    lines = page.locator("#scores li")
    lines.first.wait_for()
    texts = [line.split("\n") for line in lines.all_inner_texts()]
    return {text[0]: float(text[1].strip(" <%")) for text in texts}


def rows(page: Any) -> list[list[str]]:
    """Return the cells of the table."""
    lines = page.locator("#table tbody tr")
    return [line.locator("td").all_inner_texts() for line in lines.all()]


def test_an_image_of_their_own_has_bars_with_none_of_these(page: Any) -> None:
    drop(page, "owl")
    classify(page)
    found = bars(page)
    assert next(iter(found)) == "owl"
    assert set(found) == {"owl", "castle", "cup of coffee", "none of these"}
    assert sum(found.values()) == pytest.approx(100, abs=0.3)  # probabilities
    sync_api.expect(page.locator("#table .many")).to_be_hidden()


def test_the_library_is_classified_as_the_command_does_and_nothing_is_decoded(
    page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path))
    labels = "castle,owl,cup of coffee"
    main(["classify", str(SAMPLES), "--labels", labels, "--unknown", "--csv", "--top", "5"])
    expected: dict[tuple[str, str], float] = {}
    for row in csv.DictReader(io.StringIO(capsys.readouterr().out)):
        expected[Path(row["path"]).name, row["label"]] = float(row["score"])

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an indexed image is decoded again")

    monkeypatch.setattr(clipkit.Encoder, "stream_images", refuse)
    monkeypatch.setattr(clipkit.Encoder, "encode_images", refuse)
    choose_place(page, "The whole library")
    classify(page)
    sync_api.expect(page.locator("#table tbody tr")).to_have_count(len(IMAGES))
    with page.expect_download() as waiting:
        page.locator("#table").get_by_role("button", name="Download CSV").click()
    assert waiting.value.suggested_filename == "labels.csv"
    text = waiting.value.path().read_text()
    found = {
        (row["path"], row["label"]): float(row["score"])
        for row in csv.DictReader(io.StringIO(text))
    }
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, abs=0.02)  # of the index in half precision


def test_the_table_is_sifted_by_label_and_shows_one_image_at_a_time(page: Any) -> None:
    drop(page, "owl", "castle", "cat")
    classify(page)
    sync_api.expect(page.locator("#table tbody tr")).to_have_count(3)
    assert [row[0].strip() for row in rows(page)] == ["owl.jpg", "castle.jpg", "cat.jpg"]
    page.locator("#table .pick", has_text="castle.jpg").click()
    sync_api.expect(page.locator("#scores h2")).to_have_text("castle.jpg")
    assert next(iter(bars(page))) == "castle"
    page.locator("#table select").select_option("owl")
    sync_api.expect(page.locator("#table tbody tr:visible")).to_have_count(1)
    sync_api.expect(page.locator("#table tbody tr:visible")).to_contain_text("owl.jpg")


def test_several_labels_may_apply_and_none(page: Any) -> None:
    drop(page, "owl", "cat")
    page.get_by_label(SEVERAL).click()
    classify(page, "bird, owl, cup of coffee")
    sync_api.expect(page.locator("#table tbody tr")).to_have_count(2)
    (_, owl, *_), (_, cat, *_) = rows(page)
    assert "bird" in owl
    assert "owl" in owl
    assert cat.strip() == "no label"


def test_where_a_label_is_in_the_image_is_drawn_over_it(page: Any) -> None:
    drop(page, "owl")
    classify(page)
    bars(page)
    page.get_by_role("button", name="Where in the image: owl").click()
    verdict = page.locator("#scores .verdict")
    sync_api.expect(verdict).to_contain_text("“owl” is there", timeout=60_000)
    # The colours at the place of the highest and of the lowest cosine, by the Python function.
    heat = clipkit.explain(clipkit.load(), SAMPLES / "owl.jpg", "owl")
    sums = [
        page.locator("#scores canvas").evaluate(
            """(canvas, [row, column, rows, columns]) => [...canvas.getContext("2d").getImageData(
                (column + 0.5) / columns * canvas.width, (row + 0.5) / rows * canvas.height, 1, 1
            ).data].slice(0, 3).reduce((one, other) => one + other)""",
            [*divmod(int(place), heat.values.shape[1]), *heat.values.shape],
        )
        for place in (heat.values.argmax(), heat.values.argmin())
    ]
    assert sums[0] > 2 * sums[1]
    page.get_by_role("button", name="Where in the image: cup of coffee").click()
    sync_api.expect(verdict).to_contain_text("“cup of coffee” is not there", timeout=60_000)


def test_templates_are_chosen_and_edited(page: Any) -> None:
    drop(page, "owl")
    templates = page.locator("#templates textarea")
    assert templates.input_value().splitlines() == list(clipkit.TEMPLATE_SETS["default"])
    page.locator("#sets input").click()
    page.get_by_role("option", name="satellite").click()
    wanted = "\n".join(clipkit.TEMPLATE_SETS["satellite"])
    sync_api.expect(templates).to_have_value(wanted)
    classify(page)
    before = bars(page)
    templates.fill("a photo without a place")
    classify(page)
    page.get_by_test_id("toast-body").filter(has_text="exactly one {}").wait_for()
    templates.fill("a drawing of a {}")
    classify(page)
    page.wait_for_function(
        "(before) => document.querySelector('#scores .percent').textContent != before",
        arg=f"{next(iter(before.values()))} %",
    )


def test_who_asks_again_gets_the_later_answer(page: Any) -> None:
    drop(page, "owl")
    classify(page, ",".join(f"thing {number}" for number in range(200)))
    page.locator("#table .told", has_text="Reading labels").wait_for()
    classify(page, "owl, cat")
    sync_api.expect(page.locator("#scores li")).to_have_count(3)
    sync_api.expect(page.locator("#table .told")).to_be_empty()


def test_an_example_is_classified_at_once(page: Any) -> None:
    page.locator("#examples button").nth(4).click()  # the castle
    assert next(iter(bars(page))) == "castle"


def test_what_is_missing_is_told(page: Any) -> None:
    page.locator("#classify-images").click()
    page.get_by_text("Give an image first").wait_for()
    drop(page, "owl")
    classify(page, " , ")
    page.get_by_text("at least one class name is needed").wait_for()
    classify(page, "owl")
    page.get_by_label("One of the labels", exact=True).click()
    classify(page, "owl")
    page.get_by_text("One label alone always fits").wait_for()


def test_an_image_that_cannot_be_read_is_told_and_the_others_stay(
    page: Any, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((SAMPLES / "owl.jpg").read_bytes()[:2000])
    files = [str(SAMPLES / "owl.jpg"), str(broken), str(SAMPLES / "cat.jpg")]
    page.locator("#image input[type=file]").set_input_files(files)
    sync_api.expect(page.locator("#image .told")).to_contain_text("broken.jpg")
    sync_api.expect(page.locator("#image li")).to_have_count(2)
    page.locator("#image").get_by_role("button", name="Remove owl.jpg").click()
    sync_api.expect(page.locator("#image li img")).to_have_attribute("alt", "cat.jpg")
    page.locator("#image").get_by_role("button", name="Remove cat.jpg").click()
    sync_api.expect(page.locator("#image .drop")).to_be_focused()


def test_a_taught_concept_is_a_label(browser: Any, tmp_path: Path) -> None:
    with served(SAMPLES, tmp_path) as address, opened(browser, address, "Classify") as page:
        encoder = clipkit.load(cache_texts=False)
        taught = clipkit.teach(encoder, "Felix", [SAMPLES / "cat.jpg"], kind="a cat")
        clipkit.ConceptStore().save(taught.concept)
        drop(page, "cat")
        classify(page, "Felix\ncastle")
        assert next(iter(bars(page))) == "Felix"
        page.get_by_text("Taken for taught concepts: Felix.").wait_for()


def test_the_keyboard_alone_classifies_and_explains(page: Any) -> None:
    def tab_to(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("(which) => document.activeElement.matches(which)", selector):
                return
        raise AssertionError(f"{selector} cannot be reached")

    page.locator("#image .drop").wait_for()
    page.evaluate("document.activeElement.blur()")
    tab_to("#examples button")
    page.keyboard.press("Enter")
    assert len(bars(page)) == 9
    tab_to("#labels textarea")
    page.keyboard.press("Control+A")
    page.keyboard.type("rocket, astronaut")
    tab_to("#classify-images")
    page.keyboard.press("Enter")
    page.locator("#scores .label", has_text="astronaut").wait_for()
    assert set(bars(page)) == {"rocket", "astronaut", "none of these"}
    tab_to("#scores li button")
    page.keyboard.press("Enter")
    page.locator("#scores .legend").wait_for(timeout=60_000)


def test_every_control_has_a_name(page: Any) -> None:
    drop(page, "owl", "castle")
    classify(page)
    sync_api.expect(page.locator("#table tbody tr")).to_have_count(2)
    assert page.evaluate(NAMELESS) == []


def test_what_cannot_be_read_is_told_on_a_phone_too(
    browser: Any, address: str, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((SAMPLES / "cat.jpg").read_bytes()[:3000])
    files = [str(SAMPLES / "owl.jpg"), str(SAMPLES / "cat.jpg"), str(broken)]
    with opened(browser, address, "Classify", width=390) as page:
        page.locator("#image input[type=file]").set_input_files(files)
        told = page.locator("#image .told", has_text="broken.jpg")
        told.wait_for()
        below = page.locator("#image ~ *").first.bounding_box()
        box = told.bounding_box()
        assert box["y"] + box["height"] <= below["y"]


def test_it_fits_a_phone_and_comes_into_sight(browser: Any, address: str) -> None:
    with opened(browser, address, "Classify", width=390) as page:
        drop(page, "owl")
        classify(page)
        sync_api.expect(page.locator("#scores h2")).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert re.search("owl", page.locator("#scores li").first.inner_text())
