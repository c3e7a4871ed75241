"""What a scan leaves out on purpose, on folders that are made for it."""

import sys
from pathlib import Path

import pytest

from clipkit.errors import InputError
from clipkit.inputs.folders import FolderScan, LeftOut, find_images
from tests.inputs.folder_scans import fill, left_out_of, paths_of, reasons_of

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX names and links")
HIDDEN = "is hidden: its name starts with a dot"
JUNK = "is a folder that programs fill: thumbnails, caches, deleted files"
MACOS = "is what macOS keeps about another file"


def test_hidden_and_junk_are_left_out_and_told_of(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "ok/a.jpg",
        ".hidden.jpg",
        ".hidden.txt",
        "ok/.git/deep/a.jpg",
        "._a.jpg",
        "@eaDir/a.jpg",
        "ok/node_modules/deep/a.jpg",
        "__pycache__/a.jpg",
        ".Trash-1000/a.jpg",
        "System Volume Information/a.jpg",
        "$RECYCLE.BIN/a.jpg",
        "#recycle/a.jpg",
        "@Recycle/a.jpg",
        "ok/__MACOSX/a.jpg",
        "ok/Catalog Previews.lrdata/0/a.jpg",
        "Thumbnails/a.jpg",
        ".thumbnails/a.jpg",
        "Thumbs.db",
    )
    scan = find_images(tmp_path)
    assert paths_of(scan) == ["ok/a.jpg"]
    assert scan.skipped == []
    assert left_out_of(scan) == {
        "#recycle": JUNK,
        "$RECYCLE.BIN": JUNK,
        "@Recycle": JUNK,
        "ok/__MACOSX": JUNK,
        "ok/Catalog Previews.lrdata": JUNK,
        ".Trash-1000": HIDDEN,
        "._a.jpg": MACOS,
        ".hidden.jpg": HIDDEN,
        ".thumbnails": HIDDEN,
        "@eaDir": JUNK,
        "System Volume Information": JUNK,
        "Thumbnails": JUNK,
        "__pycache__": JUNK,
        "ok/.git": HIDDEN,
        "ok/node_modules": JUNK,
    }
    scan = find_images(tmp_path, include_hidden=True)
    assert paths_of(scan) == [".hidden.jpg", "ok/.git/deep/a.jpg", "ok/a.jpg"]
    left_out = left_out_of(scan)
    assert {left_out[".Trash-1000"], left_out[".thumbnails"]} == {JUNK}
    assert left_out["._a.jpg"] == MACOS


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


def test_what_a_pattern_leaves_out_is_told_of_with_the_pattern(tmp_path: Path) -> None:
    fill(tmp_path, "a.gif", "a.txt", "private/deep/b.gif", "trips/raw/c.gif", "trips/d.gif")
    scan = find_images(tmp_path, exclude=["private/", "a.*", "trips/**"])
    assert left_out_of(scan) == {
        "a.gif": "matches the exclude pattern a.*",
        "private": "matches the exclude pattern private/",
        "trips": "matches the exclude pattern trips/**",
    }
    assert paths_of(scan) == []


def test_folders_that_are_no_media_are_left_out_with_all_in_them(tmp_path: Path) -> None:
    fill(tmp_path, ".nomedia", "a.jpg", "sent/.nomedia", "sent/b.jpg", "sent/old/c.jpg")
    scan = find_images(tmp_path)  # the folder itself was asked for
    assert paths_of(scan) == ["a.jpg"]
    assert left_out_of(scan) == {"sent": "is kept out of galleries: it holds a file named .nomedia"}
    assert paths_of(find_images(tmp_path, include_hidden=True)) == [
        "a.jpg", "sent/b.jpg", "sent/old/c.jpg"
    ]  # fmt: skip


def test_what_an_ignore_file_says_is_left_out_and_told_of(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "a.gif", "trips/b.gif", "trips/c.jpg", "trips/raw/d.jpg", "b/raw/e.jpg")
    (tmp_path / ".clipkitignore").write_text("# no films\n\n*.gif\nraw/\n")
    (tmp_path / "trips" / ".clipkitignore").write_text("!b.gif\n/c.jpg\n", encoding="utf-8-sig")
    scan = find_images(tmp_path)
    assert paths_of(scan) == ["a.jpg", "trips/b.gif"]
    assert left_out_of(scan) == {
        "a.gif": "matches *.gif in .clipkitignore",
        "b/raw": "matches raw/ in .clipkitignore",
        "trips/c.jpg": "matches /c.jpg in trips/.clipkitignore",
        "trips/raw": "matches raw/ in .clipkitignore",
    }


def test_a_folder_whose_ignore_file_cannot_be_read_is_not_entered(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "trips/.clipkitignore/x.txt", "trips/b.jpg", "empty/c.jpg")
    (tmp_path / "empty" / ".clipkitignore").touch()
    scan = find_images(tmp_path)
    assert paths_of(scan) == ["a.jpg", "empty/c.jpg"]
    reason = "its .clipkitignore: is a folder"
    assert reasons_of(scan) == {"trips": f"is a folder that cannot be read: {reason}"}
    with pytest.raises(InputError, match=f"trips cannot be read: {reason}"):
        find_images(tmp_path / "trips")


def test_a_part_of_a_folder_is_read_by_the_rules_of_the_whole(tmp_path: Path) -> None:
    fill(tmp_path, "a/b/c.jpg", "a/b/d.gif", "a/b/e.png", "a/b/raw/f.jpg", "a/g.jpg", "h.jpg")
    (tmp_path / ".clipkitignore").write_text("a/b/raw\n")
    (tmp_path / "a" / ".clipkitignore").write_text("*.gif\n")
    whole = find_images(tmp_path, exclude=["a/*/e.png"])
    part = find_images(tmp_path, part="a/b", exclude=["a/*/e.png"])
    assert paths_of(whole) == ["a/b/c.jpg", "a/g.jpg", "h.jpg"]
    assert paths_of(part) == ["a/b/c.jpg"]
    assert part.left_out == whole.left_out
    assert set(left_out_of(part)) == {"a/b/d.gif", "a/b/e.png", "a/b/raw"}
    assert find_images(tmp_path, part="a/b/raw") == FolderScan(
        [], [], [LeftOut("a/b/raw", "matches a/b/raw in .clipkitignore")]
    )
    with pytest.raises(InputError, match=r"no such folder: .*a/x"):
        find_images(tmp_path, part="a/x")


@posix_only
def test_reasons_are_one_line_whatever_the_names_hold(tmp_path: Path) -> None:
    fill(tmp_path, "new\nline/a.jpg", "b.jpg", "new\nline/c.gif")
    (tmp_path / "way").symlink_to("new\nline")
    (tmp_path / "link.jpg").symlink_to("new\nline/a.jpg")
    (tmp_path / "new\nline" / ".clipkitignore").write_text("*.gif")
    scan = find_images(tmp_path, exclude=["b*\x1b", "b.jpg\n", "[\nb].jpg"])
    assert left_out_of(scan) == {
        "b.jpg": "matches the exclude pattern [\\nb].jpg",
        "link.jpg": "is another way to a file that is indexed already: new\nline/a.jpg",
        "new\nline/c.gif": "matches *.gif in new\\nline/.clipkitignore",
        "way": "is another way to a folder that is indexed already: new\nline",
    }
