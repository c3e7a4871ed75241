"""A page that is really served, and a browser that is really one."""

import asyncio
import math
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import clipkit
from tests.conftest import SAMPLES

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
WARNINGS = [  # Gradio and what it stands on warn about their own insides
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]


@contextmanager
def served(
    folder: Path, home: Path, *, head_start: float = math.inf, **options: Any
) -> Iterator[str]:
    """Serve the page over a folder from a thread, indexed so long before; yield its address."""
    pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')
    from clipkit.demo.app import build_page
    from clipkit.demo.folder_indexer import FolderIndexer
    from clipkit.demo.model_queue import ModelQueue
    from clipkit.demo.server import PageServer, is_private, make_app
    from clipkit.web.listening import bind

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPKIT_HOME", str(home))
        patch.setenv("GRADIO_TEMP_DIR", str(home / "gradio"))
        # Gradio makes an event loop for each and never closes it: whoever collects garbage next,
        # perhaps the test of something else, would be told.
        patch.setattr("gradio.queueing.safe_get_lock", asyncio.Lock)
        patch.setattr("gradio.utils.safe_get_lock", asyncio.Lock)
        patch.setattr("gradio.utils.safe_get_stop_event", asyncio.Event)
        encoder = clipkit.load(cache_texts="memory")
        library = clipkit.PhotoLibrary.open(folder, encoder)
        indexer = FolderIndexer(library, ModelQueue())
        indexer.begin(head_start)
        private = is_private(options.get("host", "127.0.0.1"), options.get("allowed", ()))
        page, images, options["shared"] = build_page(encoder, indexer, is_private=private)
        options["meanwhile"] = indexer.running
        server = PageServer(make_app(page, images, **options), page)
        bound = bind("127.0.0.1", 0)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="package")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page over the samples."""
    with served(SAMPLES, tmp_path_factory.mktemp("home")) as address:
        yield address


@contextmanager
def watched(browser: Any, width: int = 1280, scheme: str = "light") -> Iterator[Any]:
    """Open an empty page in a browser, close it, and fail if its console told of an error.

    To be opened after its server is up and closed before it ends: a page that outlives its server
    complains of that.
    """
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    try:
        yield page
    finally:
        page.close()
    assert [line for line in wrong if "415" not in line] == []  # what is no image is refused so


@contextmanager
def opened(
    browser: Any, address: str, tab: str = "Search", width: int = 1280, scheme: str = "light"
) -> Iterator[Any]:
    """Open a tab of the page in a browser that is watched."""
    with watched(browser, width, scheme) as page:
        page.goto(address)
        page.get_by_role("tab", name=tab).click()
        yield page


# What of a tab has no name that a screen reader could say.
NAMELESS = """() => [...document.querySelectorAll("button, input, textarea, select, [role=tab]")]
    .filter((one) => one.checkVisibility() && !(
        one.getAttribute("aria-label")?.trim() || one.textContent.trim() || one.title
        || [...(one.labels || [])].some((label) => label.textContent.trim())
        || one.querySelector("img[alt]:not([alt=''])") || one.getAttribute("aria-labelledby")))
    .map((one) => one.outerHTML.slice(0, 200))"""


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """A Chromium without a window."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    if CHROMIUM is None:
        pytest.skip("no Chromium here: get one with  apt-get install chromium")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()
