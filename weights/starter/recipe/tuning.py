"""Tuning of the trunk's last layers, together with a head that only shows them where to go.

What the trunk says of ImageNet's classes must stay as it was, for every class unit of the head is
a row of its classifier: two losses hold it. What has no words there, such as the colours of things,
may change.

Shapes: R pictures, F = 1280 features, C = 1000 classes.
"""

from __future__ import annotations

from collections import abc
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import kl_div

from recipe.batches import HeadBatch, HeadBatches, TrainingData
from recipe.head import Head
from recipe.losses import HeadLosses, HeadStep
from recipe.pairs import PairMaps
from recipe.settings import Settings
from recipe.training import TrainingRun, head_optimizer, identify, train_head
from recipe.trunk import Trunk


def tune_trunk(
    trunk: Trunk, head: Head, data: TrainingData, settings: Settings, *, seed: int, folder: Path
) -> None:
    """Tune the trunk's last layers in place, once per folder.

    In the end they are a mean of the published and the tuned ones, which keeps more of what nobody
    trained on.

    Args:
        trunk: As it was published.
        head: Not trained yet. Unless the layers are kept already it is trained, on the features of
            that trunk and then with it, and of no use afterwards.
        data: With the features of that trunk.
        settings: How.
        seed: Of all draws.
        folder: Where the tuned layers are kept, and the run's metrics.

    Raises:
        RecipeError: If someone asked to stop before the end.
        TrainingError: If the loss is no number any more.

    Source:
        Of the mean: Wortsman et al. 2022 (arXiv 2109.01903), equation 1.
    """
    published = {name: value.clone() for name, value in trunk.upper.state_dict().items()}
    run = folder / f"trunk-{seed}-{identify(head, data, settings)}"
    file = run / "upper.safetensors"
    if not file.is_file():
        train_head(head, data, settings, seed=seed, runs=folder)
        _run(trunk, head, data, settings, seed=seed, folder=run)
        partial = file.with_suffix(".partial")
        weights = {name: value.contiguous() for name, value in trunk.upper.state_dict().items()}
        save_file(weights, partial)
        partial.rename(file)
    tuned = load_file(file)
    share = settings.tuning.share
    mean = {
        name: torch.lerp(value, tuned[name], share) if value.is_floating_point() else value
        for name, value in published.items()
    }
    trunk.upper.load_state_dict(mean)


class TrunkLosses(nn.Module):
    """The head's losses on features of the tuned layers, and what these may not change."""

    def __init__(self, upper: nn.Module, maps: PairMaps, losses: HeadLosses) -> None:
        """Take the layers, what they see, and the losses of a head on what they say."""
        super().__init__()
        self.upper = upper
        self.losses = losses
        self._maps = maps

    def forward(self, batch: HeadBatch) -> dict[str, Tensor]:
        """Return every loss by the name of its weight."""
        self.upper.eval()  # the means and variances of its norms stay as published
        features = self.upper(self._maps.rows(batch.rows))
        before = self.losses.head.class_logits(batch.features)
        after = self.losses.head.class_logits(features)
        parts: dict[str, Tensor] = self.losses(replace(batch, features=features))
        return parts | {
            "class_drift": class_drift(before, after),
            "logit_drift": ((after - before) ** 2).mean(),
        }


def class_drift(before: Tensor, after: Tensor) -> Tensor:
    """Return the mean KL divergence of the classes after tuning from those before, in nats.

    Args:
        before: Logits of the published trunk, shape (R, C).
        after: Logits of the tuned one.
    """
    told, now = before.log_softmax(-1), after.log_softmax(-1)
    return kl_div(now, told, log_target=True, reduction="batchmean")


class TuningBatches:
    """The head's batches, fewer and smaller, as one epoch."""

    def __init__(self, batches: HeadBatches, steps: int) -> None:
        """Take so many of the batches."""
        self._batches = batches
        self._steps = steps

    @property
    def steps_per_epoch(self) -> int:
        """All steps."""
        return self._steps

    def after(self, step: int) -> abc.Generator[HeadBatch]:
        """Return the batches that follow the first so many, without end."""
        return self._batches.after(step)


def _run(
    trunk: Trunk, head: Head, data: TrainingData, settings: Settings, *, seed: int, folder: Path
) -> None:
    tuning = settings.tuning
    batches = HeadBatches(data, settings.draws, batch_size=tuning.batch_size, seed=seed)
    trunk.upper.requires_grad_(requires_grad=True)
    losses = TrunkLosses(trunk.upper, data.pairs.maps, HeadLosses(head, settings.draws))
    optimizer = head_optimizer(losses.losses, settings, factor=tuning.head_rate)
    optimizer.add_param_group(
        {"params": list(trunk.upper.parameters()), "rate_factor": tuning.trunk_rate}
    )
    weights = asdict(settings.weights) | {
        "class_drift": tuning.class_drift,
        "logit_drift": tuning.logit_drift,
    }
    run: TrainingRun[HeadBatch] = TrainingRun(
        losses,
        HeadStep(losses, weights).backward,
        TuningBatches(batches, tuning.steps),
        optimizer,
    )
    run.finish(settings.optimizer, epochs=1, folder=folder)
    trunk.upper.requires_grad_(requires_grad=False)
