"""What happened in a folder, told from two lists: the files in it and those indexed."""

import pytest

from clipkit.inputs.folders import FolderEntry
from clipkit.search.changes import DiskState, find_changes, find_missing
from clipkit.search.store.records import IndexedFile, SkippedFile

IMAGES = {
    name: IndexedFile(name, 10, 100, row)
    for row, name in enumerate(["a", "b", "c", "in/d", "in/e"])
}
SKIPPED = {name: SkippedFile(name, 10, 100, "is broken") for name in ("x", "y", "z")}


THERE = DiskState(is_empty=False, is_another=False, lost=frozenset())
ANOTHER = DiskState(is_empty=False, is_another=True, lost=frozenset())


def test_each_file_is_in_exactly_one_group() -> None:
    files = [
        FolderEntry("a", 10, 100),  # as it was
        FolderEntry("b", 11, 100),  # another size
        FolderEntry("c", 10, 99),  # another time, even an earlier one
        FolderEntry("new", 10, 100),
        FolderEntry("x", 10, 100),  # broken as before
        FolderEntry("y", 10, 101),  # broken before, changed since
    ]
    changes = find_changes(files, IMAGES, SKIPPED)
    assert [file.path for file in changes.added] == ["new", "y"]
    assert [file.path for file in changes.changed] == ["b", "c"]
    assert sorted(changes.gone) == ["in/d", "in/e"]
    assert changes.no_longer_unreadable == ("z",)
    assert changes.unchanged == {"a"}
    assert [file.path for file in changes.still_unreadable] == ["x"]


def test_what_could_not_be_read_is_not_gone() -> None:
    changes = find_changes([], IMAGES, SKIPPED, unlisted=["in", "b", "y"])
    assert sorted(changes.gone) == ["a", "c"]
    assert changes.unseen == ("b", "in/d", "in/e")
    assert changes.no_longer_unreadable == ("x", "z")
    assert not changes.unchanged


def test_a_name_that_only_begins_like_an_unlisted_folder_is_gone() -> None:
    images = {"inn/d": IndexedFile("inn/d", 1, 1, 0), "in": IndexedFile("in", 1, 1, 1)}
    assert find_changes([], images, {}, unlisted=["in/x"]).gone == ("inn/d", "in")


# Missing or removed


def _paths(folder: str, number: int) -> list[str]:
    return [f"{folder}{index}.png" for index in range(number)]


@pytest.mark.parametrize(
    ("num_gone", "num_known", "disks", "num_missing"),
    [
        (1, 1, DiskState(is_empty=True, is_another=False, lost=frozenset()), 1),
        (1, 1, THERE, 0),
        (9, 10, THERE, 0),  # a handful
        (10, 20, THERE, 0),  # half, not most
        (10, 19, THERE, 10),
        (60, 119, THERE, 60),
        (1, 3, ANOTHER, 1),
    ],
)
def test_most_of_a_library_is_more_than_half_and_more_than_a_handful(
    num_gone: int, num_known: int, disks: DiskState, num_missing: int
) -> None:
    known = _paths("", num_known)
    assert len(find_missing(known[:num_gone], known, disks)) == num_missing


@pytest.mark.parametrize(("num_gone", "num_missing"), [(99, 0), (100, 100), (101, 101)])
def test_a_whole_folder_is_missed_if_it_was_large(num_gone: int, num_missing: int) -> None:
    gone = [*_paths("a/b/", num_gone - 50), *_paths("a/", 50)]
    known = [*gone, *_paths("", 500), *_paths("ab/", 3)]
    assert len(find_missing(gone, known, THERE)) == num_missing
    # What is left of a folder shows that its disk is there.
    assert find_missing(gone, [*known, "a/b/left.png"], THERE) == set()


def test_a_disk_inside_the_library_is_missed_whatever_its_size() -> None:
    lost = DiskState(is_empty=False, is_another=False, lost=frozenset({"usb"}))
    known = ["usb/a.png", "usb.png", "usb2/a.png", *_paths("", 20)]
    assert find_missing(["usb/a.png", "usb.png", "usb2/a.png"], known, lost) == {"usb/a.png"}
