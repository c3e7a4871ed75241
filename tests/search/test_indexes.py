"""Several models beside each other: each has its own index of a folder."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from clipkit.errors import LibraryBusyError, LibraryError
from clipkit.search.library import PhotoLibrary
from clipkit.search.location import default_location, inner_location
from clipkit.search.store.local.writer import writer_lock
from tests.fakes import FakeEncoder, age_files, save_image


@pytest.fixture
def other() -> FakeEncoder:
    return FakeEncoder(space_id="other-space", name="other")


@pytest.fixture
def both(photos: Path, encoder: FakeEncoder, other: FakeEncoder) -> list[PhotoLibrary]:
    """The libraries of two models, the first one's first."""
    libraries = []
    for each in (encoder, other):
        libraries.append(PhotoLibrary.open(photos, each))
        assert libraries[-1].sync().added == 4
    return libraries


def test_two_models_index_one_folder_and_neither_knows_of_the_other(
    both: list[PhotoLibrary], photos: Path, encoder: FakeEncoder, other: FakeEncoder
) -> None:
    first, second = both
    assert first.location == default_location(photos)
    assert second.location.parent == first.location
    assert first.other_models == ["other"]
    assert second.other_models == ["fake"]
    (photos / "red.png").unlink()
    assert second.sync().removed == 1
    assert (len(first), len(second)) == (4, 3)
    assert len(PhotoLibrary.open(photos, encoder).search("red")) == 4
    assert len(PhotoLibrary.open(photos, other).search("red")) == 3
    assert [library.model for library in PhotoLibrary.open_all(photos)] == ["fake", "other"]
    assert first.status().space_id == "fake-space"
    assert second.status().num_missing == 0
    for each in (encoder, other):
        assert len(each.encoded_images) == 4


def test_a_folder_not_indexed_with_a_model_says_with_which_it_is(
    photos: Path, library: PhotoLibrary, other: FakeEncoder
) -> None:
    library.sync()
    for ask in (
        lambda found: found.search("red"),
        lambda found: found.look_up([]),
        lambda found: found.export(photos.parent / "export"),
        PhotoLibrary.status,
        PhotoLibrary.images,
        PhotoLibrary.embeddings,
        PhotoLibrary.sample_embeddings,
        PhotoLibrary.duplicates,
    ):
        with pytest.raises(LibraryError) as caught:
            ask(PhotoLibrary.open(photos, other))
        assert str(caught.value) == (
            f"{photos} has not been indexed with other, only with fake: name that model, or run"
            f"  clipkit index {photos} --model other"
        )


@pytest.fixture
def updated() -> FakeEncoder:
    """The first model with other weights under its name, as after an update."""
    return FakeEncoder(space_id="new-space", name="fake")


def test_other_weights_of_a_name_get_an_index_that_keeps_what_the_former_one_was_told(
    photos: Path, library: PhotoLibrary, updated: FakeEncoder
) -> None:
    library.sync(exclude=["red*"], crops=5)
    again = PhotoLibrary.open(photos, updated)
    with pytest.raises(LibraryError) as caught:
        again.search("red")
    assert str(caught.value) == (
        f"{photos} has not been indexed with fake as it is, only with other weights or dimensions "
        f"of it: run  clipkit index {photos} --model fake"
    )
    assert again.sync().added == 3
    assert again.crops == 5
    assert again.kept_options == {"exclude": ("red*",), "crops": 5}
    assert again.sync(exclude=[""]).added == 1


def test_without_a_model_the_newest_index_of_a_name_is_opened(
    photos: Path, library: PhotoLibrary, updated: FakeEncoder
) -> None:
    library.sync()
    PhotoLibrary.open(photos, updated).sync()
    assert PhotoLibrary.open(photos).status().space_id == "new-space"
    PhotoLibrary.open(photos, updated).remove()
    assert PhotoLibrary.open(photos).status().space_id == "fake-space"


@pytest.mark.parametrize("number", [0, 1])
def test_one_is_removed_and_the_other_stays(
    both: list[PhotoLibrary], photos: Path, number: int
) -> None:
    both[number].remove()
    left = both[1 - number]
    assert left.sync().unchanged == 4
    assert [library.location for library in PhotoLibrary.open_all(photos)] == [left.location]
    assert len(PhotoLibrary.open(photos)) == 4  # without a model: what there is
    # It comes to lie beside the other one, or where it was.
    again = PhotoLibrary.open(photos, both[number]._encoder)
    assert again.sync().added == 4
    assert left.sync().unchanged == 4
    for library in PhotoLibrary.open_all(photos):
        library.remove()
    assert not default_location(photos).exists()


def test_a_renamed_folder_keeps_all_its_indexes(
    both: list[PhotoLibrary], photos: Path, encoder: FakeEncoder, other: FakeEncoder
) -> None:
    new = photos.rename(photos.parent / "elsewhere")
    with writer_lock(both[1].location / "writer.lock", photos):  # not while one is written to
        assert not PhotoLibrary.open(new, encoder).is_indexed
    for each in (other, encoder):
        assert PhotoLibrary.open(new, each).sync().unchanged == 4
        assert len(each.encoded_images) == 4


def test_all_indexes_are_taken_along_into_the_folder(
    both: list[PhotoLibrary], photos: Path, encoder: FakeEncoder, other: FakeEncoder
) -> None:
    with writer_lock(both[0].location / "writer.lock", photos), pytest.raises(LibraryBusyError):
        PhotoLibrary.open(photos, other, keep_here=True).sync()
    inner = PhotoLibrary.open(photos, other, keep_here=True)
    assert inner.sync().unchanged == 4
    assert inner.location.parent == inner_location(photos)
    assert not default_location(photos).exists()
    moved = photos.parent / "disk" / "moved"
    shutil.copytree(photos, moved)
    shutil.rmtree(photos)
    for each in (encoder, other):
        library = PhotoLibrary.open(moved, each)
        assert library.sync().unchanged == 4
        assert library.search("red", k=1)[0].path == moved / "red.png"
        assert len(each.encoded_images) == 4


def test_a_part_is_found_in_the_parents_index_of_its_model(
    photos: Path, encoder: FakeEncoder, other: FakeEncoder
) -> None:
    PhotoLibrary.open(photos, other).sync()
    PhotoLibrary.open(photos / "trip", encoder).sync()
    assert PhotoLibrary.open_nearest(photos / "trip", encoder).indexed_folder == photos / "trip"
    part = PhotoLibrary.open_nearest(photos / "trip", other)
    assert part.indexed_folder == photos
    assert len(part.search("green")) == 2
    # What no parent has been indexed with is indexed where it is asked for.
    third = FakeEncoder(space_id="third-space", name="third")
    assert PhotoLibrary.open_nearest(photos / "trip", third).sync().added == 2
    assert len(PhotoLibrary.open_nearest(photos, other)) == 4


def test_a_damaged_index_of_one_model_leaves_the_other_one_in_use(
    both: list[PhotoLibrary], photos: Path, encoder: FakeEncoder, other: FakeEncoder
) -> None:
    (both[0].location / "catalog.sqlite").write_bytes(b"no database" * 500)
    assert len(PhotoLibrary.open(photos, other).search("red")) == 4
    with pytest.raises(LibraryError, match="damaged"):
        PhotoLibrary.open(photos, encoder)
    for library in PhotoLibrary.open_all(photos):
        library.remove()
    assert PhotoLibrary.open_all(photos) == []


def test_what_one_model_keeps_as_missing_another_does_too(
    both: list[PhotoLibrary], photos: Path
) -> None:
    disk = photos.rename(photos.parent / "disk")
    photos.mkdir()
    assert [library.sync().missing for library in both] == [4, 4]
    assert both[0].sync(prune=True).removed == 4
    shutil.rmtree(photos)
    disk.rename(photos)
    save_image(photos / "new.png", (1, 1, 1))
    age_files(photos)
    assert [library.sync().added for library in both] == [5, 1]


@pytest.fixture
def indexed(photos: Path, encoder: FakeEncoder) -> Path:
    PhotoLibrary.open(photos, encoder).sync()
    return photos


@pytest.mark.parametrize("opened", [PhotoLibrary.open, PhotoLibrary.open_nearest])
def test_a_renamed_folder_keeps_its_index(
    indexed: Path, encoder: FakeEncoder, opened: object
) -> None:
    new = indexed.rename(indexed.parent / "elsewhere")
    library = opened(new, encoder)  # type: ignore[operator]
    assert len(library) == 4
    assert library.search("red", k=1)[0].path == new / "red.png"
    assert library.sync().unchanged == 4
    assert len(encoder.encoded_images) == 4
    # A new folder of the old name is a new folder.
    save_image(indexed / "other.png", (1, 2, 3))
    assert not PhotoLibrary.open(indexed, encoder).is_indexed
    assert PhotoLibrary.open(indexed, encoder).sync().added == 1
    assert len(PhotoLibrary.open(new, encoder)) == 4
    # And it may be renamed again.
    again = new.rename(indexed.parent / "again")
    assert PhotoLibrary.open(again, encoder).sync().unchanged == 4


def test_a_copy_of_a_folder_gets_no_index(indexed: Path) -> None:
    copy = indexed.parent / "copy"
    shutil.copytree(indexed, copy)
    assert not PhotoLibrary.open(copy).is_indexed
    shutil.rmtree(indexed)  # gone, and still another folder
    assert not PhotoLibrary.open(copy).is_indexed


def test_an_index_in_use_is_left_where_it_is(indexed: Path) -> None:
    location = default_location(indexed)
    new = indexed.rename(indexed.parent / "elsewhere")
    with writer_lock(location / "writer.lock", new):
        assert not PhotoLibrary.open(new).is_indexed
    assert PhotoLibrary.open(new).is_indexed


def test_a_damaged_index_of_another_folder_does_no_harm(indexed: Path, tmp_path: Path) -> None:
    (default_location(indexed) / "catalog.sqlite").write_bytes(b"damaged" * 1000)
    save_image(tmp_path / "new" / "a.png", (1, 2, 3))
    assert not PhotoLibrary.open(tmp_path / "new").is_indexed


def _as_if_given_out_again(location: Path, folder: Path) -> None:
    """Let an index be of a folder with the number that another folder has now."""
    status = folder.stat()
    connection = sqlite3.connect(location / "catalog.sqlite")
    with connection:
        for name, value in (("device", status.st_dev), ("inode", status.st_ino)):
            connection.execute("UPDATE meta SET value = ? WHERE key = ?", (str(value), name))
    connection.close()


def test_a_new_folder_with_an_old_ones_number_gets_its_own_index(
    indexed: Path, encoder: FakeEncoder, tmp_path: Path
) -> None:
    """The system gives numbers out again: to new folders, and to the next disk plugged in."""
    location = default_location(indexed)
    away = indexed.rename(tmp_path / "away")
    new = tmp_path / "new"
    for number in range(3):
        save_image(new / f"{number}.png", (number, 2, 3))
    save_image(new / "red.png", (254, 0, 0))  # of the same name, and another file
    _as_if_given_out_again(location, new)
    report = PhotoLibrary.open(new, encoder).sync()
    assert (report.added, report.removed, report.missing) == (4, 0, 0)
    # The old one is there for when its folder is.
    away.rename(indexed)
    assert PhotoLibrary.open(indexed, encoder).sync().unchanged == 4


@pytest.mark.parametrize(("num_left", "is_adopted"), [(4, True), (2, True), (1, False)])
def test_a_renamed_folder_is_known_by_half_of_its_files(
    indexed: Path, num_left: int, is_adopted: bool
) -> None:
    new = indexed.rename(indexed.parent / "elsewhere")
    for path in sorted(new.rglob("*.png"))[num_left:]:
        save_image(path, (1, 2, 3), size=9)
    assert PhotoLibrary.open(new).is_indexed == is_adopted


def test_only_a_sample_of_a_large_library_is_looked_at(
    photos: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(301):
        save_image(photos / f"{number}.png", (number % 256, number // 256, 5))
    PhotoLibrary.open(photos, encoder).sync()
    new = photos.rename(photos.parent / "elsewhere")
    looked_at: list[Path] = []
    stat = Path.stat

    def counting(path: Path, **options: bool) -> object:
        if path.suffix == ".png":
            looked_at.append(path)
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", counting)
    assert PhotoLibrary.open(new).is_indexed
    assert len(looked_at) in range(90, 110)


def test_an_index_whose_disk_was_away_last_is_found_too(
    indexed: Path, encoder: FakeEncoder
) -> None:
    """The mount point was synced while nothing was mounted; then the disk came elsewhere."""
    disk = indexed.rename(indexed.parent / "disk")
    indexed.mkdir()
    assert PhotoLibrary.open(indexed, encoder).sync().missing == 4
    indexed.rmdir()
    assert PhotoLibrary.open(disk, encoder).sync().unchanged == 4
    assert len(encoder.encoded_images) == 4
