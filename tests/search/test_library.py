"""A folder of real images kept in step with a real index, and searched.

The expected similarities are computed by hand from colours: see `tests.fakes`.
"""

import math
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clipkit.background_words import BACKGROUND_NAMES
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.text_embedding import UnknownTextWarning
from clipkit.errors import (
    ImageReadError,
    InputError,
    LibraryBusyError,
    LibraryError,
    NotIndexedError,
    SpaceMismatchError,
)
from clipkit.search.library import PhotoLibrary, SyncReport
from clipkit.search.query import parse_query
from clipkit.search.store.local import writer
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.local.writer import writer_lock
from tests.fakes import FakeEncoder, age_files, change_time, save_image, word_embedding
from tests.search.timed_sync import sync_by

RED = 255 / math.hypot(255, 1)
ORANGE = 255 / math.hypot(255, 128, 1)
HALF_PRECISION = 3e-4  # what storing a vector can move a cosine by


def _counts(report: SyncReport) -> tuple[int, int, int, int, int]:
    return report.added, report.changed, report.removed, report.unchanged, len(report.skipped)


def _names(library: PhotoLibrary, query: str | Path, k: int = 10) -> list[str]:
    return [hit.path.relative_to(library.folder).as_posix() for hit in library.search(query, k=k)]


# Searching


def test_search_shows_what_fits_first_with_its_cosine(library: PhotoLibrary, photos: Path) -> None:
    library.sync()
    hits = library.search("red")
    assert [hit.path for hit in hits[:2]] == [photos / "red.png", photos / "orange.png"]
    assert {hit.path for hit in hits[2:]} == {
        photos / "trip" / "blue.png",
        photos / "trip" / "green.png",
    }
    expected = [RED, ORANGE, 0, 0]
    assert [hit.similarity for hit in hits] == pytest.approx(expected, abs=HALF_PRECISION)
    assert [type(hit.similarity) for hit in hits] == [float] * 4


def test_search_returns_at_most_k(library: PhotoLibrary) -> None:
    library.sync()
    assert _names(library, "red", k=2) == ["red.png", "orange.png"]
    with pytest.raises(InputError, match="k must be at least 1, got 0"):
        library.search("red", k=0)


def test_equal_similarities_are_in_the_order_of_the_paths(photos: Path) -> None:
    for name in ("e", "c", "a", "d", "b"):
        save_image(photos / f"{name}.png", (255, 0, 0))
        PhotoLibrary.open(photos, FakeEncoder()).sync()  # rows in another order than the paths
    library = PhotoLibrary.open(photos, FakeEncoder())
    assert _names(library, "red", k=3) == ["a.png", "b.png", "c.png"]


def test_a_query_image_is_left_out_of_its_results_and_not_encoded_again(
    library: PhotoLibrary, photos: Path, encoder: FakeEncoder
) -> None:
    library.sync()
    encoder.encoded_images.clear()
    hits = library.search(photos / "red.png", k=1)
    assert [hit.path.name for hit in hits] == ["orange.png"]
    expected = (255 * 255 + 1) / (math.hypot(255, 1) * math.hypot(255, 128, 1))
    assert hits[0].similarity == pytest.approx(expected, abs=HALF_PRECISION)
    assert encoder.encoded_images == []


def test_a_query_image_that_changed_since_is_encoded(
    library: PhotoLibrary, photos: Path, encoder: FakeEncoder
) -> None:
    library.sync()
    encoder.encoded_images.clear()
    save_image(photos / "red.png", (0, 0, 255))
    change_time(photos / "red.png")
    assert _names(library, photos / "red.png", k=1) == ["trip/blue.png"]
    assert encoder.encoded_images == ["red.png"]


def test_a_link_to_a_query_image_is_left_out_as_well(library: PhotoLibrary, photos: Path) -> None:
    (photos / "link.png").symlink_to(photos / "red.png")
    library.sync()
    assert _names(library, photos / "link.png", k=1) == ["orange.png"]


def test_a_query_image_from_elsewhere_hides_nothing(library: PhotoLibrary, tmp_path: Path) -> None:
    library.sync()
    other = save_image(tmp_path / "red.png", (255, 0, 0))
    assert _names(library, other, k=1) == ["red.png"]


def test_parts_of_a_query_are_added_and_subtracted_with_their_weights(
    library: PhotoLibrary,
) -> None:
    """Seen from the centres of images and of words, as a plain sum would not be."""
    library.sync()
    hits = library.search(parse_query("4:red", "-", "3:green"))
    images = np.array([[255, 0, 0, 1], [255, 128, 0, 1], [0, 255, 0, 1], [0, 0, 255, 1]])
    images = images / np.linalg.norm(images, axis=1, keepdims=True)
    words = np.concatenate([word_embedding(name) for name in BACKGROUND_NAMES]).astype(np.float64)
    red, green = (_direction(word_embedding(word)[0] - _center(words)) for word in ("red", "green"))
    centred = np.stack([_direction(row - _center(images)) for row in images])
    seen = np.stack([_direction(row - _center(words)) for row in words])
    spread = float(np.sqrt(np.mean((seen @ centred.T) ** 2)))  # of unrelated words
    loss = np.maximum(centred @ green / spread - 2, 0)
    expected = np.maximum(centred @ red - spread * 3 / 4 * loss, -1)
    by_name = {hit.path.name: hit.similarity for hit in hits}
    names = ["red.png", "orange.png", "green.png", "blue.png"]
    # Measured from a centre, angles are wider, and so is what half precision makes of them.
    assert [by_name[name] for name in names] == pytest.approx(expected, abs=4 * HALF_PRECISION)


def _direction(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / float(np.linalg.norm(vector))


def _center(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of rows, as long as the mean cosine of two of them says."""
    cosines = rows @ rows.T
    count = len(rows)
    square = (cosines.sum() - count) / (count * (count - 1))  # without those of a row and itself
    mean: NDArray[np.float64] = rows.mean(axis=0)
    return mean * float(max(square, 0) / (mean @ mean))


def test_a_query_of_an_image_and_words(library: PhotoLibrary, photos: Path) -> None:
    library.sync()
    query = parse_query(str(photos / "trip" / "blue.png"), "+", "green")
    assert [hit.path.name for hit in library.search(query, k=1)] == ["green.png"]


@pytest.mark.parametrize(
    "words", [("red", "-", "red"), ("2:red", "-", "red"), ("red", "-", "3:red")]
)
def test_parts_that_cancel_out_are_refused(library: PhotoLibrary, words: tuple[str, ...]) -> None:
    library.sync()
    with pytest.raises(InputError, match=r"cancel out: to this model, .* means the same"):
        library.search(parse_query(*words))


def test_marks_that_cancel_out_are_refused(library: PhotoLibrary, photos: Path) -> None:
    library.sync()
    red = photos / "red.png"
    with pytest.raises(InputError, match="marked both as like and as unlike"):
        library.search("red", more_like=[red], less_like=[photos / "orange.png", red])


def test_a_sample_is_of_the_images_and_knows_its_space(library: PhotoLibrary, photos: Path) -> None:
    library.sync()
    everything = library.sample_embeddings()
    stored = library.embeddings().embeddings
    assert everything.space_id == stored.space_id
    assert sorted(map(tuple, np.asarray(everything))) == sorted(map(tuple, np.asarray(stored)))
    assert library.sample_embeddings(2).shape == (2, stored.shape[1])
    with pytest.raises(InputError, match="count must be at least 1"):
        library.sample_embeddings(0)


def test_a_sample_needs_an_index(tmp_path: Path) -> None:
    save_image(tmp_path / "new" / "a.png", (1, 2, 3))
    with pytest.raises(NotIndexedError):
        PhotoLibrary.open(tmp_path / "new").sample_embeddings()


def test_search_by_an_embedding_needs_no_encoder(library: PhotoLibrary, photos: Path) -> None:
    library.sync()
    plain = PhotoLibrary.open(photos)
    blue = np.array([[0, 0, 1, 0]], dtype=np.float32)
    assert plain.search(blue, k=1)[0].path.name == "blue.png"
    assert plain.search(blue[0], k=1) == plain.search(blue, k=1)
    with pytest.raises(InputError, match=r"must have shape \(4,\) or \(1, 4\), got \(3,\)"):
        plain.search(blue[0, :3])
    assert plain.search(blue.astype(np.float64), k=1) == plain.search(blue, k=1)
    for wrong in (2 * blue, np.full_like(blue, np.nan)):
        with pytest.raises(InputError, match=r"norm 1, got shape \(1, 4\) and norm (2|nan): norm"):
            plain.search(wrong)
    with pytest.raises(InputError, match="this needs a model"):
        plain.search("red")
    with pytest.raises(InputError, match="this needs a model"):
        plain.sync()


def test_an_embedding_of_another_model_is_refused(library: PhotoLibrary, photos: Path) -> None:
    library.sync()
    fine_tuned = FakeEncoder(space_id="fine-tuned").encode_texts(["blue"])
    own = FakeEncoder().encode_texts(["blue"])
    for opened in (library, PhotoLibrary.open(photos)):
        for query in (fine_tuned, fine_tuned[0]):
            with pytest.raises(SpaceMismatchError, match="of space fine-tuned, and the index of"):
                opened.search(query)
        assert opened.search(own, k=1)[0].path.name == "blue.png"
        assert opened.search(np.asarray(fine_tuned), k=1)[0].path.name == "blue.png"


@pytest.mark.slow
def test_a_query_of_unknown_words_is_warned_of(photos: Path, starter: Encoder) -> None:
    library = PhotoLibrary.open(photos, starter)
    library.sync()
    with pytest.warns(UnknownTextWarning, match="'猫'"):
        library.search("猫")


def test_a_text_query_over_an_index_in_step_encodes_no_image(
    library: PhotoLibrary, encoder: FakeEncoder
) -> None:
    library.sync()
    encoder.encoded_images.clear()
    encoder.encoded_texts.clear()  # what a sync keeps for searches among them
    library.sync()
    library.search("red")
    assert encoder.encoded_images == []
    assert encoder.encoded_texts == ["red"]


def test_searching_what_was_never_indexed_says_what_to_run(
    library: PhotoLibrary, encoder: FakeEncoder
) -> None:
    assert not library.is_indexed
    assert len(library) == 0
    with pytest.raises(LibraryError, match=r"has not been indexed: run  clipkit index .*photos"):
        library.search("red")
    assert encoder.encoded_texts == []


def test_a_broken_query_image_is_an_error(library: PhotoLibrary, tmp_path: Path) -> None:
    library.sync()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(ImageReadError, match=r"broken.png: is not an image"):
        library.search(broken)


# Keeping in step


def test_sync_tells_new_changed_deleted_and_unchanged(
    library: PhotoLibrary, photos: Path, encoder: FakeEncoder
) -> None:
    assert _counts(library.sync()) == (4, 0, 0, 0, 0)
    assert _counts(library.sync()) == (0, 0, 0, 4, 0)
    encoder.encoded_images.clear()
    save_image(photos / "red.png", (0, 9, 200))
    change_time(photos / "red.png")
    save_image(photos / "new.png", (255, 1, 0))
    shutil.rmtree(photos / "trip")
    assert _counts(library.sync()) == (1, 1, 2, 1, 0)
    assert sorted(encoder.encoded_images) == ["new.png", "red.png"]
    assert _names(library, "red") == ["new.png", "orange.png", "red.png"]
    assert len(library) == 3


def test_a_change_that_keeps_the_time_is_seen_by_the_size(
    library: PhotoLibrary, photos: Path
) -> None:
    library.sync()
    before = (photos / "red.png").stat()
    save_image(photos / "red.png", (0, 0, 255), size=40)
    os.utime(photos / "red.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert _counts(library.sync()) == (0, 1, 0, 3, 0)
    assert _names(library, "blue", k=2) == ["red.png", "trip/blue.png"]


def test_an_unreadable_file_is_reported_each_time_but_decoded_once(
    library: PhotoLibrary, photos: Path, encoder: FakeEncoder
) -> None:
    broken = photos / "trip" / "broken.png"
    broken.write_bytes(b"no image")
    age_files(photos)
    first = library.sync()
    assert _counts(first) == (4, 0, 0, 0, 1)
    assert (first.skipped[0].path, first.skipped[0].reason) == (str(broken), "is not an image")
    encoder.encoded_images.clear()
    second = library.sync()
    assert _counts(second) == (0, 0, 0, 4, 1)
    assert str(second.skipped[0]) == str(first.skipped[0])
    assert encoder.encoded_images == []
    save_image(broken, (1, 2, 3))
    change_time(broken)
    assert _counts(library.sync()) == (1, 0, 0, 4, 0)
    broken.write_bytes(b"no image again")
    assert _counts(library.sync()) == (0, 0, 0, 4, 1)
    assert "trip/broken.png" not in _names(library, "red")
    broken.unlink()
    assert _counts(library.sync()) == (0, 0, 0, 4, 0)


def test_a_folder_that_cannot_be_listed_keeps_its_images(
    library: PhotoLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.sync()
    scandir = os.scandir

    def failing(path: str | os.PathLike[str]) -> object:
        if Path(path).name == "trip":
            raise OSError(5, "Input/output error")
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", failing)
        for prune in (False, True):  # nobody knows that they are gone
            report = library.sync(prune=prune)
            assert _counts(report) == (0, 0, 0, 2, 1)
            assert report.missing == 2
        assert _names(library, "green") == ["orange.png", "red.png"]
    assert _counts(library.sync()) == (0, 0, 0, 4, 0)
    assert _names(library, "green", k=1) == ["trip/green.png"]


def test_what_to_leave_out_is_remembered(library: PhotoLibrary, photos: Path) -> None:
    save_image(photos / ".hidden.png", (1, 1, 1))
    assert _counts(library.sync(exclude=["trip"])) == (2, 0, 0, 0, 0)
    assert _counts(library.sync()) == (0, 0, 0, 2, 0)
    assert _counts(library.sync(include_hidden=True)) == (1, 0, 0, 2, 0)
    assert _counts(library.sync()) == (0, 0, 0, 3, 0)
    assert _counts(library.sync(exclude=[""], include_hidden=False)) == (2, 0, 1, 2, 0)


def test_progress_counts_what_there_is_to_do(library: PhotoLibrary, photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    age_files(photos)
    calls: list[tuple[int, int | None]] = []
    library.sync(progress=lambda done, total: calls.append((done, total)))
    assert calls == [(0, 5), (2, 5), (4, 5), (5, 5)]
    calls.clear()
    library.sync(progress=lambda done, total: calls.append((done, total)))
    assert calls == []


def test_names_of_all_kinds(library: PhotoLibrary, photos: Path) -> None:
    names = ["猫 \U0001f431.png", "line\nbreak.png", 'quo"te.png', "-dash.png", "%_*.png"]
    names += ["x" * 251 + ".png", "e\u0301.png", "\u00e9.png", "PHOTO.PNG"]
    for number, name in enumerate(names):
        save_image(photos / name, (0, 0, 255 - number))
    (photos / ("long" * 50)).mkdir()
    save_image(photos / ("long" * 50) / ("long" * 50) / "deep.png", (3, 3, 3))
    assert _counts(library.sync()) == (5 + len(names), 0, 0, 0, 0)
    assert {path.name for path in photos.rglob("*.[pP][nN][gG]")} == {
        hit.path.name for hit in library.search("blue", k=100)
    }
    assert _counts(library.sync()) == (0, 0, 0, 5 + len(names), 0)


def test_an_empty_folder_is_indexed_and_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    library = PhotoLibrary.open(tmp_path / "empty", FakeEncoder())
    assert _counts(library.sync()) == (0, 0, 0, 0, 0)
    assert library.is_indexed
    assert library.search("red") == []


def test_a_folder_that_was_emptied_finds_nothing(library: PhotoLibrary, photos: Path) -> None:
    library.sync()
    for path in photos.rglob("*.png"):
        path.unlink()
    assert _counts(library.sync(prune=True)) == (0, 0, 4, 0, 0)
    assert library.search("red") == []
    save_image(photos / "red.png", (255, 0, 0))
    library.sync()
    assert _names(library, "red") == ["red.png"]


def test_a_missing_folder_is_a_sentence(tmp_path: Path, library: PhotoLibrary) -> None:
    with pytest.raises(InputError, match="absent: there is no such folder"):
        PhotoLibrary.open(tmp_path / "absent")
    for name, reason in [("x" * 300, "File name too long"), ("a\0b", "null")]:
        with pytest.raises(InputError, match=f"this folder cannot be opened: .*{reason}"):
            PhotoLibrary.open(tmp_path / name)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: this is a file"):
        PhotoLibrary.open_nearest(tmp_path / "file")


def test_a_folder_that_is_gone_later_keeps_its_index(
    library: PhotoLibrary, photos: Path, tmp_path: Path
) -> None:
    library.sync()
    photos.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="photos: there is no such folder"):
        library.sync()
    (tmp_path / "elsewhere").rename(photos)
    assert _counts(library.sync()) == (0, 0, 0, 4, 0)


def test_nothing_is_written_among_the_images(library: PhotoLibrary, photos: Path) -> None:
    before = sorted(photos.rglob("*"))
    library.sync()
    library.search("red")
    assert sorted(photos.rglob("*")) == before


def test_a_sync_without_changes_writes_nothing(library: PhotoLibrary) -> None:
    library.sync()
    before = {path: path.stat().st_mtime_ns for path in library.location.iterdir()}
    library.sync()
    assert {path: path.stat().st_mtime_ns for path in library.location.iterdir()} == before


# Commits


class Clock:
    """Goes on by a number of seconds each time it is asked."""

    def __init__(self, step: float) -> None:
        self._step = step
        self._now = 0.0

    def __call__(self) -> float:
        self._now += self._step
        return self._now


@pytest.mark.parametrize(
    ("step", "committed"),
    [(0.25, [0, 0, 0, 0]), (0.5, [0, 0, 4, 4]), (1.0, [0, 2, 2, 6]), (2.0, [0, 2, 4, 6])],
)
def test_work_is_committed_by_the_clock(photos: Path, step: float, committed: list[int]) -> None:
    """Two images a batch; the clock is asked at the start, after a batch and after a commit.

    So with steps of 1 it is 1 at the start, 2 after a batch, which is a second later and committed,
    3 after that, and 4 and 5 after the next two, which is two seconds later and committed.
    """
    for number in range(4):
        save_image(photos / f"{number}.png", (number, 0, 0))
    seen: list[int] = []

    def before_image(number: int) -> None:
        if number % 2 == 0:  # the first image of a batch
            seen.append(len(library))

    library = PhotoLibrary.open(photos, FakeEncoder(before_image=before_image))
    sync_by(Clock(step), library)
    assert seen == committed
    assert len(library) == 8


def test_ctrl_c_commits_what_is_done_and_the_next_sync_does_the_rest(photos: Path) -> None:
    def interrupt(number: int) -> None:
        if number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync_by(Clock(0), PhotoLibrary.open(photos, FakeEncoder(before_image=interrupt)))
    encoder = FakeEncoder()
    library = PhotoLibrary.open(photos, encoder)
    assert len(library) == 2
    assert len(library.search("red")) == 2
    assert _counts(library.sync()) == (2, 0, 0, 2, 0)
    assert len(encoder.encoded_images) == 2


def test_a_commit_that_fails_keeps_what_was_committed_before(
    library: PhotoLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.sync()
    save_image(photos / "new.png", (1, 2, 3))

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(LibraryError, match=r"No space left on device\): what was committed is"):
            library.sync()
    assert len(library) == 4
    assert _counts(library.sync()) == (1, 0, 0, 4, 0)


# The vectors file


def test_a_file_that_somebody_keeps_beside_an_index_stays(photos: Path, tmp_path: Path) -> None:
    location = tmp_path / "vectors"
    location.mkdir()
    (location / "vectors-final.f32").write_text("mine")
    library = PhotoLibrary.open(photos, FakeEncoder(), location=location)
    library.sync()
    library.remove()
    assert [path.name for path in location.iterdir()] == ["vectors-final.f32"]


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sync keep no embedding of what was removed."""
    monkeypatch.setattr(writer, "_REMOVED_SECONDS", -1)


@pytest.mark.usefixtures("forgetful")
def test_dead_rows_are_dropped_once_there_are_many(library: PhotoLibrary, photos: Path) -> None:
    for number in range(16):
        save_image(photos / f"{number}.png", (0, 0, 100 + number))
    library.sync()
    assert [path.name for path in library.location.glob("vectors*")] == ["vectors-1.f16"]
    for number in range(5):  # 5 of 20 rows: a quarter, not more
        (photos / f"{number}.png").unlink()
    library.sync()
    assert [path.name for path in library.location.glob("vectors*")] == ["vectors-1.f16"]
    expected = _names(library, "blue", k=3)
    (photos / "5.png").unlink()
    library.sync()
    vectors = list(library.location.glob("vectors*"))
    assert [path.name for path in vectors] == ["vectors-2.f16"]
    assert vectors[0].stat().st_size == 14 * 4 * 2
    assert _names(library, "blue", k=3) == expected
    save_image(photos / "last.png", (0, 0, 255))
    library.sync()
    assert _names(library, "blue", k=2) == ["last.png", "trip/blue.png"]


@pytest.mark.usefixtures("forgetful")
def test_a_search_goes_on_while_the_vectors_file_is_replaced(
    library: PhotoLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader has read the catalog; before it opens the vectors a writer replaces them."""
    library.sync()
    other = PhotoLibrary.open(photos, FakeEncoder())
    meta = Catalog.meta
    is_first = True

    def meta_then_replace(catalog: Catalog) -> object:
        nonlocal is_first
        found = meta(catalog)
        if is_first:
            is_first = False
            shutil.rmtree(photos / "trip")
            other.sync()
        return found

    monkeypatch.setattr(Catalog, "meta", meta_then_replace)
    red = np.array([1, 0, 0, 0], dtype=np.float32)
    hits = PhotoLibrary.open(photos).search(red)
    assert [path.name for path in library.location.glob("vectors*")] == ["vectors-2.f16"]
    assert [hit.path.name for hit in hits] == ["red.png", "orange.png"]


@pytest.mark.parametrize("act", [PhotoLibrary.sync, lambda library: library.search("red")])
def test_lost_vectors_are_damage_and_never_zeros(
    library: PhotoLibrary, act: Callable[[PhotoLibrary], object]
) -> None:
    library.sync()
    path = library.location / "vectors-1.f16"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(LibraryError, match=r"has 31 bytes instead of 32\): run .*--rebuild"):
        act(library)
    path.unlink()
    with pytest.raises(LibraryError, match=r"vectors-1.f16 is missing\): run .*--rebuild"):
        act(library)


# Several models, processes and threads


def test_a_rebuild_meanwhile_with_another_model_is_noticed(
    library: PhotoLibrary, photos: Path
) -> None:
    library.sync()
    library.remove()
    PhotoLibrary.open(photos, FakeEncoder(space_id="other-space")).sync()
    with pytest.raises(SpaceMismatchError) as caught:
        library.search("red")
    assert str(caught.value) == (
        f"the index of {photos} at {library.location} was made with fake (space other-space) since"
        " it was opened for fake (space fake-space): open the library again, or run the same "
        "command again"
    )
    with pytest.raises(SpaceMismatchError):
        library.search(photos / "red.png")
    with pytest.raises(SpaceMismatchError):
        library.sync()


def test_remove_deletes_the_index_and_nothing_else(library: PhotoLibrary, photos: Path) -> None:
    library.remove()  # of nothing
    library.sync()
    (library.location / "mine.txt").touch()
    library.remove()
    assert [path.name for path in library.location.iterdir()] == ["mine.txt"]
    assert len(list(photos.rglob("*.png"))) == 4
    (library.location / "mine.txt").unlink()
    assert _counts(library.sync()) == (4, 0, 0, 0, 0)
    library.remove()
    assert not library.location.exists()


def test_a_damaged_index_can_be_removed(library: PhotoLibrary, photos: Path) -> None:
    library.sync()
    (library.location / "catalog.sqlite").write_bytes(b"no database" * 500)
    with pytest.raises(LibraryError, match="--rebuild"):
        PhotoLibrary.open(photos, FakeEncoder())
    PhotoLibrary.open(photos).remove()
    assert _counts(library.sync()) == (4, 0, 0, 0, 0)


def test_while_one_writes_others_read_and_do_not_write(library: PhotoLibrary, photos: Path) -> None:
    library.sync()
    with writer_lock(library.location / "writer.lock", photos):
        with pytest.raises(LibraryBusyError):
            library.sync()
        with pytest.raises(LibraryBusyError):
            library.remove()
        assert _names(library, "red", k=1) == ["red.png"]


def test_threads_search_one_library_during_a_sync(photos: Path) -> None:
    PhotoLibrary.open(photos, FakeEncoder()).sync()
    for number in range(6):
        save_image(photos / f"{number}.png", (0, number, 0))
    found: list[str] = []

    def search_elsewhere(_: int) -> None:
        thread = threading.Thread(target=lambda: found.append(_names(library, "red", k=1)[0]))
        thread.start()
        thread.join()

    library = PhotoLibrary.open(photos, FakeEncoder(before_image=search_elsewhere))
    sync_by(Clock(10), library)
    assert found == ["red.png"] * 6


# Where the index lies


def test_the_place_of_the_index_can_be_chosen(photos: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "chosen" / "place"
    PhotoLibrary.open(photos, FakeEncoder(), location=chosen).sync()
    assert (chosen / "catalog.sqlite").is_file()
    assert len(PhotoLibrary.open(photos, location=chosen)) == 4
    assert len(PhotoLibrary.open(photos)) == 0


def test_a_place_that_cannot_be_made_is_a_sentence(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "file"))
    library = PhotoLibrary.open(photos, FakeEncoder())
    with pytest.raises(
        LibraryError, match=r"cannot be written at .*Not a directory\); set CLIPKIT"
    ):
        library.sync()


def test_a_read_only_index_is_searched_but_not_written(
    library: PhotoLibrary, unprivileged: None
) -> None:
    assert _names(library, "red", k=1) == ["red.png"]
    with pytest.raises(LibraryError, match="cannot be opened or written at"):
        library.sync()
    with pytest.raises(LibraryError):
        library.remove()


@pytest.fixture
def unprivileged(library: PhotoLibrary) -> Iterator[None]:
    """An indexed library in a place where this process may read but not write."""
    library.sync()
    for path in (library.location, *library.location.iterdir()):
        path.chmod(path.stat().st_mode & ~0o222)
    is_root = os.geteuid() == 0
    opened = []
    if is_root:  # whom permissions do not stop: be nobody for a while
        for parent in (library.location, *library.location.parents):
            if not parent.stat().st_mode & 0o001:
                opened.append((parent, parent.stat().st_mode))
                parent.chmod(parent.stat().st_mode | 0o055)
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
            for parent, mode in opened:
                parent.chmod(mode)
        library.location.chmod(0o755)


def test_paths_are_as_the_folder_was_given(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    library = PhotoLibrary.open("photos", FakeEncoder())
    (photos / "broken.png").write_bytes(b"no image")
    assert [error.path for error in library.sync().skipped] == ["photos/broken.png"]
    assert [error.path for error in library.sync().skipped] == ["photos/broken.png"]
    assert library.search("red", k=1)[0].path == Path("photos/red.png")


# Folders inside an indexed folder


def test_a_folder_inside_an_indexed_one_is_a_part_of_its_library(
    library: PhotoLibrary, photos: Path
) -> None:
    library.sync()
    encoder = FakeEncoder()
    part = PhotoLibrary.open_nearest(photos / "trip", encoder)
    assert part.location == library.location
    assert part.indexed_folder == photos.resolve()
    assert len(part) == 2
    assert _counts(part.sync()) == (0, 0, 0, 2, 0)
    assert {hit.path for hit in part.search("red")} == {
        photos / "trip" / "blue.png",
        photos / "trip" / "green.png",
    }
    assert _names(part, photos / "trip" / "blue.png") == ["green.png"]
    assert encoder.encoded_images == []


def test_a_part_is_kept_in_step_without_looking_at_the_rest(
    library: PhotoLibrary, photos: Path
) -> None:
    library.sync()
    part = PhotoLibrary.open_nearest(photos / "trip", FakeEncoder())
    (photos / "red.png").unlink()
    (photos / "trip" / "blue.png").unlink()
    save_image(photos / "trip" / "far" / "grey.png", (9, 9, 9))
    (photos / "trip" / "broken.png").write_bytes(b"no image")
    report = part.sync()
    assert _counts(report) == (1, 0, 1, 1, 1)
    assert report.skipped[0].path == str(photos / "trip" / "broken.png")
    assert len(library) == 4
    assert _counts(library.sync()) == (0, 0, 1, 3, 1)
    assert sorted(_names(library, "red")) == ["orange.png", "trip/far/grey.png", "trip/green.png"]


def test_a_part_knows_what_its_parent_leaves_out(library: PhotoLibrary, photos: Path) -> None:
    save_image(photos / "trip" / "raw" / "a.png", (1, 1, 1))
    save_image(photos / "trip" / "raw.png", (1, 1, 1))
    library.sync(exclude=["trip/raw"])
    part = PhotoLibrary.open_nearest(photos / "trip", FakeEncoder())
    assert _counts(part.sync()) == (0, 0, 0, 3, 0)
    with pytest.raises(InputError, match=r"is a part of the index of .*photos"):
        part.sync(exclude=["raw"])
    with pytest.raises(InputError, match=r"is a part of the index of .*photos"):
        part.remove()


def test_a_folder_its_parent_leaves_out_gets_an_index_of_its_own(
    library: PhotoLibrary, photos: Path
) -> None:
    library.sync(exclude=["trip"])
    own = PhotoLibrary.open_nearest(photos / "trip", FakeEncoder())
    assert own.location != library.location
    assert _counts(own.sync()) == (2, 0, 0, 0, 0)
    assert PhotoLibrary.open_nearest(photos / "trip").location == own.location


def test_the_nearest_index_wins(library: PhotoLibrary, photos: Path) -> None:
    library.sync()
    own = PhotoLibrary.open(photos / "trip", FakeEncoder())
    own.sync()
    assert PhotoLibrary.open_nearest(photos / "trip").location == own.location
    assert PhotoLibrary.open_nearest(photos).location == library.location


def test_a_folder_without_any_index_gets_its_own(photos: Path) -> None:
    library = PhotoLibrary.open_nearest(photos / "trip", FakeEncoder())
    assert (library.folder, library.is_indexed) == (photos / "trip", False)
    assert library.indexed_folder == photos / "trip"


# Engines and precisions


class RoundedEncoder(FakeEncoder):
    """The same space, computed in 8 bits."""

    precision = "int8"


def test_the_index_says_which_precisions_its_vectors_are_of(
    library: PhotoLibrary, photos: Path
) -> None:
    library.sync()
    assert library.status().precision == "fp32"
    other = PhotoLibrary.open(photos, RoundedEncoder())
    other.sync()  # nothing is encoded, so nothing is mixed
    assert library.status().precision == "fp32"
    save_image(photos / "new.png", (9, 9, 9))
    other.sync()
    assert library.status().precision == "fp32 + int8"
    save_image(photos / "newer.png", (9, 99, 9))
    library.sync()
    assert library.status().precision == "fp32 + int8"
    library.remove()
    PhotoLibrary.open(photos, RoundedEncoder()).sync()
    assert library.status().precision == "int8"
