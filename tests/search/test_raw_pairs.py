"""A camera's RAW file beside its JPEG is one picture."""

import shutil
from pathlib import Path

import pytest

from clipkit.search.library import PhotoLibrary
from clipkit.search.raw_pairs import raw_files
from tests.fakes import FakeEncoder, picture_embedding, save_picture


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a.jpg", "a.cr2"], {"a.cr2": "a.jpg"}),
        (["a.cr2", "a.jpg"], {"a.cr2": "a.jpg"}),
        (["trip/IMG_1.NEF", "trip/img_1.JPG"], {"trip/IMG_1.NEF": "trip/img_1.JPG"}),
        (["a.dng", "a.heic"], {"a.dng": "a.heic"}),
        (["a.b.arw", "a.b.jpeg"], {"a.b.arw": "a.b.jpeg"}),
        (["a.jpg", "trip/a.cr2"], {}),  # another folder
        (["a.jpg", "b.cr2"], {}),
        (["a.png", "a.cr2"], {}),  # no camera writes that
        (["a.cr2"], {}),
        (["a.jpg", "a.jpeg"], {}),
        ([], {}),
    ],
)
def test_the_same_name_in_the_same_folder_is_the_same_shot(
    paths: list[str], expected: dict[str, str]
) -> None:
    assert raw_files(paths) == expected


def test_files_that_are_no_candidates_may_stand_for_a_raw_file() -> None:
    assert raw_files(["a.cr2", "b.cr2"], ["a.jpg"]) == {"a.cr2": "a.jpg"}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PhotoLibrary:
    """Make three shots, two of them as RAW and JPEG; the fake encoder reads them by content."""
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    photos = tmp_path / "photos"
    for number, color in enumerate([(255, 0, 0), (255, 60, 0), (0, 0, 255)]):
        picture = save_picture(photos / f"{number}.JPG", color)
        if number < 2:
            shutil.copyfile(
                save_picture(tmp_path / "raw.png", (*color[:2], 20)), photos / f"{number}.cr2"
            )
        assert picture.exists()
    library = PhotoLibrary.open(photos, FakeEncoder())
    assert library.sync().added == 5
    return library


def _names(library: PhotoLibrary, **options: object) -> list[str]:
    return [hit.path.name for hit in library.search("red", **options)]  # type: ignore[arg-type]


def test_the_jpeg_stands_for_both(library: PhotoLibrary) -> None:
    hits = library.search("red", k=3)
    assert [hit.path.name for hit in hits] == ["0.JPG", "1.JPG", "2.JPG"]
    assert [hit.raw and hit.raw.name for hit in hits] == ["0.cr2", "1.cr2", None]
    assert hits[0].raw == library.folder / "0.cr2"
    assert len(_names(library, k=2)) == 2


def test_a_raw_file_is_a_result_where_its_jpeg_is_none(library: PhotoLibrary) -> None:
    assert _names(library, path="*.cr2") == ["0.cr2", "1.cr2"]
    assert _names(library, not_path="0.JPG") == ["0.cr2", "1.JPG", "2.JPG"]
    (library.folder / "1.JPG").unlink()
    library.sync()
    assert _names(library) == ["0.JPG", "1.cr2", "2.JPG"]


def test_the_raw_file_of_a_query_is_left_out_with_it(library: PhotoLibrary) -> None:
    hits = library.search(library.folder / "0.JPG")
    assert [hit.path.name for hit in hits] == ["1.JPG", "2.JPG"]


def test_the_pair_is_found_by_what_the_jpeg_shows(library: PhotoLibrary) -> None:
    from PIL import Image

    with Image.open(library.folder / "1.JPG") as image:
        best = library.search(picture_embedding(image), k=1)[0]
    assert best.path.name == "1.JPG"
    assert best.similarity == pytest.approx(1.0, abs=2e-3)
