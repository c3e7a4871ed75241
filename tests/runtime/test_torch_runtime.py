"""The torch runtime: shapes, precisions, lengths, layouts, threads, compiling."""

import functools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from clipkit.errors import InputError
from clipkit.models.towers import Towers
from clipkit.runtime import torch_device
from clipkit.runtime.base import RuntimeWithTowers, trim_padding
from clipkit.runtime.torch_runtime import TorchRuntime
from tests.runtime.fake_cuda import FakeCuda

TEXT_CFG = {"context_length": 16, "vocab_size": 99, "width": 32, "heads": 2, "layers": 2}
VISION_CFG = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}
MODEL_CFG: dict[str, Any] = {"embed_dim": 24, "vision_cfg": VISION_CFG, "text_cfg": TEXT_CFG}
GENERATOR = np.random.default_rng(0)
PIXEL_VALUES = GENERATOR.normal(size=(3, 3, 32, 32)).astype(np.float32)
TOKEN_IDS = GENERATOR.integers(1, 99, size=(3, 16))


def _towers(model_cfg: dict[str, Any]) -> Towers:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return Towers(
        open_clip.CLIP(**model_cfg),
        model_cfg=model_cfg,
        preprocess_cfg={"size": 32},
        tokenizer_source=Path(),
    ).eval()


@pytest.fixture
def towers() -> Towers:
    return _towers(MODEL_CFG)


def _convolutional_towers() -> Towers:
    vision_cfg = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
    return _towers({**MODEL_CFG, "vision_cfg": vision_cfg})


def _runtime(towers: Towers, precision: str = "fp32", device: str = "cpu") -> TorchRuntime:
    return TorchRuntime(towers, device=device, precision=precision, space_id="0123456789abcdef")


def test_it_is_a_runtime_that_says_what_it_is(towers: Towers) -> None:
    runtime: RuntimeWithTowers = _runtime(towers)

    assert (runtime.engine, runtime.device, runtime.precision) == ("torch", "cpu", "fp32")
    assert runtime.embed_dim == 24
    assert runtime.space_id == "0123456789abcdef"
    assert runtime.scoring.log_scale == pytest.approx(np.log(1 / 0.07))
    assert not runtime.scoring.is_sigmoid


def test_features_are_float32_arrays_of_the_towers_own(towers: Towers) -> None:
    runtime = _runtime(towers)
    with torch.no_grad():
        expected = {
            "image_features": towers.image_features(torch.from_numpy(PIXEL_VALUES)),
            "patch_features": towers.patch_features(torch.from_numpy(PIXEL_VALUES)),
            "text_features": towers.text_features(torch.from_numpy(TOKEN_IDS)),
            "token_features": towers.token_features(torch.from_numpy(TOKEN_IDS)),
        }
    for name, tensor in expected.items():
        inputs = TOKEN_IDS if name.startswith(("text", "token")) else PIXEL_VALUES
        array = getattr(runtime, name)(inputs)
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, tensor.numpy())
        assert getattr(runtime, name)(inputs[:0]).shape == (0, *array.shape[1:])


def test_features_do_not_depend_on_the_batch_or_on_memory_order(towers: Towers) -> None:
    runtime = _runtime(towers)
    whole = runtime.image_features(PIXEL_VALUES)
    parts = np.concatenate([runtime.image_features(PIXEL_VALUES[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(whole, parts, atol=1e-5)
    views = np.asfortranarray(PIXEL_VALUES)
    np.testing.assert_array_equal(runtime.image_features(views), whole)
    np.testing.assert_array_equal(
        runtime.text_features(TOKEN_IDS.astype(np.int32)), runtime.text_features(TOKEN_IDS)
    )


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_casts_the_weights_and_stays_near(towers: Towers, precision: str) -> None:
    exact = _runtime(towers).image_features(PIXEL_VALUES)
    runtime = _runtime(towers, precision)
    features = runtime.image_features(PIXEL_VALUES)

    assert runtime.precision == precision
    assert {tensor.dtype for tensor in towers.state_dict().values()} == {
        torch_device.DTYPES[precision]
    }
    assert features.dtype == np.float32
    assert not np.array_equal(features, exact)
    cosines = (features * exact).sum(1) / np.linalg.norm(features, axis=1)
    assert (cosines / np.linalg.norm(exact, axis=1)).min() > 0.999
    assert runtime.scoring.log_scale == pytest.approx(np.log(1 / 0.07), abs=1e-6)
    assert runtime.token_features(TOKEN_IDS).dtype == np.float32


def test_other_shapes_are_refused_with_the_right_one(towers: Towers) -> None:
    runtime = _runtime(towers)
    for pixel_values in (PIXEL_VALUES[0], PIXEL_VALUES[:, :, :16], PIXEL_VALUES[:, :1]):
        with pytest.raises(InputError, match=r"must have shape \(B, 3, 32, 32\), got \("):
            runtime.image_features(pixel_values)
        with pytest.raises(InputError, match=r"must have shape \(B, 3, 32, 32\), got \("):
            runtime.patch_features(pixel_values)
    for token_ids in (TOKEN_IDS[0], TOKEN_IDS[:, :5]):
        with pytest.raises(InputError, match=r"must have shape \(B, 16\), got \("):
            runtime.text_features(token_ids)
        with pytest.raises(InputError, match=r"must have shape \(B, 16\), got \("):
            runtime.token_features(token_ids)


def test_padding_at_the_end_of_every_row_is_cut() -> None:
    token_ids = np.array([[5, 0, 7, 0, 0, 0], [5, 7, 0, 0, 0, 0]])
    np.testing.assert_array_equal(trim_padding(token_ids, 0), [[5, 0, 7], [5, 7, 0]])
    assert trim_padding(token_ids, 7) is not token_ids
    assert trim_padding(token_ids, 7).shape == (2, 6)
    assert trim_padding(token_ids, None) is token_ids
    assert trim_padding(token_ids[:, 3:], 0).shape == (2, 2)  # nothing but padding
    assert trim_padding(token_ids[:0], 0).shape == (0, 2)


def _lengths(towers: Towers) -> list[int]:
    """Return a list that gets the length of the rows in every call of the text tower."""
    lengths: list[int] = []
    embedding = towers.model.token_embedding
    embedding.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    return lengths


def test_texts_run_at_the_length_of_the_longest_with_equal_features(towers: Towers) -> None:
    runtime = _runtime(towers)
    token_ids = TOKEN_IDS.copy()
    for row, length in zip(token_ids, (4, 9, 6), strict=True):
        row[length - 1] = 98  # the end has the highest id
        row[length:] = 0
    with torch.no_grad():
        expected = towers.model.encode_text(torch.from_numpy(token_ids)).numpy()

    lengths = _lengths(towers)
    np.testing.assert_allclose(runtime.text_features(token_ids), expected, atol=1e-5)
    np.testing.assert_allclose(runtime.text_features(token_ids[:1]), expected[:1], atol=1e-5)
    assert runtime.text_features(token_ids[:0]).shape == (0, 24)
    assert runtime.token_features(token_ids).shape == (3, 16, 32)  # one a token, padding too
    assert lengths == [9, 4, 2, 16]


def test_texts_run_at_the_full_length_where_the_tower_sees_the_padding() -> None:
    towers = _towers({**MODEL_CFG, "text_cfg": {**TEXT_CFG, "no_causal_mask": True}})
    lengths = _lengths(towers)
    token_ids = TOKEN_IDS.copy()
    token_ids[:, 5:] = 0
    _runtime(towers).text_features(token_ids)
    assert lengths == [16]


def test_the_layout_changes_nothing_but_the_order_in_memory(tmp_path: Path) -> None:
    towers = _convolutional_towers()
    before = {name: tensor.clone() for name, tensor in towers.state_dict().items()}
    with torch.no_grad():
        image = towers.image_features(torch.from_numpy(PIXEL_VALUES)).numpy()
        patches = towers.patch_features(torch.from_numpy(PIXEL_VALUES)).numpy()
    layouts: list[bool] = []
    towers.model.visual.conv1.register_forward_pre_hook(
        lambda _, inputs: layouts.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )

    runtime = _runtime(towers)
    np.testing.assert_allclose(runtime.image_features(PIXEL_VALUES), image, atol=1e-5)
    np.testing.assert_allclose(runtime.patch_features(PIXEL_VALUES), patches, atol=1e-4)

    assert layouts == [True, True]
    weight = towers.model.visual.layer1[0].conv2.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    for name, tensor in towers.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_elsewhere_there_are_no_streams_and_no_pinned_memory(
    monkeypatch: pytest.MonkeyPatch, towers: Towers
) -> None:
    cuda = FakeCuda(monkeypatch)
    _runtime(towers).image_features(PIXEL_VALUES)
    assert (cuda.entered, cuda.pinned, cuda.copies) == ([], 0, [])


def test_a_runtime_for_cuda_computes_in_lanes_and_takes_two_calls_at_once(
    monkeypatch: pytest.MonkeyPatch, towers: Towers
) -> None:
    exact = _runtime(towers).image_features(PIXEL_VALUES)
    assert _runtime(towers).image_workers == 1
    cuda = FakeCuda(monkeypatch)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, *_, **__: module)

    runtime = _runtime(towers, device="cuda")
    assert runtime.image_workers == 2
    np.testing.assert_array_equal(runtime.image_features(PIXEL_VALUES), exact)
    assert len(cuda.entered) == cuda.pinned == len(cuda.copies) == 1


def test_two_threads_get_what_one_does(towers: Towers) -> None:
    runtime = _runtime(towers)
    expected = runtime.image_features(PIXEL_VALUES)
    with ThreadPoolExecutor(2) as pool:
        for features in pool.map(runtime.image_features, [PIXEL_VALUES] * 8):
            np.testing.assert_array_equal(features, expected)


def test_a_compiled_tower_sees_sizes_that_are_powers_of_two(
    monkeypatch: pytest.MonkeyPatch, towers: Towers
) -> None:
    sizes: list[int] = []

    def compile_tower(tower: Any, *, dynamic: bool) -> Any:
        assert not dynamic

        def compiled(pixel_values: torch.Tensor) -> Any:
            sizes.append(len(pixel_values))
            return tower(pixel_values)

        return compiled

    monkeypatch.setattr(torch, "compile", compile_tower)
    expected = _runtime(towers).image_features(PIXEL_VALUES)
    runtime = TorchRuntime(towers, device="cpu", precision="fp32", space_id="0", compile=True)
    np.testing.assert_allclose(runtime.image_features(PIXEL_VALUES), expected, atol=1e-5)
    five = np.concatenate([PIXEL_VALUES, PIXEL_VALUES[:2]])
    for count in (1, 2, 5, 0):
        assert runtime.image_features(five[:count]).shape == (count, 24)
    assert sizes == [4, 1, 2, 8, 1]
    assert runtime.patch_features(PIXEL_VALUES).shape == (3, 4, 64)
    assert len(sizes) == 5


@pytest.mark.slow
def test_a_compiled_tower_gives_the_same_features(
    monkeypatch: pytest.MonkeyPatch, towers: Towers
) -> None:
    # The tower is traced as for any backend; making C++ of it takes half a minute.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    expected = _runtime(towers).image_features(PIXEL_VALUES)
    runtime = TorchRuntime(towers, device="cpu", precision="fp32", space_id="0", compile=True)
    np.testing.assert_allclose(runtime.image_features(PIXEL_VALUES), expected, atol=1e-4)


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("make", ["vit", "resnet"])
def test_cuda_in_float32_equals_the_cpu(towers: Towers, make: str) -> None:
    tried = towers if make == "vit" else _convolutional_towers()
    exact = _runtime(tried).image_features(PIXEL_VALUES)
    texts = _runtime(tried).text_features(TOKEN_IDS)
    runtime = _runtime(tried, device="cuda")
    assert runtime.device == "cuda:0"
    with torch.backends.cudnn.flags(allow_tf32=False):  # torch's default for convolutions
        np.testing.assert_allclose(runtime.image_features(PIXEL_VALUES), exact, atol=1e-4)
    np.testing.assert_allclose(runtime.text_features(TOKEN_IDS), texts, atol=1e-4)


@pytest.mark.gpu
@needs_cuda
def test_cuda_gives_the_same_to_two_threads_at_once(towers: Towers) -> None:
    runtime = _runtime(towers, device="cuda")
    batches = [np.roll(PIXEL_VALUES, number, axis=3) for number in range(32)]
    expected = [runtime.image_features(batch) for batch in batches]
    with ThreadPoolExecutor(runtime.image_workers) as pool:
        for features, right in zip(
            pool.map(runtime.image_features, batches), expected, strict=True
        ):
            np.testing.assert_allclose(features, right, atol=1e-5)


@pytest.mark.gpu
@needs_cuda
def test_cuda_in_its_own_precision_stays_near(towers: Towers) -> None:
    exact = _runtime(towers).image_features(PIXEL_VALUES)
    features = _runtime(towers, "auto", device="cuda").image_features(PIXEL_VALUES)
    cosines = (features * exact).sum(1) / np.linalg.norm(features, axis=1)
    assert (cosines / np.linalg.norm(exact, axis=1)).min() > 0.999
