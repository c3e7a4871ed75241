"""A pool of processes: the same embeddings in the same order, whatever goes wrong in between."""

import copy
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clipkit
from clipkit.encoder.pool import EncoderPool
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


def test_every_kind_of_image_is_taken(
    pool: EncoderPool, starter: clipkit.Encoder, samples: list[Path], tmp_path: Path
) -> None:
    Image.open(samples[0]).save(tmp_path / "x.tif")

    def kinds() -> list[Any]:  # anew: an image that failed once may have what it read
        photo = Image.open(samples[0])
        return [
            *(samples[0], samples[0].read_bytes(), io.BytesIO(samples[0].read_bytes())),
            *(photo, np.asarray(photo), Image.open(tmp_path / "x.tif")),
            *(Image.open(io.BytesIO(samples[1].read_bytes()[:3000])), b"no image"),
        ]

    found = pool.encode_readable_images(kinds())
    expected = starter.encode_readable_images(kinds())
    np.testing.assert_array_equal(found.positions, expected.positions)
    np.testing.assert_allclose(found.embeddings, expected.embeddings, atol=1e-6)
    reasons = [(position, str(error)) for position, error in found.skipped]
    assert reasons == [(position, str(error)) for position, error in expected.skipped]


def test_what_is_no_image_is_told(pool: EncoderPool) -> None:
    some: Any = 3
    with pytest.raises(InputError, match="an image must be"):
        pool.encode_images([some])
    for prompt in ("a {}", None):
        some = prompt
        with pytest.raises(InputError, match="prompt must be"):
            pool.encode_texts(["a"], prompt=some)


def test_relative_paths_count_from_where_the_call_is(
    pool: EncoderPool, samples: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.encode_images(samples[:1])  # the processes have begun elsewhere
    monkeypatch.chdir(samples[0].parent)
    report = pool.encode_readable_images([samples[0].name, "nothing.jpg"])
    assert report.positions.tolist() == [0]
    assert str(report.skipped[0][1]) == "nothing.jpg: no such file"


def test_settings_are_those_of_the_call(starter: clipkit.Encoder, samples: list[Path]) -> None:
    encoder = clipkit.load(cache_texts=False)
    with EncoderPool(encoder, ["cpu"]) as pool:
        assert len(pool.encode_images(samples[:1])) == 1
        encoder.max_pixels = 10
        assert len(pool.encode_readable_images(samples[:1]).skipped) == 1


def test_a_stream_can_be_left_and_another_begun(pool: EncoderPool, samples: list[Path]) -> None:
    stream = pool.stream_images(samples * 9, batch_size=2)
    assert next(stream).positions == [0, 1]
    stream.close()
    assert len(pool.encode_images(samples[:3])) == 3


def test_a_list_that_fails_in_the_middle_ends_the_call(
    pool: EncoderPool, samples: list[Path]
) -> None:
    def images() -> Iterator[Path]:
        yield from samples[:3]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        pool.encode_images(images(), batch_size=1)
    assert len(pool.encode_images(samples[:3])) == 3


def test_a_pool_that_has_ended_says_so_and_none_can_be_copied(
    starter: clipkit.Encoder, samples: list[Path]
) -> None:
    with EncoderPool(starter, ["cpu"]) as pool:
        with pytest.raises(InputError, match="a pool cannot be copied"):
            copy.deepcopy(pool)
        assert len(pool.encode_texts(["a cat"])) == 1
    with pytest.raises(InputError, match="this pool has ended"):
        pool.encode_images(samples[:1])


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
