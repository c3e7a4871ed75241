"""Feedback, against arithmetic by hand and ridge regression in its usual form."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.errors import InputError
from clipkit.search.library import PhotoLibrary
from clipkit.search.rerank import diversify, raw_files, refit_direction, weigh_scores
from tests.fakes import FakeEncoder, image_embedding, save_image

NONE = np.empty((0, 2))
FLAT = np.zeros(2)  # a centre that changes nothing
RIGHT = np.array([1.0, 0.0], dtype=np.float32)
DIMENSIONS = 12


def ridge(
    liked: np.ndarray, disliked: np.ndarray, query: np.ndarray, noise: list[float]
) -> np.ndarray:
    """Return the minimum of |w - 0.4 q|^2 + sum (w.x - y)^2 / noise by its normal equations."""
    matrix, right = np.eye(len(query)), 0.4 * query
    for target, rows, variance in zip((1.0, 0.0), (liked, disliked), noise, strict=True):
        for row in rows:
            matrix += np.outer(row, row) / variance
            right = right + target * row / variance
    weights = np.linalg.solve(matrix, right)
    return np.asarray(weights / np.linalg.norm(weights))


def random_rows(num_rows: int, seed: int) -> Embeddings:
    return normalize_rows(np.random.default_rng(seed).standard_normal((num_rows, DIMENSIONS)))


def test_refit_to_one_liked_image_by_hand() -> None:
    # 0.4 * (1, 0) + (0, 1) * (1 - 0) / (1 + 4)
    direction = refit_direction([[0.0, 1.0]], NONE, FLAT, RIGHT)
    np.testing.assert_allclose(direction, np.array([0.4, 0.2]) / 0.2**0.5, atol=1e-6)
    assert direction.dtype == np.float32


def test_refit_to_one_disliked_image_by_hand() -> None:
    # 0.4 * (1, 0) + (0.6, 0.8) * (0 - 0.24) / (1 + 4)
    direction = refit_direction(NONE, [[0.6, 0.8]], FLAT, RIGHT)
    expected = np.array([0.4 - 0.6 * 0.048, -0.8 * 0.048])
    np.testing.assert_allclose(direction, expected / np.linalg.norm(expected), atol=1e-6)


@pytest.mark.parametrize(
    ("num_liked", "num_disliked", "noise"),
    [
        (1, 0, [4.0, 4.0]),
        (3, 3, [4.0, 4.0]),
        (30, 30, [4.0, 4.0]),
        (30, 5, [4.0, 4.0]),
        (5, 30, [4.0, 24.0]),  # six times as many disliked, six times the noise
        (0, 7, [4.0, 28.0]),
    ],
)
def test_refit_is_ridge_regression_from_the_query(
    num_liked: int, num_disliked: int, noise: list[float]
) -> None:
    marked, query = random_rows(num_liked + num_disliked, seed=1), random_rows(1, seed=2)[0]
    liked, disliked = marked[:num_liked], marked[num_liked:]
    found = refit_direction(liked, disliked, np.zeros(DIMENSIONS), query)
    np.testing.assert_allclose(found, ridge(liked, disliked, query, noise), atol=1e-6)
    assert np.linalg.norm(found) == pytest.approx(1.0, abs=1e-6)


def test_refit_without_a_query_starts_at_nothing() -> None:
    liked, disliked = random_rows(4, seed=3), random_rows(3, seed=4)
    found = refit_direction(liked, disliked, np.zeros(DIMENSIONS))
    expected = ridge(liked, disliked, np.zeros(DIMENSIONS), [4.0, 4.0])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_refit_to_one_image_alone_is_the_image_from_the_centre() -> None:
    np.testing.assert_allclose(
        refit_direction([[0.0, 1.0]], [], [0.5, 0.0]), [-1 / 5**0.5, 2 / 5**0.5], atol=1e-6
    )


def test_refit_to_disliked_images_alone_goes_away_from_them() -> None:
    away = refit_direction([], [[0.6, 0.8], [0.8, 0.6]], FLAT)
    np.testing.assert_allclose(away, [-(0.5**0.5), -(0.5**0.5)], atol=1e-6)


def test_refit_sees_marks_from_the_centre() -> None:
    rows, center = random_rows(5, seed=5), random_rows(1, seed=6)[0] * 0.5
    centred = normalize_rows(rows - center)
    np.testing.assert_allclose(
        refit_direction(rows[:3], rows[3:], center),
        refit_direction(centred[:3], centred[3:], np.zeros(DIMENSIONS)),
        atol=1e-6,
    )


@pytest.mark.parametrize("copies", [2, 30])
def test_refit_heeds_many_disliked_no_more_than_the_liked(copies: int) -> None:
    liked, disliked = random_rows(1, seed=7), random_rows(1, seed=8)
    center = np.zeros(DIMENSIONS)
    np.testing.assert_allclose(
        refit_direction(liked, np.repeat(disliked, copies, axis=0), center),
        refit_direction(liked, disliked, center),
        atol=1e-6,
    )


def test_refit_does_not_depend_on_the_order_of_marks() -> None:
    rows, query, center = random_rows(9, seed=9), random_rows(1, seed=10)[0], np.zeros(DIMENSIONS)
    np.testing.assert_allclose(
        refit_direction(rows[:5], rows[5:], center, query),
        refit_direction(rows[4::-1], rows[:4:-1], center, query),
        atol=1e-6,
    )


def test_refit_to_no_marks_is_the_query() -> None:
    np.testing.assert_allclose(refit_direction([], [], FLAT, RIGHT), RIGHT, atol=1e-7)


@pytest.mark.parametrize("liked", [[], [[0.6, 0.8]]])
def test_refit_to_nothing_raises(liked: list[list[float]]) -> None:
    with pytest.raises(InputError, match="nothing to search for"):
        refit_direction(liked, [], [0.6, 0.8])


def test_refit_to_shapes_that_do_not_fit_raises() -> None:
    with pytest.raises(InputError, match=r"got \(1, 3\) and \(2,\)"):
        refit_direction([[1.0, 0.0, 0.0]], [], FLAT)
    with pytest.raises(InputError, match=r"shape of the centre, \(2,\), got \(3,\)"):
        refit_direction([[1.0, 0.0]], [], FLAT, np.eye(3, dtype=np.float32)[0])


TOY_SCORES = [0.9, 0.88, 0.6, 0.5]
TOY_COSINES = [[1, 0.98, 0.1, 0.2], [0.98, 1, 0.12, 0.2], [0.1, 0.12, 1, 0.3], [0.2, 0.2, 0.3, 1]]


def reference(scores: list[float], cosines: np.ndarray, k: int, tradeoff: float) -> list[int]:
    """Return the order by the formula, one comparison at a time."""
    order = [max(range(len(scores)), key=lambda place: (scores[place], -place))]
    while len(order) < min(k, len(scores)):
        rest = [place for place in range(len(scores)) if place not in order]
        order.append(
            max(
                rest,
                key=lambda place: (
                    tradeoff * scores[place]
                    - (1 - tradeoff) * max(cosines[place, taken] for taken in order),
                    -place,
                ),
            )
        )
    return order


@pytest.mark.parametrize(("tradeoff", "expected"), [(0.7, [0, 2, 1, 3]), (0.5, [0, 2, 3, 1])])
def test_diversify_gives_the_orders_of_the_toy(tradeoff: float, expected: list[int]) -> None:
    rows = np.linalg.cholesky(TOY_COSINES)  # rows whose cosines are these
    assert diversify(TOY_SCORES, rows, k=4, tradeoff=tradeoff).tolist() == expected
    assert diversify(TOY_SCORES, rows, k=2, tradeoff=tradeoff).tolist() == expected[:2]


@given(st.integers(1, 12), st.integers(1, 14), st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]))
def test_diversify_equals_the_formula_in_loops(num_rows: int, k: int, tradeoff: float) -> None:
    rng = np.random.default_rng(num_rows * 100 + k)
    rows = normalize_rows(rng.standard_normal((num_rows, 5)))
    scores = rng.random(num_rows).tolist()
    found = diversify(scores, rows, k=k, tradeoff=tradeoff)
    assert found.tolist() == reference(scores, rows @ rows.T, k, tradeoff)


def test_diversify_by_relevance_alone_is_a_stable_sort() -> None:
    order = diversify([0.2, 0.9, 0.9, 0.5], np.eye(4), k=4, tradeoff=1.0)
    assert order.tolist() == [1, 2, 3, 0]


def test_diversify_by_variety_alone_begins_with_the_best() -> None:
    rows = [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]
    assert diversify([0.1, 0.9, 0.5], rows, k=3, tradeoff=0.0).tolist() == [1, 0, 2]


def test_diversify_puts_copies_behind_everything_else() -> None:
    rows = np.eye(3)[[0, 0, 0, 1, 2]]
    scores = [0.9, 0.9, 0.9, 0.5, 0.4]
    assert diversify(scores, rows, k=5, tradeoff=0.5).tolist() == [0, 3, 4, 1, 2]


def test_diversify_nothing_is_empty() -> None:
    assert diversify([], np.empty((0, 3)), k=2).tolist() == []


@pytest.mark.parametrize(
    ("scores", "k", "tradeoff", "message"),
    [
        ([1.0], 1, 0.5, r"got \(1,\) and \(2, 2\)"),
        ([[1.0], [0.0]], 1, 0.5, r"got \(2, 1\) and"),
        ([1.0, np.nan], 1, 0.5, "finite"),
        ([1.0, 0.5], 0, 0.5, "k must be at least 1, got 0"),
        ([1.0, 0.5], 1, 1.1, "tradeoff must be between 0 and 1, got 1.1"),
        ([1.0, 0.5], 1, -0.1, "got -0.1"),
        ([1.0, 0.5], 1, np.nan, "got nan"),
    ],
)
def test_diversify_out_of_range_raises(
    scores: list[float], k: int, tradeoff: float, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        diversify(scores, np.eye(2), k=k, tradeoff=tradeoff)


def test_diversify_of_rows_that_are_none_raises() -> None:
    with pytest.raises(InputError, match=r"got \(2,\) and \(2,\)"):
        diversify([1.0, 0.5], np.ones(2), k=1)


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
        image = save_image(photos / f"{number}.JPG", color)
        if number < 2:
            shutil.copyfile(
                save_image(tmp_path / "raw.png", (*color[:2], 20)), photos / f"{number}.cr2"
            )
        assert image.exists()
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
        best = library.search(image_embedding(image), k=1)[0]
    assert best.path.name == "1.JPG"
    assert best.similarity == pytest.approx(1.0, abs=2e-3)


def test_the_evidence_for_one_part_stays_as_it_is() -> None:
    evidence = [5.0, 3.0, 4.0]
    found = weigh_scores(evidence, [0.1, 0.2, 0.3], num_parts=1, num_marks=0)
    assert found.tolist() == evidence
    assert weigh_scores([], [], num_parts=0, num_marks=1).tolist() == []


def test_scores_that_are_all_the_same_weigh_nothing() -> None:
    found = weigh_scores([5.0, 3.0], [0.2, 0.2], num_parts=2, num_marks=50)
    assert found.tolist() == [5.0, 3.0]
    assert weigh_scores([5.0], [0.2], num_parts=2, num_marks=50).tolist() == [5.0]


def test_a_third_of_the_order_of_a_sum_is_its_score() -> None:
    evidence, scores = np.array([3.0, 2.0, 1.0]), np.array([0.3, 0.1, 0.2])
    mixed = 2 / 3 * (evidence - 2.0) / evidence.std() + (scores - 0.2) / scores.std() / 3
    expected = 2.0 + evidence.std() * mixed / mixed.std()
    for num_parts in (2, 5):
        found = weigh_scores(evidence, scores, num_parts=num_parts, num_marks=0)
        np.testing.assert_allclose(found, expected)


def test_the_more_marks_the_more_the_refitted_direction_orders() -> None:
    evidence, scores = [2.0, 1.0, 0.0], [0.1, 0.2, 0.3]
    found = [weigh_scores(evidence, scores, num_parts=1, num_marks=count) for count in (1, 8, 1000)]
    np.testing.assert_allclose(found[0], evidence)
    np.testing.assert_allclose(found[1], [1.0] * 3)  # 8 marks: both weigh the same
    np.testing.assert_allclose(found[2], evidence[::-1])
