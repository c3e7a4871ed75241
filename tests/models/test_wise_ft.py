"""WiSE-FT: the formula, the endpoints bit for bit, and which interpolation is taken."""

import math

import pytest
import torch
from torch import Tensor

from clipkit.errors import CheckpointError, InputError
from clipkit.models.wise_ft import (
    ALPHAS,
    alphas_to_measure,
    interpolate_state,
)

BASE = {
    "weight": torch.tensor([1.0, -2.0, 0.1]),
    "norm.running_var": torch.tensor([4.0]),
    "norm.num_batches_tracked": torch.tensor(7),
}
TUNED = {
    "weight": torch.tensor([3.0, 2.0, 0.3]),
    "norm.running_var": torch.tensor([8.0]),
    "norm.num_batches_tracked": torch.tensor(9),
}


def test_floats_are_interpolated_and_integers_are_those_of_the_fine_tuned_model() -> None:
    interpolated = interpolate_state(BASE, TUNED, 0.25)
    assert torch.allclose(interpolated["weight"], torch.tensor([1.5, -1.0, 0.15]))
    assert interpolated["norm.running_var"].tolist() == [5.0]
    assert interpolated["norm.num_batches_tracked"].item() == 9
    assert list(interpolated) == list(TUNED)


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, BASE), (1.0, TUNED)])
def test_endpoints_are_bit_for_bit(alpha: float, expected: dict[str, Tensor]) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = {"noise": torch.randn(1000, generator=generator) * 1e30}
    more = {"noise": torch.full((1000,), math.inf)}
    base, tuned = (BASE | noise, TUNED | more)
    interpolated = interpolate_state(base, tuned, alpha)
    endpoint = tuned if alpha else base
    for name in ("weight", "norm.running_var", "noise"):
        assert torch.equal(interpolated[name], endpoint[name])
    assert torch.equal(interpolated["weight"], expected["weight"])


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_interpolations_are_new_tensors_in_float32_without_a_graph(alpha: float) -> None:
    base = {"weight": torch.ones(2, dtype=torch.bfloat16)}
    tuned = {"weight": torch.nn.Parameter(torch.full((2,), 3.0))}
    interpolated = interpolate_state(base, tuned, alpha)["weight"]
    assert (interpolated.dtype, interpolated.requires_grad) == (torch.float32, False)
    assert interpolated.tolist() == [1 + 2 * alpha] * 2
    interpolated.zero_()
    assert (base["weight"].tolist(), tuned["weight"].tolist()) == ([1.0] * 2, [3.0] * 2)


@pytest.mark.parametrize(
    ("tuned", "problem"),
    [
        ({"weight": torch.ones(2)}, r"weight is \(3,\) and then \(2,\)"),
        ({"weight": torch.ones(3, dtype=torch.long)}, "torch.float32 and then torch.int64"),
        ({}, "weight is only in the base model"),
        (
            {"weight": torch.ones(3), "bias": torch.ones(())},
            "bias is only in the fine-tuned one",
        ),
        ({str(number): torch.ones(1) for number in range(9)}, "and 7 more"),
    ],
)
def test_weights_of_another_architecture_are_refused(
    tuned: dict[str, Tensor], problem: str
) -> None:
    with pytest.raises(CheckpointError, match=problem):
        interpolate_state({"weight": torch.ones(3)}, tuned, 0.5)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(InputError, match="alpha must be 0"):
        interpolate_state(BASE, TUNED, alpha)


def test_four_between_the_ends_are_measured() -> None:
    assert alphas_to_measure(is_scored=True) == (0.2, 0.4, 0.6, 0.8)
    assert (0.0, *alphas_to_measure(is_scored=True), 1.0) == ALPHAS


def test_without_scores_the_alpha_of_the_paper_is_the_most() -> None:
    assert alphas_to_measure(is_scored=False) == (0.2, 0.4, 0.5)
