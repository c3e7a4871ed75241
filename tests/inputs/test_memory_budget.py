"""Waiting for memory: the sum stays below the limit, everybody gets a turn, nobody keeps any."""

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import psutil
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from clipkit.errors import ImageReadError
from clipkit.inputs import images
from clipkit.inputs.images import borrow_image, default_max_pixels
from clipkit.inputs.memory_budget import MemoryBudget, image_memory
from clipkit.inputs.preprocess import Preprocess

NO_LIMIT = 10**9  # pixels
PATIENCE = 60  # seconds until a deadlock is called one


@settings(max_examples=40, deadline=None)
@given(limit=st.integers(1, 100), sizes=st.lists(st.integers(1, 150), min_size=1, max_size=12))
def test_no_more_is_held_than_the_limit_but_for_a_lone_giant(limit: int, sizes: list[int]) -> None:
    budget = MemoryBudget(limit)
    held: list[int] = []
    done: list[int] = []
    may_end = [threading.Event() for _ in sizes]

    def decode(number: int) -> None:
        with budget.reservation() as reserve:
            reserve(sizes[number])
            held.append(number)
            may_end[number].wait(PATIENCE)
            held.remove(number)

    def is_settled() -> bool:
        # Each holds something, waits or is done, and not all wait.
        return bool(held) and len(held) + len(budget._waiting) + len(done) == len(sizes)

    with ThreadPoolExecutor(len(sizes)) as pool:
        images = [pool.submit(decode, number) for number in range(len(sizes))]
        try:
            while len(done) < len(sizes):
                wait_until(is_settled)
                assert sum(sizes[number] for number in held) <= limit or len(held) == 1
                first = held[0]
                may_end[first].set()
                images[first].result(PATIENCE)
                done.append(first)
        finally:
            for event in may_end:
                event.set()
    assert budget._held == 0


def test_as_many_hold_at_once_as_fit() -> None:
    budget = MemoryBudget(9)
    all_three = threading.Barrier(3)

    def decode(_: int) -> None:
        with budget.reservation() as reserve:
            reserve(3)
            all_three.wait(PATIENCE)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(decode, range(3)))


def test_a_giant_is_not_overtaken_for_ever() -> None:
    budget = MemoryBudget(10)
    order: list[str] = []

    def decode(name: str, size: int) -> None:
        with budget.reservation() as reserve:
            reserve(size)
            order.append(name)

    with ThreadPoolExecutor(2) as pool:
        with budget.reservation() as reserve:
            reserve(5)
            pool.submit(decode, "giant", 20)
            wait_until(lambda: len(budget._waiting) == 1)
            pool.submit(decode, "small", 1)  # would fit at once
            wait_until(lambda: len(budget._waiting) == 2)
        order.append("first")
    assert sorted(order) == ["first", "giant", "small"]
    assert order.index("giant") < order.index("small")


def wait_until(is_so: Callable[[], bool]) -> None:
    """Give other threads their turns until something is so."""
    turn = threading.Event()
    for _ in range(60_000):
        if is_so():
            return
        turn.wait(0.001)
    raise AssertionError("it never was")


def test_what_lies_inside_an_image_does_not_wait() -> None:
    budget = MemoryBudget(10)
    with budget.reservation() as reserve:
        reserve(10)
        reserve(10)  # by itself it would wait for ever
        assert budget._held == 10
    assert budget._held == 0


def test_the_memory_is_a_share_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        total = 2 * 1024**3

    image_memory.cache_clear()
    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    try:
        assert image_memory().limit == 512 * 1024**2
        assert default_max_pixels() == 64 * 1024**2  # 8 bytes a pixel
        image_memory.cache_clear()
        Memory.total = 64 * 1024**3
        assert image_memory().limit == 1024**3
        assert default_max_pixels() == 134_217_728
    finally:
        image_memory.cache_clear()


# --- images -----------------------------------------------------------------------------------


@pytest.fixture
def budget(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryBudget]:
    """A small memory in the place of the machine's; at the end nothing of it is held."""
    small = MemoryBudget(1000)
    monkeypatch.setattr(images, "image_memory", lambda: small)
    yield small
    assert small._held == 0
    assert not small._waiting


def gray(width: int = 80, height: int = 40) -> Image.Image:
    return Image.new("L", (width, height), 90)


@pytest.mark.parametrize(
    ("kind", "image", "options", "expected"),
    [
        ("PNG", gray(), {}, 80 * 40 * 8),
        ("PNG", gray().convert("RGB"), {}, 80 * 40 * 8),
        ("PNG", gray().convert("RGBA"), {}, 80 * 40 * 16),
        ("PNG", gray().convert("I;16"), {}, 80 * 40 * 16),
        ("PNG", gray().convert("P"), {"transparency": 0}, 80 * 40 * 16),
        ("TIFF", gray().convert("F"), {}, 80 * 40 * 16),
        ("WEBP", gray().convert("RGB"), {}, 80 * 40 * 24),
        # Decoded at 1/4.
        ("JPEG", gray(), {}, 20 * 10 * 8),
        # And coefficients: one sample a pixel, three of them, and one and two quarters.
        ("JPEG", gray(), {"progressive": True}, 20 * 10 * 8 + 80 * 40 * 2),
        ("JPEG", gray().convert("RGB"), {"progressive": True, "subsampling": 0},
         20 * 10 * 8 + 80 * 40 * 6),
        ("JPEG", gray().convert("RGB"), {"progressive": True, "subsampling": 2},
         20 * 10 * 8 + 80 * 40 * 3),
    ],
)  # fmt: skip
def test_an_image_holds_what_its_kind_needs(
    encode: Callable[..., bytes],
    budget: MemoryBudget,
    kind: str,
    image: Image.Image,
    options: dict[str, object],
    expected: int,
) -> None:
    with borrow_image(encode(image, kind, **options), target=(10, 5), max_pixels=NO_LIMIT):
        assert budget._held == expected


def test_what_cannot_be_read_holds_nothing(
    encode: Callable[..., bytes], budget: MemoryBudget, tmp_path: Path
) -> None:
    cut_off = encode(np.zeros((400, 400, 3), np.uint8), "PNG")[:-200]
    for source in (cut_off, b"", b"no image", tmp_path / "none.png"):
        with pytest.raises(ImageReadError), borrow_image(source):
            pass  # pragma: no cover
        assert budget._held == 0


def test_memory_is_given_back_where_an_image_is_used_and_that_fails(
    encode: Callable[..., bytes], budget: MemoryBudget
) -> None:
    with pytest.raises(ZeroDivisionError), borrow_image(encode(gray(), "PNG"), max_pixels=NO_LIMIT):
        assert budget._held
        raise ZeroDivisionError


def test_images_that_are_all_larger_than_the_memory_take_turns(
    encode: Callable[..., bytes], budget: MemoryBudget, noise: NDArray[np.uint8]
) -> None:
    data = encode(noise, "PNG")
    preprocess = Preprocess((8, 8))
    alone = preprocess.pixel_values(noise)
    with ThreadPoolExecutor(8) as pool:
        read = partial(preprocess.pixel_values, max_pixels=NO_LIMIT)
        for values in pool.map(read, [data] * 40, timeout=PATIENCE):
            np.testing.assert_array_equal(values, alone)


def test_a_file_too_large_to_be_read_at_once_gives_the_same(
    encode: Callable[..., bytes],
    noise: NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(images, "_MAX_BYTES_AT_ONCE", 100)
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF"):
        path = tmp_path / f"image.{kind.lower()}"
        path.write_bytes(encode(noise, kind))
        preprocess = Preprocess((8, 8))
        np.testing.assert_array_equal(
            preprocess.pixel_values(path), preprocess.pixel_values(path.read_bytes())
        )


@pytest.mark.parametrize(
    ("dtype", "tile", "expected"),
    [
        # The values, and sixteen bytes for the levels, the colours and their copies.
        ("float64", None, 80 * 40 * (3 * 8 + 16)),
        ("float32", None, 80 * 40 * (16 + 16)),  # twelve bytes, in units of eight
        # A tile is unpacked whole: 80 x 48 values more, in units of eight bytes a pixel.
        ("float64", (48, 80), 80 * 40 * (56 + 16)),
    ],
)
def test_what_tifffile_reads_holds_its_values_too(
    budget: MemoryBudget, dtype: str, tile: tuple[int, int] | None, expected: int
) -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((40, 80, 3), dtype), photometric="rgb", tile=tile)
    with borrow_image(file.getvalue(), max_pixels=NO_LIMIT):
        assert budget._held == expected


def test_jpeg_xl_holds_what_its_decoder_needs(budget: MemoryBudget) -> None:
    data = bytes(imagecodecs.jpegxl_encode(np.zeros((40, 80, 3), np.uint8)))
    with borrow_image(data, max_pixels=NO_LIMIT):
        assert budget._held == 80 * 40 * 40
