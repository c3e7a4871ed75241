"""The number format of a run: what it asks for, else what is faster here."""

import copy
from collections.abc import Callable

import pytest
import torch

from clipkit.training import mixed_precision as precision_module
from clipkit.training.batch import Batch
from clipkit.training.config import ComputeConfig, Precision, RunConfig
from clipkit.training.data_config import DataConfig, SourceConfig
from clipkit.training.mixed_precision import choose_training_precision
from clipkit.training.model_config import ModelConfig
from clipkit.training.trained_towers import TrainedTowers
from tests.training.conftest import make_batch

Make = Callable[..., TrainedTowers]


def config(precision: Precision, device: str = "cpu") -> RunConfig:
    return RunConfig(
        "run",
        ModelConfig(architecture="tiny.json"),
        DataConfig(train=(SourceConfig("pairs"),)),
        compute=ComputeConfig(precision=precision, device=device),
    )


def first_batch() -> Batch:
    return make_batch(12)


def nothing() -> Batch:
    raise AssertionError("nothing is to be tried")


@pytest.mark.parametrize("asked", ["fp32", "bf16", "fp16"])
def test_what_is_asked_for_is_taken(towers_of: Make, asked: Precision) -> None:
    assert choose_training_precision(config(asked), towers_of("vit"), nothing) == asked


@pytest.mark.parametrize(
    ("fp32", "bf16", "expected"),
    [(1.25, 1.0, "bf16"), (1.15, 1.0, "fp32"), (1.0, 1.0, "fp32"), (1.0, 3.0, "fp32")],
)
def test_last_bits_are_given_up_for_a_fifth_and_more(
    towers_of: Make,
    monkeypatch: pytest.MonkeyPatch,
    fp32: float,
    bf16: float,
    expected: Precision,
) -> None:
    """The clock advances by so many seconds in a step of each precision."""
    ticks = iter([0.0, fp32, 0.0, fp32 + 9, 0.0, bf16 + 9, 0.0, bf16])
    monkeypatch.setattr("clipkit.training.mixed_precision.time.process_time", lambda: next(ticks))
    towers = towers_of("vit").float()
    assert choose_training_precision(config("auto"), towers, first_batch) == expected


def test_trying_leaves_no_trace(towers_of: Make) -> None:
    towers = towers_of("resnet").float().eval()
    before, state = copy.deepcopy(towers.state_dict()), torch.get_rng_state()
    found = choose_training_precision(config("auto"), towers, first_batch)
    assert found in ("fp32", "bf16")
    for name, tensor in towers.state_dict().items():
        assert torch.equal(tensor, before[name]), name  # running means too
    assert all(item.grad is None for item in towers.parameters())
    assert not towers.training
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("device", "has_bf16", "expected"),
    [("cuda", True, "bf16"), ("cuda", False, "fp16"), ("mps", True, "fp32")],
)
def test_on_other_devices_nothing_is_tried(
    towers_of: Make,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    has_bf16: bool,
    expected: Precision,
) -> None:
    monkeypatch.setattr(precision_module, "choose_device", torch.device)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bf16)
    found = choose_training_precision(config("auto", device), towers_of("vit"), nothing)
    assert found == expected
