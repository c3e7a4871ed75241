"""The order of indexing: any beginning of it is spread over the whole folder."""

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from clipkit.errors import InputError
from clipkit.inputs.folders import FolderEntry
from clipkit.search.indexing_order import IndexingOrder, in_indexing_order
from clipkit.search.library import PhotoLibrary
from tests.fakes import FakeEncoder, save_image

A_FEW = 3  # in the order of the paths a folder of 400 would be off by 240


def _files(*paths: str) -> list[FolderEntry]:
    return [FolderEntry(path, 1, 0) for path in paths]


def test_the_first_ones_by_hand() -> None:
    # i * .618 of the six: .000 .618 .236 .854 .472 .090
    found = in_indexing_order(_files(*"abcdef"), "spread")
    assert [file.path for file in found] == ["a", "f", "c", "e", "b", "d"]


def test_each_folder_has_its_share_of_any_beginning() -> None:
    sizes = {"2019": 400, "2020": 25, "2021": 550, "2022": 25}
    paths = [f"{folder}/{number:03}" for folder, size in sizes.items() for number in range(size)]
    files = _files(*paths)
    random.Random(0).shuffle(files)  # the order they come in says nothing
    found = [file.path for file in in_indexing_order(files, "spread")]
    assert sorted(found) == paths
    counts: Counter[str] = Counter()
    for number, path in enumerate(found, start=1):
        counts[path.partition("/")[0]] += 1
        for folder, size in sizes.items():
            assert abs(counts[folder] - number * size / 1000) <= A_FEW


@pytest.mark.parametrize("period", [2, 3, 4, 8, 16])
def test_no_period_of_names_falls_in_step(period: int) -> None:
    """As where there is a RAW file beside each JPEG, or a folder holds bursts of eight."""
    files = _files(*(f"{number:04}.{number % period}" for number in range(1024)))
    first = in_indexing_order(files, "spread")[: 16 * period]
    counts = Counter(file.path.rpartition(".")[2] for file in first)
    assert len(counts) == period
    assert all(12 <= count <= 20 for count in counts.values())


def test_newest_goes_by_the_time_of_the_file_and_then_by_path() -> None:
    files = [FolderEntry("b", 1, 5), FolderEntry("a", 1, 5), FolderEntry("c", 1, 9)]
    assert [file.path for file in in_indexing_order(files, "newest")] == ["c", "a", "b"]


def test_nothing_is_in_any_order() -> None:
    assert in_indexing_order([], "spread") == in_indexing_order([], "newest") == []


@pytest.mark.parametrize("order", ["spread", "newest"])
@pytest.mark.parametrize("seed", range(20))
def test_what_comes_first_keeps_the_order_and_so_does_the_rest(
    order: IndexingOrder, seed: int
) -> None:
    draw = random.Random(seed)
    files = [FolderEntry(f"{number:03}", 1, draw.randrange(9)) for number in range(200)]
    wanted = {file.path for file in files if draw.random() < seed / 19}  # none to all
    before = [file.path for file in in_indexing_order(files, order)]
    found = [file.path for file in in_indexing_order(files, order, wanted.__contains__)]
    assert found[: len(wanted)] == [path for path in before if path in wanted]
    assert found[len(wanted) :] == [path for path in before if path not in wanted]
    assert sorted(found) == sorted(before) == [file.path for file in files]


def test_what_comes_first_by_hand() -> None:
    found = in_indexing_order(_files(*"abcdef"), "spread", lambda path: path in "be")
    assert [file.path for file in found] == ["e", "b", "a", "f", "c", "d"]


@pytest.mark.parametrize(("order", "names"), [("spread", "afcebd"), ("newest", "fedcba")])
def test_a_sync_takes_images_in_the_order_it_is_told(
    tmp_path: Path, order: IndexingOrder, names: str
) -> None:
    photos, encoder = tmp_path / "photos", FakeEncoder()
    for number, name in enumerate("abcdef"):
        path = save_image(photos / name / f"{name}.png", (number, 1, 1))
        os.utime(path, (10**9 + number, 10**9 + number))
    PhotoLibrary.open(photos, encoder, location=tmp_path / "index").sync(order=order)
    assert encoder.encoded_images == [f"{name}.png" for name in names]


def test_an_order_that_is_none_is_refused(tmp_path: Path) -> None:
    library = PhotoLibrary.open(tmp_path, FakeEncoder())
    with pytest.raises(InputError, match="order must be 'spread' or 'newest', got 'best'"):
        library.sync(order="best")  # type: ignore[arg-type]
