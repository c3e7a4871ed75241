"""One image, and images that are pixel values already."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import clipkit
from clipkit.encoder.encoder import Encoder
from clipkit.errors import ImageReadError, InputError
from tests.encoder.conftest import COLORS, MeanColorRuntime


def pixels_of(*colors: tuple[float, float, float]) -> NDArray[np.float32]:
    """Return images of one colour each as (N, 3, 4, 4), colours from 0 to 1."""
    plain = np.array(colors, dtype=np.float32)[:, :, None, None]
    return np.broadcast_to(plain, (len(colors), 3, 4, 4)).copy()


def test_one_image_becomes_one_row(encoder: Encoder, images: list[Path]) -> None:
    row = encoder.encode_image(images[5])
    assert row.shape == (3,)
    assert row.space_id == "fake"
    color = np.array(COLORS[5]) / np.linalg.norm(COLORS[5])
    np.testing.assert_allclose(row, color, atol=1e-6)


def test_one_image_that_is_none_is_told(encoder: Encoder, images: list[Path]) -> None:
    several: Any = images
    with pytest.raises(InputError, match=r"an image must be a path, .* got list"):
        encoder.encode_image(several)
    with pytest.raises(ImageReadError, match=r"nothing\.jpg: no such file"):
        encoder.encode_image("nothing.jpg")


def test_pixel_values_become_unit_rows_in_batches(
    encoder: Encoder, runtime: MeanColorRuntime
) -> None:
    calls: list[tuple[int, int | None]] = []
    values = pixels_of((0.3, 0.4, 0.0), (0.0, 0.0, 0.1), (1.0, 1.0, 1.0))
    rows = encoder.encode_pixel_values(
        values, batch_size=2, progress=lambda *call: calls.append(call)
    )
    third = 3.0**-0.5
    expected = np.array([(0.6, 0.8, 0.0), (0.0, 0.0, 1.0), (third, third, third)])
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    assert rows.dtype == np.float32
    assert rows.space_id == "fake"
    assert runtime.image_batches == [2, 1]
    assert calls == [(2, 3), (3, 3)]


def test_no_pixel_values_give_no_rows(encoder: Encoder) -> None:
    assert encoder.encode_pixel_values(np.empty((0, 3, 4, 4), np.float32)).shape == (0, 3)


def test_pixel_values_of_another_kind_are_refused(encoder: Encoder) -> None:
    values = pixels_of((0.3, 0.4, 0.0), (0.0, 0.0, 0.1))
    cases: list[tuple[Any, str]] = [
        (values[0], r"must have shape \(N, 3, 4, 4\), got \(3, 4, 4\): np.stack makes that"),
        (values[:, :, :3], r"got \(2, 3, 3, 4\)"),
        (values[:, :1], r"got \(2, 1, 4, 4\)"),
        ((values * 255).astype(np.uint8), "got uint8: images as levels .* are for encode_images"),
        (values.astype(np.complex64), "got complex64"),
        ("cat.jpg", "must be an array of numbers"),
        (None, "must be an array of numbers|must have shape"),
    ]
    for bad, message in cases:
        with pytest.raises(InputError, match=message):
            encoder.encode_pixel_values(bad)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 255.0, -1.5])
def test_pixel_values_that_are_not_standardised_are_refused(encoder: Encoder, value: float) -> None:
    values = pixels_of((0.3, 0.4, 0.0), (0.0, 0.0, 0.1))
    values[1, 2, 3, 3] = value
    with pytest.raises(InputError, match=r"lie between 0\.00 and 1\.00, got .* in image 1"):
        encoder.encode_pixel_values(values)


def test_pixel_values_may_go_beyond_as_resampling_does(encoder: Encoder) -> None:
    rows = encoder.encode_pixel_values(pixels_of((1.2, -0.5, 0.0)))
    np.testing.assert_allclose(rows, [[12 / 13, -5 / 13, 0]], atol=1e-6)


def test_tensors_that_numpy_does_not_take_are_pixel_values(encoder: Encoder) -> None:
    torch = pytest.importorskip("torch")
    values = torch.from_numpy(pixels_of((0.25, 0.5, 0.0), (0.0, 0.0, 0.125)))
    expected = encoder.encode_pixel_values(values.numpy())
    trained = values.clone().requires_grad_()
    tensors = (values.bfloat16(), values.half(), trained, trained * 1, list(values.bfloat16()))
    for tensor in tensors:
        np.testing.assert_allclose(encoder.encode_pixel_values(tensor), expected, atol=1e-6)
    with pytest.raises(InputError, match="got uint8: images as levels"):
        encoder.encode_pixel_values((values * 255).to(torch.uint8))


@pytest.mark.gpu
def test_tensors_of_a_gpu_are_pixel_values(encoder: Encoder) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    values = torch.from_numpy(pixels_of((0.25, 0.5, 0.0)))
    np.testing.assert_array_equal(
        encoder.encode_pixel_values(values.cuda()), encoder.encode_pixel_values(values)
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("decode", "Exact"),
        ("decode", None),
        ("decode", []),
        ("batch_size", 0),
        ("batch_size", "8"),
        ("max_pixels", -1),
        ("max_pixels", True),
    ],
)
def test_a_setting_that_is_none_is_refused_when_it_is_set(
    encoder: Encoder, name: str, value: object
) -> None:
    before = getattr(encoder, name)
    with pytest.raises(InputError, match=f"^{name} must be"):
        setattr(encoder, name, value)
    assert getattr(encoder, name) == before


@pytest.mark.slow
def test_tensors_of_open_clips_transform_give_the_embeddings_of_the_files(
    tiny_checkpoint: Path, samples: list[Path]
) -> None:
    open_clip = pytest.importorskip("open_clip")
    torch = pytest.importorskip("torch")
    from PIL import Image

    encoder = clipkit.load(tiny_checkpoint, engine="torch", cache_texts=False)
    encoder.decode = "exact"
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tiny_checkpoint}")
    tensors = torch.stack([transform(Image.open(path).convert("RGB")) for path in samples[:4]])
    with torch.no_grad():
        expected = model.eval().encode_image(tensors, normalize=True).numpy()
    np.testing.assert_allclose(encoder.encode_pixel_values(tensors), expected, atol=1e-6)
    np.testing.assert_allclose(encoder.encode_images(samples[:4]), expected, atol=1e-6)


def test_parts_of_images_are_embedded_instead_of_the_whole(
    encoder: Encoder, runtime: MeanColorRuntime, tmp_path: Path
) -> None:
    """Halves of images, left and right, of one colour each."""
    paths = []
    for number, (left, right) in enumerate(zip(COLORS, reversed(COLORS), strict=True)):
        image = Image.new("RGB", (8, 8), left)
        image.paste(right, (4, 0, 8, 8))
        paths.append(tmp_path / f"{number}.png")
        image.save(paths[-1])
    paths.insert(2, tmp_path / "none.png")
    halves = [(0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)]
    batches = list(encoder.stream_images(paths, batch_size=4, boxes=halves))
    assert [batch.positions for batch in batches] == [[0, 1], [3, 4], [5, 6]]
    assert [[at for at, _ in batch.skipped] for batch in batches] == [[], [2], []]
    assert runtime.image_batches == [4, 4, 4]  # rows, as many as of whole images
    rows = np.concatenate([batch.embeddings for batch in batches])
    colors = np.array(list(zip(COLORS, reversed(COLORS), strict=True)), float).reshape(-1, 3)
    expected = colors / np.linalg.norm(colors, axis=1, keepdims=True)
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    with pytest.raises(InputError, match="boxes must name a part"):
        next(encoder.stream_images(paths, boxes=[]))
    assert len(next(encoder.stream_images(paths, batch_size=1, boxes=halves)).embeddings) == 2
