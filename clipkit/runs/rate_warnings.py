"""Warnings of learning rates, and of their course over a run, that are known to spoil a model.

They compare with published recipes, and name the one that they come from.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from clipkit.training.config import OptimizerConfig, RunConfig
from clipkit.training.optimizer import cooldown_steps, learning_rate, warmup_steps

# Fine-tunings of both towers that kept what the base model could do: FLYP (arXiv 2212.00638) at
# 1e-5, WiSE-FT (arXiv 2109.01903) at 3e-5. At 1e-3, users of open_clip saw their validation loss
# rise.
_GOOD_RATE, _ALSO_GOOD_RATE, _MOST_TUNING_RATE = 1e-5, 3e-5, 1e-4
# CLIP-LoRA (arXiv 2405.18541) trains adapters at 2e-4 on all of its eleven datasets. B starts at
# zero and AdamW moves a weight by about the rate a step, so a low rate leaves the model as it was.
_LORA_RATE, _MOST_LORA_RATE, _LEAST_LORA_RATE = 2e-4, 2e-3, 2e-5
# Recipes from scratch: 1e-4 (DataComp debug) to 1e-3 (DataComp xlarge at batch 90 112, MobileCLIP).
_MOST_RATE = 1e-3
_SCRATCH_RATE = 5e-4
_USUAL_WARMUP = 0.1


@dataclass(frozen=True)
class _TowerRate:
    """The highest learning rate of a tower's layers: of its last ones, where there is a decay."""

    tower: str
    lr: float
    factor: float

    @property
    def value(self) -> float:
        return self.lr * self.factor

    def __str__(self) -> str:
        if self.factor == 1:
            return f"optimizer.lr {self.lr:g}"
        name = f"{self.tower}_lr_factor"
        return f"optimizer.lr {self.lr:g} times {name} {self.factor:g}, so {self.value:g},"

    def remedy(self, rate: float) -> str:
        """Return how to set this rate to another one."""
        if self.factor == 1:
            return f"set lr = {rate:g}"
        return f"set lr = {rate / self.factor:g}, or another {self.tower}_lr_factor"


def tower_factors(config: RunConfig) -> tuple[tuple[str, bool, float], ...]:
    """Return of each tower its name, whether nothing of it is trained, and its rate's factor."""
    model, optimizer = config.model, config.optimizer
    return (
        ("image", model.is_image_fixed, optimizer.image_lr_factor),
        ("text", model.is_text_fixed, optimizer.text_lr_factor),
    )


def rate_warnings(config: RunConfig) -> Iterator[str]:
    """Yield a warning of a learning rate that is too high or too low for what is trained.

    Args:
        config: The run, resolved; some of its weights are trained.

    Yields:
        One sentence at most, of the tower with the highest rate.
    """
    lr = config.optimizer.lr or 0.0
    usual = _SCRATCH_RATE if config.is_from_scratch else _GOOD_RATE
    if not lr:
        usual = _LORA_RATE if config.model.lora_rank else usual
        yield f"optimizer.lr 0 changes no weight that is trained: set lr = {usual:g}"
        return
    rates = [
        _TowerRate(tower, lr, factor)
        for tower, is_fixed, factor in tower_factors(config)
        if not is_fixed
    ]
    rate = max(rates, key=lambda rate: rate.factor)
    if config.model.lora_rank:
        yield from _lora_rate_warnings(rate)
        return
    is_tuning = not config.is_from_scratch and not config.model.lock_image
    if is_tuning and rate.value > _MOST_TUNING_RATE:
        yield (
            f"{rate} is {rate.value / _GOOD_RATE:.0f} times the {_GOOD_RATE:g} at which "
            f"both towers are fine-tuned (FLYP {_GOOD_RATE:g}, WiSE-FT {_ALSO_GOOD_RATE:g}): what "
            "the base model has learnt is overwritten before the new pairs are learnt; "
            f"{rate.remedy(_GOOD_RATE)}, or train less with lock_image = true"
        )
    elif rate.value > _MOST_RATE:
        yield (
            f"{rate} is above {_MOST_RATE:g}, the highest of the published recipes, "
            "which goes with batches of 8 192 and more: the loss may jump or stay where it is; "
            f"{rate.remedy(usual)}"
        )


def _lora_rate_warnings(rate: _TowerRate) -> Iterator[str]:
    if rate.value > _MOST_LORA_RATE:
        yield (
            f"{rate} is {rate.value / _LORA_RATE:.0f} times the {_LORA_RATE:g} at which "
            "CLIP-LoRA trains adapters: what they add soon outweighs what the base model has "
            f"learnt; {rate.remedy(_LORA_RATE)}"
        )
    elif rate.value < _LEAST_LORA_RATE:
        yield (
            f"{rate} suits the weights of a whole model; adapters begin at zero and "
            f"move by about that a step, so they will hardly change the model (CLIP-LoRA takes "
            f"{_LORA_RATE:g}); {rate.remedy(_LORA_RATE)}"
        )


def schedule_warnings(
    config: OptimizerConfig, num_steps: int, *, num_rising: int | None = None
) -> Iterator[str]:
    """Yield a warning of a learning rate that rises for too long, or never to its height.

    Args:
        config: The settings, resolved.
        num_steps: Of the schedule: of the whole run, or of its extension.
        num_rising: Its first steps in which the rate rises; None: by the settings.

    Yields:
        One sentence at most.
    """
    lr = config.lr or 0.0
    if num_rising is None:
        num_rising = warmup_steps(num_steps, config)
    share = num_rising / num_steps
    name, usual = "warmup_fraction", _USUAL_WARMUP
    if config.warmup_steps:
        name, usual = "warmup_steps", max(1, int(num_steps * _USUAL_WARMUP))
    setting = f"optimizer.{name} {getattr(config, name):g}"
    highest = _highest(config, num_steps, num_rising)
    if num_rising > num_steps:
        yield (
            f"{setting} is more than the {num_steps} steps in which the learning rate is to rise "
            f"and fall: it is {highest:.2g} at most, and never reaches lr {lr:g}; {usual:g} would "
            "be usual"
        )
    elif highest < lr:
        yield (
            f"{setting} and cooldown_fraction {config.cooldown_fraction:g} overlap: the learning "
            f"rate falls before it has risen to lr {lr:g}, and is {highest:.2g} at most; a warmup "
            f"of {usual:g} would be usual, and a cooldown that begins after it"
        )
    elif share > 0.5 and config.schedule == "constant":
        yield (
            f"{setting} lets the learning rate rise for {share:.0%} of the steps; {usual:g} would "
            "be usual"
        )
    elif share > 0.5:
        yield (
            f"{setting} makes the run end soon after the learning rate has reached its height, so "
            f"that it hardly falls again; {usual:g} would be usual"
        )


def _highest(config: OptimizerConfig, num_steps: int, num_rising: int) -> float:
    """Return the highest learning rate of a schedule."""
    falling = cooldown_steps(num_steps, config) if config.schedule == "constant" else 0
    # The last step of the warmup, and about where a rising line meets a falling one.
    meeting = (num_steps * num_rising - falling) / max(num_rising + falling, 1)
    steps = {num_rising - 1, math.floor(meeting), math.ceil(meeting), num_steps - falling}
    return max(
        learning_rate(
            min(max(step, 0), num_steps - 1),
            num_steps=num_steps,
            config=config,
            warmup=(0, num_rising),
        )
        for step in steps
    )
