"""Training of the head on cached features, by clipkit's loop: a minute or two on one core.

A stopped training resumes; one that ended leaves only its metrics behind. The mean of a few heads
is shipped (build.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from clipkit.runs.metrics_log import MetricsLog
from clipkit.training.config import OptimizerConfig, WatchConfig
from clipkit.training.loop import Batches, Hooks, TrainingLoop
from clipkit.training.resume import TrainerState, capture_state, restore_state
from recipe.batches import HeadBatch, HeadBatches, TrainingData
from recipe.head import Head
from recipe.losses import HeadLosses, HeadStep
from recipe.packages import RecipeError
from recipe.settings import Settings

_STATE_FILE = "state.pt"
_Batch = TypeVar("_Batch")


def train_head(
    head: Head, data: TrainingData, settings: Settings, *, seed: int, runs: Path
) -> None:
    """Train the head in place.

    Args:
        head: Its class units are written; its free units are started here.
        data: What it learns from.
        settings: How.
        seed: Of all draws.
        runs: The folder that the run's own folder, with its metrics, is made in.

    Raises:
        RecipeError: If someone asked to stop before the end.
        TrainingError: If the loss is no number any more.
    """
    batches = HeadBatches(data, settings.draws, batch_size=settings.amount.batch_size, seed=seed)
    _start_free_units(head, batches.drawings, data)
    losses = HeadLosses(head, settings.draws)
    run: TrainingRun[HeadBatch] = TrainingRun(
        losses,
        HeadStep(losses, asdict(settings.weights)).backward,
        batches,
        head_optimizer(losses, settings),
    )
    folder = runs / f"seed-{seed}-{identify(head, data, settings)}"
    run.finish(settings.optimizer, epochs=settings.amount.epochs, folder=folder)


@dataclass(frozen=True)
class TrainingRun(Generic[_Batch]):
    """A module in training, by clipkit's loop."""

    module: nn.Module
    backward: Callable[[_Batch], dict[str, Tensor]]  # leaves a gradient, returns the losses
    batches: Batches[_Batch]  # each a function of its number: there is no random state to keep
    optimizer: torch.optim.Optimizer  # a group's "rate_factor" multiplies the rate

    def finish(self, config: OptimizerConfig, *, epochs: int, folder: Path) -> None:
        """Train to the end from where it was stopped, if it was.

        Args:
            config: The path of the rate.
            epochs: How often all batches are seen.
            folder: Where the metrics stay and, until the end, the state.

        Raises:
            RecipeError: If someone asked to stop before the end.
            TrainingError: If the loss is no number any more.
        """
        folder.mkdir(parents=True, exist_ok=True)
        state_file = folder / _STATE_FILE
        state = TrainerState()
        if state_file.is_file():
            kept = torch.load(state_file, weights_only=True)
            state = restore_state(kept, self.module, self.optimizer)

        def save() -> None:
            partial = state_file.with_suffix(".partial")
            torch.save(capture_state(state, self.module, self.optimizer, random_states=[]), partial)
            partial.rename(state_file)

        with closing(MetricsLog(folder, step=state.step)) as log:
            hooks = Hooks(
                log=log.write,
                log_validation=log.write_validation,
                validate=lambda: None,
                save=save,
                after_step=lambda: None,
            )
            loop: TrainingLoop[_Batch] = TrainingLoop(
                self.module, self.backward, self.batches, self.optimizer, hooks
            )
            num_steps = epochs * self.batches.steps_per_epoch
            is_finished = loop.run(state, num_steps=num_steps, config=config, watch=WatchConfig())
        if not is_finished:
            raise RecipeError(
                f"training was stopped after step {state.step}: give the same command to resume"
            )
        state_file.unlink()


def identify(head: Head, data: TrainingData, settings: Settings) -> str:
    """Return what tells a run from one with other settings, features or texts."""
    digest = hashlib.sha256(repr((settings, head.config)).encode())
    for tensor in (data.pairs.features, data.pairs.texts, head.centred_prototypes):
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:12]


def head_optimizer(
    losses: HeadLosses, settings: Settings, *, factor: float = 1.0
) -> torch.optim.AdamW:
    """Return AdamW whose groups have rates of their own, which the loop multiplies.

    Args:
        losses: With the head.
        settings: The rates of its parts.
        factor: Of all of them.
    """
    head, rates, config = losses.head, settings.rates, settings.optimizer
    class_units = [head.low_threshold, head.high_threshold, head.low_weight, head.high_weight]
    free_units = [*head.free_input.parameters(), *head.free_output.parameters()]
    scales = [losses.pair_log_scale, losses.class_log_scale, losses.concept_bias]
    groups = [
        {"params": class_units, "rate_factor": factor * rates.class_units},
        {"params": scales, "rate_factor": factor * rates.loss_scales},
        {
            "params": free_units,
            "rate_factor": factor * rates.free_units,
            "weight_decay": config.weight_decay,
        },
        {"params": [head.text_map], "rate_factor": factor * rates.text_map},
    ]
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, betas=betas, eps=config.eps, weight_decay=0.0, fused=True)


def _start_free_units(head: Head, drawings: Tensor, data: TrainingData) -> None:
    chosen = torch.randperm(len(drawings))[: head.config.num_free_units]
    head.start_free_units(drawings[chosen], data.pairs.mean, data.pairs.deviation)
