"""Which device, precision and layout is taken, and how arrays travel."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import open_clip
import pytest
import torch
from torch import nn

from clipkit.errors import InputError
from clipkit.runtime.torch_device import (
    ThreadStreams,
    choose_device,
    choose_precision,
    image_layout,
)
from tests.runtime.fake_cuda import FakeCuda


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


def test_only_towers_of_convolutions_take_channels_last() -> None:
    vit = open_clip.model._build_vision_tower(
        24, {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    )
    convnet = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.Conv2d(8, 8, 3))
    for device in ("cpu", "cuda:0"):
        assert image_layout(vit, torch.device(device)) == torch.contiguous_format
        assert image_layout(convnet, torch.device(device)) == torch.channels_last
    assert image_layout(convnet, torch.device("mps")) == torch.contiguous_format


def test_on_cuda_every_thread_has_a_stream_that_waits_for_the_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda(monkeypatch)
    streams = ThreadStreams(torch.device("cuda:1"))

    def work() -> None:
        for _ in range(2):
            with streams.stream():
                pass

    for _ in range(2):  # one after the other, so that each has a thread of its own
        with ThreadPoolExecutor(1) as pool:
            pool.submit(work).result()
    first, second, third, fourth = cuda.entered
    assert first is second
    assert third is fourth
    assert first is not third
    assert first.device == torch.device("cuda:1")
    assert cuda.waited == ["current of cuda:1"] * 2


def test_on_cuda_arrays_are_sent_from_pinned_memory_without_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda(monkeypatch)
    array = np.arange(6.0).reshape(2, 3)
    sent = ThreadStreams(torch.device("cuda:0")).send(np.asfortranarray(array))
    np.testing.assert_array_equal(sent.numpy(), array)
    assert cuda.pinned == 1
    assert cuda.copies == [(torch.device("cuda:0"), True)]
