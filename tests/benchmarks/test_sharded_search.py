"""The arithmetic of the simulation of sharded search, on numbers that can be counted by hand."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from tests.benchmarks.conftest import Load


@pytest.fixture
def simulation(load_benchmark: Load) -> Any:
    return load_benchmark("sharded_search")


@pytest.fixture
def geometry(load_benchmark: Load) -> Any:
    return load_benchmark("clip_geometry")


def three_cells(simulation: Any) -> Any:
    """Cells along three axes with 1, 2 and 5 of eight rows."""
    return simulation.Cells(
        np.eye(3, dtype=np.float32), np.array([0, 1, 1, 2, 2, 2, 2, 2], dtype=np.int64)
    )


def test_cells_are_probed_from_the_nearest_and_cost_their_rows(simulation: Any) -> None:
    routes = np.array([[0.9, 0.5, 0.1], [0.1, 0.2, 0.9]], dtype=np.float32)

    shares = simulation.probe_shares(routes, three_cells(simulation))

    np.testing.assert_allclose(shares, [[1 / 8, 3 / 8, 1], [1, 7 / 8, 5 / 8]])


def test_what_has_to_be_compared_is_up_to_the_cell_of_each_row(simulation: Any) -> None:
    routes = np.array([[0.9, 0.5, 0.1]], dtype=np.float32)
    queries = simulation.Queries("texts", routes, routes)

    needed = simulation.needed_shares(queries, np.array([[0, 2, 7, 1]]), three_cells(simulation))

    np.testing.assert_allclose(needed, [[1 / 8, 3 / 8, 1, 3 / 8]])
    assert simulation.recall_at_shares(needed, (0.1, 0.125, 0.5, 1)) == [0, 0.25, 0.75, 1]
    assert simulation.share_for(needed, 0.75) == 3 / 8
    assert simulation.share_for(needed, 0.76) == 1


def test_a_row_is_found_if_its_code_is_kept(simulation: Any) -> None:
    ranks = simulation.code_ranks(np.array([[4, 9, 1, 7]]), np.array([[9, 4, 3, 7]]))

    assert ranks.tolist() == [[1, 0, -1, 3]]
    assert simulation.recall_at_kept(ranks, (1, 2, 4, 100)) == [0.25, 0.5, 0.75, 0.75]


@pytest.mark.parametrize(("shards", "answers", "k"), [(2, 1, 4), (2, 2, 5), (3, 1, 4), (3, 2, 5)])
def test_what_shards_keep_by_chance_is_the_mean_over_all_ways(
    simulation: Any, shards: int, answers: int, k: int
) -> None:
    ways = list(product(range(shards), repeat=k))
    kept = sum(min(way.count(shard), answers) for way in ways for shard in range(shards))

    assert simulation._kept_by_chance(shards, answers, k) == pytest.approx(kept / len(ways) / k)


def test_one_shard_answers_all(simulation: Any) -> None:
    assert simulation.answers_needed(1, k=50, recall=1.0) == 50


def test_drawn_images_are_the_same_whatever_the_number(geometry: Any) -> None:
    images = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32) + 1
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    drawn_from = geometry.ClipGeometry.fitted(images)

    drawn = drawn_from.draw(geometry.BLOCK + 5, seed=3)

    assert drawn.shape == (geometry.BLOCK + 5, 16)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(drawn[: geometry.BLOCK], drawn_from.draw(geometry.BLOCK, seed=3))
    assert not np.array_equal(drawn[:10], drawn_from.draw(10, seed=4))


def test_drawn_images_are_as_far_from_the_real_ones_as_others_are(geometry: Any) -> None:
    """Images of eight subjects: a geometry that forgot them would be far from all of them."""
    rng = np.random.default_rng(1)
    subjects = rng.normal(size=(8, 24))
    rows = subjects[rng.integers(8, size=400)] + 0.5 * rng.normal(size=(400, 24))
    images = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    real = geometry.RealSet("made", images, images)

    check = geometry.GeometryCheck.of(real)

    for there, drawn in (check.nearest_cosine, check.nearest_among):
        assert drawn == pytest.approx(there, abs=0.05)
    assert check.mean_cosine[1] == pytest.approx(check.mean_cosine[0], abs=0.05)


def test_the_intrinsic_dimension_of_a_plane_is_two(geometry: Any) -> None:
    """Points of a small flat part of a sphere, among many dimensions."""
    rng = np.random.default_rng(2)
    rows = np.zeros((2000, 30), dtype=np.float32)
    rows[:, 0] = 1
    rows[:, 1:3] = rng.uniform(-0.1, 0.1, size=(2000, 2))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)

    assert geometry.intrinsic_dimension(rows) == pytest.approx(2, abs=0.2)
    assert geometry.principal_dimensions(rows) == pytest.approx(2, abs=0.1)
