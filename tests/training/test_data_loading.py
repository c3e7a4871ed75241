"""Batches are functions of their number: not of workers, processes or where a run began."""

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clipkit.data.pair import Pair
from clipkit.errors import TrainingError
from clipkit.inputs.augmentation import Augmentation
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.training.data_loading import Assembler, LoadedBatch, PairBatches, text_key
from clipkit.training.pair_reader import Order, PairReader, ReadPairs
from tests.fake_pairs import ListSource

SMALL, LARGE = Preprocess(size=(8, 8)), Preprocess(size=(16, 16))
CHANGING = Augmentation((0.3, 1.0), horizontal_flip=0.5, color_jitter=0.5)
NUM_PAIRS = 26


@pytest.fixture(scope="module")
def tokenizer(starter_folder: Path) -> Tokenizer:
    """CLIP's own, for 16 tokens."""
    return Tokenizer.from_config({"context_length": 16}, starter_folder)


@pytest.fixture(autouse=True)
def nobody_left() -> Iterator[None]:
    """See that processes and threads of a test end by themselves, within moments."""
    threads = set(threading.enumerate())
    yield
    begun: list[Any] = [one for one in threading.enumerate() if one not in threads]
    for one in (*multiprocessing.active_children(), *begun):
        one.join(10)
        assert not one.is_alive(), one


def source() -> ListSource:
    """Images of noise with two captions; two are none, and two have the same captions."""
    noise = np.random.default_rng(0).integers(0, 256, (NUM_PAIRS, 12, 12, 3), dtype=np.uint8)
    pairs = [
        Pair(image, (f"number {number}", f"{number} dots"), f"pair {number}")
        for number, image in enumerate(noise)
    ]
    pairs[3] = pairs[3]._replace(image=b"no image")
    pairs[4] = pairs[4]._replace(image=b"")
    pairs[6] = pairs[6]._replace(captions=("the same",))
    pairs[7] = pairs[7]._replace(captions=("the same",))
    return ListSource(pairs)


def batches(tokenizer: Tokenizer, batch_size: int = 8, **options: Any) -> PairBatches:
    return PairBatches(
        PairReader(source(), [SMALL], CHANGING, seed=5),
        Order((NUM_PAIRS,), (1.0,), seed=2, batch_size=batch_size),
        Assembler(tokenizer, padding_id=0),
        **options,
    )


def take(these: PairBatches, step: int, num: int) -> list[LoadedBatch]:
    with closing(these.after(step)) as several:
        return [next(several) for _ in range(num)]


def check_equal(found: list[LoadedBatch], expected: list[LoadedBatch]) -> None:
    assert [batch.captions for batch in found] == [batch.captions for batch in expected]
    assert [batch.bad for batch in found] == [batch.bad for batch in expected]
    for one, other in zip(found, expected, strict=True):
        for name in ("token_ids", "levels", "caption_keys", "image_keys"):
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
def test_a_run_that_goes_on_sees_what_it_would_have_seen(
    tokenizer: Tokenizer, workers: int, step: int
) -> None:
    expected = take(batches(tokenizer), 0, 8)[step:]
    check_equal(take(batches(tokenizer, workers=workers), step, 8 - step), expected)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_together_see_what_one_would(
    tokenizer: Tokenizer, world_size: int, workers: int
) -> None:
    whole = take(batches(tokenizer), 2, 2)
    parts = [
        take(batches(tokenizer, share=(rank, world_size), workers=workers), 2, 2)
        for rank in range(world_size)
    ]
    for step, expected in enumerate(whole):
        together = [part[step] for part in parts]
        assert [caption for part in together for caption in part.captions] == expected.captions
        for name in ("levels", "caption_keys", "image_keys"):
            joined = torch.cat([getattr(part.batch, name) for part in together])
            assert torch.equal(joined, getattr(expected.batch, name)), name


@pytest.mark.parametrize("workers", [0, 2])
def test_more_than_a_hundred_bad_pairs_in_a_row_end_it_and_leave_nobody(
    tokenizer: Tokenizer, workers: int
) -> None:
    bad = ListSource([Pair(b"", ("a text",), f"pair {number}") for number in range(8)])
    these = PairBatches(
        PairReader(bad, [SMALL], CHANGING, seed=5),
        Order((8,), (1.0,), seed=2, batch_size=4),
        Assembler(tokenizer, padding_id=0),
        workers=workers,
    )
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


def test_a_batch_that_is_never_asked_for_again_is_read_no_further(tokenizer: Tokenizer) -> None:
    several = batches(tokenizer).after(0)
    next(several)
    assert any("__getitem__" in thread.name for thread in threading.enumerate())
    del several  # nobody_left looks


# What a batch holds


def test_a_batch_holds_what_the_towers_take(tokenizer: Tokenizer) -> None:
    (loaded,) = take(batches(tokenizer, batch_size=24), 0, 1)
    batch, expected = loaded.batch, tokenizer(loaded.captions)
    assert batch.token_ids is not None and batch.levels is not None
    width = batch.token_ids.shape[1]
    np.testing.assert_array_equal(batch.token_ids.numpy(), expected[:, :width])
    assert not expected[:, width:].any() and expected[:, width - 1].any()
    assert batch.levels.shape == (24, 3, 8, 8)
    keys = batch.caption_keys.tolist()
    for first in range(24):
        for second in range(24):
            is_equal = loaded.captions[first] == loaded.captions[second]
            assert (keys[first] == keys[second]) == is_equal
    assert loaded.captions.count("the same") >= 2
    assert loaded.teacher_levels is None


def test_rows_stay_whole_where_padding_may_not_be_cut_off(tokenizer: Tokenizer) -> None:
    read = ReadPairs(np.arange(2), ["one", "two"], [np.zeros((2, 3, 8, 8), np.uint8)])
    loaded = Assembler(tokenizer, padding_id=None).assemble(read)
    assert loaded.batch.token_ids is not None
    assert loaded.batch.token_ids.shape == (2, 16)


def test_captions_that_are_too_long_are_cut_without_a_word(tokenizer: Tokenizer) -> None:
    read = ReadPairs(np.arange(2), ["one " * 99, "two"], [np.zeros((2, 3, 8, 8), np.uint8)])
    loaded = Assembler(tokenizer, padding_id=0).assemble(read)
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
    these = PairBatches(
        PairReader(source(), [LARGE], Augmentation(), seed=5, known_bad=known_bad),
        Order((NUM_PAIRS,), (1.0,), seed=2, batch_size=24),
        Assembler(tokenizer, padding_id=0, image_features=mapped, teacher_view=0),
    )
    (loaded,) = take(these, 0, 1)
    batch = loaded.batch
    assert batch.levels is None and batch.image_features is not None
    assert torch.equal(batch.image_features, torch.from_numpy(features)[batch.image_keys])
    assert 9 not in batch.image_keys.tolist()
    assert loaded.teacher_levels is not None
    assert loaded.teacher_levels.shape == (24, 3, 16, 16)


def test_the_teacher_has_its_own_view_of_the_same_pairs(tokenizer: Tokenizer) -> None:
    these = PairBatches(
        PairReader(source(), [SMALL, LARGE], Augmentation(), seed=5),
        Order((NUM_PAIRS,), (1.0,), seed=2, batch_size=4),
        Assembler(tokenizer, padding_id=0, teacher_view=1),
    )
    (loaded,) = take(these, 0, 1)
    assert loaded.teacher_levels is not None
    for row, pixels in zip(loaded.batch.image_keys, loaded.teacher_levels, strict=True):
        expected = LARGE.pixel_values(source()[int(row)].image)
        image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
        np.testing.assert_array_equal(LARGE.standardized(image), expected)


def test_what_identifies_the_pairs_tells_weights_apart(tokenizer: Tokenizer) -> None:
    reader = PairReader(source(), [SMALL], CHANGING, seed=5)
    one, other = (
        PairBatches(reader, Order((26,), (weight,), 0, 2), Assembler(tokenizer, None))
        for weight in (1.0, 2.0)
    )
    assert one.fingerprint != other.fingerprint
    assert "a list" in one.fingerprint
    assert (one.num_pairs, one.steps_per_epoch) == (26, 13)
    assert (other.num_pairs, other.steps_per_epoch) == (26, 26)


@pytest.mark.slow
def test_a_text_has_the_same_key_in_every_process() -> None:
    """Python's own hash has not: it is salted."""
    texts = ["", "a cat", "Grüße 🐈", "a cat "]
    code = "from clipkit.training.data_loading import text_key;"
    code += f"print(*map(text_key, {texts!r}))"
    words = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    ended = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert [int(key) for key in ended.stdout.split()] == [text_key(text) for text in texts]


def test_keys_of_many_texts_differ_and_fit_into_64_bits() -> None:
    keys = {text_key(f"text {number}") for number in range(10_000)} | {text_key("\ud800")}
    assert len(keys) == 10_001
    assert torch.tensor(sorted(keys)).dtype == torch.int64
