"""The image-text pairs of a run: its datasets opened, joined and split."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from clipkit.data.epoch_draws import EpochDraws
from clipkit.data.map_style import MapStylePairs
from clipkit.data.mixing import ConcatenatedPairs
from clipkit.data.pair import (
    DEFAULT_TEMPLATES,
    PairDataset,
    PairLayout,
    Split,
    count_pairs,
    list_some,
)
from clipkit.data.shard_stream import ShardStream
from clipkit.data.source_kind import unused_settings
from clipkit.data.sources import OpenedPairs, has_split, open_pairs, open_source, open_stream
from clipkit.data.stream_sample import StreamSample
from clipkit.data.validation_split import split_pairs
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.progress import Callbacks
from clipkit.runs.given import Given
from clipkit.training.config import SAMPLES, RunConfig, WatchConfig
from clipkit.training.data_config import DataConfig, SourceConfig

_LOOKED_AT = 256  # samples of a stream
_COUNTED = 2000  # pairs of a dataset, the tokens of whose captions are counted


@dataclass(frozen=True)
class RunData:
    """The pairs that a run trains and validates on."""

    train: ConcatenatedPairs
    draws: EpochDraws  # of train; shares of tokens are taken as of pairs, see epoch_draws
    validation: PairDataset | None
    retention_set: PairDataset | None  # None: there is none, or it is the samples
    skipped: tuple[ImageReadError, ...]  # that the listings showed to be bad
    # None: all pairs are in train. Else what is trained on, and in train are the first few of it.
    stream: ShardStream | None = None
    samples_per_epoch: int = 0  # of the stream

    @property
    def num_pairs(self) -> int:
        """How many pairs there are to train on; of a stream, those of an epoch."""
        return self.samples_per_epoch if self.stream else len(self.train)

    @property
    def num_drawn(self) -> int:
        """How many pairs an epoch goes through."""
        if self.stream:
            return self.samples_per_epoch
        return self.draws.num_drawn

    def lines(self, config: DataConfig) -> Iterator[str]:
        """Yield lines on what is trained on, for a person."""
        if self.stream:
            yield (
                f"{len(self.stream.shards):,} shards are streamed, {self.samples_per_epoch:,} "
                f"pairs of them are an epoch; their first {len(self.train):,} pairs were looked at"
            )
            return
        if not config.train:
            yield f"the dataset that is given: {len(self.train):,} pairs to train on"
        for source, dataset in zip(config.train, self.train.datasets, strict=False):
            classes = f" of {len(dataset.class_names)} classes" if dataset.class_names else ""
            yield f"{source.path}: {len(dataset):,} pairs{classes} to train on"


def with_validation_splits(config: RunConfig) -> RunConfig:
    """Return a run that validates on the validation splits of the datasets that it trains on.

    Args:
        config: Of the run.

    Returns:
        The same config if it names what to validate on, or no dataset has such a split.
    """
    data = config.data
    if data.validation or data.validation_fraction or data.format in ("table", "shards"):
        return config
    divided = tuple(
        SourceConfig(source.path, split="validation")
        for source in data.train
        if source.split in ("", "train") and has_split(source.path, "validation")
    )
    return replace(config, data=replace(data, validation=divided)) if divided else config


def open_data(
    config: RunConfig, given: Given | None = None, *, callbacks: Callbacks | None = None
) -> RunData:
    """Return the pairs that a config names, or that are given beside it.

    Args:
        config: Of the run.
        given: Datasets that go with it.
        callbacks: Told how each dataset was understood, and what is odd about it.

    Returns:
        Opened datasets; no image has been decoded.

    Raises:
        InputError: If a dataset is missing, is not one of pairs or holds none, or more of its pairs
            are bad than the config allows; or if the retention set has no classes.
    """
    data, watch, callbacks = config.data, config.watch, callbacks or Callbacks()
    given = given or Given()
    own_train, own_validation = _open_given(given, callbacks)
    stream, opened = None, []
    if data.stream:
        weights = [source.weight for source in data.train]
        stream = open_stream([source.path for source in data.train], _layout(data), weights)
        first = StreamSample(*stream.first_pairs(_LOOKED_AT))
        opened = [OpenedPairs(first, "shards")]
    else:
        opened = [_open(source, data, "train", callbacks) for source in data.train]
    held = [_open(source, data, "validation", callbacks) for source in data.validation]
    retention_set = _open_retention_set(watch, data.templates, callbacks)
    layout = _layout(data)
    if retention_set is not None:  # its captions are made by these templates
        layout = replace(layout, templates=DEFAULT_TEMPLATES)
    kinds = {source.path: found.kind for source, found in zip(data.train, opened, strict=False)}
    kinds |= {source.path: found.kind for source, found in zip(data.validation, held, strict=True)}
    for line in unused_settings(layout, kinds):
        callbacks.warn(line)
    trained: list[PairDataset] = [*own_train, *(found.dataset for found in opened)]
    measured: list[PairDataset] = [*own_validation, *(found.dataset for found in held)]
    if data.validation_fraction:
        parts, kept = split_pairs(trained, data.validation_fraction, config.seed)
        trained, measured = list(parts), [part for part in kept if len(part)]
    validation: PairDataset | None = None
    if measured:
        validation = measured[0] if len(measured) == 1 else ConcatenatedPairs(measured)
    train = ConcatenatedPairs(trained)
    skipped = tuple(error for dataset in trained for error in dataset.skipped)
    num_bad = count_pairs(skipped)
    check_bad(num_bad, len(train) + num_bad, data.max_bad_fraction, skipped)
    return RunData(
        train,
        EpochDraws(train.sizes, (1.0,)) if stream else epoch_draws(data, train),
        validation,
        retention_set,
        skipped,
        stream,
        data.samples_per_epoch,
    )


def _open_given(
    given: Given, callbacks: Callbacks
) -> tuple[list[MapStylePairs], list[MapStylePairs]]:
    """Return the datasets in memory to train and to validate on, at most one of each."""
    opened: tuple[list[MapStylePairs], list[MapStylePairs]] = [], []
    for part, name in zip(opened, ("dataset", "validation"), strict=True):
        dataset = getattr(given, name)
        if dataset is not None:
            part.append(MapStylePairs(dataset, name))
            part[0].check_items()
    if given.dataset is not None and given.dataset is given.validation:
        callbacks.warn(
            "the dataset is both trained and validated on, so its measurements would flatter: give "
            "another one by validation=, or keep a part by data.validation_fraction"
        )
    return opened


def epoch_draws(
    config: DataConfig, train: ConcatenatedPairs, tokenizer: Tokenizer | None = None
) -> EpochDraws:
    """Return how often an epoch draws each pair.

    Args:
        config: Weights of the datasets, what they mean, and the balance of classes.
        train: The pairs.
        tokenizer: Of the text tower, which counts tokens where shares are of tokens; None: they
            are taken as shares of pairs, which gives as many draws, but for rounding.

    Returns:
        The draws.

    Raises:
        InputError: If classes are to be balanced and an image has none.
    """
    draws = EpochDraws(train.sizes, tuple(source.weight for source in config.train) or (1.0,))
    if config.mixture == "pairs" or (config.mixture == "tokens" and tokenizer is None):
        draws = draws.mixed()
    elif config.mixture == "tokens" and tokenizer is not None:
        draws = draws.mixed(_mean_length(dataset, tokenizer) for dataset in train.datasets)
    if not config.class_balance:
        return draws
    names = [train.class_name(row) for row in range(len(train))]
    classes = [name for name in names if name is not None]
    if len(classes) < len(names):
        raise InputError(
            f"data.class_balance = {config.class_balance:g} needs the class of every image, and "
            f"{len(names) - len(classes)} of {len(names)} have captions and no class: give "
            "folders of classes alone, or leave out class_balance"
        )
    return draws.balanced(classes, config.class_balance)


def _mean_length(dataset: PairDataset, tokenizer: Tokenizer) -> float:
    """Return the mean number of tokens of a dataset's captions, by some of them."""
    rows = np.arange(len(dataset))
    if len(rows) > _COUNTED:
        rows = np.random.default_rng(0).choice(len(rows), _COUNTED, replace=False)
    captions: list[str] = []
    for row in rows.tolist():
        with suppress(ImageReadError):  # reported when a step reads it
            captions += dataset[row].captions
    return float(tokenizer.tokenize_quietly(captions).num_tokens.mean()) if captions else 1.0


def check_bad(
    num_bad: int, num_pairs: int, most: float, examples: Sequence[ImageReadError]
) -> None:
    """Raise if more pairs cannot be read than a run may lose.

    Args:
        num_bad: Number of pairs that cannot be read.
        num_pairs: Number of all pairs.
        most: The share that may be bad, 0..1.
        examples: Some of them, for the message.

    Raises:
        InputError: If there are more.
    """
    if num_bad <= most * num_pairs:
        return
    raise InputError(
        f"{num_bad} of {num_pairs} pairs cannot be read, data.max_bad_fraction allows "
        f"{most:.1%}: {list_some(examples)}. Mend them, or raise the limit"
    )


def _open_retention_set(
    watch: WatchConfig, templates: tuple[str, ...], callbacks: Callbacks
) -> PairDataset | None:
    """Return the retention set; None if there is none, or it is the samples."""
    if not watch.retention_set or watch.retention_set == SAMPLES:
        if watch.retention_class_names:
            callbacks.warn(
                "watch.retention_class_names is not used: it names class folders of "
                f"yours, and watch.retention_set is {watch.retention_set or 'empty'}"
            )
        return None
    layout = PairLayout(
        format="classes",
        templates=templates,
        class_names=watch.retention_class_names,
        split="validation",
    )
    source = open_pairs(watch.retention_set, layout, callbacks=callbacks)
    if not source.class_names:
        raise InputError(
            "watch.retention_set needs one folder of images a class, "
            f"{watch.retention_set} has none"
        )
    return source


def _open(
    source: SourceConfig, config: DataConfig, usual: Split, callbacks: Callbacks
) -> OpenedPairs:
    if source.split and not has_split(source.path, source.split):
        callbacks.warn(
            f'split = "{source.split}" of {source.path} is not used: there is no folder '
            "and no table of that split in it"
        )
    return open_source(source.path, _layout(config, source.split or usual), callbacks=callbacks)


def _layout(config: DataConfig, split: Split = "train") -> PairLayout:
    return PairLayout(
        format=config.format,
        image_column=config.image_column,
        caption_column=config.caption_column,
        caption_ending=config.caption_ending,
        templates=config.templates,
        class_names=config.class_names,
        split=split,
    )
