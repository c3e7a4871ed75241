"""Features of images: computed once, and never of other images or another tower."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import clipkit
from clipkit.data.pair import Pair
from clipkit.encoder import stored_images as stored_module
from clipkit.encoder.stored_images import (
    StoredImages,
    embed_and_store,
    read_stored,
)
from clipkit.errors import ImageReadError
from tests.fake_pairs import ListSource
from tests.fakes import FakeEncoder, image_embedding, save_image
from tests.full_disk import full_disk

NUM_PAIRS = 11
BAD = (0, 4, 9)  # a file that is no image, an error of the source, a file that is gone
GOOD = [row for row in range(NUM_PAIRS) if row not in BAD]


@pytest.fixture
def source(tmp_path: Path) -> ListSource:
    """Images of one colour each, of which three are bad."""
    paths = [tmp_path / "images" / f"{number}.png" for number in range(NUM_PAIRS)]
    for number, path in enumerate(paths):
        save_image(path, (20 * number, 99, 255 - 20 * number))
    paths[0].write_bytes(b"no image")
    paths[9].unlink()
    pairs: list[Pair | ImageReadError] = [Pair(path, ("text",), path.name) for path in paths]
    pairs[4] = ImageReadError("4.png", "is cut off")
    return ListSource(pairs)


@pytest.fixture(autouse=True)
def saved_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock, which each batch of two takes, comes six seconds after the last."""
    looks = itertools.count(step=6)
    monkeypatch.setattr(stored_module, "time", SimpleNamespace(monotonic=lambda: next(looks)))


def expected_rows(source: ListSource) -> NDArray[np.float32]:
    rows = np.zeros((NUM_PAIRS, 4), dtype=np.float32)
    for row in GOOD:
        image = source[row].image
        assert isinstance(image, Path)
        with Image.open(image) as photo:
            rows[row] = image_embedding(photo)
    return rows


def check(found: StoredImages, source: ListSource) -> None:
    np.testing.assert_array_equal(found.rows, expected_rows(source))
    assert np.flatnonzero(found.is_bad).tolist() == list(BAD)


def compute(encoder: FakeEncoder, source: ListSource, folder: Path, key: str = "a") -> None:
    check(embed_and_store(encoder, source, folder, key=key), source)


def stop_at(count: int) -> FakeEncoder:
    """Return an encoder that is interrupted before the image that so many come before."""

    def interrupt(num_before: int) -> None:
        if num_before == count:
            raise KeyboardInterrupt

    return FakeEncoder(before_image=interrupt)


def test_features_are_the_encoders_and_bad_images_are_marked(
    source: ListSource, tmp_path: Path
) -> None:
    told: list[tuple[int, int | None]] = []
    encoder = FakeEncoder()
    found = embed_and_store(
        encoder,
        source,
        tmp_path / "run" / "features",
        key="a",
        progress=lambda done, total: told.append((done, total)),
    )
    check(found, source)
    assert found.rows.dtype == np.float32
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1] == (NUM_PAIRS, NUM_PAIRS)


def test_a_second_time_only_bad_images_are_tried(source: ListSource, tmp_path: Path) -> None:
    compute(FakeEncoder(), source, tmp_path / "features")
    again = FakeEncoder()
    compute(again, source, tmp_path / "features")
    assert again.encoded_images == ["0.png", "9.png"]


def test_images_that_were_mended_replaced_or_broken_are_computed_again(
    source: ListSource, tmp_path: Path
) -> None:
    folder = tmp_path / "features"
    compute(FakeEncoder(), source, folder)
    paths = tmp_path / "images"
    save_image(paths / "0.png", (1, 2, 3))
    save_image(paths / "1.png", (200, 100, 0))
    (paths / "2.png").write_bytes(b"rotten")

    again = FakeEncoder()
    found = embed_and_store(again, source, folder, key="a")

    assert again.encoded_images == ["0.png", "1.png", "2.png", "9.png"]
    assert np.flatnonzero(found.is_bad).tolist() == [2, 4, 9]
    for row in (0, 1):
        with Image.open(paths / f"{row}.png") as image:
            np.testing.assert_array_equal(found.rows[row], image_embedding(image)[0])
    assert not found.rows[2].any()


@pytest.mark.parametrize("count", range(9))
def test_interrupted_work_goes_on_without_doing_again_what_was_kept(
    source: ListSource, tmp_path: Path, count: int
) -> None:
    """Every other batch of two is kept, ten seconds after the last time."""
    folder = tmp_path / "features"
    with pytest.raises(KeyboardInterrupt):
        embed_and_store(stop_at(count), source, folder, key="a")
    kept = [row for row in range(NUM_PAIRS) if not read_stored(folder).is_bad[row]]
    assert len(kept) >= count - 3 - len(BAD)

    second = FakeEncoder()
    compute(second, source, folder)
    left = [f"{row}.png" for row in range(NUM_PAIRS) if row not in (4, *kept)]
    assert second.encoded_images == left


def test_under_another_key_all_is_computed_anew(source: ListSource, tmp_path: Path) -> None:
    compute(FakeEncoder(), source, tmp_path / "features", "a")
    other = FakeEncoder()
    compute(other, source, tmp_path / "features", "b")
    assert len(other.encoded_images) == NUM_PAIRS - 1


def test_what_another_key_began_to_overwrite_is_not_taken_for_the_old(
    source: ListSource, tmp_path: Path
) -> None:
    compute(FakeEncoder(), source, tmp_path / "features", "a")
    with pytest.raises(KeyboardInterrupt):
        embed_and_store(stop_at(0), source, tmp_path / "features", key="b")
    compute(FakeEncoder(), source, tmp_path / "features", "a")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"done": 11, "bad": []}'])
def test_a_state_that_says_nothing_is_none(
    source: ListSource, tmp_path: Path, content: str
) -> None:
    compute(FakeEncoder(), source, tmp_path / "features")
    (tmp_path / "features" / "state.json").write_text(content)
    again = FakeEncoder()
    compute(again, source, tmp_path / "features")
    assert len(again.encoded_images) == NUM_PAIRS - 1


@pytest.mark.parametrize("num_bytes", [0, 150])  # 128 of a file's head, 16 of each row
def test_a_full_disk_is_told_of_before_anything_is_computed(
    source: ListSource, tmp_path: Path, num_bytes: int
) -> None:
    encoder = FakeEncoder()
    with full_disk(num_bytes), pytest.raises(OSError, match="File too large"):
        embed_and_store(encoder, source, tmp_path / "features", key="a")
    assert encoder.encoded_images == []
    compute(FakeEncoder(), source, tmp_path / "features")


def test_room_for_all_rows_is_taken_at_once(source: ListSource, tmp_path: Path) -> None:
    many = ListSource([source[1]] * 50_000)
    with pytest.raises(KeyboardInterrupt):
        embed_and_store(stop_at(0), many, tmp_path / "features", key="a")
    for path in (tmp_path / "features").glob("*.npy"):
        assert path.stat().st_blocks * 512 >= path.stat().st_size


def test_rows_that_are_gone_are_computed_anew(source: ListSource, tmp_path: Path) -> None:
    compute(FakeEncoder(), source, tmp_path / "features")
    (tmp_path / "features" / "image_features.npy").unlink()
    compute(FakeEncoder(), source, tmp_path / "features")


def test_a_real_encoder_gives_what_it_gives_elsewhere(
    source: ListSource, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    encoder = clipkit.load(str(tiny_checkpoint))
    found = embed_and_store(encoder, source, tmp_path / "features", key="a")
    expected = encoder.encode_images([source[row].image for row in GOOD])
    np.testing.assert_allclose(found.rows[GOOD], expected, atol=1e-6)
    assert np.flatnonzero(found.is_bad).tolist() == list(BAD)
    assert not found.rows[list(BAD)].any()
