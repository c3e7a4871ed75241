"""Preflight of a training run (``--check``): its data looked at, a few steps timed, warnings."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clipkit.data.equal_images import equal_images
from clipkit.data.mixing import PairSubset
from clipkit.data.pair import PairDataset
from clipkit.data.statistics import PairStatistics, collect_statistics
from clipkit.errors import ImageReadError
from clipkit.models.towers import Towers
from clipkit.progress import Callbacks
from clipkit.runs.build import (
    Inputs,
    build_batches,
    choose_workers,
    has_fixed_features,
    initial_towers,
    load_teacher,
    prepare_towers,
)
from clipkit.runs.data import RunData, open_data, with_validation_splits
from clipkit.runs.data_warnings import data_warnings
from clipkit.runs.directory import refuse_nested, with_precision
from clipkit.runs.settings_check import check_settings, names_side, settings_warnings
from clipkit.runtime.torch_device import choose_device
from clipkit.training.batch import Batch
from clipkit.training.config import Precision, RunConfig
from clipkit.training.data_loading import PairBatches
from clipkit.training.distillation import Teacher
from clipkit.training.distributed import Ranks
from clipkit.training.mixed_precision import choose_training_precision
from clipkit.training.trained_towers import TrainedTowers
from clipkit.training.trainer import Trainer

_MOST_READ = 20_000  # pairs: minutes
_TIMED = 2  # batches, after a first one, which is slower


@dataclass(frozen=True)
class PreflightReport:
    """Data statistics, expected duration and warnings of a run that was not started."""

    train: PairStatistics
    validation: PairStatistics | None
    num_parameters: int
    num_trained: int  # of them
    steps_per_epoch: int
    epochs: int
    precision: str
    step_seconds: float  # measured
    features_seconds: float  # of all images, where they are computed once; else 0
    warnings: tuple[str, ...]
    train_part: str = ""  # which of the pairs the statistics are of; empty: all
    validation_part: str = ""

    @property
    def hours(self) -> float:
        """How long training takes on this machine, without validation."""
        steps = self.steps_per_epoch * self.epochs
        return (self.features_seconds + self.step_seconds * steps) / 3600

    def lines(self) -> list[str]:
        """Return the report as lines for a person."""
        lines = [_heading("pairs to train on", self.train_part)]
        lines += [f"  {line}" for line in self.train.lines()]
        if self.validation is not None:
            lines.append(_heading("pairs to validate on", self.validation_part))
            lines += [f"  {line}" for line in self.validation.lines()]
        share = self.num_trained / self.num_parameters
        lines.append(
            f"{self.num_trained:,} of {self.num_parameters:,} weights are trained ({share:.0%})"
        )
        if self.features_seconds:
            hours = self.features_seconds / 3600
            lines.append(f"features of all images, computed once: about {_duration(hours)}")
        lines += [
            f"{self.epochs} epochs of {self.steps_per_epoch} steps of {self.step_seconds:.2f} s in "
            f"{self.precision}: about {_duration(self.hours)} on this machine",
            *(f"warning: {line}" for line in self.warnings),
        ]
        return lines

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
            "precision": self.precision,
            "step_seconds": self.step_seconds,
            "features_seconds": self.features_seconds,
            "hours": self.hours,
            "warnings": list(self.warnings),
        }


def preflight(config: RunConfig, *, callbacks: Callbacks | None = None) -> PreflightReport:
    """Look at the data of a run and try a few steps; nothing is written.

    Of more than 20,000 pairs a random 20,000 are read, and the copies among all of them counted;
    of a stream the first few are.

    Args:
        config: The run.
        callbacks: Called with messages and progress; None: nothing is called.

    Returns:
        What is in the data, how long training would take, and what would go wrong.

    Raises:
        InputError: If the config or the data cannot be trained with.
        CheckpointError: If the base model cannot be loaded.
    """
    config = with_validation_splits(config.resolve())
    assert config.compute.epochs is not None  # it is resolved
    callbacks = callbacks or Callbacks()
    refuse_nested(config)
    data = open_data(config, say=callbacks.say)
    if data.stream:
        for line in data.lines(config.data):
            callbacks.say(line)
    towers = initial_towers(config)
    inputs = Inputs.of(towers)
    size = config.compute.batch_size
    read, train_part = _part_to_read(data.train, config.seed)
    if data.stream:
        train_part = f"the first {len(read):,} of a stream were read"
    with callbacks.progress_for("reading pairs") as progress:
        train = collect_statistics(read, inputs.tokenizer, batch_size=size, progress=progress)
    if read is not data.train:
        train = replace(train, num_duplicates=_count_copies(data.train))
    validation, validation_part = None, ""
    if data.validation is not None:
        held, validation_part = _part_to_read(data.validation, config.seed)
        with callbacks.progress_for("reading validation pairs") as progress:
            validation = collect_statistics(
                held, inputs.tokenizer, batch_size=size, progress=progress
            )
        if held is not data.validation:
            validation = replace(validation, num_duplicates=_count_copies(data.validation))
    check_settings(
        config,
        num_pairs=data.num_drawn,
        embed_dim=towers.embed_dim,
        # A part may say the same where the whole does not.
        num_captions=None if train_part else train.num_different_captions,
        num_classes=0 if data.stream else len(data.train.class_names),
    )
    num_parameters = sum(item.numel() for item in towers.parameters())
    warnings = settings_warnings(
        config,
        num_pairs=data.num_drawn,
        num_parameters=num_parameters,
        num_directional=_count_directional(read),
        logit_bias=towers.logit_bias,
    )
    prepare_towers(towers, config.model)
    teacher = load_teacher(config)
    batches = build_batches(config, data, towers, ranks=Ranks(), teacher=teacher)
    callbacks.say("timing a few steps")
    precision, step_seconds, batch_seconds = _time_step(config, towers, batches, teacher)
    return PreflightReport(
        train=train,
        validation=validation,
        num_parameters=num_parameters,
        num_trained=sum(item.numel() for item in towers.parameters() if item.requires_grad),
        steps_per_epoch=batches.steps_per_epoch,
        epochs=config.compute.epochs,
        precision=precision,
        step_seconds=step_seconds,
        features_seconds=batch_seconds * len(data.train) / size,
        warnings=(
            *_warn_unreadable(config, data, train, num_read=len(read)),
            *data_warnings(config, data),
            *warnings,
        ),
        train_part=train_part,
        validation_part=validation_part,
    )


def _heading(what: str, part: str) -> str:
    return f"{what}: {part}" if part else what


def _part_to_read(dataset: PairDataset, seed: int) -> tuple[PairDataset, str]:
    """Return the pairs to look at, and which ones they are; empty: all."""
    if len(dataset) <= _MOST_READ:
        return dataset, ""
    rows = np.random.default_rng(seed).choice(len(dataset), _MOST_READ, replace=False)
    part = PairSubset(dataset, np.sort(rows), skipped=dataset.skipped)
    return part, f"a random {len(part):,} of {len(dataset):,} were read"


def _count_copies(dataset: PairDataset) -> int:
    """Return how many images have the same bytes as an earlier one; few are read for it."""
    return int(np.count_nonzero(equal_images(dataset) != np.arange(len(dataset))))


def _time_step(
    config: RunConfig, towers: Towers, batches: PairBatches, teacher: Teacher | None
) -> tuple[Precision, float, float]:
    """Return the precision that a run takes, and seconds: of a step, and of a batch's features.

    A step reads the next batch meanwhile. Features count where a run computes them once, before
    its first step; elsewhere they are 0.
    """
    with closing(batches.after(0)) as several:
        first = next(several)
        # Parallel workers finish their first batches at the same time: wait for two of each.
        workers = choose_workers(config.data, config.compute.device)
        reading = _mean_seconds(lambda: next(several), times=max(_TIMED, 2 * workers))
    trained = TrainedTowers(towers)
    precision = choose_training_precision(config, trained, lambda: first.batch)
    features_seconds = 0.0
    config = with_precision(config, precision)
    trainer = Trainer(config, towers, batches, ranks=Ranks(), teacher=teacher)
    if has_fixed_features(config):
        # On the device, where the towers are by now; the first time may be slower there.
        images = first.batch.to(choose_device(config.compute.device))
        first = replace(first, batch=trained.with_image_features(images))
        computing = _mean_seconds(lambda: _sum_of_features(trained, images))
        reading, features_seconds = 0.0, max(computing, reading)
    trainer.try_step(first)
    return (
        precision,
        max(_mean_seconds(lambda: trainer.try_step(first)), reading),
        features_seconds,
    )


def _sum_of_features(trained: TrainedTowers, images: Batch) -> float:
    """Return the sum of the features of images: reading it waits until a GPU has them."""
    features = trained.with_image_features(images).image_features
    assert features is not None
    return float(features.sum())


def _mean_seconds(work: Callable[[], object], *, times: int = _TIMED) -> float:
    begun = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begun) / times


def _warn_unreadable(
    config: RunConfig, data: RunData, survey: PairStatistics, *, num_read: int
) -> Iterator[str]:
    found = len(survey.unreadable) - len(data.skipped)  # the run itself reports the others
    most = int(config.data.max_bad_fraction * num_read)
    if found > most:
        yield (
            f"{found} of {num_read} pairs cannot be read, data.max_bad_fraction allows "
            f"{most}: the run would end when it meets them; mend them, or raise the limit"
        )


def _count_directional(source: PairDataset) -> int:
    """Return how many captions name a side."""
    count = 0
    for row in range(len(source)):
        with suppress(ImageReadError):  # the statistics count it already
            count += sum(names_side(caption) for caption in source[row].captions)
    return count


def _duration(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} seconds"
    return f"{hours * 60:.0f} minutes" if hours < 2 else f"{hours:.1f} hours"
