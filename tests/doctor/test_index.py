"""The diagnosis of a folder's indexes: each kind of damage beside a healthy twin."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from clipkit.doctor.health import Diagnosis
from clipkit.doctor.index import diagnose_index, index_places
from clipkit.encoder.encoder import Encoder
from clipkit.errors import CheckpointError
from clipkit.search.library import PhotoLibrary
from tests.fakes import FakeEncoder, age_files, save_image

Load = Callable[[str], Encoder]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number in range(6):
        save_image(folder / f"{number}.png", (40 * number, 255 - 40 * number, 17))
    age_files(folder)
    PhotoLibrary.open(folder, FakeEncoder()).sync()
    return folder


def location(photos: Path) -> Path:
    return PhotoLibrary.open(photos).location


def diagnosed(path: Path, load_named: Load = lambda name: FakeEncoder(name=name)) -> Diagnosis:
    places = index_places(path)
    assert places
    return diagnose_index(places, load_named)


def verdicts(diagnosis: Diagnosis) -> dict[str, str]:
    return {check.name: check.verdict for check in diagnosis.checks}


def test_a_healthy_index_passes_by_its_folder_and_by_its_own_directory(photos: Path) -> None:
    for path in (photos, location(photos)):
        diagnosis = diagnosed(path)
        assert set(verdicts(diagnosis).values()) == {"ok"}
        assert len(diagnosis.checks) == 6
    again = diagnosis.checks[-1].figure
    assert again.startswith("6 images: cosine to the stored row 1.00000 on average")


def test_an_index_with_crops_is_healthy_unless_a_crop_is_broken(photos: Path) -> None:
    PhotoLibrary.open(photos, FakeEncoder()).sync(crops=5)
    assert set(verdicts(diagnosed(photos)).values()) == {"ok"}
    figures = {check.name: check.figure for check in diagnosed(photos).checks}
    assert figures["vectors"].endswith("of 1, 5 rows an image")
    (crops,) = location(photos).glob("crops-*")
    numbers = np.fromfile(crops, "<f2")
    numbers[-1] = np.nan
    numbers.tofile(crops)
    (problem,) = diagnosed(photos).problems
    assert "of 30 rows 1 hold NaN" in problem
    assert f"{photos} --model fake --crops 1  and then  clipkit index" in problem


def test_a_folder_without_an_index_has_none(tmp_path: Path) -> None:
    assert index_places(tmp_path) == []
    assert index_places(tmp_path / "gone") == []


def test_an_index_of_another_model_is_a_problem(photos: Path) -> None:
    diagnosis = diagnosed(photos, lambda name: FakeEncoder(space_id="another", name="other"))
    (problem,) = diagnosis.problems
    assert "space fake-space of fake" in problem
    assert f"run  clipkit index {photos} --model other" in problem


def test_an_index_of_weights_that_the_model_had_is_a_problem(photos: Path) -> None:
    diagnosis = diagnosed(photos, lambda name: FakeEncoder(space_id="another", name="fake"))
    (problem,) = diagnosis.problems
    assert "no search with fake uses it" in problem
    assert f"run  clipkit index {photos} --model fake --rebuild" in problem


def test_of_several_indexes_the_one_of_the_named_model_is_checked(photos: Path) -> None:
    other = FakeEncoder(space_id="another", name="other")
    PhotoLibrary.open(photos, other).sync()
    assert len(index_places(photos)) == 2
    diagnosis = diagnose_index(index_places(photos), lambda name: other, wanted=other)
    assert len(diagnosis.checks) == 6
    assert diagnosis.is_healthy


def test_a_model_that_cannot_be_loaded_is_a_remark(photos: Path) -> None:
    def load_named(name: str) -> Encoder:
        raise CheckpointError(f"there is no {name}")

    diagnosis = diagnosed(photos, load_named)
    assert diagnosis.is_healthy
    assert "there is no fake" in diagnosis.remarks[0]


def vectors(photos: Path) -> Path:
    (path,) = location(photos).glob("vectors-*")
    return path


def test_a_vectors_file_that_was_cut_short_is_a_problem(photos: Path) -> None:
    content = vectors(photos).read_bytes()
    vectors(photos).write_bytes(content[:-2])
    (problem,) = diagnosed(photos).problems
    assert f"has {len(content) - 2} bytes instead of {len(content)}" in problem


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (np.array([np.nan, 0, 0, 1]), "1 hold NaN, 0 are not of norm 1"),
        (np.array([0, 0, 0, 2]), "0 hold NaN, 1 are not of norm 1"),
        (np.zeros(4), "0 hold NaN, 1 are not of norm 1"),
    ],
)
def test_rows_that_are_no_unit_vectors_are_a_problem(
    photos: Path, row: np.ndarray, words: str
) -> None:
    stored = np.fromfile(vectors(photos), "<f2").reshape(-1, 4)
    stored[2] = row
    stored.tofile(vectors(photos))
    assert words in diagnosed(photos).problems[0]


def test_rows_of_other_images_are_found_by_embedding_again(photos: Path) -> None:
    stored = np.fromfile(vectors(photos), "<f2").reshape(-1, 4)
    stored[[0, 5]] = stored[[5, 0]]
    stored.tofile(vectors(photos))
    diagnosis = diagnosed(photos)
    (problem,) = diagnosis.problems
    assert problem.startswith("6 images: cosine to the stored row 0.")
    assert f"clipkit index --rebuild {photos}" in problem


@pytest.mark.parametrize(("cosine", "is_healthy"), [(0.98, True), (0.96, False)])
def test_one_row_that_is_a_little_off_counts_as_the_gate_of_int8_has_it(
    photos: Path, cosine: float, is_healthy: bool
) -> None:
    stored = np.fromfile(vectors(photos), "<f2").reshape(-1, 4).astype(np.float64)
    aside = np.array([stored[2][1], -stored[2][0], 0, 0])  # at a right angle to the row
    aside /= np.linalg.norm(aside)
    stored[2] = cosine * stored[2] + np.sqrt(1 - cosine**2) * aside
    stored.astype("<f2").tofile(vectors(photos))
    # Of 6 rows the mean is above .99 in both cases.
    assert diagnosed(photos).is_healthy == is_healthy


def test_changed_new_and_gone_images_are_counted(photos: Path) -> None:
    (photos / "0.png").unlink()
    save_image(photos / "1.png", (1, 2, 3))
    save_image(photos / "new.png", (9, 9, 9))
    diagnosis = diagnosed(photos)
    assert diagnosis.is_healthy
    (remark,) = diagnosis.remarks
    assert remark.startswith("4 as they were indexed, 1 new, 1 changed, 1 gone")
    assert diagnosis.checks[-1].figure.startswith("4 images")


def test_files_of_a_killed_process_are_a_remark(photos: Path) -> None:
    (location(photos) / "vectors-77.f16").write_bytes(bytes(100))
    (remark,) = diagnosed(photos).remarks
    assert "vectors-77.f16" in remark


def test_damaged_records_are_a_problem(photos: Path) -> None:
    catalog = location(photos) / "catalog.sqlite"
    with closing(sqlite3.connect(catalog)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(catalog.read_bytes())
    content[4096 * 2 : 4096 * 3] = os.urandom(4096)
    catalog.write_bytes(content)
    diagnosis = diagnosed(photos)
    assert len(diagnosis.problems) == 1
    assert "clipkit index --rebuild" in diagnosis.problems[0]
    catalog.write_bytes(b"no database at all, but some words instead of one")
    assert "clipkit index --rebuild" in diagnosed(photos).problems[0]


def test_a_record_without_a_row_is_a_problem(photos: Path) -> None:
    with closing(sqlite3.connect(location(photos) / "catalog.sqlite")) as connection:
        connection.execute("UPDATE images SET row = 99 WHERE path = '3.png'")
        connection.commit()
    (problem,) = diagnosed(photos).problems
    assert "an image has row 99 of 6 rows of vectors" in problem


def test_a_folder_that_is_gone_is_a_remark(photos: Path) -> None:
    place = location(photos)
    photos.rename(photos.with_name("elsewhere"))
    found = verdicts(diagnosed(place))
    assert found["images"] == "remark"
    assert found["images embedded again"] == "remark"  # with nothing to compare


def test_a_missing_vectors_file_is_a_fault_of_the_vectors(photos: Path) -> None:
    vectors(photos).unlink()
    found = diagnosed(photos)
    assert [(check.name, check.verdict) for check in found.checks] == [
        ("records", "ok"),
        ("vectors", "problem"),
    ]


def test_what_to_run_names_the_model_of_the_index(photos: Path) -> None:
    save_image(photos / "new.png", (9, 9, 9))
    stored = np.fromfile(vectors(photos), "<f2").reshape(-1, 4)
    stored[2] = 0
    stored.tofile(vectors(photos))
    found = diagnosed(photos)
    assert f"clipkit index {photos} --model fake" in found.remarks[0]
    assert f"clipkit index --rebuild {photos} --model fake" in found.problems[0]


def test_an_index_inside_its_folder_is_of_where_it_lies_now(photos: Path) -> None:
    PhotoLibrary.open(photos, FakeEncoder(), keep_here=True).sync()
    moved = photos.rename(photos.with_name("elsewhere"))
    found = diagnosed(moved / ".clipkit")
    assert found.name == str(moved)
    assert set(verdicts(found).values()) == {"ok"}
    (moved / ".clipkit" / "catalog.sqlite").write_bytes(b"")
    assert f"clipkit index --rebuild {moved}" in diagnosed(moved / ".clipkit").problems[0]


def test_each_of_several_indexes_says_where_it_lies(photos: Path) -> None:
    PhotoLibrary.open(photos, FakeEncoder(space_id="another", name="other")).sync()
    places = index_places(photos)
    records = [each.figure for each in diagnosed(photos).checks if each.name == "records"]
    assert [figure.rpartition(", in ")[2] for figure in records] == [
        str(place.location) for place in places
    ]


def test_an_image_that_cannot_be_read_does_not_stop_the_comparison(photos: Path) -> None:
    stored = np.fromfile(vectors(photos), "<f2").reshape(-1, 4)
    stored[[0, 5]] = stored[[5, 0]]
    stored.tofile(vectors(photos))
    status = (photos / "3.png").stat()
    (photos / "3.png").write_bytes(bytes(status.st_size))
    os.utime(photos / "3.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    found = diagnosed(photos)
    (problem,) = found.problems
    assert problem.startswith("5 images: cosine to the stored row 0.")
    assert any("3.png" in remark for remark in found.remarks)
