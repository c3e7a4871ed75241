"""Averages of weights: the formula, and the endpoints bit for bit."""

import math

import pytest
import torch
from torch import Tensor

from clipkit.errors import CheckpointError, InputError
from clipkit.models.wise_ft import average_state

START = {
    "weight": torch.tensor([1.0, -2.0, 0.1]),
    "norm.running_var": torch.tensor([4.0]),
    "norm.num_batches_tracked": torch.tensor(7),
}
END = {
    "weight": torch.tensor([3.0, 2.0, 0.3]),
    "norm.running_var": torch.tensor([8.0]),
    "norm.num_batches_tracked": torch.tensor(9),
}


def test_floats_are_averaged_and_integers_are_those_of_the_end() -> None:
    averaged = average_state(START, END, 0.25)
    assert torch.allclose(averaged["weight"], torch.tensor([1.5, -1.0, 0.15]))
    assert averaged["norm.running_var"].tolist() == [5.0]
    assert averaged["norm.num_batches_tracked"].item() == 9
    assert list(averaged) == list(END)


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, START), (1.0, END)])
def test_endpoints_are_bit_for_bit(alpha: float, expected: dict[str, Tensor]) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = {"noise": torch.randn(1000, generator=generator) * 1e30}
    more = {"noise": torch.full((1000,), math.inf)}
    start, end = (START | noise, END | more)
    averaged = average_state(start, end, alpha)
    endpoint = end if alpha else start
    for name in ("weight", "norm.running_var", "noise"):
        assert torch.equal(averaged[name], endpoint[name])
    assert torch.equal(averaged["weight"], expected["weight"])


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_averages_are_new_tensors_in_float32_without_a_graph(alpha: float) -> None:
    start = {"weight": torch.ones(2, dtype=torch.bfloat16)}
    end = {"weight": torch.nn.Parameter(torch.full((2,), 3.0))}
    averaged = average_state(start, end, alpha)["weight"]
    assert (averaged.dtype, averaged.requires_grad) == (torch.float32, False)
    assert averaged.tolist() == [1 + 2 * alpha] * 2
    averaged.zero_()
    assert (start["weight"].tolist(), end["weight"].tolist()) == ([1.0] * 2, [3.0] * 2)


@pytest.mark.parametrize(
    ("end", "problem"),
    [
        ({"weight": torch.ones(2)}, r"weight is \(3,\) and then \(2,\)"),
        ({"weight": torch.ones(3, dtype=torch.long)}, "torch.float32 and then torch.int64"),
        ({}, "weight is only in the start"),
        ({"weight": torch.ones(3), "logit_bias": torch.ones(())}, "logit_bias is only in the end"),
        ({str(number): torch.ones(1) for number in range(9)}, "and 7 more"),
    ],
)
def test_weights_of_another_architecture_are_refused(end: dict[str, Tensor], problem: str) -> None:
    with pytest.raises(CheckpointError, match=problem):
        average_state({"weight": torch.ones(3)}, end, 0.5)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(InputError, match="alpha must be 0"):
        average_state(START, END, alpha)
