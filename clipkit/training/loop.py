"""The loop: batches through a step and an optimizer, watched, saved and stopped.

It knows nothing of images, texts or losses: a step leaves a gradient, and everything that
happens now and then is a callable.
"""

import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from clipkit.errors import TrainingError
from clipkit.training.config import OptimizerConfig, WatchConfig
from clipkit.training.optimizer import learning_rate
from clipkit.training.resume import TrainerState, StopRequest

_Batch = TypeVar("_Batch")
_BatchOut = TypeVar("_BatchOut", covariant=True)
_BatchIn = TypeVar("_BatchIn", contravariant=True)


class Step(Protocol[_BatchIn]):
    """Leaves the gradient of a batch's mean loss in the parameters."""

    def backward(self, batch: _BatchIn) -> Mapping[str, Tensor]:
        """Return the loss and its parts as scalars without gradient; "loss" is the whole."""


class Batches(Protocol[_BatchOut]):
    """The batches of a run, each a function of its number."""

    @property
    def steps_per_epoch(self) -> int:
        """How many batches go through all the pairs once."""

    def after(self, step: int) -> Generator[_BatchOut]:
        """Yield the batches that follow the first so many, without end; closed when no more."""


@dataclass(frozen=True)
class Validation:
    """What was measured on pairs that are not trained on."""

    # What decides which checkpoint is best; higher is better. None: there is nothing to decide by,
    # and the last one is the best.
    score: float | None
    metrics: Mapping[str, float]
    num_images: int = 0  # that were measured on
    bad: Mapping[str, str] = field(default_factory=dict)  # that could not be read: name, reason

    @property
    def is_scored(self) -> bool:
        """Whether weights can be chosen by it."""
        return self.score is not None


@dataclass(frozen=True)
class Hooks:
    """What the loop calls, on this process."""

    log: Callable[[int, Mapping[str, float]], None]  # step, metrics
    log_validation: Callable[[int, Validation], None]
    validate: Callable[[], Validation | None]  # None: another process measures
    save: Callable[[], None]
    after_step: Callable[[], None]
    agree: Callable[[float], float] = lambda value: value  # largest of all processes
    progress: Callable[[int, int], None] = lambda done, total: None
    note_batch: Callable[[Any], None] = lambda batch: None


class TrainingLoop(Generic[_Batch]):
    """Goes from a step to the next until the last epoch ends, or someone asks to stop.

    Args:
        module: What is trained; put into training mode.
        step: Leaves gradients in it.
        batches: What is learnt from.
        optimizer: Moves the parameters; the rate is multiplied by a group's "rate_factor", if it
            has one.
        hooks: What happens now and then.
    """

    def __init__(
        self,
        module: nn.Module,
        step: Step[_Batch],
        batches: Batches[_Batch],
        optimizer: torch.optim.Optimizer,
        hooks: Hooks,
    ) -> None:
        self._module = module
        self._step = step
        self._batches = batches
        self._optimizer = optimizer
        self._hooks = hooks

    def run(
        self,
        progression: TrainerState,
        *,
        epochs: int,
        config: OptimizerConfig,
        watch: WatchConfig,
    ) -> bool:
        """Train from where a run is to its end.

        Args:
            progression: Where it is; moved on in place.
            epochs: How often all pairs are gone through.
            config: The path of the learning rate, and where gradients are clipped.
            watch: How often to measure, log and save, and when to end early.

        Returns:
            Whether the run is at its end; False if someone asked to stop, after a checkpoint.

        Raises:
            TrainingError: If the loss is no number any more, or a checkpoint cannot be written.
        """
        num_steps = epochs * self._batches.steps_per_epoch
        between = max(1, round(watch.every_epochs * self._batches.steps_per_epoch))
        clock = _Clock(progression)
        with StopRequest() as stop, closing(self._batches.after(progression.step)) as batches:
            while progression.step < num_steps and not progression.is_ended_early:
                begun = time.perf_counter()
                self._module.train()
                batch = next(batches)
                loaded = time.perf_counter()
                rate = learning_rate(progression.step, num_steps=num_steps, config=config)
                metrics = self._take_step(batch, rate, config.clip_norm, progression.step)
                progression.step += 1
                self._hooks.note_batch(batch)
                is_logged = progression.step % watch.log_steps == 0 or progression.step == 1
                if is_logged or progression.step == num_steps:
                    ended = time.perf_counter()
                    metrics |= {
                        "epoch": progression.step / self._batches.steps_per_epoch,
                        "lr": rate,
                        "step_seconds": ended - begun,
                        "data_seconds": loaded - begun,
                    }
                    self._hooks.log(progression.step, metrics)
                self._hooks.progress(progression.step, num_steps)
                is_last = progression.step == num_steps
                must_save = is_last or progression.step % self._batches.steps_per_epoch == 0
                if progression.step % between == 0 or is_last:
                    must_save |= self._measure(progression, watch.patience)
                must_stop = self._hooks.agree(float(stop.is_made)) > 0
                is_due = self._hooks.agree(clock.since_save / 60) >= watch.checkpoint_minutes
                if must_save or must_stop or is_due:
                    clock.add(progression)
                    self._hooks.save()
                    clock.saved()
                if must_stop:
                    break
        return progression.step == num_steps or progression.is_ended_early

    def _take_step(
        self, batch: _Batch, rate: float, clip_norm: float, step: int
    ) -> dict[str, float]:
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group.get("rate_factor", 1.0)
        self._optimizer.zero_grad(set_to_none=True)
        losses = self._step.backward(batch)
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, clip_norm or math.inf)
        if isinstance(norm, DTensor):  # of split weights
            norm = norm.full_tensor()
        metrics = {name: float(value) for name, value in losses.items()}
        metrics["gradient_norm"] = float(norm)
        for name in ("loss", "gradient_norm"):
            if not math.isfinite(metrics[name]):
                raise TrainingError(
                    f"the {name.replace('_', ' ')} of step {step + 1} is {metrics[name]}: training "
                    "has broken down and was not saved. Go on from the last checkpoint with a "
                    "lower optimizer.lr, a longer optimizer.warmup_fraction, or "
                    'compute.precision = "fp32", in another output'
                )
        self._optimizer.step()
        self._hooks.after_step()
        return metrics

    def _measure(self, progression: TrainerState, patience: int) -> bool:
        """Measure on one process, tell all, and return whether this must be saved."""
        validation = self._hooks.validate()
        is_best = False
        if validation is not None:
            self._hooks.log_validation(progression.step, validation)
            score, best = validation.score, progression.best_score
            is_best = score is None or best is None or score > best
            if is_best:
                progression.best_score, progression.best_step = score, progression.step
            progression.num_worse = 0 if is_best else progression.num_worse + 1
            progression.is_ended_early = 0 < patience <= progression.num_worse
        is_ended_early = self._hooks.agree(float(progression.is_ended_early))
        progression.is_ended_early = is_ended_early > 0
        return self._hooks.agree(float(is_best)) > 0 or progression.is_ended_early


class _Clock:
    """How long a sitting has worked, and since its last checkpoint."""

    def __init__(self, progression: TrainerState) -> None:
        self._begun = self._saved = time.monotonic()
        self._before = progression.seconds

    @property
    def since_save(self) -> float:
        return time.monotonic() - self._saved

    def add(self, progression: TrainerState) -> None:
        progression.seconds = self._before + time.monotonic() - self._begun

    def saved(self) -> None:
        self._saved = time.monotonic()
