"""Similarity of thumbnails whose copies are made by arithmetic, and of real photographs."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clipkit.inputs.perceptual_hash import GREY_SIDE, GreyThumbnails, read_grey_thumbnails
from clipkit.search.duplicates.perceptual_similarity import perceptual_similarity


@pytest.fixture(scope="module")
def waves() -> GreyThumbnails:
    """Grey thumbnails of sums of waves, sampled at the middle of each cell, (6, S, S)."""
    return np.stack([_waves(seed, (0, 0, 0, 0)) for seed in range(6)])


def _waves(seed: int, crop: tuple[float, float, float, float]) -> GreyThumbnails:
    left, top, right, bottom = crop
    rng = np.random.default_rng(seed)
    middles = (np.arange(GREY_SIDE) + 0.5) / GREY_SIDE
    x = (left + middles * (1 - left - right))[None, :]
    y = (top + middles * (1 - top - bottom))[:, None]
    grey = np.zeros((GREY_SIDE, GREY_SIDE))
    for _ in range(12):
        across, down = rng.integers(-5, 6, 2)
        grey += np.sin(2 * np.pi * (across * x + down * y) + rng.uniform(0, 6))
    return (128 + 10 * grey).round().astype(np.uint8)


def test_an_image_is_like_itself_and_unlike_others(waves: GreyThumbnails) -> None:
    alike = perceptual_similarity(waves, waves)
    assert alike.shape == (6, 6) and alike.dtype == np.float32
    np.testing.assert_allclose(np.diag(alike), 1, atol=1e-5)
    np.testing.assert_allclose(alike, alike.T, atol=1e-5)
    assert alike[~np.eye(6, dtype=bool)].max() < 0.5
    assert perceptual_similarity(waves[:2], waves[:3]).shape == (2, 3)
    assert perceptual_similarity(waves[:0], waves).shape == (0, 6)


def _slow_details(thumbnail: GreyThumbnails) -> NDArray[np.float64]:
    """Return each cell's distance from the mean around it, over the contrast there, flat."""
    grey = thumbnail.astype(np.float64).reshape(16, 2, 16, 2).mean(axis=(1, 3))

    def around(values: NDArray[np.float64]) -> NDArray[np.float64]:
        padded = np.pad(values, 2, mode="edge")
        return np.array(
            [[padded[y : y + 5, x : x + 5].mean() for x in range(16)] for y in range(16)]
        )

    offset = grey - around(grey)
    details: NDArray[np.float64] = offset / np.sqrt(around(offset**2) + 25)
    return details.ravel()


def test_without_a_crop_it_is_the_cosine_of_the_details(waves: GreyThumbnails) -> None:
    first, second = waves[0], (waves[0] // 2 + waves[1] // 4 + 20).astype(np.uint8)
    left, right = _slow_details(first), _slow_details(second)
    expected = left @ right / np.linalg.norm(left) / np.linalg.norm(right)
    # No crop of either is more like the other than the whole is.
    assert perceptual_similarity(first[None], second[None])[0, 0] == pytest.approx(
        expected, abs=1e-4
    )


@pytest.mark.parametrize(
    "crop",
    [
        (0.05, 0.05, 0.05, 0.05),
        (0.08, 0.07, 0.08, 0.07),
        (0, 0, 0.08, 0),
        (0, 0.07, 0, 0.07),
        (0.02, 0.02, 0.02, 0.02),
    ],
)
def test_a_lightly_cropped_copy_is_found_from_both_sides(
    waves: GreyThumbnails, crop: tuple[float, float, float, float]
) -> None:
    cropped = np.stack([_waves(seed, crop) for seed in range(6)])
    assert np.diag(perceptual_similarity(waves, cropped)).min() > 0.85
    assert np.diag(perceptual_similarity(cropped, waves)).min() > 0.85


def test_brightness_and_contrast_do_not_count(waves: GreyThumbnails) -> None:
    paler = (waves * 0.7 + 60).round().astype(np.uint8)
    assert np.diag(perceptual_similarity(waves, paler)).min() > 0.98


def test_what_has_no_detail_is_like_nothing(waves: GreyThumbnails) -> None:
    rng = np.random.default_rng(0)
    flat = np.full((2, GREY_SIDE, GREY_SIDE), 200, dtype=np.uint8)
    flat[1] += rng.integers(0, 2, flat[1].shape, dtype=np.uint8)  # the last bit is noise
    assert np.abs(perceptual_similarity(flat, flat)).max() < 0.2
    assert np.isfinite(perceptual_similarity(flat, waves)).all()


def test_real_photographs_are_unlike_each_other(samples: list[Path]) -> None:
    alike = perceptual_similarity(*[read_grey_thumbnails(samples).thumbnails] * 2)
    np.testing.assert_allclose(np.diag(alike), 1, atol=1e-5)
    assert alike[~np.eye(len(samples), dtype=bool)].max() < 0.65
