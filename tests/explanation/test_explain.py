"""clipkit.explain: on photographs with the starter, on tiny transformers, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import clipkit
from clipkit.errors import ImageReadError, InputError
from clipkit.explanation.explain import METHODS, seen_box
from clipkit.inputs.preprocess import Preprocess


@pytest.fixture(scope="module")
def on_torch() -> clipkit.Encoder:
    return clipkit.load("starter", engine="torch", device="cpu", cache_texts=False)


@pytest.fixture(scope="module")
def transformer(tiny_checkpoint: Path) -> clipkit.Encoder:
    return clipkit.load(tiny_checkpoint, engine="torch", device="cpu", cache_texts=False)


@pytest.fixture(scope="module")
def collage(samples: list[Path]) -> Image.Image:
    pixels = Image.new("RGB", (400, 400))
    for number, name in enumerate(("cat", "sailing_boats", "castle", "owl")):
        (path,) = (path for path in samples if path.stem == name)
        tile = ImageOps.fit(Image.open(path).convert("RGB"), (200, 200))
        pixels.paste(tile, (number % 2 * 200, number // 2 * 200))
    return pixels


@pytest.mark.parametrize(
    ("quadrant", "text"), [(0, "a cat"), (1, "boats"), (2, "a castle"), (3, "an owl")]
)
def test_the_map_of_a_collage_points_at_the_named_quadrant(
    starter: clipkit.Encoder, collage: Image.Image, quadrant: int, text: str
) -> None:
    found = clipkit.explain(starter, collage, text)
    row, column = np.unravel_index(found.values.argmax(), found.values.shape)
    assert (row >= 4) * 2 + (column >= 4) == quadrant
    heat = np.maximum(found.values - found.levels[0], 0)
    assert heat.reshape(2, 4, 2, 4).sum(axis=(1, 3)).ravel()[quadrant] > 0.5 * heat.sum()
    assert found.method == "windows"


@pytest.mark.parametrize("text", ["a cat", "boats", "a castle"])
def test_what_is_in_one_quadrant_is_there(
    starter: clipkit.Encoder, collage: Image.Image, text: str
) -> None:
    found = clipkit.explain(starter, collage, text)
    assert found.is_there
    assert found.values.max() > found.levels[1]


@pytest.mark.parametrize("text", ["a bicycle", "a piano", "a hedgehog"])
def test_what_is_absent_has_no_hot_place(
    starter: clipkit.Encoder, collage: Image.Image, text: str
) -> None:
    found = clipkit.explain(starter, collage, text)
    assert not found.is_there
    assert found.values.max() < found.levels[1]


def test_values_are_cosines_and_shares_are_of_those(
    on_torch: clipkit.Encoder, collage: Image.Image
) -> None:
    found = clipkit.explain(
        on_torch, collage, "a cat", against=["a castle", "a bee"], method="patches"
    )
    visual: Any = on_torch.towers.image_encoder
    with torch.no_grad():
        pixels = torch.from_numpy(on_torch.preprocess(collage))[None]
        places = visual.trunk.forward_features(pixels).flatten(2)[0].T
        rows = torch.nn.functional.normalize(visual.head(places), dim=1)
    texts = on_torch.encode_texts(["a cat", "a castle", "a bee"])
    cosines = rows.numpy()[:, :384] @ texts.T
    np.testing.assert_allclose(found.values.ravel(), cosines[:, 0], atol=1e-5)
    powers = np.exp(on_torch.logit_scale * cosines)
    np.testing.assert_allclose(found.contrast.ravel(), powers[:, 0] / powers.sum(1), atol=1e-4)
    image = on_torch.encode_images([collage])
    assert found.score == pytest.approx(float(image[0] @ texts[0]), abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_transformer_takes_every_method_and_stays_as_it_was(
    transformer: clipkit.Encoder, collage: Image.Image, method: Any
) -> None:
    before = transformer.encode_images([collage])
    found = clipkit.explain(transformer, collage, "a cat", method=method)
    assert found.method == ("naclip" if method == "auto" else method)
    assert found.values.shape == ((8, 8) if method == "windows" else (2, 2))
    assert found.values.dtype == found.contrast.dtype == np.float32
    np.testing.assert_array_equal(transformer.encode_images([collage]), before)
    transformer.check_weights()


def test_the_starter_on_torch_takes_windows(
    on_torch: clipkit.Encoder, collage: Image.Image
) -> None:
    assert clipkit.explain(on_torch, collage, "a cat").method == "windows"


def test_a_gradients_map_lies_between_the_cosines_of_the_places(
    on_torch: clipkit.Encoder, collage: Image.Image
) -> None:
    places = clipkit.explain(on_torch, collage, "a cat", method="patches")
    found = clipkit.explain(on_torch, collage, "a cat", method="gradient")
    assert found.values.max() == pytest.approx(places.values.max(), abs=1e-5)
    assert found.values.min() >= places.values.min() - 1e-5
    assert not np.allclose(found.values, places.values)
    assert found.evidence == pytest.approx(places.evidence, abs=1e-3)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(90, 30), (30, 90), (50, 40)])
def test_the_box_says_where_a_mark_on_the_image_is_seen(mode: Any, size: tuple[int, int]) -> None:
    preprocess = Preprocess((64, 64), resize_mode=mode)
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    x, y = size[0] // 2 + 4, size[1] // 2 - 5
    pixels[y - 2 : y + 2, x - 2 : x + 2] = 255  # its middle is at (x, y)
    seen = preprocess(pixels)[0]
    weight = seen - seen.min()
    rows, columns = np.indices(seen.shape) + 0.5
    left, top, right, bottom = seen_box(preprocess, size)
    found_x = left + (weight * columns).sum() / weight.sum() / 64 * (right - left)
    found_y = top + (weight * rows).sum() / weight.sum() / 64 * (bottom - top)
    tolerance = 0.6 * max(1.0, (right - left) / 64)  # crop and padding are whole pixels
    assert (found_x, found_y) == pytest.approx((x, y), abs=tolerance)


def test_an_input_that_is_not_square_has_a_box_of_its_shape() -> None:
    preprocess = Preprocess((32, 64), resize_mode="shortest")
    left, top, right, bottom = seen_box(preprocess, (100, 100))
    assert (left, right) == (0, 100)
    assert (top, bottom) == (25, 75)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": " "}, "must be texts with a word in them, got ' '"),
        ({"text": 3}, "must be texts with a word in them, got 3"),
        ({"against": []}, "at least one text"),
        ({"against": "a dog"}, "put it in a list"),
        ({"against": ["a dog", "A cat"]}, "'A cat' is the same to the model as 'a cat'"),
        ({"method": "lime"}, "method must be one of auto, naclip"),
        ({"method": "naclip"}, "not available on the onnx engine"),
        ({"encoder": "starter"}, "must be an Encoder"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(
    starter: clipkit.Encoder, samples: list[Path], changes: dict[str, Any], message: str
) -> None:
    asked = {"encoder": starter, "image": samples[0], "text": "a cat", **changes}
    with pytest.raises(InputError, match=message):
        clipkit.explain(**asked)


def test_a_tower_that_is_no_transformer_is_named(
    on_torch: clipkit.Encoder, samples: list[Path]
) -> None:
    with pytest.raises(InputError, match="EfficientNet has no last block of attention"):
        clipkit.explain(on_torch, samples[0], "a cat", method="naclip")


def test_a_file_that_is_no_image_is_named(starter: clipkit.Encoder) -> None:
    with pytest.raises(ImageReadError, match="LICENSE"):
        clipkit.explain(starter, "LICENSE", "a cat")
