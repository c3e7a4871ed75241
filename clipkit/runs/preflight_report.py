"""What a preflight of a training run found (``--check``), for a person and as JSON."""

from dataclasses import dataclass
from typing import Any

from clipkit.data.statistics import PairStatistics
from clipkit.runs.report import trained_share


@dataclass(frozen=True)
class PreflightReport:
    """Data statistics, expected duration and room, and warnings of a run that was not started.

    Durations are estimates for this machine, from a few steps and some images.

    Attributes:
        train: Of the pairs to train on.
        validation: Of those to validate on; None: there are none.
        num_parameters: Weights of both towers, adapters (LoRA) included.
        num_trained: Of them.
        steps_per_epoch: Optimizer steps of an epoch.
        epochs: Of the whole run, unless max_steps ends it.
        num_steps: Of the whole run.
        num_done: Of them, before an extension.
        precision: That steps are computed in.
        step_seconds: Of a step.
        features_seconds: Of the features of all images, where they are computed once; else 0.
        validation_seconds: Of one measurement on validation pairs and retention set.
        mining_seconds: Of finding the near misses before an epoch; 0: there are no hard negatives.
        num_validations: Measurements before, while and after training, without early stopping; most
            of those after it are to choose the final weights (WiSE-FT).
        checkpoint_bytes: Of one checkpoint.
        disk_bytes: The most that the run has on the disk at once.
        free_bytes: That are free for it, with what it has there already.
        warnings: What would go wrong, in sentences.
    """

    train: PairStatistics
    validation: PairStatistics | None
    num_parameters: int
    num_trained: int
    steps_per_epoch: int
    epochs: int
    num_steps: int
    precision: str
    step_seconds: float
    features_seconds: float
    validation_seconds: float
    num_validations: int
    checkpoint_bytes: int
    disk_bytes: int
    free_bytes: int
    warnings: tuple[str, ...]
    train_part: str = ""  # which of the pairs the statistics are of; empty: all
    validation_part: str = ""
    num_done: int = 0
    extension: tuple[str, ...] = ()  # what it would change, in sentences
    mining_seconds: float = 0.0

    @property
    def hours(self) -> float:
        """How long the run takes on this machine, without an early stop."""
        steps = self.step_seconds * (self.num_steps - self.num_done)
        validations = self.validation_seconds * self.num_validations
        mining = self.mining_seconds * (self.num_steps - self.num_done) / self.steps_per_epoch
        return (self.features_seconds + steps + validations + mining) / 3600

    def lines(self) -> list[str]:
        """Return the report as lines for a person."""
        lines = [_heading("pairs to train on", self.train_part)]
        lines += [f"  {line}" for line in self.train.lines()]
        if self.validation is not None:
            lines.append(_heading("pairs to validate on", self.validation_part))
            lines += [f"  {line}" for line in self.validation.lines()]
        lines.append(f"{trained_share(self.num_trained, self.num_parameters)} are trained")
        if self.features_seconds:
            hours = self.features_seconds / 3600
            lines.append(f"features of all images, computed once: about {_duration(hours)}")
        lines += self.extension
        lines.append(f"{self._planned()} of {self.step_seconds:.2f} s in {self.precision}")
        if self.mining_seconds:
            lines.append(
                f"before each epoch the near misses of all pairs: {self.mining_seconds:.2f} s"
            )
        if self.validation_seconds:
            lines.append(
                f"{self.num_validations} measurements of {self.validation_seconds:.2f} s, the last "
                "ones to choose the final weights"
            )
        lines += [
            f"about {_duration(self.hours)} in all on this machine, estimated from a few steps",
            f"at most about {size_text(self.disk_bytes)} on the disk at once, in checkpoints of "
            f"{size_text(self.checkpoint_bytes)}; {size_text(self.free_bytes)} are free for it",
            *(f"warning: {line}" for line in self.warnings),
        ]
        return lines

    def _planned(self) -> str:
        if not self.num_done and self.num_steps == self.epochs * self.steps_per_epoch:
            return f"{self.epochs} epochs of {self.steps_per_epoch} steps"
        num_steps = self.num_steps - self.num_done
        epochs = num_steps / self.steps_per_epoch
        return f"{num_steps} steps, {epochs:.3g} epochs of {self.steps_per_epoch} steps,"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that JSON can hold."""
        return {
            "train": self.train.to_dict(),
            "train_part": self.train_part,
            "validation": None if self.validation is None else self.validation.to_dict(),
            "validation_part": self.validation_part,
            "num_parameters": self.num_parameters,
            "num_trained": self.num_trained,
            "steps_per_epoch": self.steps_per_epoch,
            "epochs": self.epochs,
            "num_steps": self.num_steps,
            "num_done": self.num_done,
            "extension": list(self.extension),
            "precision": self.precision,
            "step_seconds": self.step_seconds,
            "features_seconds": self.features_seconds,
            "validation_seconds": self.validation_seconds,
            "mining_seconds": self.mining_seconds,
            "num_validations": self.num_validations,
            "hours": self.hours,
            "checkpoint_bytes": self.checkpoint_bytes,
            "disk_bytes": self.disk_bytes,
            "free_bytes": self.free_bytes,
            "warnings": list(self.warnings),
        }


def size_text(num_bytes: int) -> str:
    """Return a size for a person, as "1.2 GB".

    Args:
        num_bytes: The size.

    Returns:
        It in GB or MB.
    """
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.0f} MB"


def _heading(what: str, part: str) -> str:
    return f"{what}: {part}" if part else what


def _duration(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} seconds"
    return f"{hours * 60:.0f} minutes" if hours < 2 else f"{hours:.1f} hours"
