"""AdamW with its groups, the learning-rate schedule, and the bounds of the logit scale."""

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType

import torch
from torch import nn

from clipkit.errors import InputError
from clipkit.models.layer_groups import image_groups, text_groups
from clipkit.models.towers import Towers
from clipkit.training.config import OptimizerConfig

MAX_LOGIT_SCALE = math.log(100)  # CLIP, arXiv 2103.00020, section 2.5
_FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu")  # where torch has one kernel for the whole step


def build_optimizer(
    module: nn.Module,
    config: OptimizerConfig,
    no_decay: AbstractSet[str],
    factors: Mapping[str, float] = MappingProxyType({}),
) -> torch.optim.AdamW:
    """Return AdamW over all parameters that are trained.

    Args:
        module: What is trained.
        config: Its settings, resolved.
        no_decay: Parameters without weight decay, named as in ``module.named_parameters()``;
            frozen ones may be among them.
        factors: What the learning rate of a parameter is multiplied by, named in the same way; of
            others 1.

    Returns:
        An optimizer with two groups: those with weight decay and those without. With factors it
        has two of each factor, which the group has as its "rate_factor".

    Raises:
        InputError: If nothing is trained, or a name is not one of the module's.
    """
    named = dict(module.named_parameters())
    for what, names in (("no_decay", no_decay), ("factors", factors.keys())):
        unknown = sorted(names - named.keys())
        if unknown:
            raise InputError(f"{what} names {unknown[0]}, which is no parameter of the module")
    trained = {name: item for name, item in named.items() if item.requires_grad}
    if not trained:
        raise InputError("every parameter is locked: there is nothing to train")
    groups = []
    for factor in sorted({factors.get(name, 1.0) for name in trained}, reverse=True):
        same = {name: item for name, item in trained.items() if factors.get(name, 1.0) == factor}
        extra = {"rate_factor": factor} if factors else {}
        decayed = [item for name, item in same.items() if name not in no_decay]
        others = [item for name, item in same.items() if name in no_decay]
        groups += [
            {"params": decayed, "weight_decay": config.weight_decay, **extra},
            {"params": others, "weight_decay": 0.0, **extra},
        ]
    return torch.optim.AdamW(
        groups,
        lr=_highest_rate(config),
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=all(item.device.type in _FUSED_DEVICES for item in trained.values()),
    )


def rate_factors(towers: Towers, config: OptimizerConfig) -> dict[str, float]:
    """Return what the learning rate of each parameter is multiplied by, other than 1.

    Layer-wise, the last group of a tower, its projection, keeps its rate, and each one before has
    ``layer_decay`` times the rate of the next. The logit scale belongs to no tower.

    Args:
        towers: The towers; before FSDP shards them, which regroups nothing but changes shapes.
        config: The factors.

    Returns:
        Factors by name as in ``towers.named_parameters()``, frozen ones included; empty if all
        settings are 1.

    Source:
        BEiT, arXiv 2106.08254, as in timm's ``param_groups_layer_decay``; EVA-CLIP, arXiv
        2303.15389, for both towers.
    """
    if not config.has_rate_factors:
        return {}
    factors: dict[int, float] = {}
    for groups, factor in (
        (image_groups(towers.model.visual), config.image_lr_factor),
        (text_groups(towers.model), config.text_lr_factor),
    ):
        for number, group in enumerate(reversed(groups)):
            factors |= {id(item): factor * config.layer_decay**number for item in group}
    named = towers.named_parameters()
    return {name: factors[id(item)] for name, item in named if id(item) in factors}


def learning_rate(
    step: int,
    *,
    num_steps: int,
    config: OptimizerConfig,
    begin: int = 0,
    warmup: tuple[int, int] | None = None,
) -> float:
    """Return the learning rate of a step.

    It rises in equal steps to the highest over the warmup; then it falls to 0 along half a cosine
    or a line, or stays constant until its cooldown, in which it falls to 0 along a line.

    Args:
        step: The step about to be taken, in [begin, num_steps).
        num_steps: Steps of the whole run.
        config: The settings, resolved.
        begin: The step that the schedule begins at: where the run was extended, else 0.
        warmup: The first step of the warmup and how many it has; None: it begins with the schedule,
            and is as long as the settings say.

    Returns:
        The rate, above 0 if the highest is.

    Raises:
        InputError: If the step is out of range.

    Source:
        open_clip, ``open_clip_train/scheduler.py``: cosine_lr, const_lr, and const_lr_cooldown of
        power 1. Beginning again is SGDR, Loshchilov and Hutter 2017, arXiv 1608.03983.
    """
    if not begin <= step < num_steps:
        raise InputError(f"step must be {begin} to {num_steps - 1}, got {step}")
    highest = _highest_rate(config)
    first, num_warmup = warmup or (begin, warmup_steps(num_steps - begin, config))
    is_rising = step < first + num_warmup
    risen = highest * (step - first + 1) / num_warmup if is_rising else highest
    num_falling = num_steps - first - num_warmup
    if config.schedule == "constant":
        num_falling = cooldown_steps(num_steps - begin, config)
    left = num_steps - step  # steps
    if left >= num_falling:
        return risen
    if config.schedule == "cosine":
        return highest * 0.5 * (1 + math.cos(math.pi * ((num_falling - left) / num_falling)))
    return min(risen, highest * left / num_falling)


def warmup_steps(num_steps: int, config: OptimizerConfig) -> int:
    """Return the number of warmup steps, at least one where there is any warmup."""
    return config.warmup_steps or _whole_steps(config.warmup_fraction, num_steps)


def cooldown_steps(num_steps: int, config: OptimizerConfig) -> int:
    """Return the number of steps at the end in which a constant rate falls."""
    return _whole_steps(config.cooldown_fraction, num_steps)


def _whole_steps(share: float, num_steps: int) -> int:
    # The product of 0.1 and a number of steps may lie a rounding above a whole number.
    return math.ceil(share * num_steps - 1e-9)


def clamp_logit_scale(towers: Towers, *, most: float = MAX_LOGIT_SCALE) -> None:
    """Clamp the multiplier of cosines to 1 or more and at most 100, as CLIP does.

    The multiplier is the inverse of the temperature, so the temperature stays at 0.01 or more. One
    that is frozen stays as it is.

    Args:
        towers: The towers; their logit scale, the log of it, changes in place.
        most: The largest natural log.
    """
    if towers.model.logit_scale.requires_grad:
        with torch.no_grad():
            towers.model.logit_scale.clamp_(0.0, most)


def _highest_rate(config: OptimizerConfig) -> float:
    if config.lr is None:
        raise InputError("the learning rate is not chosen yet: resolve the run's config first")
    return config.lr
