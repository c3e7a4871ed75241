"""The torch runtime: shapes, devices, precisions."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from clipkit.errors import InputError
from clipkit.models.towers import Towers
from clipkit.runtime import torch_runtime
from clipkit.runtime.base import FineRuntime
from clipkit.runtime.torch_runtime import TorchRuntime, choose_device, choose_precision

MODEL_CFG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 99, "width": 32, "heads": 2, "layers": 2},
}
GENERATOR = np.random.default_rng(0)
PIXEL_VALUES = GENERATOR.normal(size=(3, 3, 32, 32)).astype(np.float32)
TOKEN_IDS = GENERATOR.integers(1, 99, size=(3, 16))


@pytest.fixture
def towers() -> Towers:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return Towers(
        open_clip.CLIP(**MODEL_CFG),
        model_cfg=MODEL_CFG,
        preprocess_cfg={"size": 32},
        tokenizer_source=Path(),
    )


def _runtime(towers: Towers, precision: str = "fp32", device: str = "cpu") -> TorchRuntime:
    return TorchRuntime(towers, device=device, precision=precision, space_id="0123456789abcdef")


def test_it_is_a_runtime_that_says_what_it_is(towers: Towers) -> None:
    runtime: FineRuntime = _runtime(towers)

    assert (runtime.engine, runtime.device, runtime.precision) == ("torch", "cpu", "fp32")
    assert runtime.embed_dim == 24
    assert runtime.space_id == "0123456789abcdef"
    assert runtime.scoring.logit_scale == pytest.approx(np.log(1 / 0.07))
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
        torch_runtime.DTYPES[precision]
    }
    assert features.dtype == np.float32
    assert not np.array_equal(features, exact)
    cosines = (features * exact).sum(1) / np.linalg.norm(features, axis=1)
    assert (cosines / np.linalg.norm(exact, axis=1)).min() > 0.999
    assert runtime.scoring.logit_scale == pytest.approx(np.log(1 / 0.07), abs=1e-6)
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


def test_auto_takes_the_best_device_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == torch.device("cuda:0")
    assert choose_device("cuda") == torch.device("cuda:0")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cpu") == torch.device("cpu")


def test_auto_takes_bf16_only_on_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_precision("auto", torch.device("cpu")) == "fp32"
    assert choose_precision("auto", torch.device("mps")) == "fp32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert choose_precision("auto", torch.device("cuda:0")) == "bf16"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    assert choose_precision("auto", torch.device("cuda:0")) == "fp32"
    assert choose_precision("fp16", torch.device("cpu")) == "fp16"


def test_unknown_devices_and_precisions_are_refused_with_the_choices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for device in ("cuda", "cuda:3", "mps", "tpu"):
        with pytest.raises(InputError, match=f'no device "{device}" here; there is cpu, or "auto"'):
            choose_device(device)
    with pytest.raises(InputError, match='must be auto, fp32, bf16, fp16; got "int8"'):
        choose_precision("int8", torch.device("cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_in_float32_equals_the_cpu(towers: Towers) -> None:
    exact = _runtime(towers).image_features(PIXEL_VALUES)
    runtime = _runtime(towers, device="cuda")
    assert runtime.device == "cuda:0"
    np.testing.assert_allclose(runtime.image_features(PIXEL_VALUES), exact, atol=1e-4)
    assert runtime.text_features(TOKEN_IDS).shape == (3, 24)
