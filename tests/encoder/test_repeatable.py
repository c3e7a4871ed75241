"""The same bits, however many threads there are and whatever other images are embedded."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import clipkit
from clipkit.encoder.repeatable import EmbedOutcome, embed_repeatably, images_a_call
from clipkit.errors import ImageReadError
from clipkit.runtime.base import OneThreadRuntime


def _embed(
    encoder: clipkit.Encoder, paths: Iterable[Path], threads: int
) -> list[tuple[Path, EmbedOutcome]]:
    return list(embed_repeatably(encoder, paths, lambda path: path, threads=threads))


def test_rows_are_those_of_the_encoder_in_their_order(
    starter: clipkit.Encoder, samples: list[Path]
) -> None:
    outcomes = _embed(starter, samples[:5], 2)
    assert [path for path, _ in outcomes] == samples[:5]
    rows = np.stack([np.asarray(row) for _, row in outcomes])
    np.testing.assert_allclose(rows, starter.encode_images(samples[:5]), atol=2e-6)


def test_threads_change_no_bit_nor_does_being_the_only_image(samples: list[Path]) -> None:
    more = dict(_embed(clipkit.load(cache_texts=False), samples[:9], 3))
    some = dict(_embed(clipkit.load(cache_texts=False), samples[:9], 1))
    rest = dict(_embed(clipkit.load(cache_texts=False), samples[8:9], 1))  # as the third group
    for found in (some, rest):
        for path, row in found.items():
            assert np.array_equal(np.asarray(row), np.asarray(more[path]))


def test_groups_are_of_items_whether_or_not_they_can_be_read(
    starter: clipkit.Encoder, samples: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    runtime = starter._runtime
    assert isinstance(runtime, OneThreadRuntime)
    real = runtime.features_in_one_thread

    def counted(values: NDArray[np.float32]) -> NDArray[np.float32]:
        sizes.append(len(values))
        return real(values)

    monkeypatch.setattr(runtime, "features_in_one_thread", counted)
    gone = [Path("a.png"), Path("b.png")]
    _embed(starter, [*samples[:3], gone[0], *samples[3:6], gone[1], *gone, *gone, samples[6]], 1)
    assert images_a_call(starter) == 4
    assert sizes == [3, 3, 1]  # of the third group nothing can be read


@pytest.mark.slow
def test_a_truncated_encoder_embeds_the_first_dimensions(
    starter: clipkit.Encoder, samples: list[Path]
) -> None:
    short = np.stack([np.asarray(row) for _, row in _embed(starter.truncated(64), samples[:5], 2)])
    np.testing.assert_allclose(short, starter.truncated(64).encode_images(samples[:5]), atol=2e-6)


def test_an_image_that_cannot_be_read_has_its_reason(
    starter: clipkit.Encoder, samples: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("no image")

    def read(path: Path) -> Path:
        if path.name == "refused":
            raise ImageReadError(path, "is refused")
        return path

    paths = [samples[0], tmp_path / "text.png", Path("refused"), samples[1]]
    outcomes = list(embed_repeatably(starter, paths, read, threads=2))
    assert [path for path, _ in outcomes] == paths
    assert isinstance(outcomes[0][1], np.ndarray) and isinstance(outcomes[3][1], np.ndarray)
    assert isinstance(outcomes[1][1], ImageReadError)
    assert "is not an image" in outcomes[1][1].reason
    assert isinstance(outcomes[2][1], ImageReadError) and outcomes[2][1].reason == "is refused"


@pytest.mark.slow
def test_torch_takes_batches_of_what_can_be_read(
    tiny_checkpoint: Path, samples: list[Path], tmp_path: Path
) -> None:
    encoder = clipkit.load(tiny_checkpoint, engine="torch", device="cpu", precision="fp32")
    assert images_a_call(encoder) == 8
    (tmp_path / "text.png").write_text("no image")
    paths = [*samples[:5], tmp_path / "text.png", *samples[5:12]]
    outcomes = dict(_embed(encoder, paths, 2))
    assert list(outcomes) == paths
    rows = np.stack([np.asarray(outcomes[path]) for path in samples[:12]])
    np.testing.assert_allclose(rows, encoder.encode_images(samples[:12]), atol=2e-6)
    again = dict(_embed(encoder, paths, 1))
    assert all(
        np.array_equal(np.asarray(again[path]), np.asarray(outcomes[path])) for path in samples[:12]
    )
