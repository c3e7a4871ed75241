"""Renderings of indexed images, and of nothing else."""

import io
import os
import shutil
from pathlib import Path
from typing import BinaryIO

import pytest
from PIL import Image

import clipkit
from clipkit.inputs.thumbnails import render_thumbnail
from clipkit.search import thumbnails
from tests.conftest import SAMPLES

BOX = (100, 100)
ARTIST = 315  # an EXIF tag


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "part").mkdir(parents=True)
    for name in ("cat.jpg", "dog.jpg", "part/owl.jpg"):
        shutil.copy(SAMPLES / Path(name).name, folder / name)
    shutil.copy(SAMPLES / "bee.jpg", folder / ".hidden.jpg")
    (folder / "notes.txt").write_text("private")
    (tmp_path / "secret.txt").write_text("private")
    (folder / "link.jpg").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "private").mkdir()
    shutil.copy(SAMPLES / "castle.jpg", tmp_path / "castle.jpg")
    shutil.copy(SAMPLES / "hens.jpg", tmp_path / "private" / "hens.jpg")
    (folder / "castle.jpg").symlink_to(tmp_path / "castle.jpg")
    (folder / "album").symlink_to(tmp_path / "private")
    (folder / "bee.jpg").symlink_to(folder / ".hidden.jpg")
    return folder


@pytest.fixture
def library(folder: Path, starter: clipkit.Encoder) -> clipkit.PhotoLibrary:
    library = clipkit.PhotoLibrary.open(folder, starter)
    library.sync()
    return library


def size(jpeg: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.format == "JPEG"
        return image.size


def test_a_hit_is_rendered_small(library: clipkit.PhotoLibrary) -> None:
    (hit,) = library.search("a cat", k=1)
    width, height = size(library.thumbnails().render(hit.path, box=BOX))
    assert hit.width is not None
    assert hit.height is not None
    assert max(width, height) == 100
    assert width / height == pytest.approx(hit.width / hit.height, rel=0.02)


@pytest.mark.slow
def test_the_metadata_of_the_original_stays_behind(folder: Path, starter: clipkit.Encoder) -> None:
    with Image.open(SAMPLES / "cat.jpg") as image:
        exif = image.getexif()
        exif[ARTIST] = "somebody"
        image.save(folder / "cat.jpg", exif=exif)
    library = clipkit.PhotoLibrary.open(folder, starter)
    library.sync()
    jpeg = library.thumbnails().render(folder / "cat.jpg", box=BOX)
    assert b"somebody" in (folder / "cat.jpg").read_bytes()
    assert b"somebody" not in jpeg


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["notes.txt", "link.jpg", ".hidden.jpg", "../secret.txt", "missing.jpg", ".", "", "part",
     "cat.jpg\0", "part/../../secret.txt", "/etc/passwd", "CAT.JPG/", "cat.jpg/x"],
)  # fmt: skip
def test_what_is_not_indexed_is_refused(library: clipkit.PhotoLibrary, name: str) -> None:
    with pytest.raises(clipkit.InputError, match="is not an indexed image"):
        library.thumbnails().render(library.folder / name, box=BOX)


@pytest.mark.slow
def test_another_spelling_of_an_indexed_path_is_the_same(library: clipkit.PhotoLibrary) -> None:
    cache = library.thumbnails()
    there = library.folder / "part" / ".." / "cat.jpg"
    assert cache.render(there, box=BOX) == cache.render(library.folder / "cat.jpg", box=BOX)


def test_a_file_that_has_changed_is_refused(library: clipkit.PhotoLibrary, tmp_path: Path) -> None:
    cat, dog = library.folder / "cat.jpg", library.folder / "dog.jpg"
    status = cat.stat()
    cat.unlink()
    cat.symlink_to(tmp_path / "secret.txt")
    with pytest.raises(clipkit.ImageReadError, match="has changed since it was indexed"):
        library.thumbnails().render(cat, box=BOX)
    # A private image of the same time, in the place of one that may be seen.
    shutil.copy(SAMPLES / "bee.jpg", tmp_path / "private.jpg")
    os.utime(tmp_path / "private.jpg", ns=(status.st_mtime_ns, status.st_mtime_ns))
    cat.unlink()
    cat.symlink_to(tmp_path / "private.jpg")
    with pytest.raises(clipkit.ImageReadError, match="has changed since it was indexed"):
        library.thumbnails().render(cat, box=BOX)
    dog.unlink()
    with pytest.raises(clipkit.ImageReadError, match="no such file"):
        library.thumbnails().render(dog, box=BOX)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["castle.jpg", "album/hens.jpg", "bee.jpg"])
def test_what_a_link_leads_to_is_not_shown(library: clipkit.PhotoLibrary, name: str) -> None:
    assert library.folder / name in library.embeddings()[0]  # it is indexed
    with pytest.raises(clipkit.ImageReadError, match="through a symbolic link"):
        library.thumbnails().render(library.folder / name, box=BOX)
    with pytest.raises(clipkit.ImageReadError, match="through a symbolic link"):
        library.thumbnails().check(library.folder / name)


@pytest.mark.slow
def test_an_indexed_image_or_its_folder_that_became_a_link_is_not_shown(
    library: clipkit.PhotoLibrary, tmp_path: Path
) -> None:
    # Moved away with its time and size, and linked to from where it was.
    cat, part = library.folder / "cat.jpg", library.folder / "part"
    cat.rename(tmp_path / "cat.jpg")
    cat.symlink_to(tmp_path / "cat.jpg")
    part.rename(tmp_path / "part")
    part.symlink_to(tmp_path / "part")
    for path in (cat, part / "owl.jpg"):
        with pytest.raises(clipkit.ImageReadError, match="through a symbolic link"):
            library.thumbnails().render(path, box=BOX)


@pytest.mark.slow
def test_a_folder_that_is_itself_a_link_is_shown(
    library: clipkit.PhotoLibrary, tmp_path: Path, starter: clipkit.Encoder
) -> None:
    (tmp_path / "link").symlink_to(library.folder)
    linked = clipkit.PhotoLibrary.open(tmp_path / "link", starter)
    assert size(linked.thumbnails().render(tmp_path / "link" / "cat.jpg", box=BOX))


@pytest.mark.slow
def test_what_was_shown_goes_with_its_file(library: clipkit.PhotoLibrary) -> None:
    cache, cat = library.thumbnails(), library.folder / "cat.jpg"
    cache.render(cat, box=BOX)
    cat.unlink()
    with pytest.raises(clipkit.ImageReadError, match="no such file"):
        cache.render(cat, box=BOX)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that renderings are made of."""
    names: list[str] = []

    def draw(file: BinaryIO, *, box: tuple[int, int]) -> bytes:
        names.append(Path(file.name).name)
        return render_thumbnail(file, box=box)

    monkeypatch.setattr(thumbnails, "render_thumbnail", draw)
    return names


@pytest.mark.slow
def test_a_pipe_in_the_place_of_an_image_is_not_waited_for(library: clipkit.PhotoLibrary) -> None:
    cat = library.folder / "cat.jpg"
    cat.unlink()
    os.mkfifo(cat)
    with pytest.raises(clipkit.ImageReadError, match="not a regular file"):
        library.thumbnails().render(cat, box=BOX)


def test_a_rendering_is_made_once_for_each_content_and_size(
    library: clipkit.PhotoLibrary, drawn: list[str]
) -> None:
    cache, cat = library.thumbnails(), library.folder / "cat.jpg"
    first = cache.render(cat, box=BOX)
    assert cache.render(cat, box=BOX) == first
    assert len(drawn) == 1
    cache.render(cat, box=(50, 50))
    assert len(drawn) == 2
    data = cat.read_bytes()
    cat.write_bytes((SAMPLES / "bee.jpg").read_bytes())
    library.sync()
    assert cache.render(cat, box=BOX) != first
    cat.write_bytes(data)
    library.sync()
    assert cache.render(cat, box=BOX) == first


@pytest.mark.slow
def test_the_longest_unused_renderings_go_first(
    library: clipkit.PhotoLibrary, drawn: list[str]
) -> None:
    names = ("cat.jpg", "dog.jpg", "part/owl.jpg")
    sizes = [len(library.thumbnails().render(library.folder / name, box=BOX)) for name in names]
    cache = thumbnails.ThumbnailCache(library._place, max_bytes=sum(sizes) - 1)
    for name in ("cat.jpg", "dog.jpg", "cat.jpg", "part/owl.jpg"):
        cache.render(library.folder / name, box=BOX)
    drawn.clear()
    for name in ("cat.jpg", "part/owl.jpg", "dog.jpg"):
        cache.render(library.folder / name, box=BOX)
    assert drawn == ["dog.jpg"]


@pytest.mark.slow
def test_a_part_of_a_library_renders_its_own_images_only(
    library: clipkit.PhotoLibrary, starter: clipkit.Encoder
) -> None:
    part = clipkit.PhotoLibrary.open_nearest(library.folder / "part", starter)
    cache = part.thumbnails()
    assert max(size(cache.render(part.folder / "owl.jpg", box=BOX))) == 100
    with pytest.raises(clipkit.InputError, match="is not an indexed image"):
        cache.render(library.folder / "cat.jpg", box=BOX)


def test_a_folder_without_an_index_renders_nothing(folder: Path) -> None:
    cache = clipkit.PhotoLibrary.open(folder).thumbnails()
    with pytest.raises(clipkit.LibraryError, match="has not been indexed"):
        cache.render(folder / "cat.jpg", box=BOX)


@pytest.mark.slow
def test_a_rendering_is_the_public_function_s(library: clipkit.PhotoLibrary) -> None:
    cat = library.folder / "cat.jpg"
    rendered = library.thumbnails().render(cat, box=BOX)
    assert rendered == clipkit.render_thumbnail(cat.read_bytes(), box=BOX)
