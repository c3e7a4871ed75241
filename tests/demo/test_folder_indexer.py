"""Indexing while the page is served: in steps, with pauses, and nothing done twice or lost."""

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')

import clipkit
from clipkit.demo.folder_indexer import FolderIndexer, IndexingState
from clipkit.demo.indexing_line import describe
from clipkit.demo.model_queue import ModelQueue
from tests.conftest import SAMPLES
from tests.demo.conftest import WARNINGS, served, watched
from tests.fakes import FakeEncoder, save_image

COUNT, BATCH = 12, 2


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(COUNT):
        save_image(folder / f"{number:02}.png", (number * 20, 0, 0))
    return folder


def run_apart(job: Coroutine[Any, Any, None]) -> None:
    """Run a job in a thread: the browser of other tests has a loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, job).result()


async def until(condition: Callable[[], bool]) -> None:
    """Wait in small steps; the limit of the test run ends it if it never comes."""
    while not condition():
        await asyncio.sleep(0.01)


def test_what_the_head_start_leaves_is_indexed_later_and_nothing_twice(folder: Path) -> None:
    encoder, reports = FakeEncoder(batch_size=BATCH), list[clipkit.SyncReport]()
    library = clipkit.PhotoLibrary.open(folder, encoder)
    indexer = FolderIndexer(library, ModelQueue(), tell=reports.append)
    indexer.begin(-1)  # no time at all
    assert reports == []
    assert len(library) < COUNT

    async def index() -> None:
        async with indexer.running():
            await until(lambda: bool(reports))

    run_apart(index())
    assert len(library) == COUNT
    assert sorted(encoder.encoded_images) == [f"{number:02}.png" for number in range(COUNT)]


def test_the_newest_images_come_first(folder: Path) -> None:
    encoder = FakeEncoder(batch_size=BATCH)
    for number in range(COUNT):
        os.utime(folder / f"{number:02}.png", (10**9 + number, 10**9 + number))
    FolderIndexer(clipkit.PhotoLibrary.open(folder, encoder), ModelQueue()).begin(60)
    assert encoder.encoded_images == [f"{number:02}.png" for number in reversed(range(COUNT))]


def test_a_pause_keeps_what_is_done_and_going_on_adds_the_rest(folder: Path) -> None:
    encoder, reports = FakeEncoder(batch_size=BATCH), list[clipkit.SyncReport]()
    library = clipkit.PhotoLibrary.open(folder, encoder)
    indexer = FolderIndexer(library, ModelQueue(), tell=reports.append)
    encoder.before_image = lambda number: indexer.pause() if number == 5 else None

    async def pause_and_go_on() -> None:
        async with indexer.running():
            await until(lambda: indexer.state.is_paused and not indexer.state.total)
            assert not reports
            assert 4 <= len(library) < COUNT
            assert describe(indexer, may_steer=True)["told"] == "Indexing is paused."
            indexer.look()
            await until(lambda: bool(reports))

    run_apart(pause_and_go_on())
    assert len(library) == COUNT
    assert sorted(encoder.encoded_images) == [f"{number:02}.png" for number in range(COUNT)]


def test_visitors_have_the_model_between_two_steps(folder: Path) -> None:
    encoder, done, queue = FakeEncoder(batch_size=BATCH), list[str](), ModelQueue()
    encoder.before_image = lambda _: done.append("image")
    indexer = FolderIndexer(clipkit.PhotoLibrary.open(folder, encoder), queue)

    async def visit() -> None:
        async with indexer.running():
            await until(lambda: bool(done))
            for _ in range(3):
                await queue.run("visitor", done.append, "search")
            await until(lambda: done.count("image") == COUNT)

    run_apart(visit())
    first, second, third = (place for place, what in enumerate(done) if what == "search")
    assert second - first <= 1 + 2 * BATCH
    assert third - second <= 1 + 2 * BATCH


def test_the_end_of_the_page_keeps_what_is_done(folder: Path) -> None:
    encoder, reports = FakeEncoder(batch_size=BATCH), list[clipkit.SyncReport]()
    library = clipkit.PhotoLibrary.open(folder, encoder)
    indexer = FolderIndexer(library, ModelQueue(), tell=reports.append)

    async def end_early() -> None:
        async with indexer.running():
            await until(lambda: len(encoder.encoded_images) >= 4)

    run_apart(end_early())
    assert len(library) >= len(encoder.encoded_images) - BATCH  # one may be under way
    library.sync()
    assert len(set(encoder.encoded_images)) == COUNT


def test_new_images_are_looked_for_again_and_gone_ones_go(folder: Path) -> None:
    encoder, reports = FakeEncoder(batch_size=BATCH), list[clipkit.SyncReport]()
    library = clipkit.PhotoLibrary.open(folder, encoder)
    indexer = FolderIndexer(library, ModelQueue(), tell=reports.append, interval=0.01)

    async def change() -> None:
        async with indexer.running():
            await until(lambda: len(reports) == 1)
            save_image(folder / "new.png", (0, 0, 99))
            await until(lambda: len(reports) == 2)
            (folder / "00.png").unlink()
            await until(lambda: len(reports) == 3)

    run_apart(change())
    assert [(report.added, report.removed) for report in reports] == [(12, 0), (1, 0), (0, 1)]


def test_while_another_program_indexes_it_is_told_and_tried_again(folder: Path) -> None:
    is_busy, tries = [True], list[int]()
    library = clipkit.PhotoLibrary.open(folder, FakeEncoder(batch_size=BATCH))

    def sync(progress: clipkit.Progress) -> clipkit.SyncReport:
        tries.append(1)
        if is_busy[0]:
            raise clipkit.LibraryBusyError("busy")
        return library.sync(progress=progress)

    indexer = FolderIndexer(library, ModelQueue(), sync=sync, interval=0.01)

    async def wait() -> None:
        async with indexer.running():
            await until(lambda: len(tries) > 1 and bool(indexer.state.problem))
            assert "Another program" in describe(indexer, may_steer=False)["told"]
            is_busy[0] = False
            await until(lambda: len(library) == COUNT)

    indexer.begin()
    run_apart(wait())


@pytest.mark.parametrize(
    ("spent", "done", "told"),
    [
        (8, 100, "Indexing: 100 of 1,000, 72 s left."),
        (60, 10, "Indexing: 10 of 1,000, 99 min left."),
    ],
)
def test_the_time_that_is_left_is_told_by_the_speed_so_far(
    folder: Path, monkeypatch: pytest.MonkeyPatch, spent: int, done: int, told: str
) -> None:
    indexer = FolderIndexer(
        clipkit.PhotoLibrary.open(folder, FakeEncoder(batch_size=BATCH)), ModelQueue()
    )
    indexer.state = IndexingState(done, 1000, started=0.0)
    monkeypatch.setattr("clipkit.demo.folder_indexer.time.monotonic", lambda: float(spent))
    line = describe(indexer, may_steer=True)
    assert line["told"] == told
    assert (line["button"], line["share"]) == ("pause", done / 1000)
    assert describe(indexer, may_steer=False)["button"] == ""


@pytest.mark.slow
@pytest.mark.browser
class TestInTheBrowser:
    """What a visitor sees of it."""

    pytestmark = WARNINGS

    def test_a_new_image_appears_by_itself(self, browser: Any, tmp_path: Path) -> None:
        own = tmp_path / "images"
        own.mkdir()
        shutil.copy(SAMPLES / "cat.jpg", own)
        with served(own, tmp_path / "home") as address, watched(browser) as page:
            page.goto(address)
            page.locator("#told", has_text="The whole library, newest first: 1.").wait_for()
            shutil.copy(SAMPLES / "owl.jpg", own)
            page.get_by_role("button", name="Look for new images").click()
            page.locator("#told", has_text="The whole library, newest first: 2.").wait_for()
            page.locator("#header", has_text="2 images, searched on this machine").wait_for()
            page.locator("#query textarea, #query input").first.fill("an owl")
            page.keyboard.press("Enter")
            page.locator("#told", has_text="Found 1 among 2 images.").wait_for()
            shutil.copy(SAMPLES / "dog.jpg", own)
            page.get_by_role("button", name="Look for new images").click()
            page.get_by_role("button", name="Show new images").click()
            page.locator("#told", has_text="Found 1 among 3 images.").wait_for()

    def test_it_is_paused_and_goes_on(
        self, browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = tmp_path / "images"
        own.mkdir()
        shutil.copy(SAMPLES / "cat.jpg", own)
        step, sync = threading.Semaphore(0), clipkit.PhotoLibrary.sync

        def sync_in_steps(library: Any, *, progress: clipkit.Progress, **_: Any) -> Any:
            for number in range(4):
                progress(number, 4)
                while not step.acquire(timeout=0.02):
                    progress(number, 4)  # visitors have their turn
            return sync(library)

        monkeypatch.setattr(clipkit.PhotoLibrary, "sync", sync_in_steps)
        with served(own, tmp_path / "home", head_start=-1) as address, watched(browser) as page:
            step.release()
            page.goto(address)
            page.locator("#told", has_text="Nothing is indexed yet.").wait_for()
            page.locator("#header .told", has_text="Indexing: 1 of 4").wait_for()
            page.get_by_role("button", name="Pause").click()
            page.locator("#header .told", has_text="Indexing is paused.").wait_for()
            for _ in range(8):
                step.release()
            page.get_by_role("button", name="Go on").click()
            page.locator("#told", has_text="The whole library, newest first: 1.").wait_for()
            page.get_by_role("button", name="Look for new images").wait_for()

    def test_visitors_from_elsewhere_cannot_steer_it(self, browser: Any, tmp_path: Path) -> None:
        own = tmp_path / "images"
        own.mkdir()
        shutil.copy(SAMPLES / "cat.jpg", own)
        with (
            served(own, tmp_path / "home", allowed=("photos.example",)) as address,
            watched(browser) as page,
        ):
            page.goto(address)
            page.locator("#told", has_text="The whole library").wait_for()
            assert page.locator("#header button").is_hidden()
            events = page.evaluate("window.gradio_config.dependencies.map(each => each.targets)")
            assert not {kind for targets in events for _, kind in targets} & {"pause", "look"}
