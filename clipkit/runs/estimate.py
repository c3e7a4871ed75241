"""Estimates of a run before it begins: how often it validates, how long that takes, its room."""

import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from clipkit.data.mixing import PairSubset
from clipkit.data.pair import PairDataset
from clipkit.errors import ClipkitWarning
from clipkit.models.freezing import count_weights
from clipkit.models.towers import Towers
from clipkit.models.wise_ft import alphas_to_measure
from clipkit.runs.build import Inputs, has_fixed_features, live_encoder
from clipkit.runs.data import RunData
from clipkit.runs.mining import mine_near_misses
from clipkit.runs.validation import build_measure
from clipkit.training.config import RunConfig

_FEW, _MANY = 32, 128  # images of each set: both are timed, and what an image more takes is theirs


def count_validations(
    config: RunConfig, num_steps: int, *, steps_per_epoch: int, is_scored: bool
) -> int:
    """Return how often a run measures weights that has no early stop.

    Args:
        config: The run, resolved.
        num_steps: That it takes.
        steps_per_epoch: Of its pairs.
        is_scored: Whether there are validation pairs.

    Returns:
        Before the first step, while training, and to choose the final weights.
    """
    every = max(1, round(config.watch.every_epochs * steps_per_epoch))
    training = -(-num_steps // every)  # the last step is always followed by one
    mixtures = len(alphas_to_measure(is_scored=is_scored)) if config.watch.wise_ft else 0
    final = 1 + mixtures + (not config.is_from_scratch)
    return 1 + training + final


def time_validation(config: RunConfig, data: RunData, towers: Towers) -> float:
    """Return about how many seconds one measurement of all validation pairs takes.

    Of large sets two samples are measured, and the time goes on as it grows from one to the other.

    Args:
        config: The run, resolved.
        data: Its pairs.
        towers: As they are trained; put into eval mode and on the run's device.

    Returns:
        Seconds; 0 if there is nothing to measure on.
    """
    if data.validation is None and not config.watch.retention_set:
        return 0.0
    # A sample may have more bad images than a run may lose.
    config = replace(config, data=replace(config.data, max_bad_fraction=1.0))
    encoder = live_encoder(towers, Inputs.of(towers), config.compute.device)

    def measure(most: int) -> int:
        part = _sample(data, most)
        build_measure(config, part)(encoder)
        return _num_measured(part)

    return _time_of_all(measure, _num_measured(data))


def time_mining(config: RunConfig, data: RunData, towers: Towers) -> float:
    """Return about how many seconds finding the near misses of all pairs takes, once.

    Args:
        config: The run, resolved.
        data: Its pairs.
        towers: As they are trained; put into eval mode and on the run's device.

    Returns:
        Seconds; 0 if there are no hard negatives.
    """
    if not config.data.hard_negatives:
        return 0.0
    encoder = live_encoder(towers, Inputs.of(towers), config.compute.device)

    def mine(most: int) -> int:
        part = _some(data.train, most)
        assert part is not None
        mine_near_misses(encoder, part, seed=config.seed)
        return len(part)

    return _time_of_all(mine, len(data.train))


def _time_of_all(work: Callable[[int], int], whole: int) -> float:
    """Return about how many seconds a work takes on all images, from what it takes on some.

    Args:
        work: Is done on at most so many images, and returns on how many.
        whole: How many there are.

    Returns:
        Seconds.
    """
    times, sizes = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClipkitWarning)  # the run warns, and not of a sample
        for most in (_FEW, _FEW, _MANY):  # the first one is slower
            begun = time.perf_counter()
            sizes.append(work(most))
            times.append(time.perf_counter() - begun)
    left = whole - sizes[-1]
    if not left:
        return times[-1]
    return times[-1] + left * max(0.0, times[-1] - times[-2]) / (sizes[-1] - sizes[-2])


def checkpoint_bytes(config: RunConfig, towers: Towers) -> int:
    """Return the size of a checkpoint.

    Args:
        config: The run, resolved.
        towers: As they are trained.

    Returns:
        Of the weights; of those that are trained also AdamW's moments and, where the model is their
        moving average, the weights themselves.
    """
    num_trained, _ = count_weights(towers)
    copies = 3 if config.optimizer.ema_decay else 2
    return 4 * (_num_weights(towers) + copies * num_trained)


def disk_bytes(config: RunConfig, towers: Towers, num_pairs: int) -> int:
    """Return the most bytes that a run has on the disk at once, but for its logs.

    Args:
        config: The run, resolved.
        towers: As they are trained.
        num_pairs: Trained on.

    Returns:
        Of the checkpoints that are kept, the best one and the one being written, whose place the
        final model takes in the end; and of the features of a locked tower.
    """
    features = 4 * towers.embed_dim * num_pairs if has_fixed_features(config) else 0
    return (config.watch.keep + 2) * checkpoint_bytes(config, towers) + features


def free_bytes(output: str) -> int:
    """Return the bytes that a run may write to its output, those that it has there included."""
    used = sum(_sizes(output))
    for place in (Path(output), *Path(output).parents):
        with suppress(OSError):
            return shutil.disk_usage(place).free + used
    return used


def _sizes(output: str) -> Iterator[int]:
    for folder, _, files in os.walk(output):
        for name in files:
            with suppress(OSError):
                yield Path(folder, name).stat().st_size


def _num_weights(towers: Towers) -> int:
    return sum(tensor.numel() for tensor in towers.model.state_dict().values())


def _sample(data: RunData, most: int) -> RunData:
    """Return data of which at most so many pairs of each set are measured on."""
    return replace(
        data,
        validation=_some(data.validation, most),
        retention_set=_some(data.retention_set, most),
    )


def _some(dataset: PairDataset | None, most: int) -> PairDataset | None:
    """Return so many pairs, spread evenly."""
    if dataset is None or len(dataset) <= most:
        return dataset
    return PairSubset(dataset, np.linspace(0, len(dataset) - 1, most).astype(np.int64))


def _num_measured(data: RunData) -> int:
    return sum(len(part) for part in (data.validation, data.retention_set) if part is not None)
