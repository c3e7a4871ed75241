"""Take the pictures of the page that the README and docs/page.md show.

``python docs/take_screenshot.py`` serves the sample photographs as ``clipkit demo`` does, uses each
tab in a Chromium without a window, and replaces demo/screenshot.jpg and docs/pictures/: each tab
on a desktop and on a phone, light and dark. Look at them before they are committed: binaries stay
in the history. Needs clipkit[dev] and Chromium.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "demo" / "samples"
README_PICTURE = ROOT / "demo" / "screenshot.jpg"
PICTURES = ROOT / "docs" / "pictures"
WIDTHS = {"desktop": 1280, "phone": 390}
HEIGHT = 800  # of the README's picture, and of phones
QUALITY = 55  # of WebP: 24 pictures are some 900 kB
MINUTES = 120_000  # milliseconds that the slowest tab may take
LOADED = """[...document.querySelectorAll("img")].every((image) => image.complete
    || !image.checkVisibility() || image.getBoundingClientRect().top > innerHeight)"""


def search(page: Any) -> None:
    """Search for a castle."""
    page.locator("#told", has_text="The whole library").wait_for()
    page.locator("#query textarea, #query input").first.fill("a castle")
    page.keyboard.press("Enter")
    page.locator("#told", has_text="among").wait_for()


def classify(page: Any) -> None:
    """Classify an owl, and show where it is."""
    drop(page, "#image", "owl")
    page.locator("#labels textarea").fill("owl\ncat\ncastle\ncup of coffee")
    page.locator("#classify-images").click()
    page.get_by_role("button", name="Where in the image: owl").click(timeout=MINUTES)
    page.locator("#scores .legend").wait_for(timeout=MINUTES)


def teach(page: Any) -> None:
    """Teach what a castle is."""
    page.locator("#name input, #name textarea").first.fill("old walls")
    drop(page, "#shows", "castle", "temple")
    drop(page, "#shows-not", "windmill")
    page.locator("#teach").click()
    page.locator("#matches li").first.wait_for(timeout=MINUTES)


def adapt(page: Any) -> None:
    """Measure the ladder on two classes."""
    classes = {
        "animal": ("cat", "dog", "owl", "koala", "panda", "sheep"),
        "building": ("castle", "eiffel_tower", "pyramid", "windmill", "temple", "colosseum"),
    }
    for number, (name, images) in enumerate(classes.items(), start=1):
        page.locator(f"#class-{number} input, #class-{number} textarea").fill(name)
        drop(page, f"#images-{number}", *images)
    page.locator("#adapt").click()
    page.locator("#ladder tr.best").wait_for(timeout=MINUTES)


def make_map(page: Any) -> None:
    """Make the map, and choose an image of it."""
    labels = page.locator("#map-labels input, #map-labels textarea").first
    labels.fill("animal, building, vehicle, food, landscape")
    page.locator("#make-map").click()
    page.locator("#map .legend li").nth(3).wait_for(timeout=MINUTES)
    page.locator("#map canvas").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.locator("#map canvas").blur()


def check_model(page: Any) -> None:
    """Check the model."""
    page.locator("#check").click()
    page.locator("#checks tr").nth(1).wait_for(timeout=MINUTES)


# What is used of each tab, the height of its desktop, and what comes to the top of a phone.
TABS: dict[str, tuple[Callable[[Any], None], int, str]] = {
    "Search": (search, HEIGHT, "#told"),
    "Classify": (classify, 1240, "#scores"),
    "Teach": (teach, 860, "#matches"),
    "Adapt": (adapt, 1060, "#ladder"),
    "Map": (make_map, 1000, "#map"),
    "Model": (check_model, 860, "#model"),
}


def drop(page: Any, tray: str, *names: str) -> None:
    """Give a tray some of the samples."""
    files = [str(SAMPLES / f"{name}.jpg") for name in names]
    page.locator(f"{tray} input[type=file]").set_input_files(files)
    page.locator(f"{tray} li").nth(len(names) - 1).wait_for(timeout=MINUTES)


def take(page: Any, name: str, height: int, top: str) -> None:
    """Take the pictures of a tab: two widths, light and dark."""
    page.wait_for_timeout(1000)  # what is new scrolls into sight
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for device, width in WIDTHS.items():
            page.set_viewport_size(
                {"width": width, "height": height if device == "desktop" else HEIGHT}
            )
            if device == "phone":
                page.locator(top).evaluate("part => part.scrollIntoView({behavior: 'instant'})")
            else:
                page.evaluate("scrollTo({top: 0, behavior: 'instant'})")
            page.wait_for_function(LOADED)
            page.wait_for_timeout(700)  # colours fade from one to the other
            with Image.open(io.BytesIO(page.screenshot())) as picture:
                picture.convert("RGB").save(
                    PICTURES / f"{name.lower()}-{device}-{scheme}.webp", quality=QUALITY, method=6
                )
                if (name, device, scheme) == ("Search", "desktop", "light"):
                    picture.convert("RGB").save(README_PICTURE, quality=80, optimize=True)


@contextmanager
def served() -> Iterator[str]:
    """Serve the page over the samples; yield its address."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "clipkit", "demo"]
        server = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=os.environ | {"CLIPKIT_HOME": home}
        )
        try:
            assert server.stdout is not None
            address = re.search(r"http\S+", server.stdout.readline())
            if address is None:
                raise SystemExit("the page was not served")
            yield address[0]
        finally:
            server.terminate()
            server.wait()


def main() -> None:
    """Take the pictures."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    PICTURES.mkdir(exist_ok=True)
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        for name, (use, height, top) in TABS.items():
            page = browser.new_page(viewport={"width": WIDTHS["desktop"], "height": HEIGHT})
            page.goto(address)
            page.get_by_role("tab", name=name).click()
            use(page)
            take(page, name, height, top)
            page.close()
        browser.close()
    num_bytes = sum(path.stat().st_size for path in PICTURES.iterdir())
    print(f"{num_bytes / 1e3:.0f} kB in {PICTURES}")


if __name__ == "__main__":
    main()
