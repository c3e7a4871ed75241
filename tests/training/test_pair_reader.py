"""Which pairs a step learns from, and what is read of them."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clipkit.data.pair import Pair
from clipkit.errors import ImageReadError, TrainingError
from clipkit.inputs.augmentation import Augmentation
from clipkit.inputs.preprocess import Preprocess
from clipkit.training.pair_reader import Order, PairReader, ReadPairs, Share
from tests.fake_pairs import ListSource

SMALL, LARGE = Preprocess(size=(8, 8)), Preprocess(size=(16, 16))
CHANGING = Augmentation((0.3, 1.0), horizontal_flip=0.5, color_jitter=0.5)
NUM_PAIRS = 26


def pairs(num: int = NUM_PAIRS) -> list[Pair | ImageReadError]:
    """Return images of noise, each with three captions that name it."""
    noise = np.random.default_rng(0).integers(0, 256, (num, 12, 12, 3), dtype=np.uint8)
    return [
        Pair(image, tuple(f"{number}{letter}" for letter in "abc"), f"pair {number}")
        for number, image in enumerate(noise)
    ]


def reader(source: ListSource, **options: Any) -> PairReader:
    return PairReader(source, [SMALL], CHANGING, **{"seed": 5, **options})


def shares(order: Order, step: int, world_size: int) -> list[Share]:
    return [order.share(step, rank=rank, world_size=world_size) for rank in range(world_size)]


def joined(parts: list[ReadPairs]) -> tuple[list[int], list[str], NDArray[np.float32]]:
    """Return what several processes read as if one had read it."""
    return (
        [int(row) for part in parts for row in part.rows],
        [caption for part in parts for caption in part.captions],
        np.concatenate([part.levels[0] for part in parts]),
    )


# The order


def test_an_epoch_goes_through_each_pair_once_except_for_what_fills_no_batch() -> None:
    order = Order((20, 6), (1.0, 1.0), seed=0, batch_size=8)
    assert order.steps_per_epoch == 3
    epochs = [
        np.concatenate([order.share(step).rows for step in range(first, first + 3)])
        for first in (0, 3)
    ]
    for rows in epochs:
        assert len(set(rows)) == 24 and rows.min() >= 0 and rows.max() < 26
    assert (epochs[0] != epochs[1]).any()


def test_a_pair_of_double_weight_comes_twice() -> None:
    order = Order((4, 8), (2.0, 1.0), seed=0, batch_size=4)
    assert order.steps_per_epoch == 4
    counts = Counter(int(row) for step in range(4, 8) for row in order.share(step).rows)
    assert counts == {row: 2 if row < 4 else 1 for row in range(12)}


@pytest.mark.parametrize("step", [0, 2, 3, 7])
@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_what_one_would_read(step: int, world_size: int) -> None:
    order = Order((NUM_PAIRS,), (1.0,), seed=1, batch_size=8)
    source = ListSource(pairs())
    one = joined([reader(source).read(order.share(step))])
    several = joined([reader(source).read(share) for share in shares(order, step, world_size)])
    assert one[:2] == several[:2]
    np.testing.assert_array_equal(one[2], several[2])


# The reader


def test_captions_and_views_change_from_epoch_to_epoch_and_each_caption_has_its_turn() -> None:
    """Of 3000 draws each of three captions has 1000, give or take four times 26."""
    source = ListSource(pairs(1))
    read = PairReader(source, [SMALL], CHANGING, seed=5).read
    row = np.zeros(1, dtype=np.int64)
    first, second = read(Share(0, 0, row)), read(Share(1, 0, row))
    assert (first.levels[0] != second.levels[0]).any()

    captions = PairReader(source, [], CHANGING, seed=5).read(Share(0, 0, np.repeat(row, 3000)))
    counts = Counter(captions.captions)
    assert set(counts) == {"0a", "0b", "0c"}
    assert all(abs(count - 1000) < 104 for count in counts.values())


def test_another_seed_draws_other_captions() -> None:
    source = ListSource(pairs())
    share = Share(0, 0, np.arange(NUM_PAIRS))
    one, other = (PairReader(source, [], CHANGING, seed=seed).read(share) for seed in (5, 6))
    assert one.captions != other.captions
    assert one.rows.tolist() == other.rows.tolist() == list(range(NUM_PAIRS))


def test_each_preprocess_has_its_own_levels_of_a_pair() -> None:
    source = ListSource(pairs())
    read = PairReader(source, [SMALL, LARGE], CHANGING, seed=5).read(Share(0, 0, np.arange(4)))
    assert [values.shape for values in read.levels] == [(4, 3, 8, 8), (4, 3, 16, 16)]


def standardized(levels: NDArray[np.uint8], preprocess: Preprocess) -> NDArray[np.float32]:
    """Return what ``Preprocess`` makes of images of the tower's size."""
    images = [Image.fromarray(one.transpose(1, 2, 0)) for one in levels]
    return np.stack([preprocess.standardized(image) for image in images])


def test_without_augmentation_pixels_are_those_of_use() -> None:
    source = ListSource(pairs())
    read = PairReader(source, [SMALL], Augmentation(), seed=5).read(Share(3, 9, np.arange(4)))
    expected = np.stack([SMALL.pixel_values(source[row].image) for row in range(4)])
    np.testing.assert_array_equal(standardized(read.levels[0], SMALL), expected)


def test_without_a_preprocess_no_image_is_read(tmp_path: Path) -> None:
    source = ListSource([Pair(tmp_path / "gone.png", ("one",), "gone.png")])
    read = PairReader(source, [], CHANGING, seed=5).read(Share(0, 0, np.zeros(1, np.int64)))
    assert (read.captions, read.levels, read.bad) == (["one"], [], {})


def with_bad() -> list[Pair | ImageReadError]:
    """Return the pairs, of which 3 is no image, 4 cannot be had and 5 is a file that is not."""
    changed = pairs()
    changed[3] = Pair(b"no image", ("3",), "000.tar/3")
    changed[4] = ImageReadError("000.tar/4", "is cut off")
    changed[5] = Pair(Path("/nowhere/5.png"), ("5",), "5.png")
    return changed


def test_another_pair_takes_the_place_of_one_that_cannot_be_read() -> None:
    order = Order((NUM_PAIRS,), (1.0,), seed=1, batch_size=24)
    good, mixed = ListSource(pairs()), ListSource(with_bad())
    whole, read = reader(good).read(order.share(0)), reader(mixed).read(order.share(0))
    again = reader(mixed).read(order.share(0))

    assert set(read.bad) == {"000.tar/3", "000.tar/4", "5.png"}
    assert read.bad["000.tar/4"] == "is cut off"
    assert len(read.rows) == 24
    for place, row in enumerate(whole.rows):
        if row in (3, 4, 5):
            assert read.rows[place] not in (3, 4, 5)
            assert read.captions[place] in good[int(read.rows[place])].captions
        else:
            assert read.rows[place] == row
            assert read.captions[place] == whole.captions[place]
            np.testing.assert_array_equal(read.levels[0][place], whole.levels[0][place])
    assert joined([read])[:2] == joined([again])[:2]
    assert read.bad == again.bad


@pytest.mark.parametrize("world_size", [2, 4])
def test_what_takes_its_place_is_the_same_on_any_number_of_processes(world_size: int) -> None:
    order = Order((NUM_PAIRS,), (1.0,), seed=1, batch_size=24)
    source = ListSource(with_bad())
    one = joined([reader(source).read(order.share(1))])
    several = joined([reader(source).read(share) for share in shares(order, 1, world_size)])
    assert one[:2] == several[:2]
    np.testing.assert_array_equal(one[2], several[2])


def test_what_is_known_to_be_bad_is_named_and_not_tried() -> None:
    source = ListSource(pairs())
    known = np.zeros(NUM_PAIRS, dtype=np.bool_)
    known[[7, 8]] = True
    captions_only = PairReader(source, [], CHANGING, seed=5, known_bad=known)
    read = captions_only.read(Share(0, 0, np.arange(NUM_PAIRS)))
    assert set(read.bad) == {"pair 7", "pair 8"}
    assert not {7, 8} & set(read.rows.tolist())


def test_a_hundred_bad_pairs_in_a_row_are_the_end() -> None:
    tried = []

    class Bad(ListSource):
        def __getitem__(self, row: int) -> Pair:
            tried.append(row)
            raise ImageReadError(f"{row}.png", "the disk is gone")

    with pytest.raises(
        TrainingError, match=r"100 pairs in a row cannot be read.* the disk is gone"
    ):
        reader(Bad(pairs(9))).read(Share(0, 0, np.zeros(1, np.int64)))
    assert len(tried) == 100


def test_ninety_nine_bad_pairs_in_a_row_are_not() -> None:
    class Later(ListSource):
        num_tries = 0

        def __getitem__(self, row: int) -> Pair:
            self.num_tries += 1
            if self.num_tries < 100:
                raise ImageReadError(f"{row}.png", "not yet")
            return super().__getitem__(row)

    read = reader(Later(pairs(9))).read(Share(0, 0, np.zeros(1, np.int64)))
    assert len(read.rows) == 1
    assert len(read.bad) == 9  # each by its name once
