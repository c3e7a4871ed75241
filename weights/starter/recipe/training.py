"""Training of the head on cached features, by clipkit's loop: half a minute on one core.

A stopped training goes on where it was; one that ended leaves only its metrics behind.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path

import torch

from clipkit.runs.metrics_log import MetricsLog
from clipkit.training.config import WatchConfig
from clipkit.training.loop import Hooks, TrainingLoop
from clipkit.training.resume import TrainerState, capture_state, restore_state
from recipe.batches import HeadBatch, HeadBatches, TrainingData
from recipe.head import Head
from recipe.losses import HeadLosses, HeadStep
from recipe.packages import RecipeError
from recipe.settings import Settings

_STATE_FILE = "state.pt"


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
    folder = runs / f"seed-{seed}-{_identity(head, data, settings)}"
    folder.mkdir(parents=True, exist_ok=True)
    _start_free_units(head, batches.drawings, data)
    losses = HeadLosses(head, settings.draws)
    optimizer = _optimizer(losses, settings)
    state_file = folder / _STATE_FILE
    state = TrainerState()
    if state_file.is_file():
        state = restore_state(torch.load(state_file, weights_only=True), losses, optimizer)

    def save() -> None:
        # Every batch is a function of its number, so there is no random state to keep.
        partial = state_file.with_suffix(".partial")
        torch.save(capture_state(state, losses, optimizer, random_states=[]), partial)
        partial.rename(state_file)

    with closing(MetricsLog(folder, step=state.step)) as log:
        hooks = Hooks(
            log=log.write,
            log_validation=log.write_validation,
            validate=lambda: None,
            save=save,
            after_step=lambda: None,
        )
        backward = HeadStep(losses, settings.weights).backward
        loop: TrainingLoop[HeadBatch] = TrainingLoop(losses, backward, batches, optimizer, hooks)
        is_finished = loop.run(
            state,
            epochs=settings.amount.epochs,
            config=settings.optimizer,
            watch=WatchConfig(),
        )
    if not is_finished:
        raise RecipeError(
            f"training was stopped after step {state.step}: give the same command to resume"
        )
    state_file.unlink()


def _identity(head: Head, data: TrainingData, settings: Settings) -> str:
    """Return what tells a run from one with other settings, features or texts."""
    digest = hashlib.sha256(repr((settings, head.config)).encode())
    for tensor in (data.pairs.features, data.pairs.texts, head.centred_prototypes):
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:12]


def _start_free_units(head: Head, drawings: torch.Tensor, data: TrainingData) -> None:
    chosen = torch.randperm(len(drawings))[: head.config.num_free_units]
    head.start_free_units(drawings[chosen], data.pairs.mean, data.pairs.deviation)


def _optimizer(losses: HeadLosses, settings: Settings) -> torch.optim.AdamW:
    """Return AdamW whose groups have rates of their own, which the loop multiplies."""
    head, rates, config = losses.head, settings.rates, settings.optimizer
    class_units = [head.low_threshold, head.high_threshold, head.low_weight, head.high_weight]
    free_units = [*head.free_input.parameters(), *head.free_output.parameters()]
    scales = [losses.pair_log_scale, losses.class_log_scale, losses.concept_bias]
    groups = [
        {"params": class_units, "rate_factor": rates.class_units},
        {"params": scales, "rate_factor": rates.loss_scales},
        {
            "params": free_units,
            "rate_factor": rates.free_units,
            "weight_decay": config.weight_decay,
        },
        {"params": [head.text_map], "rate_factor": rates.text_map},
    ]
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, betas=betas, eps=config.eps, weight_decay=0.0, fused=True)
