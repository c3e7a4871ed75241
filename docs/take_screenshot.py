"""Take the picture of the page that the README shows: ``python docs/take_screenshot.py``.

Serves the sample photographs as ``clipkit demo`` does, searches them in a Chromium without a
window, and replaces demo/screenshot.jpg. Look at it before it is committed: binaries stay in the
history. Needs clipkit[dev] and Chromium.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).parents[1] / "demo" / "screenshot.jpg"
QUERY = "a castle"
SIZE = {"width": 1280, "height": 800}
# The page never stops asking how far the indexing is, so that its network is never idle.
LOADED = """[...document.querySelectorAll("#found img")]
    .every((image) => image.complete || image.getBoundingClientRect().top > innerHeight)"""


def main() -> None:
    """Take the picture."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
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
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
                )
                page = browser.new_page(viewport=SIZE)
                page.goto(address[0])
                page.locator("#told", has_text="The whole library").wait_for()
                page.locator("#query textarea, #query input").first.fill(QUERY)
                page.keyboard.press("Enter")
                page.locator("#told", has_text="among").wait_for()
                page.wait_for_function(LOADED)
                page.screenshot(path=PICTURE, type="jpeg", quality=80)
                browser.close()
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
