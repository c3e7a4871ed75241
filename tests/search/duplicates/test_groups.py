"""Exact and near groups on vectors and sketches made by hand."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.inputs.perceptual_hash import SKETCH_SIDE
from clipkit.search.duplicates import groups as module
from clipkit.search.duplicates.calibration import DuplicateCalibration
from clipkit.search.duplicates.groups import (
    DuplicateGroup,
    distinct,
    exact_groups,
    find_near_duplicates,
    near_groups,
    rows_in_company,
)
from clipkit.search.store.records import ImageFile
from tests.fakes import save_image

THRESHOLDS = DuplicateCalibration(
    cosine=0.9, likeness=0.8, num_images=1, copies_found=1.0, others_found=0.0
)


def _file(path: str, digest: bytes | None = None, **known: int | None) -> ImageFile:
    facts: dict[str, int | None] = {"num_bytes": 100, "width": 10, "height": 10, **known}
    return ImageFile(path, digest, facts["num_bytes"] or 0, facts["width"], facts["height"])


def _paths(groups: list[DuplicateGroup]) -> list[list[str]]:
    return [[file.path for file in group.images] for group in groups]


def _sketches(number: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return sketches of noise: none is like another."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (number, SKETCH_SIDE, SKETCH_SIDE), dtype=np.uint8)


def test_files_of_the_same_bytes_are_exact_groups() -> None:
    files = [_file("c", b"1"), _file("a", b"2"), _file("b", b"1"), _file("d", b"3")]
    assert exact_groups(files) == [DuplicateGroup("exact", (files[2], files[0]), 1.0)]
    assert exact_groups([]) == []


def test_a_digest_that_is_not_known_equals_no_other() -> None:
    assert exact_groups([_file("a"), _file("b")]) == []


def test_of_exact_copies_the_best_stands_for_all() -> None:
    files = [_file("c", b"1"), _file("z", b"2"), _file("a", b"1"), _file("b", b"3")]
    assert distinct(files) == [2, 3, 1]
    assert distinct([_file("b"), _file("a")]) == [1, 0]


def test_the_best_copy_has_most_pixels_then_most_bytes_then_the_first_path() -> None:
    files = [
        _file("d", num_bytes=900, width=10, height=10),
        _file("c", num_bytes=200, width=20, height=10),
        _file("b", num_bytes=300, width=10, height=20),
        _file("a", num_bytes=200, width=20, height=10),
        _file("e", num_bytes=999, width=None, height=None),
    ]
    same = np.ones((5, 2), dtype=np.float32) / np.sqrt(2).astype(np.float32)
    groups = near_groups(files, same, _sketches(1).repeat(5, axis=0), THRESHOLDS)
    assert _paths(groups) == [["b", "a", "c", "d", "e"]]
    assert groups[0].best is files[2]
    assert groups[0].kind == "near"
    assert groups[0].similarity == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("angle", "same_sketch", "is_found"),
    [(25, True, True), (27, True, False), (25, False, False)],  # cos 25° = .906, cos 27° = .891
)
def test_near_duplicates_are_close_and_alike(
    angle: float, same_sketch: bool, is_found: bool
) -> None:
    radians = np.radians([0, angle])
    embeddings = np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)
    sketches = _sketches(2)
    if same_sketch:
        sketches[1] = sketches[0]
    found = near_groups([_file("a"), _file("b")], embeddings, sketches, THRESHOLDS)
    assert bool(found) is is_found


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_of_equal_pairs_the_one_of_the_first_path_is_grouped(order: tuple[int, ...]) -> None:
    # a is close to b and b to c (cos 20° = .940), but a is not to c (cos 40° = .766).
    radians = np.radians([0, 20, 40])
    embeddings = np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)
    files = [_file(path) for path in "abc"]
    groups = near_groups(
        [files[place] for place in order],
        embeddings[list(order)],
        _sketches(1).repeat(3, axis=0),
        THRESHOLDS,
    )
    assert _paths(groups) == [["a", "b"]]


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.permutations(range(30)))
def test_groups_depend_neither_on_the_order_nor_on_the_blocks(seed: int, order: list[int]) -> None:
    rng = np.random.default_rng(seed)
    files = [_file(f"{number:02}", width=int(rng.integers(1, 4))) for number in range(30)]
    families = rng.integers(0, 8, 30)
    spread = 0.3 * rng.standard_normal((30, 4))
    embeddings = normalize_rows(rng.standard_normal((8, 4))[families] + spread)
    noise = rng.integers(-40, 41, (30, SKETCH_SIDE, SKETCH_SIDE))
    sketches = np.clip(_sketches(8, seed)[families].astype(int) + noise, 0, 255).astype(np.uint8)
    groups = near_groups(files, embeddings, sketches, THRESHOLDS)
    whole = module._BLOCK
    try:
        module._BLOCK = 7
        shuffled = near_groups(
            [files[place] for place in order], embeddings[order], sketches[order], THRESHOLDS
        )
    finally:
        module._BLOCK = whole
    assert _paths(shuffled) == _paths(groups)
    for group in groups:
        rows = embeddings[[int(file.path) for file in group.images]]
        assert (rows @ rows.T).min() >= 0.9 - 1e-5
        assert group.similarity >= 0.8


def _slow_company(embeddings: Embeddings, cosine: float) -> list[int]:
    close = {
        row
        for pair in itertools.combinations(range(len(embeddings)), 2)
        if float(embeddings[pair[0]] @ embeddings[pair[1]]) >= cosine
        for row in pair
    }
    return sorted(close)


@pytest.mark.parametrize("block", [1, 4, 7, 50])
def test_only_rows_with_a_close_neighbour_are_in_company(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    embeddings = normalize_rows(np.random.default_rng(1).standard_normal((20, 3)))
    told: list[tuple[int, int | None]] = []
    rows = rows_in_company(embeddings, 0.95, progress=lambda *progress: told.append(progress))
    expected = _slow_company(embeddings, 0.95)
    assert 3 < len(expected) < 20
    assert rows.tolist() == expected
    assert told == sorted(told) and told[-1] == (20, 20)
    assert rows_in_company(embeddings.astype(np.float16), 0.95).tolist() == expected
    assert rows_in_company(embeddings[:0], 0.95).tolist() == []


def test_only_images_in_company_are_read_and_bad_ones_are_told(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png", "alone.png")]
    save_image(paths[0], (9, 9, 9))
    paths[1].write_bytes(b"no image")
    save_image(paths[2], (9, 9, 9))
    embeddings = normalize_rows([[1, 0], [1, 0], [1, 0], [0, 1]])  # and alone.png is not there
    groups, skipped = find_near_duplicates(
        [_file(path.name) for path in paths], paths, embeddings, THRESHOLDS
    )
    assert groups == []  # a plain colour has no detail to compare
    assert [error.path for error in skipped] == [str(paths[1])]


def test_a_copy_of_a_photograph_is_found_also_behind_a_bad_file(
    samples: list[Path], tmp_path: Path
) -> None:
    paths = [tmp_path / "gone.jpg", samples[0], samples[1], samples[0]]
    files = [_file("gone.jpg"), _file("a", width=8), _file("b"), _file("c", width=9)]
    embeddings = np.full((4, 4), 0.5, dtype=np.float16)
    groups, skipped = find_near_duplicates(files, paths, embeddings, THRESHOLDS)
    assert _paths(groups) == [["c", "a"]]
    assert [error.path for error in skipped] == [str(paths[0])]
