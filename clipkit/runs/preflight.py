"""Preflight of a training run (``--check``): its data looked at, a few steps timed, warnings."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace

import numpy as np

from clipkit.arguments import check_kind
from clipkit.data.equal_images import equal_images
from clipkit.data.map_style import MapStyleDataset
from clipkit.data.mixing import PairSubset
from clipkit.data.pair import PairDataset
from clipkit.data.statistics import PairStatistics, collect_statistics
from clipkit.errors import ImageReadError
from clipkit.models.freezing import count_weights
from clipkit.models.towers import Towers
from clipkit.progress import CALLBACKS_RULE, Callbacks
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
from clipkit.runs.estimate import (
    checkpoint_bytes,
    count_validations,
    disk_bytes,
    free_bytes,
    time_mining,
    time_validation,
)
from clipkit.runs.extension_plan import PlannedExtension, plan_extension
from clipkit.runs.given import Given
from clipkit.runs.preflight_report import PreflightReport, size_text
from clipkit.runs.settings_check import check_settings, names_side, settings_warnings
from clipkit.runs.start_check import architecture_warnings
from clipkit.runtime.torch_device import choose_device
from clipkit.training.batch import Batch
from clipkit.training.config import CONFIG_RULE, Precision, RunConfig
from clipkit.training.data_loading import PairBatches
from clipkit.training.distillation import Teacher
from clipkit.training.distributed import Ranks
from clipkit.training.loss_function import LossFunction
from clipkit.training.mixed_precision import choose_training_precision
from clipkit.training.resume import TrainerState, kept_random_state
from clipkit.training.trained_towers import TrainedTowers
from clipkit.training.trainer import Trainer

_MOST_READ = 20_000  # pairs: minutes
_TIMED = 2  # batches, after a first one, which is slower


def check(
    config: RunConfig,
    *,
    dataset: MapStyleDataset | None = None,
    validation: MapStyleDataset | None = None,
    loss: LossFunction | None = None,
    extend: bool = False,
    callbacks: Callbacks | None = None,
) -> PreflightReport:
    """Look at the data of a run and try a few steps; nothing is written.

    Of more than 20,000 pairs a random 20,000 are read, and the copies among all of them counted;
    of a stream the first few are.

    It is what ``clipkit train --check`` prints. Random generators are left as they are.

    Args:
        config: The run, as train takes it.
        dataset: Pairs in memory to train on, as train takes them.
        validation: Pairs in memory to validate on, likewise.
        loss: A loss of one's own, likewise.
        extend: Whether to look at what an extension of the run in its directory would do.
        callbacks: Called with messages and progress; None: nothing is called. Warnings are in the
            report.

    Returns:
        What is in the data, how long training would take, and what would go wrong.

    Raises:
        InputError: If the config or the data cannot be trained with.
        CheckpointError: If the base model cannot be loaded.
        MissingExtraError: If torch is not installed.
    """
    check_kind(config, "compute", CONFIG_RULE)
    check_kind(callbacks or Callbacks(), "on_step", CALLBACKS_RULE)
    with kept_random_state():
        config = config.resolve()
        given = Given(dataset, validation, loss)
        given.check(config)
        plan = plan_extension(config) if extend else None
        return _check(with_validation_splits(config), given, plan, callbacks or Callbacks())


def _check(
    config: RunConfig, given: Given, plan: PlannedExtension | None, callbacks: Callbacks
) -> PreflightReport:
    assert config.compute.epochs is not None  # it is resolved
    refuse_nested(config)
    warnings: list[str] = []
    data = open_data(config, given, callbacks=replace(callbacks, warn=warnings.append))
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
        is_validated=data.validation is not None,
    )
    warnings += _warn_unreadable(config, data, train, num_read=len(read))
    warnings += data_warnings(config, data)
    warnings += architecture_warnings(config, towers.model_cfg)
    warnings += settings_warnings(
        config,
        num_pairs=data.num_drawn,
        num_parameters=count_weights(towers)[1],
        most_drawn=max(data.draws.weights),
        num_directional=_count_directional(read) if config.data.horizontal_flip else 0,
        logit_bias=towers.logit_bias,
    )
    prepare_towers(towers, config.model, seed=config.seed)
    num_trained, num_parameters = count_weights(towers)
    teacher = load_teacher(config)
    batches = build_batches(config, data, towers, ranks=Ranks(), teacher=teacher)
    callbacks.say("timing a few steps")
    precision, step_seconds, batch_seconds = _time_step(
        config, towers, batches, teacher, loss=given.loss
    )
    validation_seconds = time_validation(config, data, towers)
    is_scored = data.validation is not None
    state = plan.state(config, batches) if plan else TrainerState()
    spe, num_done = batches.steps_per_epoch // config.compute.accumulate_batches, state.step
    num_steps = config.compute.num_steps(spe, data_offset=state.data_offset)
    needed, free = disk_bytes(config, towers, len(data.train)), free_bytes(config.output)
    warnings += _warn_full(config, needed, free)
    return PreflightReport(
        train=train,
        validation=validation,
        num_parameters=num_parameters,
        num_trained=num_trained,
        steps_per_epoch=spe,
        epochs=config.compute.epochs,
        num_steps=num_steps,
        num_done=num_done,
        extension=tuple(plan.lines(config, state, num_steps)) if plan else (),
        precision=precision,
        step_seconds=step_seconds,
        features_seconds=batch_seconds * len(data.train) / size,
        validation_seconds=validation_seconds,
        num_validations=count_validations(
            config, num_steps - num_done, steps_per_epoch=spe, is_scored=is_scored
        ),
        checkpoint_bytes=checkpoint_bytes(config, towers),
        disk_bytes=needed,
        free_bytes=free,
        warnings=tuple(dict.fromkeys(warnings)),
        train_part=train_part,
        validation_part=validation_part,
        mining_seconds=time_mining(config, data, towers),
    )


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
    config: RunConfig,
    towers: Towers,
    batches: PairBatches,
    teacher: Teacher | None,
    *,
    loss: LossFunction | None,
) -> tuple[Precision, float, float]:
    """Return the precision that a run takes, and seconds: of a step, and of a batch's features.

    A step reads the batches of the next one meanwhile. Features count where a run computes them
    once, before its first step; elsewhere they are 0.
    """
    with closing(batches.after(0)) as several:
        first = next(several)
        # Parallel workers finish their first batches at the same time: wait for two of each.
        workers = choose_workers(config.data, config.compute.device)
        reading = _mean_seconds(lambda: next(several), times=max(_TIMED, 2 * workers))
    trained = TrainedTowers(towers)
    precision = choose_training_precision(config, trained, lambda: first.batch)
    num_batches, features_seconds = config.compute.accumulate_batches, 0.0
    config = with_precision(config, precision)
    trainer = Trainer(config, towers, batches, ranks=Ranks(), teacher=teacher, loss=loss)
    if has_fixed_features(config):
        # On the device, where the towers are by now; the first time may be slower there.
        images = first.batch.to(choose_device(config.compute.device))
        first = replace(first, batch=trained.with_image_features(images))
        computing = _mean_seconds(lambda: _sum_of_features(trained, images))
        reading, features_seconds = 0.0, max(computing, reading)
    trainer.try_step(first)
    return (
        precision,
        max(_mean_seconds(lambda: trainer.try_step(first)), num_batches * reading),
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


def _warn_full(config: RunConfig, needed: int, free: int) -> Iterator[str]:
    if needed > free:
        yield (
            f"the run may have {size_text(needed)} on the disk at once, and {config.output} has "
            f"room for {size_text(free)}: make room, keep fewer checkpoints by watch.keep = 1, or "
            "choose an output elsewhere"
        )


def _count_directional(source: PairDataset) -> int:
    """Return how many captions name a side."""
    count = 0
    for row in range(len(source)):
        with suppress(ImageReadError):  # the statistics count it already
            count += sum(names_side(caption) for caption in source[row].captions)
    return count
