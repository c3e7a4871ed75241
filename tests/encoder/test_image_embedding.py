"""The pipeline of images: threads decode, others embed, the caller takes; and what fails in it."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from clipkit.inputs.image_input import ImageInput
from clipkit.inputs.preprocess import Preprocess
from clipkit.progress import usable_cores
from tests.encoder.conftest import MeanColorRuntime, letters_tokenizer


def test_stream_is_lazy_and_bounded(encoder: Encoder, images: list[Path]) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield images[taken % len(images)]

    stream = encoder.stream_images(endless(), batch_size=2)
    batches = [next(stream) for _ in range(3)]
    stream.close()
    assert [batch.positions for batch in batches] == [[0, 1], [2, 3], [4, 5]]
    assert taken <= 6 + 2 * (1 + 3) + 2 * usable_cores() + 1  # as the docstring says


def test_stopping_early_leaves_no_threads(encoder: Encoder, images: list[Path]) -> None:
    before = threading.active_count()
    stream = encoder.stream_images(images * 10, batch_size=2)
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_progress_of_a_stream_counts_every_image(
    encoder: Encoder, images: list[Path], tmp_path: Path
) -> None:
    calls: list[tuple[int, int | None]] = []
    mixed = [*images[:3], tmp_path / "none.jpg"]
    list(encoder.stream_images(mixed, batch_size=2, progress=lambda *call: calls.append(call)))
    assert calls == [(2, 4), (4, 4)]


PATIENCE = 60  # seconds until a deadlock is called one


class HookedPreprocess(Preprocess):
    """Calls something before it decodes an image."""

    def pixel_values(self, source: Any, **options: Any) -> NDArray[np.float32]:
        HookedPreprocess.before(source)
        return super().pixel_values(source, **options)

    @staticmethod
    def before(source: Any) -> None:
        """Called with each image."""


class HookedRuntime(MeanColorRuntime):
    """Calls something with the number of each batch before and after it is embedded."""

    def __init__(self, image_workers: int) -> None:
        super().__init__(image_workers)
        self.before: Callable[[int], object] = lambda number: None
        self.after: Callable[[int], object] = lambda size: None
        self._lock = threading.Lock()

    def image_features(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        with self._lock:
            number = len(self.image_batches)
            features = super().image_features(pixel_values)
        self.before(number)
        self.after(len(pixel_values))
        return features


def hooked(workers: int) -> tuple[Encoder, HookedRuntime]:
    runtime = HookedRuntime(workers)
    preprocess = HookedPreprocess(size=(4, 4), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Encoder(runtime, preprocess, letters_tokenizer(), name="hooked"), runtime


def arrays(count: int) -> list[ImageInput]:
    """Images of one colour each, all different."""
    return [np.full((4, 4, 3), (n, 255 - n, 7 * n % 256), np.uint8) for n in range(1, count + 1)]


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_threads_and_batches_change_no_bit_and_no_place(workers: int, batch_size: int) -> None:
    encoder, _ = hooked(workers)
    images = arrays(41)
    alone = np.concatenate([encoder.encode_images([image]) for image in images])
    np.testing.assert_array_equal(encoder.encode_images(images, batch_size=batch_size), alone)


def test_batches_stay_in_order_whichever_is_ready_first() -> None:
    encoder, runtime = hooked(2)
    second_is_here = threading.Event()

    def before(number: int) -> None:
        if number == 0:
            assert second_is_here.wait(PATIENCE)
        else:
            second_is_here.set()

    runtime.before = before
    batches = list(encoder.stream_images(arrays(6), batch_size=2))
    assert [batch.positions for batch in batches] == [[0, 1], [2, 3], [4, 5]]


def test_the_tower_computes_while_images_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, runtime = hooked(1)
    images = arrays(30)
    both = threading.Barrier(2)

    def before(source: object) -> None:
        if source is images[-1]:
            both.wait(PATIENCE)

    monkeypatch.setattr(HookedPreprocess, "before", before)
    last_but_one = 13
    runtime.before = lambda number: number == last_but_one and both.wait(PATIENCE)
    assert encoder.encode_images(images, batch_size=2).shape == (30, 3)


def test_work_goes_on_while_the_caller_holds_a_batch() -> None:
    encoder, runtime = hooked(2)
    three_are_done = threading.Semaphore(0)
    runtime.after = lambda size: three_are_done.release()
    with closing(encoder.stream_images(arrays(50), batch_size=2)) as stream:
        next(stream)
        for _ in range(3):
            assert three_are_done.acquire(timeout=PATIENCE)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_no_more_images_are_in_memory_than_stated(
    workers: int, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, runtime = hooked(workers)
    stated = batch_size * (workers + 3) + 2 * usable_cores() + 1
    lock = threading.Lock()
    in_memory, most = 0, 0
    is_full = threading.Event()

    def count(change: int) -> None:
        nonlocal in_memory, most
        with lock:
            in_memory += change
            most = max(most, in_memory)
            if in_memory >= stated - 1:
                is_full.set()

    monkeypatch.setattr(HookedPreprocess, "before", lambda source: count(1))
    runtime.before = lambda number: is_full.wait(PATIENCE)  # the tower is what all wait for
    runtime.after = lambda size: count(-size)
    endless = itertools.cycle(arrays(10))
    with closing(encoder.stream_images(endless, batch_size=batch_size)) as stream:
        for _ in range(20):
            next(stream)
    assert is_full.is_set()
    assert most <= stated


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_tower_gives_what_came_before_and_ends(workers: int) -> None:
    encoder, runtime = hooked(workers)
    before = threading.active_count()
    yielded = []

    def image_features(pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        if pixel_values[0, 0, 0, 0] == np.float32(5 / 255):  # of the third batch
            raise MemoryError("out of memory")
        return MeanColorRuntime.image_features(runtime, pixel_values)

    runtime.image_features = image_features  # type: ignore[method-assign]
    with pytest.raises(MemoryError, match="out of memory"):
        for batch in encoder.stream_images(arrays(20), batch_size=2):
            yielded.append(batch.positions)
    assert yielded == [[0, 1], [2, 3]]
    assert threading.active_count() == before


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_decoder_gives_what_came_before_and_ends(workers: int) -> None:
    encoder, _ = hooked(workers)
    before = threading.active_count()
    yielded = []
    items: list[Any] = [*arrays(5), 42, *arrays(5)]
    with pytest.raises(InputError, match="got int"):
        for batch in encoder.stream_images(items, batch_size=2):
            yielded.append(batch.positions)
    assert yielded == [[0, 1], [2, 3]]
    assert threading.active_count() == before


def test_an_error_of_the_list_of_images_gives_what_came_before_and_ends() -> None:
    encoder, _ = hooked(2)
    before = threading.active_count()
    yielded = []

    def listed() -> Iterator[ImageInput]:
        yield from arrays(4)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        for batch in encoder.stream_images(listed(), batch_size=2):
            yielded.append(batch.positions)
    assert yielded == [[0, 1], [2, 3]]
    assert threading.active_count() == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_caller_that_fails_leaves_no_threads(error: type[BaseException]) -> None:
    encoder, _ = hooked(2)
    before = threading.active_count()
    with (
        pytest.raises(error),
        closing(encoder.stream_images(itertools.cycle(arrays(10)), batch_size=2)) as stream,
    ):
        next(stream)
        raise error
    assert threading.active_count() == before


def test_an_interrupt_while_images_are_listed_leaves_no_threads() -> None:
    encoder, _ = hooked(2)
    before = threading.active_count()

    def listed() -> Iterator[ImageInput]:
        yield from arrays(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoder.encode_images(listed(), batch_size=2)
    assert threading.active_count() == before
