"""The same bits, however many threads there are and whatever other images are embedded."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

import clipkit
from clipkit.encoder.repeatable import EmbedOutcome, embed_repeatably, images_a_call
from clipkit.errors import ImageReadError


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


def test_threads_and_neighbours_change_no_bit(samples: list[Path]) -> None:
    alone = dict(_embed(clipkit.load(cache_texts=False), samples[2:3], 1))
    some = dict(_embed(clipkit.load(cache_texts=False), samples[:4], 1))
    more = dict(_embed(clipkit.load(cache_texts=False), samples[:9], 3))
    for found in (some, more):
        assert np.array_equal(np.asarray(found[samples[2]]), np.asarray(alone[samples[2]]))
    for path in samples[:4]:
        assert np.array_equal(np.asarray(some[path]), np.asarray(more[path]))


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
    assert images_a_call(encoder) == 8 and images_a_call(clipkit.load()) == 1
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
