"""Files taken into a library: what is known by its content costs no forward pass."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from PIL import Image

from clipkit.inputs import metadata, safe_open
from clipkit.search import folder_state, ingest, sync
from clipkit.search.ingest import Inspection, hash_file, inspect_file
from clipkit.search.library import PhotoLibrary, SyncReport
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.local.vectors import VectorReader
from clipkit.search.store.records import ImageRow
from tests.fakes import (
    FakeEncoder,
    age_files,
    change_time,
    save_image,
)
from tests.search.timed_sync import sync_by

RED, BLUE = (255, 0, 0), (0, 0, 255)


def _counts(report: SyncReport) -> tuple[int, int, int, int, int]:
    return report.added, report.changed, report.moved, report.removed, report.unchanged


def _entries(library: PhotoLibrary) -> dict[str, ImageRow]:
    catalog = Catalog.open(library.location / "catalog.sqlite", library.folder)
    assert catalog is not None
    with catalog:
        return {image.path: image for image in catalog.contents()}


def _colors(library: PhotoLibrary) -> dict[str, tuple[int, int, int]]:
    """Return the colour that each image's vector says it has."""
    (path,) = library.location.glob("vectors*")
    entries = _entries(library)
    num_rows = path.stat().st_size // 8
    rows = VectorReader(path, 4, num_rows, library.folder).take(np.arange(num_rows))
    return {name: _nearest_color(rows[image.row]) for name, image in entries.items()}


def _nearest_color(row: np.ndarray) -> tuple[int, int, int]:
    scaled = row[:3] / row[:3].max() * 255
    red, green, blue = (int(8 * round(float(value) / 8)) for value in scaled)
    return min(red, 255), min(green, 255), min(blue, 255)


def _move(photos: Path) -> None:
    (photos / "far").mkdir()
    (photos / "red.png").rename(photos / "far" / "other.png")


def _move_over(photos: Path) -> None:
    (photos / "red.png").replace(photos / "orange.png")


def _copy(photos: Path) -> None:
    shutil.copy(photos / "red.png", photos / "copy.png")


def _copy_over(photos: Path) -> None:
    shutil.copy(photos / "red.png", photos / "orange.png")


def _touch(photos: Path) -> None:
    change_time(photos / "red.png")


def _swap(photos: Path) -> None:
    change_time(photos / "red.png")  # or nothing but their content would tell the two apart
    (photos / "red.png").rename(photos / "aside")
    (photos / "orange.png").rename(photos / "red.png")
    (photos / "aside").rename(photos / "orange.png")


def _move_and_copy(photos: Path) -> None:
    _copy(photos)
    _move(photos)


def _rotate(photos: Path) -> None:
    _swap(photos)
    (photos / "orange.png").rename(photos / "aside")
    (photos / "trip" / "blue.png").rename(photos / "orange.png")
    (photos / "aside").rename(photos / "trip" / "blue.png")
    for path in photos.rglob("*.png"):
        change_time(path)


def _leave(photos: Path) -> None:
    """Nothing happens."""


@pytest.mark.parametrize("step", [0.0, 3600.0], ids=["one commit", "a commit after each"])
@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (_leave, (0, 0, 0, 0, 4)),
        (_move, (0, 0, 1, 0, 3)),
        (_move_over, (0, 1, 0, 1, 2)),
        (_copy, (1, 0, 0, 0, 4)),
        (_copy_over, (0, 1, 0, 0, 3)),
        (_touch, (0, 0, 0, 0, 4)),
        (_swap, (0, 2, 0, 0, 2)),
        (_rotate, (0, 3, 0, 0, 1)),
        (_move_and_copy, (1, 0, 1, 0, 3)),
    ],
)
def test_content_that_is_known_is_not_encoded_again(
    library: PhotoLibrary,
    photos: Path,
    encoder: FakeEncoder,
    act: Callable[[Path], None],
    expected: tuple[int, int, int, int, int],
    step: float,
) -> None:
    library.sync()
    encoder.encoded_images.clear()
    act(photos)
    now = iter(range(10**6))
    assert _counts(sync_by(lambda: next(now) * step, library)) == expected
    assert encoder.encoded_images == []
    fresh = PhotoLibrary.open(photos, FakeEncoder(), location=photos.parent / "fresh")
    fresh.sync()
    assert library.search("red") == fresh.search("red")
    without_rows = [
        {path: image._replace(row=0) for path, image in _entries(one).items()}
        for one in (library, fresh)
    ]
    assert without_rows[0] == without_rows[1]
    assert _counts(library.sync()) == (0, 0, 0, 0, len(library))
    assert encoder.encoded_images == []


def test_what_a_file_says_of_itself_is_kept(library: PhotoLibrary, photos: Path) -> None:
    save_image(photos / "large.png", RED, size=30)
    library.sync()
    image = _entries(library)["large.png"]
    status = (photos / "large.png").stat()
    assert (image.size, image.mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert image.digest == hash_file(photos / "large.png")
    assert (image.width, image.height) == (30, 30)


def test_files_too_large_to_be_read_whole_equal_no_other(
    library: PhotoLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two panoramas on black, without compression, differ in the middle only."""
    for name, row in (("a.bmp", 10), ("b.bmp", 20)):
        image = Image.new("RGB", (30, 30))
        image.paste((255, 255, 255), (10, row, 20, row + 1))
        image.save(photos / name)
    age_files(photos)
    monkeypatch.setattr(ingest, "_MAX_BYTES_HASHED", 1000)
    library.sync()
    assert [_entries(library)[name].digest for name in ("a.bmp", "b.bmp")] == [None, None]
    assert library.duplicates(find_near=False).groups == []
    assert _counts(library.sync()) == (0, 0, 0, 0, 6)


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_equal_new_files_cost_one_forward_pass(photos: Path, batch_size: int) -> None:
    for name in ("a.png", "z.png", "trip/deep/red.png"):
        (photos / name).parent.mkdir(exist_ok=True)
        shutil.copy(photos / "red.png", photos / name)
    encoder = FakeEncoder(batch_size=batch_size)
    library = PhotoLibrary.open(photos, encoder)
    assert _counts(library.sync()) == (7, 0, 0, 0, 0)
    assert len(encoder.encoded_images) == 4
    assert {hit.path.name for hit in library.search("red", k=4)} == {"a.png", "z.png", "red.png"}


@pytest.mark.parametrize("batch_size", [1, 100])
def test_an_equal_file_that_cannot_be_read_does_not_stand_in_the_way(
    photos: Path, batch_size: int
) -> None:
    shutil.copy(photos / "red.png", photos / "a.png")
    shutil.copy(photos / "red.png", photos / "z.png")

    def lose_the_first(number: int) -> None:
        if not number:
            (photos / "a.png").unlink()

    encoder = FakeEncoder(batch_size=batch_size, before_image=lose_the_first)
    library = PhotoLibrary.open(photos, encoder)
    report = library.sync()
    assert _counts(report) == (5, 0, 0, 0, 0)
    assert [Path(error.path).name for error in report.skipped] == ["a.png"]
    assert len(encoder.encoded_images) == 5  # the one that failed, and each content once
    assert _counts(library.sync()) == (0, 0, 0, 0, 5)


def test_equal_files_that_are_no_images_each_have_their_reason_and_are_tried_once(
    photos: Path,
) -> None:
    whole = (photos / "red.png").read_bytes()
    for name in ("a.png", "b.png", "c.png", "d.gif"):
        (photos / name).write_bytes(whole[:45])  # a header, and no pixels
    encoder = FakeEncoder(batch_size=100)  # those that are equal are looked at together
    report = PhotoLibrary.open(photos, encoder).sync()
    names = ["a.png", "b.png", "c.png", "d.gif"]
    assert sorted(Path(error.path).name for error in report.skipped) == names
    assert report.added == 4
    # Another ending may be read in another way.
    assert [name for name in encoder.encoded_images if name in names] == ["a.png", "d.gif"]


def test_a_change_within_one_tick_of_the_clock_is_noticed(
    library: PhotoLibrary, photos: Path, encoder: FakeEncoder
) -> None:
    """A new file is rewritten with the same size, and the file system gives it the same time."""
    path = save_image(photos / "new.png", RED)
    library.sync()
    before = path.stat()
    save_image(path, BLUE)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert _counts(library.sync()) == (0, 1, 0, 0, 4)
    assert _colors(library)["new.png"] == BLUE


def test_a_new_file_is_looked_at_until_a_later_change_must_show(
    library: PhotoLibrary, photos: Path, encoder: FakeEncoder
) -> None:
    path = save_image(photos / "new.png", RED)
    library.sync()
    assert not _entries(library)["new.png"].is_settled
    assert _entries(library)["red.png"].is_settled
    age_files(photos)
    encoder.encoded_images.clear()
    library.sync()
    assert _entries(library)["new.png"].is_settled
    assert encoder.encoded_images == []
    before = path.stat()
    assert _entries(library)["new.png"].mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("is_new", [False, True])
def test_a_file_that_changes_under_the_encoders_hands_spoils_no_other(
    photos: Path, is_new: bool
) -> None:
    """It was hashed as red and is decoded as blue: who holds red must not become blue."""
    shutil.copy(photos / "red.png", photos / "a.png")
    if not is_new:
        age_files(photos)

    def repaint(_: int) -> None:
        save_image(photos / "a.png", BLUE)

    library = PhotoLibrary.open(photos, FakeEncoder(batch_size=1, before_image=repaint))
    library.sync()
    red, blue = (255, 0, 0), (0, 0, 255)
    found = _colors(library)
    assert found["red.png"] == red
    assert found["a.png"] == blue
    shutil.copy(photos / "red.png", photos / "copy.png")
    PhotoLibrary.open(photos, FakeEncoder()).sync()
    found = _colors(library)
    assert (found["a.png"], found["red.png"], found["copy.png"]) == (blue, red, red)


@pytest.mark.parametrize("kind", ["nonsense", "missing"])
def test_a_file_that_is_whole_only_when_it_is_decoded_spoils_no_other(
    photos: Path, kind: str
) -> None:
    """Its hash could not be taken before, and what it is afterwards may be something else."""
    path = photos / "half.png"
    path.write_bytes(b"half a file")
    age_files(photos)
    calls = iter(range(10**6))

    class Encoder(FakeEncoder):
        def _encode(self, image: object) -> np.ndarray:
            if Path(str(image)) != path:
                return super()._encode(image)  # type: ignore[arg-type]
            next(calls)
            save_image(path, RED)
            change_time(path, -3600 * 10**9)
            embedding = super()._encode(path)
            if kind == "nonsense":
                save_image(path, BLUE)
                change_time(path, -3600 * 10**9)
            else:
                path.unlink()
            return embedding

    library = PhotoLibrary.open(photos, Encoder(batch_size=1))
    library.sync()
    save_image(photos / "other.png", BLUE)
    save_image(path, BLUE)
    age_files(photos)
    again = PhotoLibrary.open(photos, FakeEncoder())
    again.sync()
    assert _colors(again)["other.png"] == BLUE
    assert _colors(again)["half.png"] == BLUE


def test_progress_reaches_its_total_also_when_nothing_is_encoded(
    library: PhotoLibrary, photos: Path
) -> None:
    library.sync()
    _move_and_copy(photos)
    calls: list[tuple[int, int | None]] = []
    library.sync(progress=lambda done, total: calls.append((done, total)))
    assert calls[0] == (0, 2)
    assert calls[-1] == (2, 2)


def test_an_image_moved_out_of_a_part_and_into_another_is_known(
    library: PhotoLibrary, photos: Path, encoder: FakeEncoder
) -> None:
    library.sync()
    encoder.encoded_images.clear()
    (photos / "red.png").rename(photos / "trip" / "red.png")
    part = PhotoLibrary.open_nearest(photos / "trip", encoder)
    assert _counts(part.sync()) == (1, 0, 0, 0, 2)  # what is gone elsewhere it does not know
    assert _counts(library.sync()) == (0, 0, 0, 1, 4)
    assert encoder.encoded_images == []


def test_what_only_another_decoder_could_read_is_tried_again_with_that(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "new.heic").write_bytes(b"not without an extra")
    age_files(photos)
    encoder = FakeEncoder()
    library = PhotoLibrary.open(photos, encoder)
    library.sync()
    library.sync()
    assert encoder.encoded_images.count("new.heic") == 1
    for module in (sync, folder_state):
        monkeypatch.setattr(module, "decoder_name", lambda: "Pillow and an extra")
    assert len(library.sync().skipped) == 1
    assert encoder.encoded_images.count("new.heic") == 2


def test_what_the_system_refused_is_tried_again(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    age_files(photos)
    open_really = safe_open.open_file

    def refuse(path: Path) -> BinaryIO:
        if path.name == "red.png":
            raise PermissionError(errno.EACCES, "Permission denied")
        return open_really(path)

    with monkeypatch.context() as patch:
        patch.setattr(metadata, "open_file", refuse)
        assert inspect_file(photos / "red.png") == Inspection(None, None, is_settled=False)
    assert inspect_file(photos / "red.png").is_settled
