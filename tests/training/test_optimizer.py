"""AdamW's groups, the learning rate against open_clip_train's schedulers, the scale's bound."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from open_clip_train.scheduler import const_lr, const_lr_cooldown, cosine_lr
from timm.optim._param_groups import param_groups_layer_decay
from torch import nn

from clipkit.errors import InputError
from clipkit.models.building import build_model
from clipkit.models.towers import Towers
from clipkit.training.config import OptimizerConfig, ScheduleKind
from clipkit.training.optimizer import (
    build_optimizer,
    clamp_logit_scale,
    learning_rate,
    rate_factors,
    warmup_steps,
)
from tests.models.conftest import tiny_config

CONFIG = OptimizerConfig(lr=0.3)
TIMM = {
    "timm_model_name": "vit_tiny_patch16_224",
    "timm_model_pretrained": False,
    "timm_pool": "token",
    "timm_proj": "linear",
    "image_size": 32,
}


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize(
    ("num_steps", "warmup_fraction", "num_warmup"),
    [(1, 0.0, 0), (1, 0.1, 1), (7, 0.1, 1), (30, 0.1, 3), (30, 0.11, 4), (40, 0.0, 0), (9, 1.0, 9)],
)
def test_rates_are_those_of_open_clip(
    schedule: ScheduleKind, num_steps: int, warmup_fraction: float, num_warmup: int
) -> None:
    config = OptimizerConfig(lr=2e-3, schedule=schedule, warmup_fraction=warmup_fraction)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1)
    adjust = {"cosine": cosine_lr, "constant": const_lr}[schedule](
        optimizer, 2e-3, num_warmup, num_steps
    )
    for step in range(num_steps):
        rate = learning_rate(step, num_steps=num_steps, config=config)
        assert rate == pytest.approx(adjust(step), rel=1e-12)
    assert warmup_steps(num_steps, config) == num_warmup


def test_a_tenth_of_the_steps_is_never_one_more() -> None:
    assert all(warmup_steps(10 * tenth, CONFIG) == tenth for tenth in range(1, 3000))
    assert 0.07 * 100 > 7  # what a plain ceiling would take for 8
    assert warmup_steps(100, OptimizerConfig(lr=0.3, warmup_fraction=0.07)) == 7


def test_rates_rise_to_the_highest_and_fall_towards_zero() -> None:
    config = OptimizerConfig(lr=0.4, warmup_fraction=0.5)
    rates = [learning_rate(step, num_steps=8, config=config) for step in range(8)]
    assert rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])
    assert rates[6] == pytest.approx(0.2)  # half of the cosine's way


@pytest.mark.parametrize("step", [-1, 8])
def test_a_step_out_of_range_is_refused(step: int) -> None:
    with pytest.raises(InputError, match="step must be 0 to 7"):
        learning_rate(step, num_steps=8, config=CONFIG)


def test_an_unresolved_rate_is_refused() -> None:
    with pytest.raises(InputError, match="resolve"):
        learning_rate(0, num_steps=8, config=OptimizerConfig())
    with pytest.raises(InputError, match="resolve"):
        build_optimizer(nn.Linear(2, 2), OptimizerConfig(), set())


def test_groups_hold_every_trained_parameter_once() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    module[2].weight.requires_grad_(False)
    config = OptimizerConfig(lr=0.3, beta1=0.8, beta2=0.95, eps=1e-5, weight_decay=0.1)
    no_decay = {"0.bias", "1.weight", "1.bias", "2.bias"}
    optimizer = build_optimizer(module, config, no_decay)
    decayed, others = optimizer.param_groups
    assert [id(item) for item in decayed["params"]] == [id(module[0].weight)]
    named = dict(module.named_parameters())
    assert {id(item) for item in others["params"]} == {id(named[name]) for name in no_decay}
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    for group in (decayed, others):
        assert (group["lr"], group["betas"], group["eps"]) == (0.3, (0.8, 0.95), 1e-5)
        assert group["fused"]


def test_steps_are_those_of_plain_adamw_in_double_precision() -> None:
    """One step by hand: Adam moves by lr against the sign; decay shrinks only the matrix."""
    module = nn.Linear(1, 1).double()
    with torch.no_grad():
        module.weight.fill_(2.0)
        module.bias.fill_(3.0)
    config = OptimizerConfig(lr=0.1, eps=0.0, weight_decay=0.5)
    optimizer = build_optimizer(module, config, {"bias"})
    torch.autograd.backward(module(torch.ones(1, 1, dtype=torch.double)).sum())
    optimizer.step()
    assert module.weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1)
    assert module.bias.item() == pytest.approx(3.0 - 0.1)


def test_a_module_with_nothing_in_one_group_can_be_stepped() -> None:
    module = nn.Linear(2, 2, bias=False)
    for no_decay in (set[str](), {"weight"}):
        optimizer = build_optimizer(module, CONFIG, no_decay)
        torch.autograd.backward(module(torch.ones(1, 2)).sum())
        optimizer.step()
        assert len(optimizer.param_groups) == 2


def test_a_locked_module_and_an_unknown_name_are_refused() -> None:
    module = nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"no_decay names towers\.bias"):
        build_optimizer(module, CONFIG, {"towers.bias"})
    module.requires_grad_(False)
    with pytest.raises(InputError, match="nothing to train"):
        build_optimizer(module, CONFIG, {"bias"})


@pytest.mark.parametrize("is_nonscalar", [False, True])
@pytest.mark.parametrize(
    ("before", "after"), [(-0.5, 0.0), (0.0, 0.0), (3.0, 3.0), (4.7, math.log(100))]
)
def test_the_scale_stays_between_one_and_a_hundred(
    before: float, after: float, is_nonscalar: bool
) -> None:
    config = tiny_config(nonscalar_logit_scale=is_nonscalar, init_logit_scale=before)
    model = build_model(config, "tiny", None)
    towers = Towers(model, model_cfg=config, preprocess_cfg={}, tokenizer_source=Path())
    clamp_logit_scale(towers)
    assert towers.logit_scale == pytest.approx(after)
    assert model.logit_scale.requires_grad
    clamp_logit_scale(towers, most=0.5)
    assert towers.logit_scale == pytest.approx(min(after, 0.5))


@pytest.mark.parametrize(
    ("num_steps", "num_warmup", "share"), [(40, 3, 0.25), (9, 0, 1.0), (7, 2, 0)]
)
def test_a_cooldown_is_that_of_open_clip(num_steps: int, num_warmup: int, share: float) -> None:
    config = OptimizerConfig(
        lr=2e-3,
        schedule="constant",
        warmup_fraction=0.0,
        warmup_steps=num_warmup,
        cooldown_fraction=share,
    )
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1)
    adjust = const_lr_cooldown(optimizer, 2e-3, num_warmup, num_steps, round(share * num_steps))
    for step in range(num_steps):
        rate = learning_rate(step, num_steps=num_steps, config=config)
        assert rate == pytest.approx(adjust(step), rel=1e-12)


def test_a_line_falls_in_equal_steps_and_begins_again() -> None:
    config = OptimizerConfig(lr=0.4, schedule="linear", warmup_steps=2)
    expected = [0.2, 0.4, 0.4, 0.3, 0.2, 0.1]
    rates = [learning_rate(step, num_steps=6, config=config) for step in range(6)]
    again = [learning_rate(step, num_steps=16, config=config, begin=10) for step in range(10, 16)]
    assert rates == pytest.approx(expected)
    assert again == pytest.approx(expected)


def test_a_cooldown_of_a_schedule_that_falls_is_refused() -> None:
    with pytest.raises(InputError, match=r"cooldown_fraction = 0\.2 goes with schedule"):
        OptimizerConfig(cooldown_fraction=0.2)


def test_layers_of_a_timm_tower_learn_at_the_rates_of_timm() -> None:
    config = tiny_config(vision_cfg=TIMM)
    model = build_model(config, "tiny", None)
    towers = Towers(model, model_cfg=config, preprocess_cfg={}, tokenizer_source=Path())
    settings = OptimizerConfig(lr=0.3, layer_decay=0.5, text_lr_factor=0.1)
    found = rate_factors(towers, settings)
    trunk = model.visual.trunk
    expected = {
        id(item): group["lr_scale"]
        for group in param_groups_layer_decay(trunk, layer_decay=0.5)
        for item in group["params"]
    }
    # timm counts from the last block, which is followed here by a projection.
    for name, item in trunk.named_parameters():
        assert found[f"model.visual.trunk.{name}"] == 0.5 * expected[id(item)], name
    assert {
        found[f"model.visual.head.{name}"] for name, _ in model.visual.head.named_parameters()
    } == {1.0}
    assert found["model.text_projection"] == 0.1
    assert found["model.transformer.resblocks.0.ln_1.weight"] == pytest.approx(
        0.1 * 0.5 ** len(model.transformer.resblocks)
    )
    assert "model.logit_scale" not in found
    optimizer = build_optimizer(towers, settings, set(), found)
    for group in optimizer.param_groups:
        names = [
            name
            for name, item in towers.named_parameters()
            if any(item is p for p in group["params"])
        ]
        assert {found.get(name, 1.0) for name in names} <= {group["rate_factor"]}
    assert rate_factors(towers, OptimizerConfig(lr=0.3)) == {}


@given(
    schedule=st.sampled_from(["cosine", "linear", "constant"]),
    num_steps=st.integers(2, 60),
    begin=st.integers(0, 50),
    num_warmup=st.integers(1, 40),
    share=st.sampled_from([0.0, 0.01, 0.25, 0.5, 1.0]),
)
def test_rates_are_bounded_and_continuous(
    schedule: ScheduleKind, num_steps: int, begin: int, num_warmup: int, share: float
) -> None:
    """From step to step a rate changes by no more than its steepest part does."""
    config = OptimizerConfig(
        lr=2.0,
        schedule=schedule,
        warmup_steps=num_warmup,
        cooldown_fraction=share if schedule == "constant" else 0.0,
    )
    end = begin + num_steps
    rates = [
        learning_rate(step, num_steps=end, config=config, begin=begin) for step in range(begin, end)
    ]
    falling = num_steps - num_warmup if schedule != "constant" else math.ceil(share * num_steps)
    steepest = 2.0 * max(1 / num_warmup, math.pi / 2 / max(falling, 1))
    assert all(0 < rate <= 2.0 for rate in rates)
    assert all(abs(b - a) <= steepest + 1e-9 for a, b in itertools.pairwise(rates))
