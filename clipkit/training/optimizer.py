"""AdamW, the learning-rate schedule with its warmup, and the bounds of the logit scale."""

import math
from collections.abc import Set as AbstractSet

import torch
from torch import nn

from clipkit.errors import InputError
from clipkit.models.towers import Towers
from clipkit.training.config import OptimizerConfig

MAX_LOGIT_SCALE = math.log(100)  # CLIP, arXiv 2103.00020, section 2.5
_FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu")  # where torch has one kernel for the whole step


def build_optimizer(
    module: nn.Module, config: OptimizerConfig, no_decay: AbstractSet[str]
) -> torch.optim.AdamW:
    """Return AdamW over all parameters that are trained.

    Args:
        module: What is trained.
        config: Its settings, resolved.
        no_decay: Parameters without weight decay, named as in ``module.named_parameters()``;
            frozen ones may be among them.

    Returns:
        An optimizer with two groups: those with weight decay and those without.

    Raises:
        InputError: If nothing is trained, or a name is not one of the module's.
    """
    named = dict(module.named_parameters())
    unknown = sorted(no_decay - named.keys())
    if unknown:
        raise InputError(f"no_decay names {unknown[0]}, which is no parameter of the module")
    trained = {name: item for name, item in named.items() if item.requires_grad}
    if not trained:
        raise InputError("every parameter is locked: there is nothing to train")
    decayed = [item for name, item in trained.items() if name not in no_decay]
    others = [item for name, item in trained.items() if name in no_decay]
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=_highest_rate(config),
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=all(item.device.type in _FUSED_DEVICES for item in trained.values()),
    )


def learning_rate(step: int, *, num_steps: int, config: OptimizerConfig) -> float:
    """Return the learning rate of a step.

    It rises in equal steps to the highest over the warmup; then it falls to 0 along half a cosine,
    or stays constant.

    Args:
        step: The step about to be taken, in [0, num_steps).
        num_steps: Steps of the whole run.
        config: The settings, resolved.

    Returns:
        The rate, above 0 if the highest is.

    Raises:
        InputError: If the step is out of range.

    Source:
        open_clip, ``open_clip_train/scheduler.py``: cosine_lr and const_lr.
    """
    if not 0 <= step < num_steps:
        raise InputError(f"step must be 0 to {num_steps - 1}, got {step}")
    highest = _highest_rate(config)
    num_warmup = warmup_steps(num_steps, config)
    if step < num_warmup:
        return highest * (step + 1) / num_warmup
    if config.schedule == "constant":
        return highest
    done = (step - num_warmup) / (num_steps - num_warmup)
    return highest * 0.5 * (1 + math.cos(math.pi * done))


def warmup_steps(num_steps: int, config: OptimizerConfig) -> int:
    """Return the number of warmup steps, at least one where there is any warmup."""
    # The product of 0.1 and a number of steps may lie a rounding above a whole number.
    return math.ceil(config.warmup_fraction * num_steps - 1e-9)


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
