"""Preprocess: equal to open_clip's own transform bit for bit; configs; strips; scaled decode."""

import io
import itertools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from clipkit.errors import CheckpointError, ImageReadError, InputError
from clipkit.inputs import preprocess as preprocess_module
from clipkit.inputs.images import read_image
from clipkit.inputs.preprocess import OPENAI_MEAN, OPENAI_STD, Preprocess

transform = pytest.importorskip("open_clip.transform")

# The families of METHODS.md 2.4: mean, std, interpolation, resize mode.
IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
FAMILIES: dict[str, dict[str, Any]] = {
    "openai": {},
    "laion2b L/14": {"mean": [0.5] * 3, "std": [0.5] * 3},
    "siglip": {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"},
    "pe-core": {
        "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash",
    },
    "clipa": {
        "mean": IMAGENET[0], "std": IMAGENET[1], "interpolation": "bilinear",
        "resize_mode": "squash",
    },
    "mobileclip": {"mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear"},
    "longest": {"resize_mode": "longest", "fill_color": 0},
    "longest on grey": {
        "mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "longest", "fill_color": 127,
        "interpolation": "bilinear",
    },
}  # fmt: skip
INPUT_SIZES = (32, 33, (32, 48), (51, 30))
IMAGE_SIZES = (
    (1, 1), (2, 1), (3, 2), (31, 32), (32, 32), (33, 33), (48, 32), (64, 64), (65, 50), (50, 65),
    (100, 75), (75, 101), (203, 31), (30, 207), (320, 40), (1, 300), (300, 1),
)  # fmt: skip


def random_image(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def open_clips(config: dict[str, Any], size: Any, image: Image.Image) -> NDArray[np.float32]:
    """What open_clip makes of an image, through its own config class."""
    described = transform.PreprocessCfg(**{"size": size, **config})
    values: NDArray[np.float32] = transform.image_transform_v2(described, is_train=False)(
        image
    ).numpy()
    return values


def too_thin_for_open_clip(config: dict[str, Any], size: Any, image: Image.Image) -> bool:
    """In mode longest, open_clip resizes a very thin image to a side of 0, which fails."""
    height, width = (size, size) if isinstance(size, int) else size
    ratio = max(image.height / height, image.width / width)
    thin = min(round(image.height / ratio), round(image.width / ratio)) == 0
    return config.get("resize_mode") == "longest" and thin


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", INPUT_SIZES, ids=str)
def test_equals_open_clip_bit_for_bit(family: str, size: Any) -> None:
    config = FAMILIES[family]
    preprocess = Preprocess.from_config(config, size)
    compared = 0
    for number, (width, height) in enumerate(IMAGE_SIZES):
        image = random_image(width, height, number)
        values = preprocess.pixel_values(image)
        assert values.dtype == np.float32
        assert values.shape == (3, *preprocess.size)
        if not too_thin_for_open_clip(config, size, image):
            assert np.array_equal(values, open_clips(config, size, image)), (width, height)
            compared += 1
    assert compared >= len(IMAGE_SIZES) - 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "image_size"),
    [(224, (500, 375)), (256, (333, 512)), (384, (640, 427)), ((224, 288), (640, 480))],
)
def test_equals_open_clip_at_real_sizes(size: Any, image_size: tuple[int, int]) -> None:
    image = random_image(*image_size)
    for mode, interpolation in itertools.product(
        ("shortest", "longest", "squash"), ("bicubic", "bilinear")
    ):
        config = {"resize_mode": mode, "interpolation": interpolation, "fill_color": 9}
        values = Preprocess.from_config(config, size).pixel_values(image)
        assert np.array_equal(values, open_clips(config, size, image))


@pytest.mark.slow
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    size=st.one_of(st.integers(1, 40), st.tuples(st.integers(1, 40), st.integers(1, 40))),
    mode=st.sampled_from(["shortest", "longest", "squash"]),
    interpolation=st.sampled_from(["bicubic", "bilinear", "random"]),
    mean=st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3),
    std=st.lists(st.floats(0.0625, 1, width=32), min_size=3, max_size=3),
    fill=st.integers(0, 255),
)
@settings(deadline=None, max_examples=150)
def test_equals_open_clip_for_any_config(
    width: int, height: int, size: Any, mode: str, interpolation: str,
    mean: list[float], std: list[float], fill: int,
) -> None:  # fmt: skip
    image = random_image(width, height)
    config: dict[str, Any] = {
        "mean": mean,
        "std": std,
        "resize_mode": mode,
        "interpolation": interpolation,
        "fill_color": fill,
    }
    values = Preprocess.from_config(config, size).pixel_values(image)
    if not too_thin_for_open_clip(config, size, image):
        assert np.array_equal(values, open_clips(config, size, image))


def test_gray_equals_open_clip() -> None:
    image = random_image(50, 40).convert("L")
    values = Preprocess((32, 32)).pixel_values(image)
    assert np.array_equal(values, open_clips({}, 32, image))


def test_jpeg_without_scaled_decode_equals_open_clip(encode: Callable[..., bytes]) -> None:
    image = Image.fromarray(np.arange(300 * 200 * 3, dtype=np.uint32).astype(np.uint8)
                              .reshape(200, 300, 3))  # fmt: skip
    data = encode(image, "JPEG")
    preprocess = Preprocess((32, 32))
    decoded = read_image(data).pixels
    expected = open_clips({}, 32, decoded)
    assert np.array_equal(preprocess.pixel_values(data, decode_scaled=False), expected)
    assert np.array_equal(preprocess.pixel_values(decoded), expected)
    assert not np.array_equal(preprocess.pixel_values(data), expected)  # scaled by 1/2


@pytest.mark.parametrize("family", FAMILIES)
def test_a_call_is_open_clips_transform_of_a_pil_image(
    family: str, encode: Callable[..., bytes]
) -> None:
    """As a torch dataset uses it: an image that is open and not yet decoded, in a batch."""
    from torch.utils.data import default_collate

    data = encode(random_image(300, 200), "JPEG")
    preprocess = Preprocess.from_config(FAMILIES[family], 32)
    values = preprocess(Image.open(io.BytesIO(data)))
    expected = open_clips(FAMILIES[family], 32, Image.open(io.BytesIO(data)))
    assert np.array_equal(values, expected)
    assert np.array_equal(preprocess(data), expected)
    batch = default_collate([values, values])
    assert (batch.shape, str(batch.dtype)) == ((2, 3, 32, 32), "torch.float32")


def test_values_of_one_color_by_hand() -> None:
    preprocess = Preprocess((4, 4), mean=(0.5, 0.25, 0), std=(0.5, 0.25, 1))
    values = preprocess.pixel_values(Image.new("RGB", (9, 7), (255, 0, 51)))
    expected = np.array([1.0, -1.0, 0.2], dtype=np.float32)
    assert np.array_equal(values, np.broadcast_to(expected[:, None, None], (3, 4, 4)))


def test_longest_fills_around_the_image_by_hand() -> None:
    preprocess = Preprocess((4, 4), (0, 0, 0), (1, 1, 1), resize_mode="longest", fill_color=51)
    values = preprocess.pixel_values(Image.new("RGB", (8, 4), "white"))
    rows = np.array([0.2, 1, 1, 0.2], dtype=np.float32)[:, None]
    assert np.array_equal(values, np.broadcast_to(rows, (3, 4, 4)))


# --- sizes, with and without scaled decode ----------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "size", "image", "expected"),
    [
        ("shortest", (224, 224), (4000, 3000), (298, 224)),  # 298.67, cut
        ("shortest", (224, 224), (3000, 4000), (224, 298)),
        ("shortest", (224, 336), (4000, 3000), (336, 252)),
        ("longest", (224, 224), (4000, 3000), (224, 168)),
        ("longest", (224, 224), (5000, 1), (224, 1)),  # 0.04, but an image has pixels
        ("squash", (224, 336), (4000, 3000), (336, 224)),
        ("shortest", (224, 224), (1, 5000), (224, 1_120_000)),
    ],
)
def test_resized_size(
    mode: str, size: tuple[int, int], image: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert Preprocess.from_config({"resize_mode": mode}, size).resized_size(image) == expected


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("image_size", [(1, 5000), (5000, 1), (3, 9000)])
def test_endless_strips_keep_their_middle(mode: str, image_size: tuple[int, int]) -> None:
    # A ramp along the long side: what is kept of it in mode shortest is the very middle.
    long_side = max(image_size)
    ramp = np.linspace(0, 255, long_side).round().astype(np.uint8)
    ramp = ramp[:, None] if image_size[1] > 1 else ramp[None, :]
    image = np.broadcast_to(ramp[..., None], (image_size[1], image_size[0], 3)).copy()
    preprocess = Preprocess((224, 224), (0, 0, 0), (1, 1, 1), resize_mode=mode)  # type: ignore[arg-type]
    values = preprocess.pixel_values(image)
    assert values.shape == (3, 224, 224)
    if mode == "shortest":
        assert values.min() >= 126 / 255
        assert values.max() <= 129 / 255
    else:
        assert values.max() > 0.99


@pytest.mark.parametrize("image_size", [(40, 3000), (3000, 41), (500, 300)])
@pytest.mark.parametrize("size", [(32, 32), (31, 20)])
def test_resizing_only_what_is_kept_gives_the_same(
    image_size: tuple[int, int], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = np.meshgrid(np.arange(image_size[0]), np.arange(image_size[1]))
    waves = [127 + 120 * np.sin(x / 9), 127 + 120 * np.cos(y / 7), (x + 2 * y) % 256]
    image = np.stack(waves, axis=2).astype(np.uint8)
    preprocess = Preprocess(size, (0, 0, 0), (1, 1, 1))
    whole = preprocess.pixel_values(image)
    monkeypatch.setattr(preprocess_module, "_MAX_RESIZED_PIXELS", 0)
    kept = preprocess.pixel_values(image)
    assert np.abs(kept - whole).max() <= 2.01 / 255
    assert np.abs(kept - whole).mean() < 0.1 / 255


@pytest.mark.parametrize("image_size", [(801, 600), (640, 1000)])
def test_of_an_image_decoded_smaller_only_what_is_kept_is_resized(
    image_size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.BytesIO()
    random_image(90, 80).resize(image_size).save(file, "JPEG")
    preprocess = Preprocess((64, 64), (0, 0, 0), (1, 1, 1))
    decoded = read_image(file, target=preprocess.resized_size)
    assert decoded.pixels.size != image_size
    width, height = preprocess.resized_size(image_size)
    whole = decoded.pixels.resize((width, height), Image.Resampling.BICUBIC, decoded.box)
    left, top = round((width - 64) / 2), round((height - 64) / 2)
    expected = np.asarray(whole.crop((left, top, left + 64, top + 64)), np.float32)
    sizes, resize = [], Image.Image.resize

    def counted(image: Image.Image, size: tuple[int, int], *args: Any, **kwargs: Any) -> Any:
        sizes.append(size)
        return resize(image, size, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "resize", counted)
    values = 255 * preprocess.pixel_values(file).transpose(1, 2, 0)
    assert sizes == [(64, 64)]
    assert np.abs(values - expected).max() <= 1.01
    assert np.mean(np.abs(values - expected) > 0.5) < 0.01


@given(
    width=st.integers(1, 600),
    height=st.integers(1, 600),
    mode=st.sampled_from(["shortest", "longest", "squash"]),
)
@settings(deadline=None, max_examples=60)
def test_scaled_decode_leaves_twice_the_resized_size(width: int, height: int, mode: str) -> None:
    preprocess = Preprocess((20, 30), resize_mode=mode, fill_color=77)  # type: ignore[arg-type]
    file = io.BytesIO()
    Image.new("L", (width, height), 77).save(file, "JPEG")
    decoded = read_image(file, target=preprocess.resized_size)
    resized = preprocess.resized_size((width, height))
    assert decoded.size == (width, height)
    if decoded.pixels.size != (width, height):
        assert decoded.pixels.width >= 2 * resized[0]
        assert decoded.pixels.height >= 2 * resized[1]
    values = preprocess.pixel_values(file)
    expected = (77 / 255 - np.array(OPENAI_MEAN)) / np.array(OPENAI_STD)
    assert np.abs(values - expected[:, None, None]).max() < 1.01 / 255 / min(OPENAI_STD)


def test_options_reach_the_decoder(encode: Callable[..., bytes]) -> None:
    data = encode(Image.new("RGB", (64, 64)), "PNG")
    preprocess = Preprocess((8, 8))
    with pytest.raises(ImageReadError, match="is too large"):
        preprocess.pixel_values(data, max_pixels=64 * 64 - 1)
    with pytest.raises(InputError, match="allow_urls=True"):
        preprocess.pixel_values("http://localhost/a.jpg")
    with pytest.raises(ImageReadError, match="cannot be fetched"):
        preprocess.pixel_values("http://", allow_urls=True)


# --- configs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_config_survives_the_round_trip_here_and_in_open_clip(family: str) -> None:
    preprocess = Preprocess.from_config(FAMILIES[family], (24, 32))
    config = json.loads(json.dumps(preprocess.to_config()))
    assert Preprocess.from_config(config, 999) == preprocess
    image = random_image(50, 40)
    assert np.array_equal(open_clips(config, None, image), preprocess.pixel_values(image))


def test_defaults_are_open_clips() -> None:
    theirs = transform.PreprocessCfg()
    ours = Preprocess.from_config({}, 224)
    assert ours == Preprocess.from_config(vars(theirs), 999)
    assert ours.to_config() == {
        "size": 224, "mode": "RGB", "mean": list(OPENAI_MEAN), "std": list(OPENAI_STD),
        "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "image_size", "expected"),
    [
        ({}, 224, (224, 224)),
        ({}, [224, 336], (224, 336)),
        ({"size": 256}, 224, (256, 256)),
        ({"size": [256, 128]}, 224, (256, 128)),
        ({"size": [256]}, 224, (256, 256)),
        ({"size": None}, 224, (224, 224)),
    ],
)
def test_size_of_the_config_wins(
    config: dict[str, Any], image_size: Any, expected: tuple[int, int]
) -> None:
    assert Preprocess.from_config(config, image_size).size == expected


def test_keys_that_open_clip_ignores_are_ignored() -> None:
    assert Preprocess.from_config({"crop_pct": 0.9, "mean": None}, 32) == Preprocess((32, 32))


def test_one_number_stands_for_three_channels_as_in_open_clip() -> None:
    config = {"mean": 0.5, "std": 0.25}
    preprocess = Preprocess.from_config(config, 8)
    assert preprocess.mean == (0.5, 0.5, 0.5)
    image = random_image(9, 9)
    assert np.array_equal(preprocess.pixel_values(image), open_clips(config, 8, image))
    # A bare 0 is "not given" there, so it has to be here.
    assert Preprocess.from_config({"mean": 0}, 8).mean == OPENAI_MEAN


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"resize_mode": "stretch"}, "resize_mode must be shortest or longest or squash, got 'st"),
        ({"interpolation": "nearest"}, "interpolation must be bicubic or bilinear, got 'nearest'"),
        ({"mode": "L"}, "preprocess mode must be \"RGB\", got 'L'"),
        ({"mean": [0.5, 0.5]}, r"mean must be 3 finite numbers, got \(0.5, 0.5\)"),
        ({"std": [0.5, 0.5, 0.0]}, r"std must be above 0, got \(0.5, 0.5, 0.0\)"),
        ({"mean": [0.5, 0.5, float("nan")]}, "mean must be 3 finite numbers"),
        ({"mean": "half"}, "mean and std must be numbers, got 'half'"),
        ({"mean": ["a", "b", "c"]}, "preprocess_cfg: could not convert string to float"),
        ({"size": [3, 224, 224]}, r"size must be one number or \[height, width\], got \[3, 224, "),
        ({"size": 0}, r"size must be \(height, width\), each at least 1, got \(0, 0\)"),
        ({"size": "224"}, "size must be one number"),
        ({"fill_color": 256}, "fill_color must be 0 to 255, got 256"),
        ({"fill_color": "white"}, "preprocess_cfg: "),
    ],
)
def test_wrong_configs(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        Preprocess.from_config(config, 224)


def test_wrong_fields() -> None:
    with pytest.raises(InputError, match="resize_mode must be"):
        Preprocess((8, 8), resize_mode="crop")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="size must be"):
        Preprocess((8, -1))
