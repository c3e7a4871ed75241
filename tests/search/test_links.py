"""A file that can be reached in several ways is one image of the index."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clipkit.inputs.folders import FolderEntry, FolderScan
from clipkit.search import folder_state
from clipkit.search.library import PhotoLibrary
from clipkit.search.query import parse_query
from tests.fakes import FakeEncoder, age_files, save_image


def _link_file(photos: Path) -> Path:
    """Make a symbolic link to a file of another folder."""
    link = photos / "favourites" / "green.png"
    link.parent.mkdir()
    link.symlink_to(Path("..") / "trip" / "green.png")
    return link


def _link_file_hard(photos: Path) -> Path:
    link = photos / "z favourites" / "green.png"  # the first one by name is the file
    link.parent.mkdir()
    os.link(photos / "trip" / "green.png", link)
    return link


def _link_folder(photos: Path) -> Path:
    link = photos / "favourites" / "linked"
    link.parent.mkdir()
    link.symlink_to(Path("..") / "trip")
    return link / "green.png"


links = pytest.mark.parametrize("make_link", [_link_file, _link_file_hard, _link_folder])


def _scan_every_path(root: Path, **_: object) -> FolderScan:
    """List a folder as clipkit did once: each path of a file is one."""
    paths = [
        Path(folder, name) for folder, _, names in os.walk(root, followlinks=True) for name in names
    ]
    entries = [
        FolderEntry(path.relative_to(root).as_posix(), path.stat().st_size, path.stat().st_mtime_ns)
        for path in paths
        if path.suffix == ".png"
    ]
    return FolderScan(sorted(entries), [], [])


@links
def test_an_index_that_has_a_link_and_its_file_keeps_the_file(
    photos: Path,
    encoder: FakeEncoder,
    make_link: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = make_link(photos).relative_to(photos).as_posix()
    library = PhotoLibrary.open(photos, encoder)
    with monkeypatch.context() as patch:
        patch.setattr(folder_state, "find_images", _scan_every_path)
        assert library.sync().added in (5, 6)
        assert library.search("green", k=2)[1].path in (photos / link, photos / "trip/green.png")
    report = library.sync()
    assert (report.added, report.moved, report.missing, report.unchanged) == (0, 0, 0, 4)
    assert report.removed in (1, 2)  # two are in the linked folder
    names = [hit.path.relative_to(photos).as_posix() for hit in library.search("green", k=9)]
    assert names.count("trip/green.png") == 1
    assert link not in names
    assert len(encoder.encoded_images) == 4


@links
def test_an_index_that_has_only_a_link_gives_its_embedding_to_the_file(
    photos: Path,
    encoder: FakeEncoder,
    make_link: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = make_link(photos).relative_to(photos).as_posix()

    def scan_links(root: Path, **options: object) -> FolderScan:
        scan = _scan_every_path(root, **options)
        return FolderScan([file for file in scan.entries if file.path == link], [], [])

    library = PhotoLibrary.open(photos, encoder)
    with monkeypatch.context() as patch:
        patch.setattr(folder_state, "find_images", scan_links)
        assert library.sync().added == 1
    report = library.sync()
    assert (report.added, report.moved, report.removed, report.missing) == (3, 1, 0, 0)
    assert encoder.encoded_images.count("green.png") == 1


@links
def test_a_part_adds_no_link_to_a_file_of_another_part(
    photos: Path, encoder: FakeEncoder, make_link: Callable[[Path], Path]
) -> None:
    PhotoLibrary.open(photos, encoder).sync()
    link = make_link(photos)
    save_image(photos / link.relative_to(photos).parts[0] / "own.png", (1, 2, 3))
    age_files(photos)
    PhotoLibrary.open(photos, encoder).sync()
    part = PhotoLibrary.open_nearest(photos / link.relative_to(photos).parts[0], encoder)
    for _ in range(2):
        report = part.sync()
        assert (report.added, report.changed, report.unchanged) == (0, 0, 1)
        assert photos / "trip" / "green.png" in [Path(left.same_as) for left in report.left_out]
    assert len(PhotoLibrary.open(photos)) == 5
    # A copy is no link, and costs nothing either.
    copy = part.folder / "copy.png"
    copy.write_bytes((photos / "trip" / "green.png").read_bytes())
    assert part.sync().added == 1
    assert len(encoder.encoded_images) == 5


@links
def test_a_query_by_a_links_path_finds_the_file_and_does_not_show_it(
    photos: Path, encoder: FakeEncoder, make_link: Callable[[Path], Path]
) -> None:
    link = make_link(photos)
    save_image(photos / link.relative_to(photos).parts[0] / "own.png", (1, 2, 3))
    library = PhotoLibrary.open(photos, encoder)
    library.sync()
    encoder.encoded_images.clear()
    part = PhotoLibrary.open_nearest(photos / link.relative_to(photos).parts[0], encoder)
    for found in (library.search(more_like=[link]), library.search(parse_query(str(link)))):
        names = [hit.path.relative_to(photos).as_posix() for hit in found]
        assert "trip/green.png" not in names
        assert len(names) == 4
    assert [hit.path.name for hit in part.search(more_like=[link])] == ["own.png"]
    assert encoder.encoded_images == []


def test_a_file_in_a_folder_linked_from_elsewhere_is_known(
    photos: Path, encoder: FakeEncoder, tmp_path: Path
) -> None:
    save_image(tmp_path / "elsewhere" / "far.png", (7, 8, 9))
    (photos / "linked").symlink_to(tmp_path / "elsewhere")
    library = PhotoLibrary.open(photos, encoder)
    library.sync()
    encoder.encoded_images.clear()
    assert "far.png" not in [
        hit.path.name for hit in library.search(more_like=[photos / "linked" / "far.png"])
    ]
    assert encoder.encoded_images == []
