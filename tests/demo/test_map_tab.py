"""The map in a real browser: made, pointed at, zoomed, and shown by Embedding Atlas."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import clipkit
from tests.conftest import SAMPLES
from tests.demo.conftest import NAMELESS, WARNINGS, opened, served
from tests.demo.visitor import raw_request

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')
pytest.importorskip("embedding_atlas", reason='the map needs  pip install "clipkit[map]"')
sync_api = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")

pytestmark = [pytest.mark.slow, pytest.mark.browser, *WARNINGS]

NUM_IMAGES = len(list(SAMPLES.glob("*.jpg")))
# A browser that says that it draws with WebGPU, and with numbers of half precision.
WITH_WEBGPU = """Object.defineProperty(navigator, "gpu", {value: {
    wgslLanguageFeatures: new Set(),
    requestAdapter: async () => ({features: new Set(["shader-f16"])}),
}})"""


@pytest.fixture(scope="module")
def own_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page of this machine's own, over two folders of images."""
    folder = tmp_path_factory.mktemp("own") / "images"
    for number, path in enumerate(sorted(SAMPLES.glob("*.jpg"))):
        place = folder / ("2023" if number % 3 else "home")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    with served(folder, tmp_path_factory.mktemp("home")) as address:
        yield address


@pytest.fixture(scope="module")
def made(browser: Any, own_address: str) -> str:
    """The page once its map is made, with labels."""
    with opened(browser, own_address, "Map") as page:
        page.locator("#map-told", has_text="There is no map of this folder yet").wait_for()
        assert raw_request(own_address, "/map/").startswith(b"HTTP/1.1 404")
        page.locator("#map-labels input, #map-labels textarea").first.fill("animal, building, food")
        page.locator("#make-map").click()
        page.locator("#map-told", has_text="Laying out").wait_for()
        page.locator("#map-told", has_text=f"{NUM_IMAGES} images.").wait_for(timeout=120_000)
    return own_address


@pytest.fixture
def page(browser: Any, made: str) -> Iterator[Any]:
    with opened(browser, made, "Map") as page:
        page.locator("#map .legend li").first.wait_for()
        yield page


def legend(page: Any) -> dict[str, int]:
    names = page.locator("#map .legend .name").all_inner_texts()
    counts = page.locator("#map .legend .count").all_inner_texts()
    return {name: int(count) for name, count in zip(names, counts, strict=True)}


def test_it_is_coloured_by_label_and_by_folder(page: Any) -> None:
    assert set(legend(page)) <= {"animal", "building", "food"}
    assert sum(legend(page).values()) == NUM_IMAGES
    page.locator("#map select").select_option("Folder")
    assert legend(page) == {"2023": 2 * NUM_IMAGES // 3, "home": NUM_IMAGES // 3}
    # Of the points a third is drawn strongly when their group is shown alone.
    count = """() => { const map = document.querySelector("#map canvas");
        const pixels = map.getContext("2d").getImageData(0, 0, map.width, map.height).data;
        let strong = 0;
        for (let at = 3; at < pixels.length; at += 4) strong += pixels[at] > 150;
        return strong; }"""
    page.wait_for_timeout(200)
    before = page.evaluate(count)
    page.locator("#map .legend button", has_text="home").click()
    page.wait_for_timeout(200)
    assert 0.2 < page.evaluate(count) / before < 0.5


def test_an_image_is_seen_where_one_points_and_stays_after_a_click(page: Any) -> None:
    canvas = page.locator("#map canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    hover = page.locator("#map .hover")
    for step in range(400):  # along the rows of the canvas, until there is one
        x, y = step % 20, step // 20
        page.mouse.move(box["x"] + box["width"] * x / 20, box["y"] + box["height"] * y / 20)
        if hover.is_visible():
            break
    name = hover.locator("span").inner_text()
    shown = hover.locator("img")
    sync_api.expect(shown).to_have_js_property("complete", value=True)
    assert 0 < shown.evaluate("image => image.naturalWidth") <= 480
    page.mouse.down()
    page.mouse.up()
    sync_api.expect(page.locator("#map .chosen .file")).to_have_text(name)
    page.mouse.move(box["x"] + 2, box["y"] + box["height"] - 2)
    sync_api.expect(hover).to_be_hidden()
    sync_api.expect(page.locator("#map .chosen .facts")).to_contain_text("Folder: ")


def test_keys_go_from_image_to_image_and_zoom(page: Any) -> None:
    page.locator("#map canvas").focus()
    seen = set()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
        seen.add(page.locator("#map .chosen .file").inner_text())
    assert len(seen) >= 3
    before = page.locator("#map canvas").evaluate("canvas => canvas.toDataURL()")
    page.keyboard.press("+")
    page.wait_for_timeout(200)
    zoomed = page.locator("#map canvas").evaluate("canvas => canvas.toDataURL()")
    assert zoomed != before
    page.keyboard.press("Escape")
    sync_api.expect(page.locator("#map .chosen")).to_be_hidden()
    assert page.evaluate(NAMELESS) == []


def test_scrolling_zooms_about_the_pointer(page: Any) -> None:
    page.locator("#map canvas").focus()
    page.keyboard.press("ArrowRight")
    name = page.locator("#map .chosen .file").inner_text()
    canvas = page.locator("#map canvas")
    box = canvas.bounding_box()
    # The ring around the chosen image is found by its colour: its place is the pointer's.
    place = canvas.evaluate(
        """(canvas) => { const scale = devicePixelRatio, context = canvas.getContext("2d");
        const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
        let [x, y, n] = [0, 0, 0];
        for (let at = 0; at < data.length; at += 4) {
          if (data[at + 3] > 200 && data[at] + data[at + 1] + data[at + 2] < 130) {
            x += (at / 4) % canvas.width; y += Math.floor(at / 4 / canvas.width); n += 1;
          }
        }
        return [x / n / scale, y / n / scale]; }"""
    )
    page.mouse.move(box["x"] + place[0], box["y"] + place[1])
    for _ in range(5):
        page.mouse.wheel(0, -300)
    page.keyboard.press("Escape")
    page.mouse.down()
    page.mouse.up()
    sync_api.expect(page.locator("#map .chosen .file")).to_have_text(name)


def test_without_webgpu_it_says_what_is_missing(page: Any) -> None:
    sync_api.expect(page.locator("#map .lack")).to_contain_text("needs WebGPU with shader-f16")
    sync_api.expect(page.locator("#map iframe")).to_be_hidden()


def test_embedding_atlas_shows_it_within_the_page_and_asks_nobody_else(
    browser: Any, made: str
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})  # it tells that WebGPU is not
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.add_init_script(WITH_WEBGPU)
    page.goto(made)
    page.get_by_role("tab", name="Map").click()
    frame = page.frame_locator("#map iframe")
    frame.get_by_text(f"{NUM_IMAGES} points").first.wait_for(timeout=60_000)
    frame.get_by_text("home/").first.wait_for()
    frame.get_by_title("Card view").click()
    image = frame.locator("img[src*='gradio_api/file=']").first  # by the page's own store
    image.wait_for()
    page.wait_for_timeout(1000)
    assert 0 < image.evaluate("image => image.naturalWidth") <= 480
    page.locator("#map .plain").click()
    sync_api.expect(page.locator("#map canvas")).to_be_visible()
    sync_api.expect(page.locator("#map iframe")).to_be_hidden()
    page.close()
    assert [url for url in asked if not url.startswith((made, "blob:" + made, "data:"))] == []


@pytest.mark.parametrize(
    "target",
    ["/map/../etc/passwd", "/map/assets/../../cli.py", "/map/assets/..%2f..%2fcli.py",
     "/map/data/cache/x", "/map/data/archive.zip", "/map/data/query", "/map/data/x.parquet",
     "/map/cli.py", "/map//etc/passwd", "/map/assets/%2e%2e/%2e%2e/cli.py", "/map"],
)  # fmt: skip
def test_nothing_else_is_served_with_the_map(made: str, target: str) -> None:
    assert raw_request(made, target)[:12] in (b"HTTP/1.1 404", b"HTTP/1.1 400")
    assert raw_request(made, target, "POST")[:12] in (b"HTTP/1.1 404", b"HTTP/1.1 405")


def test_the_map_is_for_the_page_alone(made: str) -> None:
    answer = raw_request(made, "/map/data/dataset.parquet")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"frame-ancestors 'self'" in answer
    for headers in (("Host: evil.example",), ("Host: localhost", "Origin: http://evil.example")):
        refused = raw_request(made, "/map/data/dataset.parquet", headers=headers)
        assert refused.startswith(b"HTTP/1.1 403")


def test_visitors_from_elsewhere_see_only_a_map_that_there_is(browser: Any, tmp_path: Path) -> None:
    with (
        served(SAMPLES, tmp_path, allowed=("photos.example",)) as address,
        opened(browser, address, "Map") as page,
    ):
        page.locator("#map-told", has_text="clipkit map FOLDER").wait_for()
        assert page.locator("#make-map").count() == 0
        encoder = clipkit.load(cache_texts=False)
        clipkit.make_map(clipkit.PhotoLibrary.open(SAMPLES, encoder), encoder)
        page.get_by_role("tab", name="Search").click()
        page.get_by_role("tab", name="Map").click()
        page.locator("#map-told", has_text=f"{NUM_IMAGES} images.").wait_for(timeout=60_000)
        sync_api.expect(page.locator("#map canvas")).to_be_visible()


def test_it_fits_a_phone(browser: Any, made: str) -> None:
    with opened(browser, made, "Map", width=390) as page:
        page.locator("#map .legend li").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
