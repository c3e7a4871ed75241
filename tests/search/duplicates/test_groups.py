"""Exact and near groups on vectors and thumbnails made by hand."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clipkit import near_duplicates
from clipkit.embeddings import normalize_rows
from clipkit.errors import ImageReadError
from clipkit.inputs.perceptual_hash import GREY_SIDE
from clipkit.search.duplicates.calibration import DuplicateCalibration
from clipkit.search.duplicates.groups import (
    DuplicateGroup,
    DuplicateReport,
    exact_groups,
    near_groups,
    one_of_each,
)
from clipkit.search.store.records import ImageFile

THRESHOLDS = DuplicateCalibration(
    cosine=0.9, similarity=0.8, num_images=1, copies_found=1.0, others_found=0.0
)


def _file(path: str, digest: bytes | None = None, **known: int | None) -> ImageFile:
    facts: dict[str, int | None] = {"num_bytes": 100, "width": 10, "height": 10, **known}
    return ImageFile(path, digest, facts["num_bytes"] or 0, facts["width"], facts["height"])


def _paths(groups: list[DuplicateGroup]) -> list[list[str]]:
    return [[file.path for file in group.images] for group in groups]


def _thumbnails(number: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return thumbnails of noise: none is like another."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (number, GREY_SIDE, GREY_SIDE), dtype=np.uint8)


def test_files_of_the_same_bytes_are_exact_groups() -> None:
    files = [_file("c", b"1"), _file("a", b"2"), _file("b", b"1"), _file("d", b"3")]
    assert exact_groups(files) == [DuplicateGroup("exact", (files[2], files[0]), 1.0)]
    assert exact_groups([]) == []


def test_a_digest_that_is_not_known_equals_no_other() -> None:
    assert exact_groups([_file("a"), _file("b")]) == []


def test_of_exact_copies_the_best_stands_for_all() -> None:
    files = [_file("c", b"1"), _file("z", b"2"), _file("a", b"1"), _file("b", b"3")]
    assert one_of_each(files) == [2, 3, 1]
    assert one_of_each([_file("b"), _file("a")]) == [1, 0]


def test_the_best_copy_has_most_pixels_then_most_bytes_then_the_first_path() -> None:
    files = [
        _file("d", num_bytes=900, width=10, height=10),
        _file("c", num_bytes=200, width=20, height=10),
        _file("b", num_bytes=300, width=10, height=20),
        _file("a", num_bytes=200, width=20, height=10),
        _file("e", num_bytes=999, width=None, height=None),
    ]
    same = np.ones((5, 2), dtype=np.float32) / np.sqrt(2).astype(np.float32)
    groups = near_groups(files, same, _thumbnails(1).repeat(5, axis=0), THRESHOLDS)
    assert _paths(groups) == [["b", "a", "c", "d", "e"]]
    assert groups[0].best is files[2]
    assert groups[0].kind == "near"
    assert groups[0].similarity == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("angle", "same_thumbnail", "is_found"),
    [(25, True, True), (27, True, False), (25, False, False)],  # cos 25° = .906, cos 27° = .891
)
def test_near_duplicates_are_close_and_alike(
    angle: float, same_thumbnail: bool, is_found: bool
) -> None:
    radians = np.radians([0, angle])
    embeddings = np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)
    thumbnails = _thumbnails(2)
    if same_thumbnail:
        thumbnails[1] = thumbnails[0]
    found = near_groups([_file("a"), _file("b")], embeddings, thumbnails, THRESHOLDS)
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
        _thumbnails(1).repeat(3, axis=0),
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
    noise = rng.integers(-40, 41, (30, GREY_SIDE, GREY_SIDE))
    thumbnails = np.clip(_thumbnails(8, seed)[families].astype(int) + noise, 0, 255).astype(
        np.uint8
    )
    groups = near_groups(files, embeddings, thumbnails, THRESHOLDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "_BLOCK", 7)
        shuffled = near_groups(
            [files[place] for place in order], embeddings[order], thumbnails[order], THRESHOLDS
        )
    assert _paths(shuffled) == _paths(groups)
    for group in groups:
        rows = embeddings[[int(file.path) for file in group.images]]
        assert (rows @ rows.T).min() >= 0.9 - 1e-5
        assert group.similarity >= 0.8


def test_a_report_as_json_has_plain_values() -> None:
    best, spare = _file("a", width=20), _file("b", width=None)
    group = DuplicateGroup("near", (best, spare), 0.87654321)
    report = DuplicateReport([group], [ImageReadError("bad.png", "is empty")], THRESHOLDS)
    values = report.to_dict()
    assert json.loads(json.dumps(values)) == values
    assert values["groups"] == [
        {
            "kind": "near",
            "similarity": 0.876543,
            "best": "a",
            "images": [
                {"path": "a", "width": 20, "height": 10, "bytes": 100},
                {"path": "b", "width": None, "height": 10, "bytes": 100},
            ],
        }
    ]
    assert values["skipped"] == [{"path": "bad.png", "reason": "is empty"}]
    assert values["calibration"]["similarity"] == THRESHOLDS.similarity
    assert DuplicateReport([]).to_dict()["calibration"] is None
