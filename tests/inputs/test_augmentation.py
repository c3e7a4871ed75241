"""Random views of images: torchvision's boxes and pixels, one change at a time."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from open_clip.transform import AugmentationCfg, PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as vision

from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.augmentation import RECIPES, Augmentation, RecipeName
from clipkit.inputs.preprocess import Preprocess
from clipkit.training.config import RunConfig
from clipkit.training.data_config import DataConfig, SourceConfig
from clipkit.training.model_config import ModelConfig

# Values that are the pixels themselves.
BARE = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}
PLAIN = Preprocess(size=(32, 32), **BARE)  # type: ignore[arg-type]
EVERYTHING = Augmentation((0.3, 1.0), (0.5, 2.0), 0.5, 0.5, 0.5, 0.5)


class TorchGenerator:
    """Random numbers from torch, asked for as NumPy's generator is asked."""

    def uniform(self, low: float, high: float) -> float:
        return torch.empty(1).uniform_(low, high).item()

    def integers(self, high: int) -> int:
        return int(torch.randint(0, high, size=(1,)).item())

    def random(self) -> float:
        return 0.5


class Script:
    """Gives the random numbers that a test has written down; what is not, is in the middle."""

    def __init__(self, factors: Sequence[float], hue: float) -> None:
        self._factors = factors
        self._hue = hue

    def uniform(self, low: float, high: float, size: int | None = None) -> Any:
        if size is not None:
            assert low <= min(self._factors) and max(self._factors) <= high
            return np.array(self._factors)
        return self._hue if low < self._hue < high < 0.1 else (low + high) / 2

    def integers(self, high: int) -> int:
        return high // 2

    def random(self, size: int | None = None) -> Any:
        return 0.5 if size is None else np.full(size, 0.5)


def view(
    image: Any, augmentation: Augmentation, generator: Any = 0, preprocess: Preprocess = PLAIN
) -> NDArray[np.float32]:
    """Return one view, standardised; a number stands for NumPy's generator with that seed."""
    if isinstance(generator, int):
        generator = np.random.default_rng(generator)
    (found,) = augmentation.levels(image, [preprocess], generator)
    return preprocess.standardized(Image.fromarray(found.transpose(1, 2, 0)))


def levels(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return 0..255 as Pillow has them, shape (H, W, 3)."""
    return np.rint(values).astype(np.int64).transpose(1, 2, 0)


@pytest.fixture
def coordinates() -> Image.Image:
    """200 x 160: red counts the columns, green the rows."""
    rows, columns = np.mgrid[:160, :200]
    return Image.fromarray(np.stack([columns, rows, rows * 0], axis=2).astype(np.uint8))


def test_without_augmentation_pixels_are_open_clips_evaluation_transform(
    samples: list[Path],
) -> None:
    assert Augmentation().is_none
    transform = image_transform_v2(PreprocessCfg(size=48), is_train=False)
    for path in samples[:3]:
        with Image.open(path) as image:
            small = image.convert("RGB").resize((131, 77))
        found = view(small, Augmentation(), preprocess=Preprocess(size=(48, 48)))
        np.testing.assert_array_equal(found, transform(small).numpy())


@pytest.mark.parametrize(
    "change",
    [
        {"crop_scale": (0.9, 1.0)}, {"horizontal_flip": 0.1}, {"color_jitter": 0.1},
        {"grayscale": 0.1}, {"random_erasing": 0.1},
    ],
)  # fmt: skip
def test_any_change_is_an_augmentation(change: dict[str, Any]) -> None:
    assert not Augmentation(**change).is_none


def test_the_default_recipe_is_open_clips() -> None:
    theirs = AugmentationCfg()
    assert RECIPES["clip"] == Augmentation(theirs.scale)
    assert (theirs.color_jitter, theirs.gray_scale_prob) == (None, None)
    assert set(RECIPES) == set(get_args(RecipeName))


def test_a_run_takes_a_recipe_and_what_is_set_beside_it() -> None:
    """CLIPA's command for open_clip: scale (.4, 1), jitter .8, grey .2."""
    train = (SourceConfig("photos"),)
    used = DataConfig(train=train, augmentation="clipa").augmentation_used
    assert used == Augmentation((0.4, 1.0), color_jitter=0.8, grayscale=0.2)
    used = DataConfig(train=train, augmentation="clipa", grayscale=0.0).augmentation_used
    assert used == Augmentation((0.4, 1.0), color_jitter=0.8)
    assert DataConfig(train=train, augmentation="none").augmentation_used.is_none
    config = RunConfig("run", ModelConfig(architecture="a"), DataConfig(train=train)).resolve()
    assert (config.data.crop_scale, config.data.horizontal_flip) == ((0.9, 1.0), 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [(0.9, 1.0), (0.08, 1.0), (1.0, 1.0)])
@pytest.mark.parametrize("size", [(640, 480), (37, 41), (900, 50), (20, 333), (1, 1), (5, 1)])
def test_boxes_are_torchvisions_for_the_same_random_numbers(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], scale: tuple[float, float]
) -> None:
    photo = Image.new("RGB", size)
    ratio = (3 / 4, 4 / 3)
    found = []
    resize = Image.Image.resize

    def note(image: Image.Image, to: Any, resample: Any, box: Any) -> Image.Image:
        found.append(box)
        return resize(image, to, resample, box=box)

    monkeypatch.setattr(Image.Image, "resize", note)
    with torch.random.fork_rng():
        for seed in range(50):
            torch.manual_seed(seed)
            top, left, height, width = RandomResizedCrop.get_params(
                cast(torch.Tensor, photo), list(scale), list(ratio)
            )
            torch.manual_seed(seed)
            view(photo, Augmentation(scale, ratio, horizontal_flip=1e-9), TorchGenerator())
            assert found.pop() == pytest.approx((left, top, left + width, top + height))


def test_pixels_are_torchvisions_except_where_it_cannot_see_past_the_edge_of_the_crop(
    monkeypatch: pytest.MonkeyPatch, noise: NDArray[np.uint8]
) -> None:
    """Here the whole image is resampled, there the crop; the filter reaches two pixels far."""
    image = Image.fromarray(np.tile(noise, (5, 5, 1)))
    box = (30, 20, 230, 150)  # left, top, right, bottom
    monkeypatch.setattr(Augmentation, "_random_resized_crop", lambda *_: box)
    expected = vision.resized_crop(image, 20, 30, 130, 200, [32, 32], InterpolationMode.BICUBIC)
    found = levels(view(image, Augmentation(crop_scale=(0.5, 0.9))))
    np.testing.assert_array_equal(found[3:-3, 3:-3], np.asarray(expected)[3:-3, 3:-3])


def test_a_flipped_view_is_the_mirror_of_the_one_that_is_not(coordinates: Image.Image) -> None:
    scale = (0.5, 0.9)
    plain = view(coordinates, Augmentation(scale))
    flipped = view(coordinates, Augmentation(scale, horizontal_flip=1.0))
    np.testing.assert_array_equal(flipped, plain[:, :, ::-1])


def test_a_grey_view_has_pillows_grey_in_all_channels(noise: NDArray[np.uint8]) -> None:
    scale = (0.5, 0.9)
    plain = levels(view(noise, Augmentation(scale))).astype(np.uint8)
    gray = levels(view(noise, Augmentation(scale, grayscale=1.0)))
    expected = np.asarray(Image.fromarray(plain).convert("L"))
    for channel in range(3):
        np.testing.assert_array_equal(gray[:, :, channel], expected)


@pytest.mark.parametrize(
    ("factors", "hue"), [((1.3, 0.7, 1.2), 0.0625), ((0.7, 1.3, 0.8), -0.0625), ((1, 1, 1), 0.01)]
)
def test_changed_colours_are_torchvisions(
    samples: list[Path], factors: tuple[float, float, float], hue: float
) -> None:
    """torchvision counts a shift of hue in 255ths of the circle, Pillow's circle has 256."""
    plain = view(samples[0], Augmentation((0.9, 1.0)), Script(factors, hue))
    changed = view(samples[0], Augmentation((0.9, 1.0), color_jitter=1.0), Script(factors, hue))
    image = Image.fromarray(levels(plain).astype(np.uint8))
    image = vision.adjust_brightness(image, factors[0])
    image = vision.adjust_contrast(image, factors[1])
    image = vision.adjust_saturation(image, factors[2])
    image = vision.adjust_hue(image, round(hue * 256) / 255)
    np.testing.assert_array_equal(levels(changed), np.asarray(image))


def test_an_erased_rectangle_is_as_large_as_the_paper_says_and_the_rest_stays() -> None:
    image = np.full((64, 64, 3), 200, dtype=np.uint8)
    preprocess = Preprocess(size=(64, 64))
    plain = view(image, Augmentation((0.5, 1.0)), preprocess=preprocess)
    shares, ratios = [], []
    for seed in range(300):
        augmentation = Augmentation((0.5, 1.0), random_erasing=1.0)
        erased = view(image, augmentation, seed, preprocess)
        is_gone = np.abs(erased).max(axis=0) < 0.008  # half a level from the mean
        rows, columns = np.flatnonzero(is_gone.any(axis=1)), np.flatnonzero(is_gone.any(axis=0))
        assert is_gone[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        np.testing.assert_array_equal(erased[:, ~is_gone], plain[:, ~is_gone])
        shares.append(is_gone.mean())
        ratios.append(len(columns) / len(rows))
    # 0.02 to 1/3, and 0.3 to 1/0.3; a side is rounded to a pixel, 3 at the least.
    assert 0.015 < min(shares) < 0.03 and 0.3 < max(shares) < 0.35
    assert np.mean(shares) == pytest.approx((0.02 + 1 / 3) / 2, abs=0.02)
    assert 0.25 < min(ratios) < 0.4 and 2.5 < max(ratios) < 4
    assert np.median(ratios) == pytest.approx(1, abs=0.15)


def test_chances_are_what_they_are_called(coordinates: Image.Image) -> None:
    """800 draws at 0.3: 240 are expected, and a deviation of four times 13 is none."""
    flipped = sum(
        bool(values[0, 0, 0] > values[0, 0, -1])
        for values in (
            view(coordinates, Augmentation((0.9, 1.0), horizontal_flip=0.3), seed)
            for seed in range(800)
        )
    )
    assert abs(flipped - 240) < 52


def test_all_towers_see_the_same_view(coordinates: Image.Image) -> None:
    large = Preprocess(size=(64, 64), **BARE)  # type: ignore[arg-type]
    other = Preprocess(size=(32, 32), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    augmentation = Augmentation((0.3, 0.6), horizontal_flip=0.5, grayscale=0.2)
    for seed in range(10):
        generator = np.random.default_rng(seed)
        views = augmentation.levels(coordinates, [PLAIN, large, other], generator)
        np.testing.assert_array_equal(views[2], views[0])
        # Colours are slopes: four pixels of the large view have the mean of one of the small's.
        blocks = views[1].reshape(3, 32, 2, 32, 2).mean(axis=(2, 4))
        np.testing.assert_allclose(views[0], blocks, atol=2)


def test_equal_generators_give_equal_views_and_others_do_not(samples: list[Path]) -> None:
    first, again, other = (view(samples[0], EVERYTHING, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.slow
def test_a_large_jpeg_is_decoded_in_part_and_gives_about_the_same_view(
    monkeypatch: pytest.MonkeyPatch, photographs: list[Image.Image], encode: Callable[..., bytes]
) -> None:
    """As for use, where the mean difference is below 0.005 of full scale for each image."""
    augmentation = Augmentation((0.5, 1.0), horizontal_flip=0.5)
    sizes: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def note(image: Image.Image, *words: Any, **options: Any) -> Image.Image:
        sizes.append(image.size)
        return resize(image, *words, **options)

    monkeypatch.setattr(Image.Image, "resize", note)
    for photo in photographs:
        jpeg = encode(photo, "JPEG", quality=95)
        for seed in range(3):
            partly, whole = (view(source, augmentation, seed) for source in (jpeg, photo))
            assert np.abs(partly - whole).mean() / 255 < 0.01
    assert sizes[::2] == [(500, 375)] * 9  # an eighth of 4000 x 3000
    assert sizes[1::2] == [(4000, 3000)] * 9


@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    ratio=st.sampled_from([(0.75, 4 / 3), (0.1, 0.3), (4.0, 9.0), (1.0, 1.0)]),
    least=st.floats(0.001, 1.0),
    seed=st.integers(0, 99),
)
def test_any_image_has_a_view_of_its_own_colours(
    width: int, height: int, ratio: tuple[float, float], least: float, seed: int
) -> None:
    image = np.full((height, width, 3), 77, dtype=np.uint8)
    values = view(image, Augmentation((least, 1.0), ratio, horizontal_flip=0.5), seed)
    np.testing.assert_allclose(values, np.full((3, 32, 32), 77), rtol=1e-6)


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match=r"gone\.jpg: "):
        view(tmp_path / "gone.jpg", EVERYTHING)
    with pytest.raises(InputError, match="must be a path, bytes"):
        view(7, EVERYTHING)
