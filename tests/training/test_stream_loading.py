"""Steps of a run on a stream: which pairs they see, before and after an interruption."""

import itertools
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipkit.data.epoch_draws import EpochDraws
from clipkit.data.shard_samples import ShardCaptions
from clipkit.data.shard_stream import ShardStream
from clipkit.errors import InputError, TrainingError
from clipkit.inputs.augmentation import Augmentation
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.training.batch import class_key
from clipkit.training.data_loading import LoadedBatch, PairBatches
from clipkit.training.pair_reading import ReadPairs
from clipkit.training.stream_loading import StreamReader, StreamSampler
from tests.data.conftest import image, write_shard

PREPROCESS = Preprocess((8, 8))
NUM_SHARDS, PER_SHARD = 6, 4


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> ShardStream:
    """Six shards of four pairs each."""
    folder = tmp_path_factory.mktemp("shards")
    shards = [
        write_shard(
            folder / f"{number}.tar",
            [
                {"__key__": f"{n}", "png": image(10 * number + n), "txt": f"{number} {n}".encode()}
                for n in range(PER_SHARD)
            ],
        )
        for number in range(NUM_SHARDS)
    ]
    return ShardStream(tuple(map(str, shards)), ShardCaptions())


@pytest.fixture(scope="module")
def tokenizer(starter_folder: Path) -> Tokenizer:
    """CLIP's own, for 16 tokens."""
    return Tokenizer.from_config({"context_length": 16}, starter_folder)


def _reader(
    stream: ShardStream,
    *,
    workers: int = 1,
    batch_size: int = 4,
    rank: int = 0,
    world_size: int = 1,
    samples: int = NUM_SHARDS * PER_SHARD,
) -> StreamReader:
    sampler = StreamSampler(samples, 5, batch_size, workers, rank, world_size)
    return StreamReader(stream, sampler, [PREPROCESS], Augmentation((0.5, 1.0)))


def _step(reader: StreamReader, step: int) -> ReadPairs:
    read = reader[step]
    assert isinstance(read, ReadPairs), read
    return read


def _same(first: ReadPairs, second: ReadPairs) -> bool:
    return (
        first.captions == second.captions
        and first.image_keys.tolist() == second.image_keys.tolist()
        and all(np.array_equal(a, b) for a, b in zip(first.views, second.views, strict=True))
    )


def test_an_epoch_of_all_pairs_has_each_once(stream: ShardStream) -> None:
    reader = _reader(stream)
    assert (reader.steps_per_epoch, reader.num_pairs) == (6, 24)
    epochs = [
        [text for step in range(start, start + 6) for text in _step(reader, step).captions]
        for start in (0, 6)
    ]
    everything = [f"{number} {n}" for number in range(NUM_SHARDS) for n in range(PER_SHARD)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == everything
    assert epochs[0] != epochs[1]


def test_weighted_shards_are_read_so_often(stream: ShardStream) -> None:
    """Two shards twice a turn and four every other turn: 2 * 2 + 4 / 2 shards, 24 pairs."""
    weighted = replace(stream, draws=EpochDraws((2, 4), (2.0, 0.5)))
    reader = _reader(weighted)
    epochs = [
        Counter(
            text[0] for step in range(start, start + 6) for text in _step(reader, step).captions
        )
        for start in (0, 6)
    ]
    for shards in epochs:
        assert (shards["0"], shards["1"], shards.total()) == (8, 8, 24)
    rare = [{name for name in shards if name not in "01"} for shards in epochs]
    assert sorted(rare[0] | rare[1]) == ["2", "3", "4", "5"]
    assert [len(names) for names in rare] == [2, 2]
    assert weighted.fingerprint != stream.fingerprint


def test_too_few_weighted_shards_are_refused(stream: ShardStream) -> None:
    weighted = replace(stream, draws=EpochDraws((6,), (0.5,)))
    with pytest.raises(InputError, match="3 shards cannot be shared by 4 readers"):
        _reader(weighted, workers=4)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_step_is_the_same_whatever_was_read_before_it(stream: ShardStream, workers: int) -> None:
    """A run that is resumed begins in the middle of an epoch."""
    whole = _reader(stream, workers=workers)
    steps = [_step(whole, step) for step in range(14)]
    for start in (1, 5, 6, 9, 13):
        resumed = _reader(stream, workers=workers)
        for step in range(start, 14):
            assert _same(_step(resumed, step), steps[step])


def test_ranks_and_workers_read_shards_of_their_own(stream: ShardStream) -> None:
    """Two ranks with three workers each, and six shards."""
    found: Counter[str] = Counter()
    for rank in range(2):
        reader = _reader(stream, workers=3, batch_size=8, rank=rank, world_size=2)
        for step in range(3):  # an epoch: each worker one step
            captions = _step(reader, step).captions
            assert len({text.split()[0] for text in captions}) == 1
            found.update(captions)
    assert len(found) == 24
    assert {*found.values()} == {1}


def test_too_few_shards_for_all_readers_are_refused(stream: ShardStream) -> None:
    words = r"6 shards cannot be shared by 8 readers, 4 in each of 2 processes: set data\.workers "
    with pytest.raises(InputError, match=words + "= 3 or less"):
        _reader(stream, workers=4, world_size=2)
    with pytest.raises(InputError, match="6 shards cannot be shared by 7 processes: start fewer"):
        _reader(stream, workers=1, world_size=7)


def test_pairs_that_cannot_be_read_are_replaced_and_told_of(tmp_path: Path) -> None:
    rows = [
        {"__key__": f"{n}", "png": image(n) if n % 4 else b"no image", "txt": f"{n}".encode()}
        for n in range(8)
    ]
    shard = write_shard(tmp_path / "a.tar", [{"__key__": "x", "png": image(9)}, *rows])
    stream = ShardStream((str(shard),), ShardCaptions())
    reader = _reader(stream, samples=8, batch_size=8)
    read = _step(reader, 0)
    good = [f"{n}" for n in range(8) if n % 4]
    assert sorted({*read.captions}) == good
    assert len(read.captions) == len(read.views[0]) == 8
    keys = dict(zip(read.captions, read.image_keys.tolist(), strict=True))
    assert len({*keys.values()}) == 6  # a copy is known as such
    assert {*read.bad} == {f"{shard}/{name}" for name in ("x", "0", "4")}
    assert _same(_step(_reader(stream, samples=8, batch_size=8), 1), _step(reader, 1))


def test_a_batch_of_nothing_that_can_be_read_ends_the_run(tmp_path: Path) -> None:
    rows = [{"__key__": f"{n}", "png": b"no image", "txt": b"a"} for n in range(4)]
    stream = ShardStream((str(write_shard(tmp_path / "a.tar", rows)),), ShardCaptions())
    error = _reader(stream, samples=4)[0]
    assert isinstance(error, TrainingError)
    assert str(error).startswith("none of the 4 pairs of a batch can be read, the last one is ")


def test_a_shard_that_is_gone_ends_the_run(stream: ShardStream) -> None:
    error = _reader(ShardStream(("/gone.tar",), ShardCaptions()), samples=4)[0]
    assert isinstance(error, TrainingError)
    assert str(error).endswith("No such file or directory: '/gone.tar'. The same command resumes "
                               "this run")  # fmt: skip


def test_pairs_of_a_class_have_one_key(tmp_path: Path) -> None:
    from clipkit.data.class_names import ClassNames

    rows = [{"__key__": f"{n}", "png": image(n), "cls": f"{n % 2}".encode()} for n in range(4)]
    captions = ShardCaptions(class_names=ClassNames(tmp_path, {}, ("cat", "dog")))
    stream = ShardStream((str(write_shard(tmp_path / "a.tar", rows)),), captions)
    read = _step(_reader(stream, samples=4), 0)
    names = [text.removeprefix("a photo of a ").rstrip(".") for text in read.captions]
    assert read.image_keys.tolist() == [class_key(name) for name in names]


@pytest.mark.slow
def test_batches_of_worker_processes_are_those_of_one_with_as_many_lanes(
    stream: ShardStream, tokenizer: Tokenizer
) -> None:
    def batches(workers: int, step: int) -> list[LoadedBatch]:
        these = PairBatches(_reader(stream, workers=2), tokenizer, 0, workers=workers)
        with closing(these.after(step)) as found:
            return list(itertools.islice(found, 6))

    for step in (0, 3):
        for one, other in zip(batches(0, step), batches(2, step), strict=True):
            assert one.captions == other.captions
            assert one.batch.images is not None
            assert other.batch.images is not None
            assert one.batch.images.equal(other.batch.images)
