"""A watched folder: images that appear are found without being asked for."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipkit.search import watch
from clipkit.search.library import PhotoLibrary
from clipkit.search.store.local.writer import writer_lock
from tests.fakes import FakeEncoder, change_time, save_image


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    """Ends a watch that would wait for ever, so that a failure is one."""
    event = threading.Event()
    guard = threading.Timer(60, event.set)
    guard.start()
    yield event
    guard.cancel()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_QUIET_MS", 50)
    monkeypatch.setattr(watch, "_STOP_CHECK_MS", 50)


def test_images_that_appear_change_and_go_are_seen(
    photos: Path, encoder: FakeEncoder, stop: threading.Event
) -> None:
    library = PhotoLibrary.open(photos, encoder)
    reports = library.watch(stop)
    assert next(reports).added == 4

    save_image(photos / "trip" / "new.png", (9, 9, 9))
    added = 0
    while not added:  # a file may be seen before it is whole
        added = next(reports).added
    assert library.search("dark", k=1)[0].path.name == "new.png"

    (photos / "trip" / "new.png").rename(photos / "moved.png")
    moved = 0
    while not moved:
        moved = next(reports).moved
    (photos / "moved.png").unlink()
    removed = 0
    while not removed:
        removed = next(reports).removed
    assert len(library) == 4
    stop.set()
    assert list(reports) == []


def test_an_index_inside_the_folder_does_not_wake_its_writer(
    photos: Path, encoder: FakeEncoder, stop: threading.Event
) -> None:
    library = PhotoLibrary.open(photos, encoder, keep_here=True)
    ticks = watch.watch_folder(photos, stop)
    next(ticks)
    library.sync()
    # Had writing woken the watch, one of these would be true: 20 are twenty times the quiet time.
    assert not any(next(ticks) for _ in range(20))
    stop.set()


def test_while_another_process_writes_its_turn_is_waited_for(
    photos: Path, encoder: FakeEncoder, stop: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = PhotoLibrary.open(photos, encoder)
    library.location.mkdir(parents=True)
    lock = writer_lock(library.location / "writer.lock", photos)
    lock.__enter__()
    looked = threading.Event()
    sync = library.sync

    def busy_sync(**options: Any) -> object:
        try:
            return sync(**options)
        finally:
            looked.set()

    monkeypatch.setattr(library, "sync", busy_sync)
    reports = library.watch(stop)

    def release_after_a_look() -> None:
        looked.wait(60)
        lock.__exit__(None, None, None)

    release = threading.Thread(target=release_after_a_look)
    release.start()
    assert next(reports).added == 4
    release.join()


def test_the_newest_images_come_first(
    photos: Path, encoder: FakeEncoder, stop: threading.Event
) -> None:
    names = ["green.png", "red.png", "orange.png", "blue.png"]
    for age, name in enumerate(names):
        (path,) = photos.rglob(name)
        change_time(path, -(10**9) * 3600 * age)
    next(PhotoLibrary.open(photos, encoder).watch(stop))
    assert encoder.encoded_images == names
