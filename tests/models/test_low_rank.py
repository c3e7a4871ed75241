"""One adapted weight: against explicit layers in float64, and in the modules that fuse it."""

import copy
import math

import pytest
import torch
from torch import nn

from clipkit.models.low_rank import LowRank, adapters, attach, plain_state

RANK, ALPHA = 2, 3.0


def _adapter(weight: torch.Tensor, parts: tuple[str, ...], adapted: tuple[str, ...]) -> LowRank:
    adapter = LowRank(weight, parts=parts, adapted=adapted, rank=RANK, alpha=ALPHA)
    adapter.initialize(torch.Generator().manual_seed(0))
    with torch.no_grad():
        adapter.lora_B.normal_(generator=torch.Generator().manual_seed(1))
    return adapter


def _slow_attention(
    attention: nn.MultiheadAttention, adapter: LowRank, x: torch.Tensor
) -> torch.Tensor:
    """Return self-attention by a linear layer for each of q, k, v, with LoRA's branch beside it."""
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    projected = []
    for part, weight, bias in zip("qkv", weights, biases, strict=True):
        y = x @ weight.T + bias
        if part in adapter.adapted:
            row = adapter.adapted.index(part)
            a, b = adapter.lora_A[row], adapter.lora_B[row]
            y = y + ALPHA / math.sqrt(RANK) * ((x @ a.T) @ b.T)
        projected.append(y)
    heads = attention.num_heads
    q, k, v = (y.view(*y.shape[:2], heads, -1).transpose(1, 2) for y in projected)
    scores = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(dim=-1)
    out: torch.Tensor = attention.out_proj((scores @ v).transpose(1, 2).flatten(2))
    return out


@pytest.mark.parametrize("adapted", [("q", "k", "v"), ("q", "v"), ("k",)])
@pytest.mark.parametrize("is_training", [True, False])
def test_fused_attention_is_that_of_explicit_layers(
    adapted: tuple[str, ...], is_training: bool
) -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(16, 4, batch_first=True).double().train(is_training)
    plain = copy.deepcopy(attention)
    adapter = _adapter(attention.in_proj_weight, ("q", "k", "v"), adapted)
    x = torch.randn(3, 5, 16, dtype=torch.float64)
    expected = _slow_attention(plain, adapter, x)
    attach(attention, "in_proj_weight", adapter)

    with torch.set_grad_enabled(is_training):  # without gradients eval mode takes the fast path
        found = attention(x, x, x, need_weights=False)[0]

    assert (expected - plain(x, x, x)[0]).abs().max() > 0.1  # it changes something
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_gradients_are_those_of_explicit_layers() -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(16, 4, batch_first=True).double()
    plain = copy.deepcopy(attention)
    adapter = _adapter(attention.in_proj_weight, ("q", "k", "v"), ("q", "k", "v"))
    slow = copy.deepcopy(adapter)
    x = torch.randn(3, 5, 16, dtype=torch.float64)
    torch.autograd.backward(_slow_attention(plain, slow, x).sin().sum())
    attach(attention, "in_proj_weight", adapter)

    torch.autograd.backward(attention(x, x, x, need_weights=False)[0].sin().sum())

    for name in ("lora_A", "lora_B"):
        torch.testing.assert_close(getattr(adapter, name).grad, getattr(slow, name).grad)
    names = {name for name, item in attention.named_parameters() if item.grad is None}
    assert names == {"parametrizations.in_proj_weight.original"}


def test_a_convolution_of_one_pixel_is_a_linear_layer_at_each_pixel() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(6, 10, 1).double().to(memory_format=torch.channels_last)
    x = torch.randn(2, 6, 3, 3, dtype=torch.float64)
    adapter = _adapter(convolution.weight, ("conv",), ("conv",))
    change = ALPHA / math.sqrt(RANK) * adapter.lora_B[0] @ adapter.lora_A[0]
    expected = convolution(x) + torch.einsum("oi,nihw->nohw", change, x)
    attach(convolution, "weight", adapter)

    torch.testing.assert_close(convolution(x), expected)


def test_new_adapters_leave_every_bit_as_it_was() -> None:
    layer = nn.Linear(8, 8, bias=False)
    with torch.no_grad():
        layer.weight[0] = -0.0
    before = layer.weight.detach().clone()
    adapter = LowRank(layer.weight, parts=("linear",), adapted=("linear",), rank=2, alpha=1.0)
    adapter.initialize(torch.Generator().manual_seed(0))
    attach(layer, "weight", adapter)

    assert adapter.lora_A.any()
    assert torch.equal(layer.weight.view(torch.int32), before.view(torch.int32))


def test_a_is_drawn_as_a_linear_layers_weights_are() -> None:
    adapter = LowRank(torch.zeros(30, 400), parts=("a", "b", "c"), adapted=("c",), rank=9, alpha=1)
    adapter.initialize(torch.Generator().manual_seed(0))
    assert adapter.lora_A.shape == (1, 9, 400)
    assert adapter.lora_B.shape == (1, 10, 9)
    bound = 1 / math.sqrt(400)  # kaiming_uniform_ with a = sqrt(5), as nn.Linear has it
    assert 0.95 * bound < adapter.lora_A.abs().max() <= bound


def test_autocast_does_not_round_the_weights() -> None:
    layer = nn.Linear(64, 64)
    attach(layer, "weight", _adapter(layer.weight, ("linear",), ("linear",)))
    exact = layer.weight

    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = layer.weight

    assert torch.equal(under_autocast, exact)


def test_plain_state_is_the_state_of_a_model_with_merged_weights() -> None:
    torch.manual_seed(0)
    first = nn.Linear(4, 6)
    model = nn.Sequential(first, nn.ReLU(), nn.Linear(6, 4))
    twin = copy.deepcopy(model)
    adapter = _adapter(first.weight, ("linear",), ("linear",))
    merged = first.weight.detach() + ALPHA / math.sqrt(RANK) * (
        adapter.lora_B[0] @ adapter.lora_A[0]
    )
    attach(first, "weight", adapter)

    state = plain_state(model)

    assert [name for name, _ in adapters(model)] == ["0.weight"]
    assert sorted(state) == sorted(twin.state_dict())
    assert not state["0.weight"].requires_grad
    torch.testing.assert_close(state["0.weight"], merged)
    twin.load_state_dict(state)
    x = torch.randn(3, 4)
    assert torch.equal(twin(x), model(x))


def test_a_model_without_adapters_is_its_own_plain_state() -> None:
    model = nn.Linear(3, 2)
    assert {name: tensor.data_ptr() for name, tensor in plain_state(model).items()} == {
        "weight": model.weight.data_ptr(),
        "bias": model.bias.data_ptr(),
    }
