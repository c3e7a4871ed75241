"""The pairs of a run: its places opened, joined and split."""

from collections.abc import Sequence
from dataclasses import dataclass

from clipkit.errors import ImageReadError, InputError
from clipkit.pairs.mixing import MixedPairs
from clipkit.pairs.opening import open_pairs
from clipkit.pairs.pair import PairSource
from clipkit.pairs.splitting import split_pairs
from clipkit.training.config import SAMPLES, DataConfig, SourceConfig


@dataclass(frozen=True)
class RunData:
    """What a run learns from and is measured on."""

    train: MixedPairs
    weights: tuple[float, ...]  # of each place of train
    validation: PairSource | None
    skipped: tuple[ImageReadError, ...]  # that the listings showed to be bad


def open_data(config: DataConfig, *, seed: int) -> RunData:
    """Return the pairs that a config names.

    Args:
        config: Places and columns.
        seed: Of the split, where validation is a share of the training pairs.

    Returns:
        Opened sources; no picture has been decoded.

    Raises:
        InputError: If a place is missing, is no source of pairs or holds none, or so many of its
            pairs are bad that the config forbids to go on.
    """
    trained = [_open(place, config) for place in config.train]
    measured = [_open(place, config) for place in config.validation]
    if config.validation_fraction:
        parts, kept = split_pairs(trained, config.validation_fraction, seed)
        trained, measured = list(parts), [part for part in kept if len(part)]
    validation: PairSource | None = None
    if measured:
        validation = measured[0] if len(measured) == 1 else MixedPairs(measured)
    train = MixedPairs(trained)
    skipped = tuple(error for source in trained for error in source.skipped)
    check_bad(len(skipped), len(train) + len(skipped), config.max_bad_fraction, skipped)
    return RunData(train, tuple(place.weight for place in config.train), validation, skipped)


def open_tripwire(place: str, config: DataConfig) -> PairSource | None:
    """Return the class folders of a reference set.

    Args:
        place: Their path, or "samples".
        config: For the templates.

    Returns:
        The opened folders; None for the samples.

    Raises:
        InputError: If it holds no classes.
    """
    if place == SAMPLES:
        return None
    source = open_pairs(place, format="classes", templates=config.templates)
    if not source.class_names:
        raise InputError(f"watch.tripwire needs one folder of pictures a class, {place} has none")
    return source


def check_bad(
    num_bad: int, num_pairs: int, most: float, examples: Sequence[ImageReadError]
) -> None:
    """Raise if more pairs cannot be read than a run may lose.

    Args:
        num_bad: How many cannot.
        num_pairs: Of how many.
        most: The share that may be bad, 0..1.
        examples: Some of them, for the message.

    Raises:
        InputError: If there are more.
    """
    if num_bad <= most * num_pairs:
        return
    listed = "; ".join(str(error) for error in examples[:3])
    raise InputError(
        f"{num_bad} of {num_pairs} pairs cannot be read, data.max_bad_fraction allows "
        f"{most:.1%}: {listed}{'; …' if num_bad > 3 else ''}. Mend them, or raise the limit"
    )


def _open(place: SourceConfig, config: DataConfig) -> PairSource:
    return open_pairs(
        place.path,
        format=config.format,
        image_column=config.image_column,
        caption_column=config.caption_column,
        templates=config.templates,
    )
