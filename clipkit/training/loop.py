"""The training loop: optimizer steps, logging, validation, early stopping and checkpoints.

It knows nothing of images, texts or losses: a callable computes the gradient of a batch, and what
happens between steps is a callable as well.
"""

import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from clipkit.errors import TrainingError
from clipkit.training.config import OptimizerConfig, WatchConfig
from clipkit.training.optimizer import learning_rate
from clipkit.training.resume import StopRequest, TrainerState

# The first checkpoint of a process is due after so long.
_FIRST_SECONDS = 60.0
# Torch begins at 2^16 and halves it at each overflow: below this gradients overflow although they
# are not enlarged, and after so many halvings in a row nothing is learnt.
_LEAST_LOSS_SCALE = 1.0

_Batch = TypeVar("_Batch")
_BatchOut = TypeVar("_BatchOut", covariant=True)


class Batches(Protocol[_BatchOut]):
    """The batches of a run by step, as :class:`.data_loading.PairBatches` loads them."""

    @property
    def steps_per_epoch(self) -> int:
        """How many batches go through all the pairs once."""

    def after(self, step: int) -> Generator[_BatchOut]:
        """Yield the batches after the first ``step`` ones, without end, until it is closed."""


@dataclass(frozen=True)
class Validation:
    """What was measured on pairs that are not trained on."""

    # The checkpoint with the highest score is the best. None: nothing was measured that could
    # decide, and the last checkpoint is the best.
    score: float | None
    metrics: Mapping[str, float]
    # Decides between equal scores, as a score of few images often is; higher is better.
    fine_score: float | None = None
    # Metrics of each image, by name, in the same order in every validation; NaN: not measured.
    per_image: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, compare=False)
    retention_chance: float | None = None  # that a guess is right on the retention set
    num_images: int = 0  # that were measured on
    bad: Mapping[str, str] = field(default_factory=dict)  # that could not be read: name, reason

    @property
    def is_scored(self) -> bool:
        """Whether there is a score to choose weights by."""
        return self.score is not None


@dataclass(frozen=True)
class Hooks:
    """What the loop calls between steps, on this rank."""

    log: Callable[[int, Mapping[str, float]], None]  # step, mean metrics since the last call
    log_validation: Callable[[int, Validation], None]
    validate: Callable[[], Validation | None]  # None: another rank measures
    save: Callable[[], None]  # writes a checkpoint
    after_step: Callable[[], None]  # the weights have moved
    all_reduce_max: Callable[[float], float] = lambda value: value  # largest value of all ranks
    progress: Callable[[int, int], None] = lambda done, total: None
    on_step: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None  # its own
    is_stop_asked: Callable[[], bool] = lambda: False  # by a callback, on this rank
    note_batch: Callable[[Any], None] = lambda batch: None
    has_finite_features: Callable[[], bool] = lambda: True  # of the newest batch
    newest_checkpoint: Callable[[], Path | None] = lambda: None  # that is good; None: there is none


class TrainingLoop(Generic[_Batch]):
    """Takes optimizer steps until the last epoch ends, early stopping does, or a stop is asked for.

    Args:
        module: What is trained; put into training mode.
        backward: Adds the gradient of a batch's mean loss to the parameters; returns the loss and
            its parts as scalars without gradient, of which "loss" is the whole.
        batches: What is trained on.
        optimizer: Moves the parameters; the learning rate is multiplied by a group's "rate_factor",
            if it has one.
        hooks: What happens between steps.
        scaler: Has multiplied the gradients. If they overflow, the weights stay, the scale falls,
            and the step counts all the same. None: they are as they are.
    """

    def __init__(
        self,
        module: nn.Module,
        backward: Callable[[_Batch], Mapping[str, Tensor]],
        batches: Batches[_Batch],
        optimizer: torch.optim.Optimizer,
        hooks: Hooks,
        *,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self._module = module
        self._backward = backward
        self._batches = batches
        self._optimizer = optimizer
        self._hooks = hooks
        self._scaler = scaler or torch.amp.GradScaler(enabled=False)

    def run(
        self,
        state: TrainerState,
        *,
        num_steps: int,
        config: OptimizerConfig,
        watch: WatchConfig,
    ) -> bool:
        """Train from the state of a run to its end.

        Args:
            state: How far the run is; updated in place.
            num_steps: Of the whole run.
            config: The learning-rate schedule, and where gradients are clipped.
            watch: How often to validate, log and save, and when to stop early.

        Returns:
            Whether the run is at its end; False if someone asked to stop, after a checkpoint.

        Raises:
            TrainingError: If the loss or a weight is no number any more, or a checkpoint cannot be
                written.
        """
        steps_per_epoch = self._batches.steps_per_epoch
        validation_steps = max(1, round(watch.every_epochs * steps_per_epoch))
        clock = _Clock(state)
        with StopRequest() as stop, closing(self._batches.after(state.position)) as batches:
            while state.step < num_steps and not state.is_ended_early:
                begun = time.perf_counter()
                self._module.train()
                batch = next(batches)
                loaded = time.perf_counter()
                rate = learning_rate(
                    state.step,
                    num_steps=num_steps,
                    config=config,
                    begin=state.schedule_begin,
                    warmup=state.warmup,
                )
                metrics = self._take_step(batch, rate, config.clip_norm, state)
                state.step += 1
                self._hooks.note_batch(batch)
                if metrics:
                    metrics |= {
                        "step_seconds": time.perf_counter() - begun,
                        "data_seconds": loaded - begun,
                    }
                    state.add_metrics(metrics)
                now = {"epoch": state.position / steps_per_epoch, "lr": rate}
                now |= self._scaling(state)
                is_last = state.step == num_steps
                if is_last or state.step == 1 or state.step % watch.log_steps == 0:
                    self._hooks.log(state.step, state.take_means() | now)
                self._hooks.progress(state.step, num_steps)
                self._hooks.on_step(state.step, metrics | now)
                must_save = is_last or state.step % (watch.checkpoint_steps or num_steps) == 0
                if is_last or state.position % validation_steps == 0:
                    must_save |= self._validate(state, watch.patience)
                must_stop = self._is_stop_asked(stop)
                is_due = clock.is_due(watch, is_epoch_end=state.position % steps_per_epoch == 0)
                must_save |= self._hooks.all_reduce_max(float(is_due)) > 0
                if must_save or must_stop:
                    self._refuse_diverged(state.step)
                    clock.add_to(state)
                    self._hooks.save()
                    clock.note_save()
                    must_stop = self._is_stop_asked(stop)  # also since then
                if must_stop:
                    break
        return state.step == num_steps or state.is_ended_early

    def _is_stop_asked(self, stop: StopRequest) -> bool:
        """Return whether a signal or a callback asks to stop, on any rank."""
        is_asked = stop.is_made or self._hooks.is_stop_asked()
        return self._hooks.all_reduce_max(float(is_asked)) > 0

    def _take_step(
        self, batch: _Batch, rate: float, clip_norm: float, state: TrainerState
    ) -> dict[str, float]:
        """Take a step and return its metrics; of one that is skipped there are none."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group.get("rate_factor", 1.0)
        self._optimizer.zero_grad(set_to_none=True)
        losses = self._backward(batch)
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self._parameters(), clip_norm or math.inf)
        if isinstance(norm, DTensor):  # of weights that FSDP has sharded
            norm = norm.full_tensor()
        metrics = {name: float(value) for name, value in losses.items()}
        metrics["gradient_norm"] = float(norm)
        if self._is_overflow():
            return self._skip(state)
        for name in ("loss", "gradient_norm"):
            if not math.isfinite(metrics[name]):
                raise self._diverged(
                    f"the {name.replace('_', ' ')} of step {state.step + 1} is {metrics[name]}"
                )
        self._optimizer.step()
        self._hooks.after_step()
        return metrics

    def _is_overflow(self) -> bool:
        """Return whether a gradient of any rank is not finite, and adapt the scale to it."""
        scale = self._scaler.get_scale()
        self._scaler.update()
        return self._scaler.get_scale() < scale

    def _skip(self, state: TrainerState) -> dict[str, float]:
        scale = self._scaler.get_scale()
        if scale < _LEAST_LOSS_SCALE:
            raise self._diverged(
                f"gradients overflow in float16 at step {state.step + 1}, after the loss scale has "
                f"fallen to {scale:g}"
            )
        state.skipped_steps += 1
        return {}

    def _scaling(self, state: TrainerState) -> dict[str, float]:
        """Return how often gradients have overflowed, and what they are multiplied by now."""
        if not self._scaler.is_enabled():
            return {}
        return {
            "skipped_steps": float(state.skipped_steps),
            "loss_scale": self._scaler.get_scale(),
        }

    def _validate(self, state: TrainerState, patience: int) -> bool:
        """Validate on one rank, and return on all whether a checkpoint must be written.

        Early stopping: the run ends after ``patience`` validations without a better score.
        """
        self._refuse_diverged(state.step)
        validation = self._hooks.validate()
        is_best = False
        if validation is not None:
            self._hooks.log_validation(state.step, validation)
            score, best = validation.score, state.best_score
            for name, value in {"score": score or 0.0, **validation.metrics}.items():
                if math.isnan(value) or (math.isinf(value) and "loss" in name):
                    raise self._diverged(f"the {name} measured after step {state.step} is {value}")
            is_best = (
                score is None
                or best is None
                or score > best
                or (score == best and _is_finer(validation.fine_score, state.best_fine_score))
            )
            if is_best:
                state.best_score, state.best_step = score, state.step
                state.best_fine_score = validation.fine_score
            state.num_worse = 0 if is_best else state.num_worse + 1
            state.is_ended_early = 0 < patience <= state.num_worse
        is_ended_early = self._hooks.all_reduce_max(float(state.is_ended_early))
        state.is_ended_early = is_ended_early > 0
        # Without a score the last checkpoint is taken in the end: this one need not be kept.
        must_keep = is_best and state.best_score is not None
        return self._hooks.all_reduce_max(float(must_keep)) > 0 or state.is_ended_early

    def _refuse_diverged(self, step: int) -> None:
        """Raise on all ranks if the weights are of no use; the loss is of those before the step."""
        is_finite = all(_is_finite(parameter) for parameter in self._parameters())
        is_diverged = not self._hooks.has_finite_features() or not is_finite
        if self._hooks.all_reduce_max(float(is_diverged)) > 0:
            what = "features are zero or" if is_finite else "weights are"
            raise self._diverged(f"after step {step} the {what} not finite")

    def _diverged(self, what: str) -> TrainingError:
        checkpoint = self._hooks.newest_checkpoint()
        begin = "Start again" if checkpoint is None else f"Start from model.base = {checkpoint}"
        return TrainingError(
            f"{what}: training has diverged and was not saved. {begin} with a lower "
            "optimizer.lr, a longer warmup (optimizer.warmup_fraction or warmup_steps), or "
            'compute.precision = "fp32", in another output'
        )

    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self._optimizer.param_groups for p in group["params"]]


def _is_finite(parameter: Tensor) -> bool:
    """Return whether all numbers of a weight are finite, or of its part that this rank has."""
    part = parameter.to_local() if isinstance(parameter, DTensor) else parameter
    return bool(part.isfinite().all())


def _is_finer(score: float | None, best: float | None) -> bool:
    return score is not None and (best is None or score > best)


class _Clock:
    """How long this process has trained, and how long ago it wrote a checkpoint."""

    def __init__(self, state: TrainerState) -> None:
        self._begun = self._saved = time.monotonic()
        self._before = state.seconds  # of earlier processes of this run

    def is_due(self, watch: WatchConfig, *, is_epoch_end: bool) -> bool:
        """Return whether it is time for a checkpoint.

        The next one is due when this process has trained twice as long as at the last, which is
        after 1, 2, 4, 8, ... minutes, or after ``checkpoint_minutes``: one that is killed loses
        half of what it did at most. At an epoch's end half of that wait is enough.
        """
        trained, since = self._saved - self._begun, time.monotonic() - self._saved
        wait = min(max(trained, _FIRST_SECONDS), watch.checkpoint_minutes * 60)
        return since >= (wait / 2 if is_epoch_end else wait)

    def add_to(self, state: TrainerState) -> None:
        state.seconds = self._before + time.monotonic() - self._begun

    def note_save(self) -> None:
        self._saved = time.monotonic()
