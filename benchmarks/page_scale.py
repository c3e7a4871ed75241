"""The demo page over ten thousand images, in a real browser: its start, searches, scrolling.

Run as  python benchmarks/page_scale.py  with clipkit[demo], Playwright and Chromium, on Linux. The
folder is made and indexed once. Times of the start are from the command to the address that it
prints, and from there to the first image on the screen. A search is from the key to the moment when
every image of the window has been decoded; its texts are new ones. While the whole library is
scrolled through, tasks of the browser that take longer than 50 ms are counted: as long as one runs,
nothing moves.
"""

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from made_photos import SMALL, make_photos
from report import Figure, Report, system_load
from workplace import Workplace

NUM, QUICK = 10_000, 300
QUERIES = (
    "a red boat", "an old castle", "two dogs", "a plate of food", "a tower at night", "snow",
    "a white horse", "a bridge over a river", "yellow flowers", "a steam engine", "a market",
    "a bird in flight", "an empty street", "a wooden door", "a lighthouse", "mountains",
)  # fmt: skip
SCROLL_SECONDS = 240  # at most
STEP = 900  # pixels, a window's height

# Resolves once the window shows other images than at the last press of Enter, all decoded.
SHOWN = """() => new Promise((resolve) => {
  const inWindow = (one) => {
    const room = one.getBoundingClientRect();
    return room.bottom > 0 && room.top < window.innerHeight;
  };
  const look = () => {
    const tiles = [...document.querySelectorAll("#found .cell img")];
    const seen = tiles.filter(inWindow);
    const isNew = tiles.length > 0 && tiles[0] !== window.before;
    if (isNew && seen.length && seen.every((one) => one.complete && one.naturalWidth)) {
      resolve(performance.now() - (window.pressed || 0));
    } else requestAnimationFrame(look);
  };
  look();
})"""
WATCH_KEYS = """() => document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  window.pressed = performance.now();
  window.before = document.querySelector("#found .cell img");
}, true)"""
WATCH_TASKS = """() => {
  window.tasks = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.tasks.push(entry.duration);
  }).observe({ entryTypes: ["longtask"] });
}"""


def main() -> None:
    """Make the folder, open the page, measure, report."""
    from playwright.sync_api import sync_playwright

    workplace = Workplace.from_command_line(__doc__)
    num = workplace.size(NUM, QUICK)
    folder = workplace.directory / "photos" / f"{SMALL.name}-{num}"
    make_photos(SMALL, num, folder)
    subprocess.run([sys.executable, "-m", "clipkit", "index", str(folder)], check=True)
    load, figures = system_load(), []
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        start = time.perf_counter()
        with served(folder) as address:
            printed = time.perf_counter()
            page.goto(address)
            page.evaluate(SHOWN)
            usable = time.perf_counter()
            figures.append(Figure("from the command to its address", [printed - start], " s"))
            figures.append(Figure("from there to the first images", [usable - printed], " s"))
            figures += search_figures(page)
            figures += scroll_figures(page, num)
        browser.close()
    Report("page_scale", {}, figures, {"images": num, "searches": len(QUERIES)}, {}).save(
        workplace, load
    )


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the page of a folder from a process; yield its address."""
    command = [sys.executable, "-m", "clipkit", "demo", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.communicate(timeout=60)


def search_figures(page: Any) -> list[Figure]:
    """Return how long searches take from the key to the images."""
    page.evaluate(WATCH_KEYS)
    found = []
    for words in QUERIES:
        page.locator("#query textarea, #query input").first.fill(words)
        page.keyboard.press("Enter")
        found.append(page.evaluate(SHOWN) / 1000)
    return [Figure("a search, from the key to the images", found, " s", at_most=1)]


def scroll_figures(page: Any, num: int) -> list[Figure]:
    """Return what scrolling through the whole library keeps the browser busy with."""
    page.locator("#query textarea, #query input").first.fill("")
    page.keyboard.press("Enter")
    page.evaluate(SHOWN)
    page.evaluate(WATCH_TASKS)
    page.mouse.move(640, 600)
    start, shown = time.perf_counter(), 0
    while shown < num and time.perf_counter() - start < SCROLL_SECONDS:
        page.mouse.wheel(0, STEP)
        page.wait_for_timeout(50)
        shown = page.locator("#found .cell").count()
    seconds = time.perf_counter() - start
    tasks = page.evaluate("window.tasks")
    return [
        Figure("images that were scrolled through", [shown], ""),
        Figure("a second", [shown / seconds], "/s"),
        Figure("tasks longer than 50 ms, a thousand images", [1000 * len(tasks) / shown], ""),
        Figure("their median", [statistics.median(tasks) if tasks else 0], " ms"),
        Figure("the longest", [max(tasks, default=0)], " ms"),
    ]


if __name__ == "__main__":
    main()
