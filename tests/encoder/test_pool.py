"""A pool of processes: the same embeddings in the same order, whatever goes wrong in between."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clipkit
from clipkit.encoder.pool import EncoderPool, _parts
from clipkit.errors import ImageReadError, InputError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pool(starter: clipkit.Encoder) -> Any:
    with EncoderPool(starter, ["cpu", "cpu"]) as pool:
        yield pool


def test_images_come_back_in_order_with_the_embeddings_of_one_process(
    pool: EncoderPool, starter: clipkit.Encoder, samples: list[Path]
) -> None:
    calls: list[tuple[int, int | None]] = []
    rows = pool.encode_images(samples[:9], batch_size=2, progress=lambda *call: calls.append(call))
    np.testing.assert_array_equal(rows, starter.encode_images(samples[:9], batch_size=2))
    assert rows.space_id == starter.space_id
    assert calls[-1] == (9, 9)


def test_unreadable_images_keep_their_positions(
    pool: EncoderPool, starter: clipkit.Encoder, samples: list[Path]
) -> None:
    report = pool.encode_readable_images([b"x", *samples[:3], "nothing.jpg", samples[3]])
    assert report.positions.tolist() == [1, 2, 3, 5]
    assert [position for position, _ in report.skipped] == [0, 4]
    assert report.skipped[1][1].reason == "no such file"
    np.testing.assert_array_equal(report.embeddings, starter.encode_images(samples[:4]))
    with pytest.raises(ImageReadError, match=r"nothing\.jpg: no such file"):
        pool.encode_images([*samples[:1], "nothing.jpg"])


def test_a_stream_without_a_length_is_taken_as_it_comes(
    pool: EncoderPool, samples: list[Path]
) -> None:
    positions = [
        position for batch in pool.stream_images(iter(samples[:5])) for position in batch.positions
    ]
    assert positions == [0, 1, 2, 3, 4]


def test_texts_come_back_in_order(pool: EncoderPool, starter: clipkit.Encoder) -> None:
    texts = [f"{number} red boats" for number in range(7)]
    rows = pool.encode_texts(texts, prompt="a photo of ")
    np.testing.assert_allclose(rows, starter.encode_texts(texts, prompt="a photo of "), atol=1e-6)
    assert rows.space_id == starter.space_id
    assert pool.encode_texts([]).shape == (0, starter.embed_dim)
    assert pool.encode_images([]).shape == (0, starter.embed_dim)


def test_warnings_of_the_processes_are_given_here(pool: EncoderPool) -> None:
    with pytest.warns(clipkit.UnknownTextWarning, match="'猫'"):
        pool.encode_texts(["猫", "a cat"])


def test_what_cannot_be_sent_is_told(pool: EncoderPool, samples: list[Path]) -> None:
    with samples[0].open("rb") as file, pytest.raises(InputError, match="give a pool paths"):
        pool.encode_images([file])
    some: Any = 3
    with pytest.raises(InputError, match="an image must be"):
        pool.encode_images([some])
    with pytest.raises(InputError, match="prompt must be"):
        pool.encode_texts(["a"], prompt="a {}")


def test_devices_that_do_not_fit_are_told(starter: clipkit.Encoder) -> None:
    some: Any
    for some, message in (
        ([], "at least one"),
        ("cpu", "devices must be a list of strings"),
        (["cuda:0"], 'onnx engine, .* load it with device="cuda:0"'),
    ):
        with pytest.raises(InputError, match=message):
            EncoderPool(starter, some)
    some = "starter"
    with pytest.raises(InputError, match="the encoder must be an Encoder"):
        EncoderPool(some, ["cpu"])


def test_few_images_are_shared_and_many_objects_are_few_a_task() -> None:
    paths: list[Any] = [f"{number}.jpg" for number in range(5)]
    assert [(start, len(part)) for start, part in _parts(paths, 2)] == [(0, 2), (2, 2), (4, 1)]
    objects: list[Any] = [b"x"] * 40
    assert [(start, len(part)) for start, part in _parts(objects, 256)] == [(0, 32), (32, 8)]
