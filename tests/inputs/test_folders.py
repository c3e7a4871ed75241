"""Folders built file by file; what find_images must list is written next to them."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.extensions import IMAGE_EXTENSIONS
from clipkit.inputs.folders import FolderEntry, FolderScan, find_images
from tests.inputs.folder_scans import fill, left_out_of, paths_of, reasons_of

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX names and links")


def test_images_in_all_folders_sorted_with_size_and_time(tmp_path: Path) -> None:
    fill(tmp_path, "z.jpg", "a/b/c.png", "a/B.JPG", "a.jpg", "notes.txt", "a/jpg", "b.jpg.txt")
    os.utime(tmp_path / "z.jpg", ns=(5, 1_234_567_890_123_456_700))
    scan = find_images(tmp_path)
    assert paths_of(scan) == ["a.jpg", "a/B.JPG", "a/b/c.png", "z.jpg"]
    assert scan.entries[3] == FolderEntry("z.jpg", len("z.jpg"), 1_234_567_890_123_456_700)
    assert scan.skipped == []
    assert find_images(str(tmp_path)) == scan  # type: ignore[arg-type]


def test_empty_folder(tmp_path: Path) -> None:
    assert find_images(tmp_path) == FolderScan([], [], [])


@pytest.mark.parametrize(
    "ending",
    ["jpg", "JPEG", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "jp2", "ppm",
     "pgm", "pbm", "heic", "HEIF", "arw", "cr2", "CR3", "dng", "nef", "orf", "raf", "rw2"],
)  # fmt: skip
def test_endings(tmp_path: Path, ending: str) -> None:
    assert f".{ending.lower()}" in IMAGE_EXTENSIONS
    fill(tmp_path, f"image.{ending}", f"image{ending}", f"{ending}.mp4", f".{ending}")
    assert paths_of(find_images(tmp_path, include_hidden=True)) == [f"image.{ending}"]


def test_the_index_in_the_folder_is_neither_entered_nor_told_of(tmp_path: Path) -> None:
    fill(tmp_path, ".clipkit/a.jpg", "trips/.clipkit/b.jpg", "trips/c.jpg")
    for include_hidden in (False, True):
        scan = find_images(tmp_path, include_hidden=include_hidden)
        assert scan == FolderScan([scan.entries[0]], [], [])
        assert paths_of(scan) == ["trips/c.jpg"]


@posix_only
def test_names_with_spaces_newlines_and_other_scripts(tmp_path: Path) -> None:
    names = ["new\nline.jpg", "two words.jpg", "ünïcödé.jpg", "写真.jpg", "back\\slash.jpg",
             "blank.jpg ", "break.png\n", " .jpg", "\t.jpg", "'.jpg", '".jpg', "-.jpg", "😀.jpg",
             "2:cat.jpg", "+.jpg", "a" * 251 + ".jpg"]  # fmt: skip
    fill(tmp_path, *names)
    assert paths_of(find_images(tmp_path)) == sorted(names)


@posix_only
def test_names_that_are_not_utf8_are_taken_with_their_bytes(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    images = {b"caf\xe9.jpg", b"d\xe9j\xe0/a.jpg", b"d\xe9j\xe0/\xff\xfe.JPG"}
    try:
        Path(os.fsdecode(root + b"/d\xe9j\xe0")).mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    for name in {*images, b"caf\xe9.txt", b"skip\xe9.jpg", b".\xe9.jpg"}:
        Path(os.fsdecode(root + b"/" + name)).touch()
    os.mkfifo(root + b"/pip\xe9.jpg")
    scan = find_images(tmp_path, exclude=["skip?.*"])
    assert {os.fsencode(entry.path) for entry in scan.entries} == images
    assert [os.fsencode(error.path) for error in scan.skipped] == [b"pip\xe9.jpg"]
    assert [os.fsencode(item.path) for item in scan.left_out] == [b".\xe9.jpg", b"skip\xe9.jpg"]


@posix_only
def test_links_to_files_are_taken_with_the_size_of_the_file(tmp_path: Path) -> None:
    fill(tmp_path, "outside/real.bin", "photos/a.jpg")
    (tmp_path / "photos" / "link.jpg").symlink_to(tmp_path / "outside" / "real.bin")
    (tmp_path / "photos" / "link.txt").symlink_to(tmp_path / "photos" / "a.jpg")
    scan = find_images(tmp_path / "photos")
    assert paths_of(scan) == ["a.jpg", "link.jpg"]
    assert scan.entries[1].size == len("outside/real.bin")


@posix_only
def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    fill(tmp_path, "outside/deep/a.jpg", "photos/z/b.jpg")
    photos = tmp_path / "photos"
    (photos / "one").symlink_to(tmp_path / "outside")
    (photos / "two").symlink_to(tmp_path / "outside")
    (photos / "a").symlink_to(photos / "z")  # sorts before the real one, which keeps its name
    (photos / "z" / "up").symlink_to(photos)
    (tmp_path / "outside" / "deep" / "self").symlink_to(tmp_path / "outside")
    scan = find_images(photos)
    assert paths_of(scan) == ["one/deep/a.jpg", "z/b.jpg"]
    assert scan.skipped == []
    another = "is another way to a folder that is indexed already: "
    assert left_out_of(scan) == {
        "a": another + "z",
        "one/deep/self": another + "one",
        "two": another + "one",
        "z/up": another + ".",
    }


@posix_only
def test_a_file_with_several_paths_is_one_file(tmp_path: Path) -> None:
    fill(tmp_path, "outside/o.jpg", "photos/z/real.jpg", "photos/z/b.jpg", "photos/m/n.jpg")
    photos = tmp_path / "photos"
    (photos / "a.jpg").symlink_to(photos / "z" / "real.jpg")
    (photos / "z" / "a.jpg").symlink_to("real.jpg")
    os.link(photos / "z" / "b.jpg", photos / "c.jpg")  # the first by name of two equals
    os.link(photos / "z" / "b.jpg", photos / "z" / "z.jpg")
    (photos / "b.jpg").symlink_to(photos / "z" / "b.jpg")  # earlier, but a symbolic link
    (photos / "o1.jpg").symlink_to(tmp_path / "outside" / "o.jpg")
    (photos / "o2.jpg").symlink_to(tmp_path / "outside" / "o.jpg")
    scan = find_images(photos)
    assert paths_of(scan) == ["c.jpg", "m/n.jpg", "o1.jpg", "z/real.jpg"]
    assert scan.skipped == []
    another = "is another way to a file that is indexed already: "
    assert left_out_of(scan) == {
        "a.jpg": another + "z/real.jpg",
        "z/a.jpg": another + "z/real.jpg",
        "b.jpg": another + "c.jpg",
        "z/b.jpg": another + "c.jpg",
        "z/z.jpg": another + "c.jpg",
        "o2.jpg": another + "o1.jpg",
    }


@posix_only
def test_a_file_seen_through_a_linked_folder_is_one_file(tmp_path: Path) -> None:
    fill(tmp_path, "outside/a.jpg", "outside/b.jpg", "photos/c.jpg")
    photos = tmp_path / "photos"
    os.link(tmp_path / "outside" / "a.jpg", photos / "z.jpg")
    (photos / "b.jpg").symlink_to(tmp_path / "outside" / "b.jpg")
    (photos / "all").symlink_to(tmp_path / "outside")
    scan = find_images(photos)
    assert paths_of(scan) == ["all/b.jpg", "c.jpg", "z.jpg"]
    another = "is another way to a file that is indexed already: "
    assert left_out_of(scan) == {"all/a.jpg": another + "z.jpg", "b.jpg": another + "all/b.jpg"}


@posix_only
def test_a_link_to_what_is_left_out_is_taken(tmp_path: Path) -> None:
    fill(tmp_path, ".private/a.jpg")
    (tmp_path / "shown.jpg").symlink_to(tmp_path / ".private" / "a.jpg")
    assert paths_of(find_images(tmp_path)) == ["shown.jpg"]
    assert paths_of(find_images(tmp_path, include_hidden=True)) == [".private/a.jpg"]


@posix_only
def test_links_to_what_the_folder_lies_in_are_not_followed(tmp_path: Path) -> None:
    fill(tmp_path, "disk/beside/a.jpg", "disk/photos/z/b.jpg")
    photos = tmp_path / "disk" / "photos"
    (photos / "up").symlink_to("..")
    (photos / "z" / "disk").symlink_to("/")
    (photos / "beside").symlink_to("../beside")
    (tmp_path / "way").symlink_to(photos)
    for root in (photos, tmp_path / "way"):
        scan = find_images(root)
        assert paths_of(scan) == ["beside/a.jpg", "z/b.jpg"]
        reason = "leads to a folder that the indexed one lies in"
        assert left_out_of(scan) == {"up": reason, "z/disk": reason}


@posix_only
def test_root_may_be_a_link(tmp_path: Path) -> None:
    fill(tmp_path, "photos/a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    assert paths_of(find_images(tmp_path / "link")) == ["a.jpg"]


@posix_only
def test_what_looks_like_an_image_but_is_none(tmp_path: Path) -> None:
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "circle.jpg").symlink_to(tmp_path / "circle.jpg")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "dangling.txt").symlink_to(tmp_path / "gone.txt")
    (tmp_path / ".dangling").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros.png").symlink_to("/dev/zero")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    fill(tmp_path, "folder.jpg/a.jpg")
    scan = find_images(tmp_path)
    assert paths_of(scan) == ["folder.jpg/a.jpg"]
    assert reasons_of(scan) == {
        "circle": "is a link that leads back to itself",  # which might have led to a folder
        "circle.jpg": "is a link that leads back to itself",
        "dangling": "is a link that leads nowhere",
        "dangling.jpg": "is a link that leads nowhere",
        "dangling.txt": "is a link that leads nowhere",
        "pipe.jpg": "is not a regular file",
        "zeros.png": "is not a regular file",
    }
    assert scan.left_out == []
    assert all(isinstance(error, ImageReadError) for error in scan.skipped)


def test_a_file_that_vanishes_while_it_is_listed_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "gone.jpg", "here.jpg")
    scandir = os.scandir

    @contextmanager
    def list_and_remove(path: Path) -> Iterator[Iterator["os.DirEntry[str]"]]:
        with scandir(path) as children:
            listed = list(children)
        (tmp_path / "gone.jpg").unlink()
        yield iter(listed)

    monkeypatch.setattr(os, "scandir", list_and_remove)
    scan = find_images(tmp_path)
    assert paths_of(scan) == ["here.jpg"]
    assert reasons_of(scan) == {"gone.jpg": "no such file"}


def test_folder_that_cannot_be_read_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "a.jpg", "locked/b.jpg", "open/c.jpg")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read everything, so modes do not help
    scan = find_images(tmp_path)
    assert paths_of(scan) == ["a.jpg", "open/c.jpg"]
    assert reasons_of(scan) == {"locked": "is a folder that cannot be read: permission denied"}
    with pytest.raises(InputError, match="locked cannot be read: permission denied"):
        find_images(tmp_path / "locked")


def test_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        find_images(tmp_path / "fotos")
    assert str(caught.value) == (
        f"no such folder: {tmp_path / 'fotos'}; "
        "check how it is spelt, or whether its disk is connected"
    )


def test_file_instead_of_a_folder_says_what_to_do(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg is a file: give the folder that holds the image"):
        find_images(tmp_path / "a.jpg")
