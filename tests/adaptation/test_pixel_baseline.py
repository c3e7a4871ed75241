"""The small model without a base: its features by hand, and what it learns."""

from pathlib import Path

import numpy as np
import pytest

from clipkit.adaptation.pixel_baseline import (
    NUM_FEATURES,
    PixelBaseline,
    image_features,
    read_features,
)
from clipkit.adaptation.splits import Split
from tests.fakes import save_image


def test_colours_are_means_of_a_grid() -> None:
    pixels = np.zeros((32, 32, 3), dtype=np.uint8)
    pixels[:4, :4] = (255, 0, 51)
    pixels[4:8, :2] = 100
    colours = image_features(pixels)[: 3 * 64].reshape(8, 8, 3)
    np.testing.assert_allclose(colours[0, 0], [1, 0, 0.2], rtol=1e-5)
    np.testing.assert_allclose(colours[1, 0], [50 / 255] * 3, rtol=1e-5)
    assert colours[2:].max() == 0


@pytest.mark.parametrize(("axis", "direction"), [(1, 0), (0, 4)])
def test_edges_are_counted_by_direction(axis: int, direction: int) -> None:
    steps = np.broadcast_to(np.arange(32) * 8, (32, 32))
    grey = steps if axis == 1 else steps.T
    pixels = np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)
    edges = image_features(pixels)[3 * 64 :].reshape(16, 8)
    assert (edges.argmax(axis=1) == direction).all()
    np.testing.assert_allclose(edges.sum(axis=1), 1, atol=1e-2)


def test_an_image_without_edges_has_none() -> None:
    features = image_features(np.full((32, 32, 3), 90, dtype=np.uint8))
    assert features.shape == (NUM_FEATURES,)
    assert not features[3 * 64 :].any()


def test_images_are_read_and_lost_ones_are_zero(tmp_path: Path) -> None:
    red = save_image(tmp_path / "red.png", (255, 0, 0), size=50)
    seen: list[tuple[int, int | None]] = []
    features = read_features(
        [red, tmp_path / "gone.png"], lambda done, total: seen.append((done, total))
    )
    assert features[0, :3].tolist() == [1, 0, 0]
    assert not features[1].any()
    assert seen == [(1, 2), (2, 2)]


def test_any_number_is_a_seed() -> None:
    features = np.eye(4, NUM_FEATURES, dtype=np.float32)
    model = PixelBaseline(features, np.array([0, 0, 1, 1]), 2)
    split = Split(10**20, np.array([0, 2]), np.array([1, 3]))
    assert model.measure(split).logits.shape == (2, 2)


def test_it_learns_and_knows_nothing_of_classes_without_images() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 10)
    features = rng.normal(labels[:, None], 0.1, (30, NUM_FEATURES)).astype(np.float32)
    train = np.flatnonzero((np.arange(30) % 2 == 0) & (labels < 2))
    test = np.flatnonzero(np.arange(30) % 2 == 1)
    found = PixelBaseline(features, labels, 3).measure(Split(0, train, test))
    said = found.logits.argmax(axis=1)
    assert (said[labels[test] < 2] == labels[test][labels[test] < 2]).all()
    assert np.isfinite(found.logits).all()
    assert (found.logits[:, 2] == found.logits.min()).all()
    assert found.retention is None


@pytest.mark.filterwarnings("error")
def test_one_image_a_class_is_not_taken_for_a_regression() -> None:
    labels = np.tile(np.arange(30), 2)
    features = np.random.default_rng(0).normal(size=(60, NUM_FEATURES)).astype(np.float32)
    found = PixelBaseline(features, labels, 30).measure(Split(0, np.arange(30), np.arange(30, 60)))
    assert found.logits.shape == (30, 30)


def test_trees_that_are_too_large_for_the_memory_are_grown_in_parts_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 6)
    features = rng.normal(labels[:, None], 2, (24, NUM_FEATURES)).astype(np.float32)
    model = PixelBaseline(features, labels, 4)
    split = Split(7, np.arange(0, 24, 2), np.arange(1, 24, 2))
    whole = model.measure(split)
    # 13 trees of 24 nodes and 4 classes at once, so that 300 are 23 parts and one tree more.
    monkeypatch.setattr("clipkit.adaptation.pixel_baseline._MOST_BYTES", 13 * 8 * 24 * 4)
    assert model._parts(12) == [13] * 23 + [1]
    parts = model.measure(split)
    np.testing.assert_allclose(parts.logits, whole.logits, atol=1e-12)
    assert parts.num_bytes == whole.num_bytes


def test_of_thousands_of_classes_there_are_fewer_trees() -> None:
    features = np.empty((0, NUM_FEATURES), dtype=np.float32)
    many = PixelBaseline(features, np.empty(0, dtype=np.intp), 2000)
    assert many._parts(4000) == [8] * 6 + [2]  # of 128 MB each: a gigabyte at once
    assert sum(PixelBaseline(features, np.empty(0, dtype=np.intp), 200)._parts(1000)) == 300
