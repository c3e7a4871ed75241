"""Which pairs are near misses of each other, and batches that hold them."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn.functional import normalize

from clipkit.training.near_misses import NO_MISS, NUM_MISSES, NearMisses, find_near_misses

_OWN = torch.arange(100)  # every caption and every image is another


def _plane(*degrees: float) -> torch.Tensor:
    """Return unit vectors at angles."""
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def _misses(images: torch.Tensor, texts: torch.Tensor, **keys: torch.Tensor) -> list[list[int]]:
    own = _OWN[: len(images)]
    found = find_near_misses(
        images,
        texts,
        keys.get("caption_keys", own),
        keys.get("image_keys", own),
        seed=0,
    )
    assert found.shape == (len(images), NUM_MISSES)
    return [[row for row in rows if row != NO_MISS] for rows in found.tolist()]


def test_the_nearest_come_first_and_what_fits_as_well_is_left_out() -> None:
    """Images at 0, 30, 60 and 10 degrees, texts 20 degrees before them: own cosine .940.

    Seen from pair 0 (text at -20): text 1 is at 10 degrees from its image, cosine .985: more than
    .95 of .940, so it may be right. Text 2 is 40 off (.766), text 3 is 10 off (.985).
    """
    angles = (0.0, 30.0, 60.0, 10.0)
    images, texts = _plane(*angles), _plane(*(angle - 20 for angle in angles))
    assert _misses(images, texts)[0] == [2]
    # From pair 2: texts at -20, 10 and -10 are 80, 50 and 70 off its image; its text at 40 is
    # 40, 10 and 30 off theirs (.766, .985, .866): pair 1 may be right, 3 is nearer than 0.
    assert _misses(images, texts)[2] == [3, 0]


def test_equal_captions_images_and_unreadable_ones_are_no_misses() -> None:
    images, texts = _plane(0, 40, 50, 60), _plane(0, 40, 50, 60)
    assert _misses(images, texts)[0] == [1, 2, 3]
    assert _misses(images, texts, caption_keys=torch.tensor([7, 7, 1, 2]))[0] == [2, 3]
    assert _misses(images, texts, image_keys=torch.tensor([7, 1, 7, 2]))[0] == [1, 3]
    images[1] = 0
    misses = _misses(images, texts)
    assert (misses[0], misses[1]) == ([2, 3], [])


def test_a_pair_that_does_not_fit_itself_has_none() -> None:
    assert _misses(_plane(0, 80), _plane(90, 80))[0] == []
    assert _misses(_plane(0, 80), _plane(180, 100))[0] == []


def test_a_slow_search_finds_the_same() -> None:
    generator = torch.Generator().manual_seed(1)
    images = normalize(torch.randn(60, 6, generator=generator, dtype=torch.float64), dim=1)
    noise = torch.randn(60, 6, generator=generator, dtype=torch.float64)
    texts = normalize(images + 0.4 * noise, dim=1)
    found = _misses(images, texts)
    for row in range(60):
        own = float(images[row] @ texts[row])
        fits = {
            other: max(float(images[row] @ texts[other]), float(texts[row] @ images[other]))
            for other in range(60)
            if other != row
        }
        near = {other: fit for other, fit in fits.items() if own > 0 and fit <= 0.95 * own}
        assert found[row] == sorted(near, key=near.__getitem__, reverse=True)[:NUM_MISSES]


def test_more_pairs_than_are_compared_are_drawn_the_same_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clipkit.training.near_misses._MOST_CANDIDATES", 20)
    generator = torch.Generator().manual_seed(2)
    images = normalize(torch.randn(60, 6, generator=generator), dim=1)
    first, again, other = (
        find_near_misses(images, images, _OWN[:60], _OWN[:60], seed=seed) for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(set(first[first != NO_MISS].tolist())) <= 20


def _near(rows: list[list[int]]) -> NearMisses:
    filled = [[*row, *[NO_MISS] * (NUM_MISSES - len(row))] for row in rows]
    return NearMisses(0, np.array(filled, dtype=np.int32).reshape(-1, NUM_MISSES))


def test_batches_take_a_near_miss_behind_a_pair_until_the_share_is_full() -> None:
    near = _near([[7, 6], [6], [], [5], [1], [0], [2], [3]])
    order = np.arange(8, dtype=np.int64)
    # Half of 4: 0 and its miss 7; 1 and its miss 6. Then 2 has none, 3 takes 5, and 4 is left.
    arranged = near.arrange(order, batch_size=4, share=0.5)
    assert arranged.tolist() == [0, 7, 1, 6, 2, 3, 5, 4]
    # A quarter of 4 is one a batch.
    arranged = near.arrange(order, batch_size=4, share=0.25)
    assert arranged.tolist() == [0, 7, 1, 2, 3, 5, 4, 6]


@given(
    rows=st.lists(st.lists(st.integers(0, 11), max_size=4), min_size=12, max_size=12),
    order=st.lists(st.integers(0, 11), max_size=40),
    batch_size=st.integers(2, 9),
    share=st.floats(0, 0.5),
)
def test_each_pair_comes_as_often_as_before(
    rows: list[list[int]], order: list[int], batch_size: int, share: float
) -> None:
    drawn: NDArray[np.int64] = np.array(order, dtype=np.int64)
    arranged = _near(rows).arrange(drawn, batch_size=batch_size, share=share)
    assert arranged.dtype == np.int64
    assert Counter(arranged.tolist()) == Counter(order)
