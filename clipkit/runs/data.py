"""The pairs of a run: its places opened, joined and split."""

from collections.abc import Sequence
from dataclasses import dataclass

from clipkit.errors import ImageReadError, InputError
from clipkit.pairs.mixing import MixedPairs, draw_order
from clipkit.pairs.opening import open_pairs
from clipkit.pairs.pair import PairSource
from clipkit.pairs.splitting import split_pairs
from clipkit.training.config import SAMPLES, DataConfig, RunConfig, SourceConfig


@dataclass(frozen=True)
class RunData:
    """What a run learns from and is measured on."""

    train: MixedPairs
    weights: tuple[float, ...]  # of each place of train
    validation: PairSource | None
    tripwire: PairSource | None  # None: there is none, or it is the samples
    skipped: tuple[ImageReadError, ...]  # that the listings showed to be bad

    @property
    def num_drawn(self) -> int:
        """How many pairs an epoch goes through, by the weights of the places."""
        return len(draw_order(self.train.sizes, self.weights, seed=0, epoch=0))


def open_data(config: RunConfig) -> RunData:
    """Return the pairs that a config names.

    Args:
        config: Of the run.

    Returns:
        Opened sources; no picture has been decoded.

    Raises:
        InputError: If a place is missing, is no source of pairs or holds none, or so many of its
            pairs are bad that the config forbids to go on; or if the reference set holds no
            classes.
    """
    places, tripwire = config.data, config.watch.tripwire
    trained = [_open(place, places) for place in places.train]
    measured = [_open(place, places) for place in places.validation]
    if places.validation_fraction:
        parts, kept = split_pairs(trained, places.validation_fraction, config.seed)
        trained, measured = list(parts), [part for part in kept if len(part)]
    validation: PairSource | None = None
    if measured:
        validation = measured[0] if len(measured) == 1 else MixedPairs(measured)
    train = MixedPairs(trained)
    skipped = tuple(error for source in trained for error in source.skipped)
    check_bad(len(skipped), len(train) + len(skipped), places.max_bad_fraction, skipped)
    return RunData(
        train,
        tuple(place.weight for place in places.train),
        validation,
        _open_tripwire(tripwire, places) if tripwire and tripwire != SAMPLES else None,
        skipped,
    )


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
    raise InputError(
        f"{num_bad} of {num_pairs} pairs cannot be read, data.max_bad_fraction allows "
        f"{most:.1%}: {list_examples(examples)}. Mend them, or raise the limit"
    )


def list_examples(errors: Sequence[ImageReadError]) -> str:
    """Return the first of what cannot be read, and why, on one line."""
    return "; ".join([*map(str, errors[:3]), *(["…"] if len(errors) > 3 else [])])


def _open_tripwire(place: str, config: DataConfig) -> PairSource:
    source = open_pairs(place, format="classes", templates=config.templates)
    if not source.class_names:
        raise InputError(f"watch.tripwire needs one folder of pictures a class, {place} has none")
    return source


def _open(place: SourceConfig, config: DataConfig) -> PairSource:
    return open_pairs(
        place.path,
        format=config.format,
        image_column=config.image_column,
        caption_column=config.caption_column,
        templates=config.templates,
    )
