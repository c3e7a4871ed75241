"""Folders built file by file; what find_images must list is written next to them."""

import os
import sys
from pathlib import Path

import pytest

from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.folders import IMAGE_EXTENSIONS, FolderEntry, FolderScan, find_images

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX names and links")


def fill(folder: Path, *paths: str) -> None:
    """Make files, each holding its own path."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)


def paths_of(scan: FolderScan) -> list[str]:
    return [entry.path for entry in scan.entries]


def reasons_of(scan: FolderScan) -> dict[str, str]:
    return {error.path: error.reason for error in scan.skipped}


def test_pictures_in_all_folders_sorted_with_size_and_time(tmp_path: Path) -> None:
    fill(tmp_path, "z.jpg", "a/b/c.png", "a/B.JPG", "a.jpg", "notes.txt", "a/jpg", "b.jpg.txt")
    os.utime(tmp_path / "z.jpg", ns=(5, 1_234_567_890_123_456_700))
    scan = find_images(tmp_path)
    assert paths_of(scan) == ["a.jpg", "a/B.JPG", "a/b/c.png", "z.jpg"]
    assert scan.entries[3] == FolderEntry("z.jpg", len("z.jpg"), 1_234_567_890_123_456_700)
    assert scan.skipped == []
    assert find_images(str(tmp_path)) == scan  # type: ignore[arg-type]


def test_empty_folder(tmp_path: Path) -> None:
    assert find_images(tmp_path) == FolderScan([], [])


@pytest.mark.parametrize(
    "ending",
    ["jpg", "JPEG", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "jp2", "ppm",
     "pgm", "pbm", "heic", "HEIF", "arw", "cr2", "CR3", "dng", "nef", "orf", "raf", "rw2"],
)  # fmt: skip
def test_endings(tmp_path: Path, ending: str) -> None:
    assert f".{ending.lower()}" in IMAGE_EXTENSIONS
    fill(tmp_path, f"picture.{ending}", f"picture{ending}", f"{ending}.mp4")
    assert paths_of(find_images(tmp_path)) == [f"picture.{ending}"]


def test_hidden_and_junk_are_left_out(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "ok/a.jpg",
        ".hidden.jpg",
        ".git/a.jpg",
        "._a.jpg",
        "@eaDir/a.jpg",
        "ok/node_modules/deep/a.jpg",
        "__pycache__/a.jpg",
        ".Trash-1000/a.jpg",
        ".Trashes/a.jpg",
        "System Volume Information/a.jpg",
        "$RECYCLE.BIN/a.jpg",
        "Thumbnails/a.jpg",
        ".thumbnails/a.jpg",
    )
    assert paths_of(find_images(tmp_path)) == ["ok/a.jpg"]
    assert paths_of(find_images(tmp_path, include_hidden=True)) == [
        ".git/a.jpg",
        ".hidden.jpg",
        "ok/a.jpg",
    ]


def test_the_folder_itself_may_be_hidden_or_called_thumbnails(tmp_path: Path) -> None:
    fill(tmp_path, ".mine/thumbnails/a.jpg")
    assert paths_of(find_images(tmp_path / ".mine" / "thumbnails")) == ["a.jpg"]


@pytest.mark.parametrize(
    ("exclude", "expected"),
    [
        ((), ["a.gif", "a.jpg", "private/b.jpg", "trips/private/c.jpg"]),
        (("*.gif",), ["a.jpg", "private/b.jpg", "trips/private/c.jpg"]),
        (("private",), ["a.gif", "a.jpg"]),
        (("private/",), ["a.gif", "a.jpg"]),
        (("trips/private",), ["a.gif", "a.jpg", "private/b.jpg"]),
        (("trips/*",), ["a.gif", "a.jpg", "private/b.jpg"]),
        (("PRIVATE", "[!a].jpg"), ["a.gif", "a.jpg"]),
    ],
)
def test_exclude(tmp_path: Path, exclude: tuple[str, ...], expected: list[str]) -> None:
    fill(tmp_path, "a.jpg", "a.gif", "private/b.jpg", "trips/private/c.jpg")
    assert paths_of(find_images(tmp_path, exclude=exclude)) == expected


@posix_only
def test_names_with_spaces_newlines_and_other_scripts(tmp_path: Path) -> None:
    names = ["new\nline.jpg", "two words.jpg", "ünïcödé.jpg", "写真.jpg", "back\\slash.jpg"]
    fill(tmp_path, *names)
    assert paths_of(find_images(tmp_path)) == sorted(names)


@posix_only
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    fill(tmp_path, "good.jpg")
    root = os.fsencode(tmp_path)
    try:
        Path(os.fsdecode(root + b"/caf\xe9.jpg")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    Path(os.fsdecode(root + b"/d\xe9j\xe0")).mkdir()
    Path(os.fsdecode(root + b"/d\xe9j\xe0/a.jpg")).touch()
    Path(os.fsdecode(root + b"/caf\xe9.txt")).touch()
    scan = find_images(tmp_path)
    assert paths_of(scan) == ["good.jpg"]
    assert reasons_of(scan) == {
        r"caf\xe9.jpg": "has a name that is not valid UTF-8: rename it",
        r"d\xe9j\xe0": "is a folder whose name is not valid UTF-8: rename it",
    }


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


@posix_only
def test_root_may_be_a_link(tmp_path: Path) -> None:
    fill(tmp_path, "photos/a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    assert paths_of(find_images(tmp_path / "link")) == ["a.jpg"]


@posix_only
def test_what_looks_like_a_picture_but_is_none(tmp_path: Path) -> None:
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "circle.jpg").symlink_to(tmp_path / "circle.jpg")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    os.mkfifo(tmp_path / "pipe.jpg")
    fill(tmp_path, "folder.jpg/a.jpg")
    scan = find_images(tmp_path)
    assert paths_of(scan) == ["folder.jpg/a.jpg"]
    assert reasons_of(scan) == {
        "circle.jpg": "is a link that leads back to itself",
        "dangling.jpg": "is a link to a file that is not there",
        "pipe.jpg": "is not a regular file",
    }
    assert all(isinstance(error, ImageReadError) for error in scan.skipped)


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
    with pytest.raises(InputError, match=r"a\.jpg is a file: give the folder that holds the pict"):
        find_images(tmp_path / "a.jpg")
