"""What happened in a folder, told from two lists."""

from clipkit.inputs.folders import FolderEntry
from clipkit.search.changes import find_changes
from clipkit.search.store.records import IndexedFile, SkippedFile

IMAGES = {
    name: IndexedFile(name, 10, 100, row)
    for row, name in enumerate(["a", "b", "c", "in/d", "in/e"])
}
SKIPPED = {name: SkippedFile(name, 10, 100, "is broken") for name in ("x", "y", "z")}


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


def test_what_could_not_be_looked_at_is_not_gone() -> None:
    changes = find_changes([], IMAGES, SKIPPED, unlisted=["in", "b", "y"])
    assert sorted(changes.gone) == ["a", "c"]
    assert changes.unseen == ("b", "in/d", "in/e")
    assert changes.no_longer_unreadable == ("x", "z")
    assert not changes.unchanged


def test_a_name_that_only_begins_like_an_unlisted_folder_is_gone() -> None:
    images = {"inn/d": IndexedFile("inn/d", 1, 1, 0), "in": IndexedFile("in", 1, 1, 1)}
    assert find_changes([], images, {}, unlisted=["in/x"]).gone == ("inn/d", "in")
