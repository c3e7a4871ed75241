"""The pre-flight: the data read once, and what training on it would meet."""

import json
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from clipkit.pairs.survey import PairSurvey, survey_pairs
from clipkit.runs.assembly import Inputs, build_batches, load_teacher, prepare_towers, start_towers
from clipkit.runs.data import open_data
from clipkit.runs.directory import with_precision
from clipkit.runs.listener import Listener
from clipkit.training.advice import advise, names_side, refuse
from clipkit.training.config import RunConfig
from clipkit.training.learning import Learning
from clipkit.training.precision import choose_training_precision
from clipkit.training.ranks import Ranks
from clipkit.training.trained_towers import TrainedTowers

_TIMED_STEPS = 2  # after a first one, which is slower


@dataclass(frozen=True)
class Check:
    """What a run would meet."""

    train: PairSurvey
    validation: PairSurvey | None
    num_parameters: int
    num_trained: int  # of them
    steps_per_epoch: int
    epochs: int
    precision: str
    step_seconds: float  # measured
    advice: tuple[str, ...]

    @property
    def hours(self) -> float:
        """How long training takes on this machine, without validation."""
        return self.step_seconds * self.steps_per_epoch * self.epochs / 3600

    def lines(self) -> list[str]:
        """Return the check as lines for a person."""
        lines = ["pairs to train on", *(f"  {line}" for line in self.train.lines())]
        if self.validation is not None:
            lines += ["pairs to validate on", *(f"  {line}" for line in self.validation.lines())]
        share = self.num_trained / self.num_parameters
        lines += [
            f"{self.num_trained:,} of {self.num_parameters:,} weights are trained ({share:.0%})",
            f"{self.epochs} epochs of {self.steps_per_epoch} steps of {self.step_seconds:.2f} s in "
            f"{self.precision}: about {_duration(self.hours)} on this machine",
            *(f"warning: {line}" for line in self.advice),
        ]
        return lines

    def to_json(self) -> str:
        """Return the check as the text of a JSON object."""
        content: dict[str, Any] = {
            "train": self.train.to_dict(),
            "validation": None if self.validation is None else self.validation.to_dict(),
            "num_parameters": self.num_parameters,
            "num_trained": self.num_trained,
            "steps_per_epoch": self.steps_per_epoch,
            "epochs": self.epochs,
            "precision": self.precision,
            "step_seconds": self.step_seconds,
            "hours": self.hours,
            "warnings": list(self.advice),
        }
        return json.dumps(content, indent=2, ensure_ascii=False)


def check(config: RunConfig, *, listener: Listener | None = None) -> Check:
    """Read the data of a run once and try a few steps; nothing is written.

    Args:
        config: The run.
        listener: Who is told how it goes on; None: nobody.

    Returns:
        What training would meet.

    Raises:
        InputError: If the config or the data cannot be trained with.
        CheckpointError: If the start cannot be loaded.
    """
    config = config.resolve()
    assert config.compute.epochs is not None  # it is resolved
    listener = listener or Listener()
    data = open_data(config.data, seed=config.seed)
    towers = start_towers(config)
    inputs = Inputs.of(towers)
    size = config.compute.batch_size
    with listener.progress_for("reading pairs") as progress:
        train = survey_pairs(data.train, inputs.tokenizer, batch_size=size, progress=progress)
    validation = None
    if data.validation is not None:
        with listener.progress_for("reading validation pairs") as progress:
            validation = survey_pairs(
                data.validation, inputs.tokenizer, batch_size=size, progress=progress
            )
    refuse(
        config,
        num_pairs=train.num_pairs,
        embed_dim=towers.embed_dim,
        num_captions=train.num_captions,
    )
    prepare_towers(towers, config.model)
    teacher = load_teacher(config)
    batches = build_batches(config, data, towers, ranks=Ranks(), teacher=teacher)
    num_parameters = sum(item.numel() for item in towers.parameters())
    num_trained = sum(item.numel() for item in towers.parameters() if item.requires_grad)
    with closing(batches.after(0)) as several:
        listener.say("timing a few steps")
        first = next(several)
        trained = TrainedTowers(towers)
        precision = choose_training_precision(config, trained, lambda: first.batch)
        learning = Learning(
            with_precision(config, precision),
            towers,
            batches,
            ranks=Ranks(),
            teacher=teacher,
        )
        learning.try_step(first)
        begun = time.perf_counter()
        for _ in range(_TIMED_STEPS):
            learning.try_step(first)
        step_seconds = (time.perf_counter() - begun) / _TIMED_STEPS
    captions = (caption for row in range(len(data.train)) for caption in data.train[row].captions)
    advice = advise(
        config,
        num_pairs=train.num_pairs,
        num_parameters=num_parameters,
        num_directional=sum(names_side(caption) for caption in captions),
    )
    return Check(
        train=train,
        validation=validation,
        num_parameters=num_parameters,
        num_trained=num_trained,
        steps_per_epoch=batches.steps_per_epoch,
        epochs=config.compute.epochs,
        precision=precision,
        step_seconds=step_seconds,
        advice=tuple(advice),
    )


def _duration(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} seconds"
    return f"{hours * 60:.0f} minutes" if hours < 2 else f"{hours:.1f} hours"
