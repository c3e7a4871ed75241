"""A sync under way: each commit is told and searched, and whatever ends it keeps what is done."""

import itertools
from pathlib import Path

import pytest

from clipkit.errors import InputError
from clipkit.search.library import PhotoLibrary
from clipkit.search.sync_progress import SyncProgress
from tests.fakes import FakeEncoder, age_files, change_time, save_image
from tests.search.timed_sync import sync_by

NUM = 10


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for red in range(NUM):
        save_image(folder / f"{red}.png", (25 * red, 0, 255))
    age_files(folder)
    return folder


class Listener:
    """Searches at every commit; the clock of the sync moves by an hour whenever it is asked."""

    def __init__(self, library: PhotoLibrary) -> None:
        self.library = library
        self.told: list[tuple[SyncProgress, int, int]] = []  # with how many were searched, found

    def sync(self) -> None:
        clock = itertools.count(step=3600.0)
        sync_by(lambda: next(clock), self.library, on_commit=self.search)

    def search(self, so_far: SyncProgress) -> None:
        hits = self.library.search("red", k=100)
        self.told.append((so_far, hits.num_searched, len(hits)))


def test_in_words() -> None:
    assert str(SyncProgress(180, 10_000)) == "180 of 10 000 images"
    assert str(SyncProgress(0, 1)) == "0 of 1 image"


def test_every_commit_but_the_last_is_told_and_can_be_searched(folder: Path) -> None:
    listener = Listener(PhotoLibrary.open(folder, FakeEncoder(batch_size=4)))
    listener.sync()
    assert listener.told == [(SyncProgress(4, 10), 4, 4), (SyncProgress(8, 10), 8, 8)]
    assert len(listener.library.search("red", k=NUM)) == NUM


def test_at_the_end_the_answer_is_that_of_a_sync_without_a_listener(
    folder: Path, tmp_path: Path
) -> None:
    listener = Listener(PhotoLibrary.open(folder, FakeEncoder(batch_size=3)))
    listener.sync()
    plain = PhotoLibrary.open(folder, FakeEncoder(), location=tmp_path / "plain")
    plain.sync()
    for query in ("red", "something else"):
        hits, expected = listener.library.search(query), plain.search(query)
        assert (hits, hits.verdict, hits.num_found) == (
            expected, expected.verdict, expected.num_found,
        )  # fmt: skip


def test_what_is_indexed_or_unreadable_or_missing_is_counted_once(folder: Path) -> None:
    library = PhotoLibrary.open(folder, FakeEncoder())
    library.sync()
    (folder / "0.png").rename(folder / "moved.png")  # its row goes with it
    change_time(folder / "1.png")  # only touched: a search finds it all the while
    save_image(folder / "2.png", (1, 2, 3), size=5)  # another content, found by its old one so far
    (folder / "3.png").unlink()
    (folder / "broken.png").write_bytes(b"no image")
    for number in range(5):
        save_image(folder / f"new {number}.png", (0, 40 * number, 9), size=4)
    age_files(folder)
    listener = Listener(PhotoLibrary.open(folder, FakeEncoder(batch_size=1)))
    listener.sync()
    assert all(so_far.num_indexed == found for so_far, _, found in listener.told)
    # What may have moved is looked at first, while the ten are still there: seven are new to them.
    # Then nine are left, the moved one among them, and five new. The broken one, which is last,
    # counts until it is found to be broken.
    assert str(listener.told[0][0]) == "10 of 17 images"
    assert str(listener.told[-1][0]) == "14 of 15 images"
    assert len(library) == 14


def test_a_part_of_a_library_counts_for_itself(folder: Path) -> None:
    for number in range(4):
        save_image(folder / "trip" / f"{number}.png", (0, 50 * number, 1))
    library = PhotoLibrary.open(folder, FakeEncoder())
    library.sync()
    for number in range(4, 8):
        save_image(folder / "trip" / f"{number}.png", (0, 30 * number, 2))
    age_files(folder)
    library.sync()  # settles those
    for number in range(8, 12):
        save_image(folder / "trip" / f"{number}.png", (0, 20 * number, 3))
    part = PhotoLibrary.open_nearest(folder / "trip", FakeEncoder(batch_size=2))
    listener = Listener(part)
    listener.sync()
    assert listener.told == [(SyncProgress(10, 12), 10, 10)]


def test_only_broken_files_are_never_an_answer(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(5):
        (tmp_path / "photos" / f"{number}.png").write_bytes(b"no image %d" % number)
    listener = Listener(PhotoLibrary.open(tmp_path / "photos", FakeEncoder(batch_size=2)))
    listener.sync()
    assert [(found, so_far.num_indexed) for so_far, _, found in listener.told] == [(0, 0), (0, 0)]
    assert [so_far.num_images for so_far, _, _ in listener.told] == [3, 1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_listener_that_fails_ends_the_sync_and_what_is_done_stays(
    folder: Path, error: type[BaseException]
) -> None:
    encoder = FakeEncoder(batch_size=4)
    library, clock = PhotoLibrary.open(folder, encoder), itertools.count(step=3600.0)

    def fail(so_far: SyncProgress) -> None:
        raise error

    with pytest.raises(error):
        sync_by(lambda: next(clock), library, on_commit=fail)
    assert len(library) == 4
    assert library.sync().added == NUM - 4
    assert len(encoder.encoded_images) == NUM


def test_a_short_sync_commits_once_at_its_end(folder: Path) -> None:
    listener = Listener(PhotoLibrary.open(folder, FakeEncoder()))
    sync_by(lambda: 0.0, listener.library, on_commit=listener.search)
    assert listener.told == []
    assert len(listener.library) == NUM


def test_the_first_commit_comes_after_a_second_and_the_others_every_two(folder: Path) -> None:
    """An image takes half a second of a clock that only the encoder moves."""
    encoder = FakeEncoder(batch_size=1)
    listener = Listener(PhotoLibrary.open(folder, encoder))
    sync_by(lambda: 0.5 * len(encoder.encoded_images), listener.library, on_commit=listener.search)
    assert [so_far.num_indexed for so_far, _, _ in listener.told] == [2, 6]


def test_what_is_no_function_is_refused_before_the_work_begins(folder: Path) -> None:
    library = PhotoLibrary.open(folder, FakeEncoder())
    with pytest.raises(InputError, match="on_commit must be a function"):
        library.sync(on_commit=True)  # type: ignore[arg-type]
    assert not library.is_indexed
