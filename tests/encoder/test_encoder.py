"""Images and texts to embeddings: kinds of input, order, reasons, on a runtime done by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import clipkit
from clipkit.encoder.encoder import Encoder
from clipkit.errors import CheckpointError, ImageReadError, InputError
from clipkit.inputs.image_input import ImageInput
from tests.encoder.conftest import COLORS, MeanColorRuntime


def expected_embeddings(colors: list[tuple[int, int, int]]) -> NDArray[np.float64]:
    rows = np.array(colors, dtype=np.float64)
    unit: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_images_become_unit_rows_in_order(
    encoder: Encoder, images: list[Path], batch_size: int
) -> None:
    embeddings = encoder.encode_images(images, batch_size=batch_size)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, expected_embeddings(COLORS), atol=1e-6)


def test_every_kind_of_image_gives_the_same(encoder: Encoder, images: list[Path]) -> None:
    array = np.zeros((5, 5, 3), dtype=np.uint8)
    array[..., 0] = 255
    with images[0].open("rb") as file:
        kinds: list[ImageInput] = [images[0], str(images[0]), images[0].read_bytes(), file]
        kinds += [array, Image.new("RGB", (3, 3), COLORS[0])]
        embeddings = encoder.encode_images(kinds)
    np.testing.assert_allclose(embeddings, [[1.0, 0.0, 0.0]] * 6, atol=1e-6)


def test_what_is_no_list_of_images_is_told(encoder: Encoder, images: list[Path]) -> None:
    some: Any
    for some, message in ((None, "got NoneType"), (3, "got int")):
        with pytest.raises(InputError, match=f"images must be a list of images, {message}"):
            encoder.encode_images(some)
    with images[0].open("rb") as some, pytest.raises(InputError, match=r"got one: .*0\.png"):
        encoder.encode_images(some)
    array: Any = np.array([*images[:2]], dtype=object)  # of paths, not of pixels
    assert encoder.encode_images(array).shape == (2, 3)


def test_what_is_encoded_knows_its_space(encoder: Encoder, images: list[Path]) -> None:
    batches = list(encoder.stream_images([*images, b"no image"], batch_size=1))
    report = encoder.encode_readable_images([b"no image"])
    rows = [*(batch.embeddings for batch in batches), report.embeddings]
    rows += [encoder.encode_images(images), encoder.encode_images([])]
    rows += [encoder.encode_texts(["a"]), encoder.encode_texts([])]
    rows += [encoder.encode_prompts([["a", "b"]]), encoder.encode_prompts([])]
    assert {embeddings.space_id for embeddings in rows} == {"fake"}


def test_texts_become_unit_rows(encoder: Encoder) -> None:
    # "aab" counts (2, 1, 0); "cccc" counts (0, 0, 4)
    embeddings = encoder.encode_texts(["aab", "cccc"])
    np.testing.assert_allclose(embeddings, [[0.894427, 0.447214, 0.0], [0.0, 0.0, 1.0]], atol=1e-6)


def test_texts_go_through_the_tower_in_batches(encoder: Encoder, runtime: MeanColorRuntime) -> None:
    calls: list[tuple[int, int | None]] = []
    encoder.encode_texts(
        ["a", "b", "c", "ab", "ac"], batch_size=2, progress=lambda *call: calls.append(call)
    )
    assert runtime.text_batches == [2, 2, 1]
    assert calls == [(2, 5), (4, 5), (5, 5)]


def test_nothing_gives_no_rows(encoder: Encoder) -> None:
    assert encoder.encode_images([]).shape == (0, 3)
    assert encoder.encode_texts([]).shape == (0, 3)
    report = encoder.encode_readable_images([])
    assert report.embeddings.shape == (0, 3)
    assert report.skipped == []


def test_an_unreadable_image_stops_encode_images(
    encoder: Encoder, images: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(ImageReadError, match=r"empty\.jpg: is empty"):
        encoder.encode_images([images[0], tmp_path / "empty.jpg", images[1]])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 50])
def test_unreadable_images_are_reported_with_their_places(
    encoder: Encoder, images: list[Path], tmp_path: Path, batch_size: int
) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    mixed = [tmp_path / "empty.jpg", images[2], tmp_path / "none.jpg", images[0]]
    report = encoder.encode_readable_images(mixed, batch_size=batch_size)
    assert report.positions.tolist() == [1, 3]
    np.testing.assert_allclose(report.embeddings, [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], atol=1e-6)
    assert [place for place, _ in report.skipped] == [0, 2]
    assert [error.path for _, error in report.skipped] == [str(mixed[0]), str(mixed[2])]


def test_only_unreadable_images_give_reasons_and_no_rows(encoder: Encoder, tmp_path: Path) -> None:
    report = encoder.encode_readable_images([tmp_path / f"{n}.jpg" for n in range(5)], batch_size=2)
    assert report.embeddings.shape == (0, 3)
    assert [place for place, _ in report.skipped] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batches_of_nothing_raise(encoder: Encoder, batch_size: int) -> None:
    with pytest.raises(InputError, match=f"batch_size must be at least 1, got {batch_size}"):
        encoder.encode_texts(["a"], batch_size=batch_size)
    with pytest.raises(InputError, match=f"batch_size must be at least 1, got {batch_size}"):
        list(encoder.stream_images([], batch_size=batch_size))


@pytest.mark.parametrize(
    ("one", "name"),
    [
        ("cat.jpg", "cat.jpg"),
        (Path("cat.jpg"), "cat.jpg"),
        (b"\xff\xd8", "<bytes>"),
        (np.zeros((4, 4, 3), dtype=np.uint8), "<array>"),
        (Image.new("RGB", (2, 2)), "<PIL image>"),
    ],
)
def test_one_image_is_not_a_list(encoder: Encoder, one: Any, name: str) -> None:
    with pytest.raises(InputError, match=rf"a list of images, got one: {name}; .*\[image\]"):
        encoder.encode_images(one)


def test_a_stack_of_arrays_is_several_images(encoder: Encoder) -> None:
    stack = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    stack[0, ..., 1] = stack[1, ..., 2] = 255
    expected = [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    np.testing.assert_allclose(encoder.encode_images(stack), expected, atol=1e-6)


def test_a_url_is_refused_unless_asked_for(encoder: Encoder) -> None:
    with pytest.raises(InputError, match="allow_urls"):
        encoder.encode_images(["http://localhost:9/cat.jpg"])


def test_token_features_need_an_engine_that_has_them(encoder: Encoder, images: list[Path]) -> None:
    with pytest.raises(InputError, match=r'token features .* engine="torch"'):
        encoder.token_features(["a"])
    with pytest.raises(InputError, match=r'patch features .* engine="torch"'):
        encoder.patch_features(images)


def test_load_of_an_unknown_name_raises() -> None:
    with pytest.raises(CheckpointError, match="startr"):
        clipkit.load("startr")


def test_starter_gives_unit_rows(starter: Encoder, samples: list[Path]) -> None:
    embeddings = starter.encode_images(samples[:5])
    assert embeddings.shape == (5, starter.embed_dim)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-6)


def test_starter_does_not_depend_on_the_batch(starter: Encoder, samples: list[Path]) -> None:
    one = starter.encode_images(samples[:9], batch_size=1)
    np.testing.assert_allclose(starter.encode_images(samples[:9], batch_size=4), one, atol=1e-5)
    texts = ["a cat", "", "a long description of a small red boat on a blue lake at dawn", "dog"]
    alone = np.concatenate([starter.encode_texts([text]) for text in texts])
    np.testing.assert_allclose(starter.encode_texts(texts), alone, atol=1e-5)


@pytest.mark.slow
def test_starter_on_torch_gives_fine_features(samples: list[Path]) -> None:
    pytest.importorskip("open_clip")
    encoder = clipkit.load("starter", engine="torch", device="cpu")
    tokens = encoder.token_features(["a cat", "dog"])
    assert tokens.shape[:2] == (2, 32)
    patches = encoder.patch_features(samples[:2])
    assert patches.ndim == 3
    assert len(patches) == 2
    with pytest.raises(InputError, match="at least one image"):
        encoder.patch_features([])


def test_similarity_is_the_cosine_of_every_pair(encoder: Encoder, images: list[Path]) -> None:
    texts, rows = encoder.encode_texts(["a", "ab"]), encoder.encode_images(images[:3])
    half = 0.5**0.5
    np.testing.assert_allclose(
        encoder.similarity(texts, rows), [[1, 0, 0], [half, half, 0]], atol=1e-6
    )
    np.testing.assert_allclose(encoder.similarity([[1.0, 0, 0]], [[0.6, 0.8, 0]]), [[0.6]])


def test_similarity_of_another_models_embeddings_is_refused(encoder: Encoder) -> None:
    others = clipkit.EmbeddingArray([[1.0, 0.0, 0.0]], "other")
    with pytest.raises(clipkit.SpaceMismatchError, match="of the space other, and fake has fake"):
        encoder.similarity(others, others)
    with pytest.raises(clipkit.SpaceMismatchError, match="two spaces"):
        encoder.similarity(others, encoder.encode_texts(["a"]))


def test_the_first_dimensions_are_a_space_of_their_own(
    encoder: Encoder, images: list[Path]
) -> None:
    first_two = encoder.truncated(2)
    assert first_two.embed_dim == 2
    assert first_two.space_id != encoder.space_id
    # (51, 102, 204) without its blue
    rows = first_two.encode_images([images[5]])
    np.testing.assert_allclose(rows, [[0.447214, 0.894427]], atol=1e-6)
    np.testing.assert_allclose(first_two.encode_texts(["aabc"]), [[0.894427, 0.447214]], atol=1e-6)
    assert rows.space_id == first_two.space_id == encoder.truncated(2).space_id
    assert first_two.logit_scale == encoder.logit_scale


def test_a_truncated_encoder_keeps_the_settings(encoder: Encoder) -> None:
    encoder.max_pixels, encoder.batch_size, encoder.decode = 1234, 5, "exact"
    other = encoder.truncated(1)
    assert (other.max_pixels, other.batch_size, other.decode) == (1234, 5, "exact")


def test_the_weights_of_a_truncated_encoder_are_the_whole_models(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    encoder = clipkit.load(tiny_checkpoint, engine="torch", truncate_dim=4, cache_texts=False)
    with pytest.raises(InputError, match=r"keeps 4 of its .* load it without truncate_dim"):
        encoder.save(tmp_path / "saved")
    assert not list(tmp_path.iterdir())
