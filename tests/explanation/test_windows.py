"""Windows of an image, each embedded as an image of its own."""

import numpy as np
import pytest
from PIL import Image

import clipkit
from clipkit.explanation.windows import MOST_PLACES, SIDES, grid_of, window_embeddings
from clipkit.inputs.images import read_image
from tests.fakes import FakeEncoder


def test_a_place_has_the_mean_of_the_windows_that_cover_it() -> None:
    # Left half red, right half blue, a pixel a place: a window has the mean colour that it sees.
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[:, :4, 0] = pixels[:, 4:, 2] = 255
    found = window_embeddings(FakeEncoder(), read_image(pixels))
    expected = np.zeros((8, 4))
    for column in range(8):
        rows = []
        for side in SIDES:
            for left in range(8 - side + 1):
                if left <= column < left + side:
                    red = max(0, min(4, left + side) - left) / side
                    vector = np.array([255 * red, 0, 255 * (1 - red), 1])
                    # As many windows lie above each other at every left side.
                    rows += [vector / np.linalg.norm(vector)] * _covering(3, side)
        expected[column] = np.mean(rows, axis=0)
    np.testing.assert_allclose(found[3], expected, atol=0.02)  # mean colours are whole levels


def test_progress_ends_at_all_windows(starter: clipkit.Encoder) -> None:
    seen: list[tuple[int, int | None]] = []
    image = read_image(np.zeros((8, 8, 3), dtype=np.uint8))
    window_embeddings(starter, image, lambda *done: seen.append(done))
    assert seen[-1] == (74, 74)


def _covering(place: int, side: int) -> int:
    return sum(top <= place < top + side for top in range(8 - side + 1))


def test_a_square_image_takes_74_windows() -> None:
    encoder = FakeEncoder()
    window_embeddings(encoder, read_image(np.zeros((8, 8, 3), dtype=np.uint8)))
    assert len(encoder.encoded_images) == 5 * 5 + 7 * 7


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((100, 100), (8, 8)),
        ((200, 100), (8, 16)),
        ((100, 150), (12, 8)),
        ((9, 9000), (MOST_PLACES, 8)),
    ],
)
def test_places_are_about_square_and_not_too_many(
    size: tuple[int, int], grid: tuple[int, int]
) -> None:
    assert grid_of(size) == grid


def test_one_pixel_is_enough() -> None:
    found = window_embeddings(FakeEncoder(), read_image(Image.new("RGB", (1, 1), "red")))
    assert found.shape == (8, 8, 4)
    assert (found[..., 0] > 0.99).all()
