"""Batches are a function of their step: not of workers, the world size or where a run resumed."""

import math
import multiprocessing
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from clipkit.data.epoch_draws import EpochDraws
from clipkit.data.mixing import ConcatenatedPairs
from clipkit.data.pair import Pair
from clipkit.errors import ImageReadError, TrainingError
from clipkit.inputs.augmentation import Augmentation
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.training.batch import Batch
from clipkit.training.config import LossConfig
from clipkit.training.data_loading import BatchGroups, LoadedBatch, PairBatches
from clipkit.training.distributed import Ranks
from clipkit.training.losses import ContrastiveLoss
from clipkit.training.pair_reading import PairReader, PairSampler, ReadPairs, StepRows
from clipkit.training.trained_towers import Representations
from tests.fake_pairs import ListSource

SMALL, LARGE = Preprocess(size=(8, 8)), Preprocess(size=(16, 16))
CHANGING = Augmentation((0.3, 1.0), horizontal_flip=0.5, color_jitter=0.5)
NUM_PAIRS = 26


def noise(num: int = NUM_PAIRS) -> list[Pair]:
    """Return images of noise, each with three captions that name it."""
    images = np.random.default_rng(0).integers(0, 256, (num, 12, 12, 3), dtype=np.uint8)
    return [
        Pair(image, tuple(f"{number}{letter}" for letter in "abc"), f"pair {number}")
        for number, image in enumerate(images)
    ]


def reader(
    dataset: ListSource,
    preprocesses: Sequence[Preprocess] = (SMALL,),
    augmentation: Augmentation = CHANGING,
    *,
    known_bad: NDArray[np.bool_] | None = None,
    **sampler: Any,
) -> PairReader:
    options = {"seed": 5, "batch_size": 8, **sampler}
    return PairReader(
        dataset,
        PairSampler(EpochDraws((len(dataset),), (1.0,)), **options),
        preprocesses,
        augmentation,
        known_bad=known_bad,
    )


def step_of(read: PairReader, step: int) -> ReadPairs:
    found = read[step]
    assert isinstance(found, ReadPairs)
    return found


def read_by(
    dataset: ListSource, step: int, world_size: int, batch_size: int
) -> tuple[list[int], list[str], NDArray[np.uint8]]:
    """Return what several ranks read as if one had read it: rows, captions and views."""
    parts = [
        step_of(reader(dataset, batch_size=batch_size, rank=rank, world_size=world_size), step)
        for rank in range(world_size)
    ]
    return (
        [int(row) for part in parts for row in part.rows],
        [caption for part in parts for caption in part.captions],
        np.concatenate([part.views[0] for part in parts]),
    )


# Which pairs a step reads


def test_an_epoch_goes_through_each_pair_once_except_for_what_fills_no_batch() -> None:
    sampler = PairSampler(EpochDraws((20, 6), (1.0, 1.0)), seed=0, batch_size=8)
    assert sampler.steps_per_epoch == 3
    epochs = [
        np.concatenate([sampler.rows_of(step).rows for step in range(first, first + 3)])
        for first in (0, 3)
    ]
    for rows in epochs:
        assert len(set(rows)) == 24 and rows.min() >= 0 and rows.max() < 26
    assert (epochs[0] != epochs[1]).any()


def test_a_pair_of_double_weight_comes_twice() -> None:
    sampler = PairSampler(EpochDraws((4, 8), (2.0, 1.0)), seed=0, batch_size=4)
    assert sampler.steps_per_epoch == 4
    counts = Counter(int(row) for step in range(4, 8) for row in sampler.rows_of(step).rows)
    assert counts == {row: 2 if row < 4 else 1 for row in range(12)}


@pytest.mark.parametrize("step", [0, 2, 3, 7])
@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_what_one_would_read(step: int, world_size: int) -> None:
    dataset = ListSource(noise())
    one, several = read_by(dataset, step, 1, 8), read_by(dataset, step, world_size, 8)
    assert one[:2] == several[:2]
    np.testing.assert_array_equal(one[2], several[2])


# What is read of them


def test_captions_and_views_change_from_epoch_to_epoch_and_each_caption_has_its_turn() -> None:
    """Of 3000 draws each of three captions has 1000, give or take four times 26."""
    dataset = ListSource(noise(1))
    read = reader(dataset).read
    row = np.zeros(1, dtype=np.int64)
    first, second = read(StepRows(0, 0, row)), read(StepRows(1, 0, row))
    assert (first.views[0] != second.views[0]).any()

    captions = reader(dataset, []).read(StepRows(0, 0, np.repeat(row, 3000)))
    counts = Counter(captions.captions)
    assert set(counts) == {"0a", "0b", "0c"}
    assert all(abs(count - 1000) < 104 for count in counts.values())


def test_another_seed_draws_other_captions() -> None:
    wanted = StepRows(0, 0, np.arange(NUM_PAIRS))
    one, other = (reader(ListSource(noise()), [], seed=seed).read(wanted) for seed in (5, 6))
    assert one.captions != other.captions
    assert one.rows.tolist() == other.rows.tolist() == list(range(NUM_PAIRS))


def test_each_preprocess_has_its_own_view_of_a_pair() -> None:
    read = reader(ListSource(noise()), [SMALL, LARGE]).read(StepRows(0, 0, np.arange(4)))
    assert [values.shape for values in read.views] == [(4, 3, 8, 8), (4, 3, 16, 16)]


def standardized(view: NDArray[np.uint8], preprocess: Preprocess) -> NDArray[np.float32]:
    """Return what ``Preprocess`` makes of images of the tower's size."""
    images = [Image.fromarray(one.transpose(1, 2, 0)) for one in view]
    return np.stack([preprocess.standardized(image) for image in images])


def test_without_augmentation_pixels_are_those_of_use() -> None:
    dataset = ListSource(noise())
    read = reader(dataset, augmentation=Augmentation()).read(StepRows(3, 9, np.arange(4)))
    expected = np.stack([SMALL.pixel_values(dataset[row].image) for row in range(4)])
    np.testing.assert_array_equal(standardized(read.views[0], SMALL), expected)


def test_without_a_preprocess_no_image_is_read(tmp_path: Path) -> None:
    dataset = ListSource([Pair(tmp_path / "gone.png", ("one",), "gone.png")])
    read = reader(dataset, []).read(StepRows(0, 0, np.zeros(1, np.int64)))
    assert (read.captions, read.views, read.bad) == (["one"], [], {})


def with_bad() -> list[Pair | ImageReadError]:
    """Return the pairs, of which 3 is no image, 4 cannot be had and 5 is a file that is not."""
    changed: list[Pair | ImageReadError] = [*noise()]
    changed[3] = Pair(b"no image", ("3",), "000.tar/3")
    changed[4] = ImageReadError("000.tar/4", "is cut off")
    changed[5] = Pair(Path("/nowhere/5.png"), ("5",), "5.png")
    return changed


def test_another_pair_takes_the_place_of_one_that_cannot_be_read() -> None:
    good, mixed = ListSource(noise()), ListSource(with_bad())
    whole = step_of(reader(good, batch_size=24, seed=1), 0)
    read, again = (step_of(reader(mixed, batch_size=24, seed=1), 0) for _ in range(2))

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
            np.testing.assert_array_equal(read.views[0][place], whole.views[0][place])
    assert read.rows.tolist() == again.rows.tolist()
    assert (read.captions, read.bad) == (again.captions, again.bad)


@pytest.mark.parametrize("world_size", [2, 4])
def test_what_takes_its_place_is_the_same_for_any_world_size(world_size: int) -> None:
    dataset = ListSource(with_bad())
    one, several = read_by(dataset, 1, 1, 24), read_by(dataset, 1, world_size, 24)
    assert one[:2] == several[:2]
    np.testing.assert_array_equal(one[2], several[2])


def test_what_is_known_to_be_bad_is_named_and_not_tried() -> None:
    known = np.zeros(NUM_PAIRS, dtype=np.bool_)
    known[[7, 8]] = True
    captions_only = reader(ListSource(noise()), [], known_bad=known)
    read = captions_only.read(StepRows(0, 0, np.arange(NUM_PAIRS)))
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
        reader(Bad(noise(9))).read(StepRows(0, 0, np.zeros(1, np.int64)))
    assert len(tried) == 100


def test_ninety_nine_bad_pairs_in_a_row_are_not() -> None:
    class Later(ListSource):
        num_tries = 0

        def __getitem__(self, row: int) -> Pair:
            self.num_tries += 1
            if self.num_tries < 100:
                raise ImageReadError(f"{row}.png", "not yet")
            return super().__getitem__(row)

    read = reader(Later(noise(9))).read(StepRows(0, 0, np.zeros(1, np.int64)))
    assert len(read.rows) == 1
    assert len(read.bad) == 9  # each by its name once


# What is loaded


@pytest.fixture(scope="module")
def tokenizer(starter_folder: Path) -> Tokenizer:
    """CLIP's own, for 16 tokens."""
    return Tokenizer.from_config({"context_length": 16}, starter_folder)


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """See that processes and threads of a test end by themselves, within moments."""
    threads = set(threading.enumerate())
    yield
    begun: list[Any] = [one for one in threading.enumerate() if one not in threads]
    for one in (*multiprocessing.active_children(), *begun):
        one.join(10)
        assert not one.is_alive(), one


def two_captions() -> ListSource:
    """Images of noise with two captions; two are none, and two have the same captions."""
    images = np.random.default_rng(0).integers(0, 256, (NUM_PAIRS, 12, 12, 3), dtype=np.uint8)
    pairs = [
        Pair(image, (f"number {number}", f"{number} dots"), f"pair {number}")
        for number, image in enumerate(images)
    ]
    pairs[3] = pairs[3]._replace(image=b"no image")
    pairs[4] = pairs[4]._replace(image=b"")
    pairs[6] = pairs[6]._replace(captions=("the same",))
    pairs[7] = pairs[7]._replace(captions=("the same",))
    return ListSource(pairs)


def batches(tokenizer: Tokenizer, *, workers: int = 0, **sampler: Any) -> PairBatches:
    return PairBatches(reader(two_captions(), **sampler), tokenizer, 0, workers=workers)


def take(these: PairBatches, step: int, num: int) -> list[LoadedBatch]:
    with closing(these.after(step)) as several:
        return [next(several) for _ in range(num)]


def check_equal(found: list[LoadedBatch], expected: list[LoadedBatch]) -> None:
    assert [batch.captions for batch in found] == [batch.captions for batch in expected]
    assert [batch.bad for batch in found] == [batch.bad for batch in expected]
    for one, other in zip(found, expected, strict=True):
        for name in ("token_ids", "images", "caption_keys", "image_keys"):
            first, second = getattr(one.batch, name), getattr(other.batch, name)
            assert torch.equal(first, second), name
            assert first.dtype == second.dtype, name


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_change_nothing(tokenizer: Tokenizer, workers: int) -> None:
    """Nine steps: three epochs."""
    expected = take(batches(tokenizer), 0, 9)
    check_equal(take(batches(tokenizer, workers=workers), 0, 9), expected)
    assert set().union(*(batch.bad for batch in expected)) == {"pair 3", "pair 4"}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_resumed_run_sees_what_it_would_have_seen(
    tokenizer: Tokenizer, workers: int, step: int
) -> None:
    expected = take(batches(tokenizer), 0, 8)[step:]
    check_equal(take(batches(tokenizer, workers=workers), step, 8 - step), expected)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_together_see_what_one_would(
    tokenizer: Tokenizer, world_size: int, workers: int
) -> None:
    whole = take(batches(tokenizer), 2, 2)
    parts = [
        take(batches(tokenizer, rank=rank, world_size=world_size, workers=workers), 2, 2)
        for rank in range(world_size)
    ]
    for step, expected in enumerate(whole):
        together = [part[step] for part in parts]
        assert [caption for part in together for caption in part.captions] == expected.captions
        for name in ("images", "caption_keys", "image_keys"):
            joined = torch.cat([getattr(part.batch, name) for part in together])
            assert torch.equal(joined, getattr(expected.batch, name)), name


@pytest.mark.parametrize("workers", [0, 2])
def test_more_than_a_hundred_bad_pairs_in_a_row_end_it_and_leave_nobody(
    tokenizer: Tokenizer, workers: int
) -> None:
    bad = ListSource([Pair(b"", ("a text",), f"pair {number}") for number in range(8)])
    these = PairBatches(reader(bad, batch_size=4), tokenizer, 0, workers=workers)
    with pytest.raises(TrainingError, match=r"^100 pairs in a row cannot be read.*data says$"):
        take(these, 0, 1)


def test_workers_are_other_processes_and_end_when_the_batches_are_closed(
    tokenizer: Tokenizer,
) -> None:
    several = batches(tokenizer, workers=2).after(0)
    next(several)
    children = multiprocessing.active_children()
    assert len(children) == 2
    several.close()
    assert not any(child.is_alive() for child in children)


@pytest.mark.parametrize("workers", [0, 2])
def test_steps_of_several_batches_leave_out_the_rest_of_an_epoch(
    tokenizer: Tokenizer, workers: int
) -> None:
    """26 pairs are five batches of five, so two steps of two; the next epoch begins at the sixth.

    The first step that is asked for is the second of the first epoch.
    """
    single = take(batches(tokenizer, batch_size=5), 0, 10)
    these = BatchGroups(batches(tokenizer, batch_size=5, workers=workers), 2)
    assert these.steps_per_epoch == 2
    with closing(these.after(1)) as groups:
        found = [next(groups) for _ in range(3)]
    numbers = [(2, 3), (5, 6), (7, 8)]
    for group, expected in zip(found, numbers, strict=True):
        check_equal(list(group), [single[number] for number in expected])


@pytest.mark.parametrize("step", [0, 3, 7])
def test_steps_of_one_batch_are_the_batches(tokenizer: Tokenizer, step: int) -> None:
    with closing(BatchGroups(batches(tokenizer), 1).after(step)) as groups:
        found = [batch for _ in range(4) for batch in next(groups)]
    check_equal(found, take(batches(tokenizer), step, 4))


def test_a_batch_that_is_never_asked_for_again_is_read_no_further(tokenizer: Tokenizer) -> None:
    several = batches(tokenizer).after(0)
    next(several)
    assert any("__getitem__" in thread.name for thread in threading.enumerate())
    del several  # nothing_left_running looks


# What a batch holds


def test_a_batch_holds_what_the_towers_take(tokenizer: Tokenizer) -> None:
    (loaded,) = take(batches(tokenizer, batch_size=24), 0, 1)
    batch, expected = loaded.batch, tokenizer(loaded.captions)
    assert batch.token_ids is not None and batch.images is not None
    width = batch.token_ids.shape[1]
    np.testing.assert_array_equal(batch.token_ids.numpy(), expected[:, :width])
    assert not expected[:, width:].any() and expected[:, width - 1].any()
    assert batch.images.shape == (24, 3, 8, 8)
    keys = batch.caption_keys.tolist()
    for first in range(24):
        for second in range(24):
            is_equal = loaded.captions[first] == loaded.captions[second]
            assert (keys[first] == keys[second]) == is_equal
    assert loaded.captions.count("the same") >= 2
    assert loaded.teacher_images is None


def test_rows_stay_whole_where_padding_may_not_be_cut_off(tokenizer: Tokenizer) -> None:
    (loaded,) = take(PairBatches(reader(two_captions(), batch_size=2), tokenizer, None), 0, 1)
    assert loaded.batch.token_ids is not None
    assert loaded.batch.token_ids.shape == (2, 16)


def test_captions_that_are_too_long_are_cut_without_a_word(tokenizer: Tokenizer) -> None:
    dataset = ListSource([pair._replace(captions=("one " * 99,)) for pair in noise(2)])
    (loaded,) = take(PairBatches(reader(dataset, batch_size=2), tokenizer, 0), 0, 1)
    assert loaded.batch.token_ids is not None
    assert loaded.batch.token_ids.shape == (2, 16)


def test_features_of_the_pairs_take_the_place_of_their_images(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    features = np.random.default_rng(0).normal(size=(NUM_PAIRS, 3)).astype(np.float32)
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    known_bad = np.zeros(NUM_PAIRS, dtype=np.bool_)
    known_bad[9] = True
    known = reader(two_captions(), [LARGE], Augmentation(), known_bad=known_bad, batch_size=24)
    these = PairBatches(known, tokenizer, 0, image_features=mapped, teacher_view=0)
    (loaded,) = take(these, 0, 1)
    batch = loaded.batch
    assert batch.images is None and batch.image_features is not None
    assert torch.equal(batch.image_features, torch.from_numpy(features)[batch.image_keys])
    assert 9 not in batch.image_keys.tolist()
    assert loaded.teacher_images is not None
    assert loaded.teacher_images.shape == (24, 3, 16, 16)


def test_the_teacher_has_its_own_view_of_the_same_pairs(tokenizer: Tokenizer) -> None:
    dataset = two_captions()
    both = reader(dataset, [SMALL, LARGE], Augmentation(), batch_size=4)
    these = PairBatches(both, tokenizer, 0, teacher_view=1)
    (loaded,) = take(these, 0, 1)
    assert loaded.teacher_images is not None
    for row, pixels in zip(loaded.batch.image_keys, loaded.teacher_images, strict=True):
        expected = LARGE.pixel_values(dataset[int(row)].image)
        image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
        np.testing.assert_array_equal(LARGE.standardized(image), expected)


def test_what_identifies_the_pairs_tells_weights_apart(tokenizer: Tokenizer) -> None:
    one, other = (
        PairBatches(
            PairReader(
                two_captions(), PairSampler(EpochDraws((26,), (weight,)), 0, 2), [SMALL], CHANGING
            ),
            tokenizer,
            None,
        )
        for weight in (1.0, 2.0)
    )
    assert one.fingerprint != other.fingerprint
    assert "a list" in one.fingerprint
    assert (one.num_pairs, one.steps_per_epoch) == (26, 13)
    assert (other.num_pairs, other.steps_per_epoch) == (26, 26)


def test_captions_of_equal_token_ids_are_one(tokenizer: Tokenizer) -> None:
    """CLIP reads no capitals, and no more than 16 tokens here."""
    texts = ["Shape 1", "shape 1", " shape  1 ", "shape 2", "one " * 30 + "x", "one " * 30 + "y"]
    pairs = [pair._replace(captions=(text,)) for pair, text in zip(noise(6), texts, strict=True)]
    (loaded,) = take(PairBatches(reader(ListSource(pairs), batch_size=6), tokenizer, 0), 0, 1)
    key_of = dict(zip(loaded.captions, loaded.batch.caption_keys.tolist(), strict=True))
    groups = [{key_of[text] for text in some} for some in (texts[:3], texts[3:4], texts[4:])]
    assert [len(group) for group in groups] == [1, 1, 1]
    assert len(set.union(*groups)) == 3


def test_pairs_of_one_class_are_one_whatever_their_captions(tokenizer: Tokenizer) -> None:
    """And the others are told apart, also in a mixture with pairs that have no class."""
    some = noise(6)
    dataset = ConcatenatedPairs(
        [
            ListSource(some[:4], labels=[0, 1, 0, 1], class_names=("cat", "dog")),
            ListSource(some[4:]),
        ]
    )
    sampler = PairSampler(EpochDraws(dataset.sizes, (1.0, 1.0)), seed=5, batch_size=6)
    these = PairBatches(PairReader(dataset, sampler, (SMALL,), CHANGING), tokenizer, 0)
    (loaded,) = take(these, 0, 1)
    keys = loaded.batch.image_keys.tolist()
    class_of = {"0": "cat", "1": "dog", "2": "cat", "3": "dog", "4": "4", "5": "5"}
    classes = [class_of[caption[0]] for caption in loaded.captions]
    for first in range(6):
        for second in range(6):
            assert (keys[first] == keys[second]) == (classes[first] == classes[second])


def test_one_class_by_two_captions_has_no_loss_against_itself(tokenizer: Tokenizer) -> None:
    """Two classes, captioned by four templates: a perfect model has next to no loss."""
    templates = ("a photo of a {}.", "a {}", "one {} here", "the {}")
    pairs = [
        pair._replace(captions=(templates[number // 2].format(("cat", "dog")[number % 2]),))
        for number, pair in enumerate(noise(8))
    ]
    dataset = ListSource(pairs, labels=[0, 1] * 4, class_names=("cat", "dog"))
    (loaded,) = take(PairBatches(reader(dataset, batch_size=8), tokenizer, 0), 0, 1)
    corners = torch.eye(2)[[int("dog" in caption) for caption in loaded.captions]]
    batch = Batch(
        caption_keys=loaded.batch.caption_keys,
        image_keys=loaded.batch.image_keys,
        image_features=corners,
        text_features=corners,
    )
    perfect = Representations(corners, corners, torch.tensor(math.log(100.0)), None)
    losses = ContrastiveLoss(LossConfig(), Ranks())(perfect, batch)
    assert float(losses["loss"]) < 1e-6
