"""What a training run is told: one value object for each part of RUN.toml.

Every field carries its manual as a comment. Defaults that depend on where training starts are
None until :meth:`RunConfig.resolve` fills them in: a fine-tuning on few pairs moves little, a run
from scratch follows the published recipes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from clipkit.errors import InputError

LossKind = Literal["infonce", "sigmoid"]
ScheduleKind = Literal["cosine", "constant"]
Sharding = Literal["ddp", "fsdp"]
Precision = Literal["auto", "fp32", "bf16"]

SAMPLES = "samples"
"""Stands for the photographs that come with clipkit, where a reference set is asked for."""

# Of numbers of any kind. What is beyond is a slip, and products of a few such numbers would leave
# the range of float32; TOML knows inf and nan besides.
_LEAST, _MOST = 1e-30, 1e30
_BITS = 64
_MOST_WEIGHT = 1e6


@dataclass(frozen=True)
class ModelConfig:
    """Which towers are trained, and how much of them."""

    start: str = ""  # any model that clipkit loads; empty: from scratch
    architecture: str = ""  # from scratch: a config of open_clip's by name, or a JSON file
    tokenizer: str = ""  # from scratch: a directory with tokenizer.json; empty: the config's own
    lock_image: bool = False  # the image tower stays as it is (LiT)
    unlocked_image_groups: int = 0  # the last so many groups are trained although it is locked
    lock_text: bool = False  # the text tower stays as it is
    unlocked_text_layers: int = 0  # the last so many layers are trained although it is locked
    freeze_batch_norm: bool | None = None  # running means stay; None: yes, unless from scratch
    patch_dropout: float = 0.0  # share of patches left out of each image, 0..1 (FLIP: .5)
    gradient_checkpointing: bool = False  # a third slower or so, with much less memory

    def __post_init__(self) -> None:
        """Check what can be checked without a model.

        Raises:
            InputError: If fields contradict each other or are out of range.
        """
        _check_numbers("model.", self)
        if bool(self.start) == bool(self.architecture):
            got = "both" if self.start else "neither"
            raise InputError(
                "[model] needs either start (a model to go on from) or architecture (from "
                f"scratch), got {got}"
            )
        if self.tokenizer and self.start:
            raise InputError("model.tokenizer is for training from scratch: a start brings its own")
        for name in ("unlocked_image_groups", "unlocked_text_layers"):
            lock = "lock_image" if "image" in name else "lock_text"
            if getattr(self, name) < 0 or (getattr(self, name) and not getattr(self, lock)):
                raise InputError(
                    f"model.{name} counts from 0 and goes with {lock} = true, "
                    f"got {getattr(self, name)}"
                )
        _check_range("model.patch_dropout", self.patch_dropout, 0, 1, is_open_above=True)


@dataclass(frozen=True)
class SourceConfig:
    """One place with pairs."""

    path: str  # folder, table, or shards ("data-{000..099}.tar"); "a::b" are two places
    weight: float = 1.0  # how often its pairs are drawn: 2 twice an epoch, 0.5 every other
    # Of a folder divided into train/, val/, test/; "": train to train on, val to validate on.
    split: Literal["", "train", "validation", "test"] = ""

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            InputError: If the path is empty or the weight out of range.
        """
        if not self.path:
            raise InputError("a place with pairs needs a path, got an empty one")
        if not 0 < self.weight <= _MOST_WEIGHT:
            raise InputError(
                f"the weight of {self.path} must be above 0 and up to {_MOST_WEIGHT:,.0f}, got "
                f"{self.weight:g}: it is how often its pairs are drawn in an epoch"
            )


@dataclass(frozen=True)
class DataConfig:
    """Pairs of images and texts, and how an image is changed each time."""

    train: tuple[SourceConfig, ...] = ()  # places with pairs: see above
    # Never trained on; empty: the folders val of those train that have one, as in ds/train, ds/val.
    validation: tuple[SourceConfig, ...] = ()
    validation_fraction: float = 0.0  # share of train kept for validation, if that is empty
    # "auto" looks; or "folder", "classes", "table", "shards".
    format: Literal["auto", "folder", "classes", "table", "shards"] = "auto"
    # Of a table, with paths or, in Parquet, the files themselves; empty: the first that is called
    # filepath, file_name, image, path or alike.
    image_column: str = ""
    # Of a table; empty: the first that is called title, caption, text or alike.
    caption_column: str = ""
    # Of caption files and of members of shards, as in "caption" or "en.txt"; empty: .txt, .caption
    # or .json, the first that holds a caption; in shards then .cls.
    caption_ending: str = ""
    # File with the names of class folders or of the numbers in .cls: JSON {"n01440764": "tench"},
    # lines of folder,name, or one name a line in sorted order; empty: the folders' names.
    class_names: str = ""
    templates: tuple[str, ...] = ("a photo of a {}.",)  # class name -> caption
    max_bad_fraction: float = 0.05  # of pairs that cannot be read; more ends the run
    workers: int = -1  # processes that read images; -1: as many as pay here, 0: none
    crop_scale: tuple[float, float] = (0.9, 1.0)  # share of the area that a random crop keeps
    crop_ratio: tuple[float, float] = (0.75, 1.3333333333333333)  # its width / height
    horizontal_flip: float = 0.0  # probability; it breaks "left", "right" and writing
    color_jitter: float = 0.0  # probability of changed brightness, contrast, saturation, hue
    grayscale: float = 0.0  # probability
    random_erasing: float = 0.0  # probability

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            InputError: If there is nothing to train on, or a field is out of range.
        """
        _check_numbers("data.", self)
        if not self.train:
            raise InputError('[data] needs train, for example train = "photos"')
        _check_range("data.validation_fraction", self.validation_fraction, 0, 1, is_open_above=True)
        _check_range("data.max_bad_fraction", self.max_bad_fraction, 0, 1)
        for name in ("horizontal_flip", "color_jitter", "grayscale", "random_erasing"):
            _check_range(f"data.{name}", getattr(self, name), 0, 1)
        _check_pair("data.crop_scale", self.crop_scale, above=0, most=1)
        _check_pair("data.crop_ratio", self.crop_ratio, above=0, most=math.inf)
        if self.validation and self.validation_fraction:
            raise InputError("[data] takes validation or validation_fraction, got both")
        if self.workers < -1:
            raise InputError(f"data.workers must be -1 or more, got {self.workers}")

    @property
    def is_augmented(self) -> bool:
        """Whether an image's pixel values differ from epoch to epoch."""
        chances = (self.horizontal_flip, self.color_jitter, self.grayscale, self.random_erasing)
        return self.crop_scale != (1.0, 1.0) or any(chances)


@dataclass(frozen=True)
class LossConfig:
    """What is made small."""

    kind: LossKind = "infonce"  # or "sigmoid", which suits small batches
    teacher: str = ""  # a model to learn from as well; any that clipkit loads
    contrastive_weight: float = 1.0  # of the loss above
    feature_weight: float = 2000.0  # with a teacher: squared distance of embeddings (CLIP-KD)
    logit_weight: float = 1.0  # with a teacher: cross-entropy to its softmax
    matryoshka_dims: tuple[int, ...] = ()  # prefixes that are spaces of their own
    row_chunk: int = 0  # rows of logits held at once; 0: all

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            InputError: If a field is out of range.
        """
        _check_numbers("loss.", self)
        _check_choice("loss.kind", self.kind, ("infonce", "sigmoid"))
        for name in ("contrastive_weight", "feature_weight", "logit_weight"):
            _check_range(f"loss.{name}", getattr(self, name), 0, math.inf)
        if min(self.matryoshka_dims, default=1) < 1 or self.row_chunk < 0:
            raise InputError("loss.matryoshka_dims count from 1 and loss.row_chunk from 0")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and the path of its learning rate."""

    lr: float | None = None  # the highest; None: 1e-5 from a checkpoint, 5e-4 from scratch
    beta1: float = 0.9  # how slowly the mean of gradients moves
    beta2: float = 0.98  # how slowly the mean of their squares moves
    eps: float = 1e-6  # AdamW's
    weight_decay: float = 0.2  # of matrices; gains, biases, scale and positions have none
    clip_norm: float = 1.0  # of the whole gradient; 0: none
    schedule: ScheduleKind = "cosine"  # after the warm-up, to 0; or "constant"
    warmup_fraction: float = 0.1  # of all steps

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            InputError: If a field is out of range.
        """
        _check_numbers("optimizer.", self)
        _check_choice("optimizer.schedule", self.schedule, ("cosine", "constant"))
        if self.lr is not None:
            _check_range("optimizer.lr", self.lr, 0, math.inf)
        _check_range("optimizer.beta1", self.beta1, 0, 1, is_open_above=True)
        _check_range("optimizer.beta2", self.beta2, 0, 1, is_open_above=True)
        _check_range("optimizer.warmup_fraction", self.warmup_fraction, 0, 1)
        for name in ("eps", "weight_decay", "clip_norm"):
            _check_range(f"optimizer.{name}", getattr(self, name), 0, math.inf)


@dataclass(frozen=True)
class ComputeConfig:
    """How much at once, where, and in which number format."""

    batch_size: int = 64  # pairs in a step, over all processes
    chunk_size: int = 0  # pairs computed at once by a process (GradCache); 0: all of its share
    epochs: int | None = None  # None: 5 from a checkpoint, 32 from scratch
    device: str = "auto"  # "cpu", "cuda", "mps"
    precision: Precision = "auto"  # bf16 by autocast, where it is fast
    sharding: Sharding = "ddp"  # of several processes; fsdp: weights are split as well
    compile: bool = False  # torch.compile of the towers

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            InputError: If a field is out of range.
        """
        _check_numbers("compute.", self)
        _check_choice("compute.precision", self.precision, ("auto", "fp32", "bf16"))
        _check_choice("compute.sharding", self.sharding, ("ddp", "fsdp"))
        if self.batch_size < 2:
            raise InputError(
                f"compute.batch_size must be at least 2, got {self.batch_size}: a pair is learnt "
                "against the others of its batch"
            )
        if self.chunk_size < 0 or (self.epochs is not None and self.epochs < 1):
            raise InputError("compute.chunk_size counts from 0 and compute.epochs from 1")


@dataclass(frozen=True)
class WatchConfig:
    """What is measured on the way, kept, and when training ends early."""

    every_epochs: float = 1.0  # how often the validation pairs are measured
    patience: int = 0  # end after so many measurements without a better one; 0: never
    # Class folders whose accuracy must not fall, or "samples"; empty: none. None: the samples, if
    # there is a start that can forget.
    tripwire: str | None = None
    tripwire_class_names: str = ""  # file with the names of its classes, as data.class_names
    max_forgetting: float = 0.02  # how far it may fall, as a fraction
    average_with_start: bool | None = None  # WiSE-FT at the end; None: yes, from a checkpoint
    checkpoint_minutes: float = 10.0  # how often a checkpoint is written, besides each epoch's end
    keep: int = 2  # how many checkpoints stay, besides the best
    log_steps: int = 10  # how often a line of metrics is written

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            InputError: If a field is out of range.
        """
        _check_numbers("watch.", self)
        _check_range("watch.every_epochs", self.every_epochs, 0, math.inf)
        _check_range("watch.max_forgetting", self.max_forgetting, 0, 1)
        _check_range("watch.checkpoint_minutes", self.checkpoint_minutes, 0, math.inf)
        if self.patience < 0 or self.keep < 1 or self.log_steps < 1:
            raise InputError("watch.patience counts from 0, watch.keep and watch.log_steps from 1")


@dataclass(frozen=True)
class RunConfig:
    """A whole training run."""

    output: str  # directory of the run
    model: ModelConfig
    data: DataConfig
    seed: int = 0  # of weights, order, captions, crops and dropout
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            InputError: If the output is no path or the seed is out of range.
        """
        _check_numbers("", self)
        if not self.output or "\0" in self.output:
            raise InputError(f"output needs the directory of the run, got {self.output!r}")
        if self.seed < 0:
            raise InputError(f"seed must be 0 or more, got {self.seed}")

    @property
    def is_from_scratch(self) -> bool:
        """Whether the towers start from random weights."""
        return not self.model.start

    def resolve(self) -> "RunConfig":
        """Return the run with every default that depends on its start filled in.

        Returns:
            A config without None.
        """
        is_new = self.is_from_scratch
        model, optimizer, compute, watch = self.model, self.optimizer, self.compute, self.watch
        if model.freeze_batch_norm is None:
            model = replace(model, freeze_batch_norm=not is_new)
        if optimizer.lr is None:
            optimizer = replace(optimizer, lr=5e-4 if is_new else 1e-5)
        if compute.epochs is None:
            compute = replace(compute, epochs=32 if is_new else 5)
        if watch.average_with_start is None:
            watch = replace(watch, average_with_start=not is_new)
        if watch.tripwire is None:
            watch = replace(watch, tripwire="" if is_new else SAMPLES)
        return replace(self, model=model, optimizer=optimizer, compute=compute, watch=watch)


def default_output(path: Path) -> str:
    """Return the directory of a run whose file names none: the file's name without its ending."""
    return str(path.with_suffix(""))


def check_number(name: str, value: float) -> None:
    """Raise unless a number is one that can be computed with, whatever it is for.

    Args:
        name: What it is called, for the message.
        value: A whole number or another one.

    Raises:
        InputError: If it is infinite, no number (nan), or far too large or too small.
    """
    if isinstance(value, int):
        if value.bit_length() > _BITS:  # such a one may be too long to be printed
            raise InputError(
                f"{name} must be a whole number of at most {_BITS} bits, got one of "
                f"{value.bit_length()} bits"
            )
    elif value and not _LEAST <= abs(value) <= _MOST:  # also if it is nan
        raise InputError(
            f"{name} must be a finite number of ordinary size ({_LEAST:g} to {_MOST:g}), "
            f"got {value:g}"
        )


def _check_numbers(prefix: str, section: Any) -> None:
    """Raise unless check_number takes all numbers in the fields of a section."""
    for item in fields(section):
        value = getattr(section, item.name)
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, int | float):
                check_number(prefix + item.name, part)


def _check_range(
    name: str, value: float, least: float, most: float, *, is_open_above: bool = False
) -> None:
    is_inside = least <= value < most if is_open_above else least <= value <= most
    if not is_inside:
        below = f"or more and below {most:g}" if is_open_above else f"to {most:g}"
        above = "or more" if most == math.inf else below
        raise InputError(f"{name} must be {least:g} {above}, got {value:g}")


def _check_pair(name: str, pair: Sequence[float], *, above: float, most: float) -> None:
    if len(pair) != 2 or not above < pair[0] <= pair[1] <= most:
        raise InputError(
            f"{name} must be [smallest, largest], above {above:g}"
            f"{'' if most == math.inf else f' and up to {most:g}'}, got {list(pair)}"
        )


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError(f'{name} must be {" or ".join(choices)}, got "{value}"')
