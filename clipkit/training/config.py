"""The settings of a training run, RUN.toml: a dataclass for each section, checked by pydantic.

Those of [model] and [data] have files of their own. A comment at each field is its manual
(docs/training.md prints it). Defaults that depend on whether there is a base model are None until
:meth:`RunConfig.resolve` fills them in: a fine-tuning on few pairs moves little, a run from scratch
follows the published recipes.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from clipkit.errors import InputError
from clipkit.training.config_errors import checked_settings
from clipkit.training.config_file import TomlSettings
from clipkit.training.config_paths import Anchor, FilePath, ModelName, absolute_path
from clipkit.training.config_values import (
    Count,
    Flag,
    NonNegative,
    PartialShare,
    Positive,
    PositiveCount,
    PositiveShare,
    Share,
    Text,
    Whole,
)
from clipkit.training.data_config import DataConfig
from clipkit.training.model_config import ModelConfig

LossKind = Literal["infonce", "sigmoid"]
ScheduleKind = Literal["cosine", "linear", "constant"]
Sharding = Literal["ddp", "fsdp"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
TrackerName = Literal["wandb", "mlflow", "trackio"]

CONFIG_RULE = "the config must be a RunConfig, as RunConfig.from_toml returns it"

SAMPLES = "samples"
"""Stands for the photographs that come with clipkit, where a retention set is asked for."""

RetentionSet = Annotated[
    Text | None, Anchor(lambda name, at: name if name == SAMPLES else absolute_path(name, at))
]


@checked_settings("loss")
@dataclass(frozen=True)
class LossConfig:
    """What training minimizes."""

    kind: LossKind = "infonce"  # or "sigmoid" (SigLIP), which suits small batches
    teacher: ModelName = ""  # a model to distil from as well; any that clipkit loads
    contrastive_weight: NonNegative = 1.0  # of the loss above
    feature_weight: NonNegative = 2000.0  # with a teacher: squared distance of embeddings (CLIP-KD)
    logit_weight: NonNegative = 1.0  # with a teacher: cross-entropy to its softmax
    matryoshka_dims: tuple[PositiveCount, ...] = ()  # prefixes that are spaces of their own
    row_chunk: Count = 0  # rows of logits held at once; 0: all


@checked_settings("optimizer")
@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and its learning-rate schedule."""

    # Peak learning rate; None: 1e-5 fine-tuning, 2e-4 with LoRA, 5e-4 from scratch.
    lr: NonNegative | None = None
    beta1: PartialShare = 0.9  # decay of the mean of gradients
    beta2: PartialShare = 0.98  # decay of the mean of their squares
    eps: NonNegative = 1e-6  # AdamW's
    weight_decay: NonNegative = 0.2  # of matrices; gains, biases, scale and positions have none
    clip_norm: NonNegative = 1.0  # largest norm of the whole gradient; 0: any
    # Of the learning rate after warmup: "cosine" or "linear", to 0; or "constant".
    schedule: ScheduleKind = "cosine"
    warmup_fraction: Share = 0.1  # of all steps
    # Of a moving average of the trained weights, as in 0.999, which is what is validated and
    # written as the model; 0: none, the model is the weights as they are.
    ema_decay: PartialShare = 0.0
    warmup_steps: Count = 0  # instead of warmup_fraction; 0: by the fraction
    # With "constant": the last share of steps, in which it falls to 0 along a line.
    cooldown_fraction: Share = 0.0
    image_lr_factor: Positive = 1.0  # multiplies the learning rate of the image encoder
    text_lr_factor: Positive = 1.0  # and of the text encoder
    # Layer-wise learning rates: that of a layer is layer_decay times the next one's, up to the
    # projection, which has the whole; so the first layers change least. 1: all alike.
    layer_decay: PositiveShare = 1.0

    def __post_init__(self) -> None:
        """Check how the fields go together.

        Raises:
            InputError: If a cooldown is asked of a schedule that falls to 0 anyway.
        """
        if self.cooldown_fraction and self.schedule != "constant":
            raise InputError(
                f"optimizer.cooldown_fraction = {self.cooldown_fraction:g} goes with schedule = "
                f'"constant", and "{self.schedule}" falls to 0 by itself: set cooldown_fraction = 0'
            )

    @property
    def has_rate_factors(self) -> bool:
        """Whether some weights have another learning rate than others."""
        return (self.image_lr_factor, self.text_lr_factor, self.layer_decay) != (1.0, 1.0, 1.0)


@checked_settings("compute")
@dataclass(frozen=True)
class ComputeConfig:
    """Batch size, chunk size, epochs, device, precision and sharding."""

    batch_size: Whole = 64  # pairs that are learnt against each other, over all processes
    # Pairs that a process computes at once (GradCache); 0: all of its share.
    chunk_size: Count = 0
    # Batches whose gradients are averaged for one step. A pair has the negatives of its own batch
    # only: a larger batch_size with a chunk_size takes the same memory and has them all.
    accumulate_batches: PositiveCount = 1
    epochs: PositiveCount | None = None  # None: 5 fine-tuning, 32 from scratch
    max_steps: Count = 0  # the run ends after so many steps instead; 0: by epochs
    device: Text = "auto"  # "cpu", "cuda", "mps"
    # Autocast: bf16 where it is fast, fp16 on CUDA that has no bf16 (T4, V100), else fp32.
    precision: Precision = "auto"
    sharding: Sharding = "ddp"  # of several processes; fsdp: weights are sharded as well
    compile: Flag = False  # torch.compile of both encoders

    def __post_init__(self) -> None:
        """Check the batch size.

        Raises:
            InputError: If it is below 2.
        """
        if self.batch_size < 2:
            raise InputError(
                f"compute.batch_size must be at least 2, got {self.batch_size}: a pair is learnt "
                "against the others of its batch"
            )

    def num_steps(self, steps_per_epoch: int, *, data_offset: int = 0) -> int:
        """Return after how many steps the run ends.

        Args:
            steps_per_epoch: Of its pairs.
            data_offset: How many steps its epochs are ahead, as
                :class:`.resume.TrainerState` has it.

        Returns:
            Steps of the whole run.
        """
        return self.max_steps or (self.epochs or 0) * steps_per_epoch - data_offset


@checked_settings("watch")
@dataclass(frozen=True)
class WatchConfig:
    """What is measured and kept during training, and early stopping."""

    every_epochs: NonNegative = 1.0  # how often the validation pairs are measured
    # Early stopping after so many measurements without a better one; 0: never.
    patience: Count = 0
    # Class folders whose zero-shot accuracy must not fall, or "samples"; empty: none. None: the
    # samples, if there is a base model that can forget.
    retention_set: RetentionSet = None
    retention_class_names: FilePath = ""  # file with the names of its classes, as data.class_names
    max_forgetting: Share = 0.02  # how far that accuracy may fall, as a fraction
    # Interpolate between the base model and the trained weights at the end (WiSE-FT); None: yes,
    # if there is a base model.
    wise_ft: Flag | None = None
    # A checkpoint is written so often, and sooner in the first minutes and at the end of an epoch;
    # 0: after each step.
    checkpoint_minutes: NonNegative = 10.0
    checkpoint_steps: Count = 0  # and after every so many steps as well; 0: only by the clock
    keep: PositiveCount = 2  # how many good checkpoints stay, besides the best
    log_steps: PositiveCount = 10  # a line of metrics, their means, is written so often
    # Experiment trackers that get the same numbers: "wandb", "mlflow", "trackio".
    trackers: tuple[TrackerName, ...] = ()
    tracker_project: Text = "clipkit"  # the project (MLflow: experiment) that they file the run in


@checked_settings("")
@dataclass(frozen=True)
class RunConfig(TomlSettings):
    """A whole training run, as RUN.toml describes it."""

    output: FilePath  # directory of the run
    model: ModelConfig
    data: DataConfig = field(default_factory=DataConfig)
    seed: Count = 0  # of weights, order, captions, crops and dropout
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)

    def __post_init__(self) -> None:
        """Check the output.

        Raises:
            InputError: If it is no path.
        """
        if not self.output or "\0" in self.output:
            raise InputError(f"output needs the directory of the run, got {self.output!r}")

    @property
    def is_from_scratch(self) -> bool:
        """Whether training begins with random weights."""
        return not self.model.base

    def resolve(self) -> "RunConfig":
        """Return the run with every default that depends on its base model filled in.

        Returns:
            A config without None, and with absolute paths: relative ones count from the working
            directory.
        """
        return type(self).from_dict(self.to_dict())._with_defaults()

    def _with_defaults(self) -> "RunConfig":
        is_new = self.is_from_scratch
        model, optimizer, compute, watch = self.model, self.optimizer, self.compute, self.watch
        if model.freeze_batch_norm is None:
            model = replace(model, freeze_batch_norm=not is_new)
        if optimizer.lr is None:
            tuning = 2e-4 if model.lora_rank else 1e-5
            optimizer = replace(optimizer, lr=5e-4 if is_new else tuning)
        if compute.epochs is None:
            compute = replace(compute, epochs=32 if is_new else 5)
        if watch.wise_ft is None:
            watch = replace(watch, wise_ft=not is_new)
        if watch.retention_set is None:
            watch = replace(watch, retention_set="" if is_new else SAMPLES)
        used = vars(self.data.augmentation_used)
        data = replace(self.data, **used)
        return replace(
            self, model=model, data=data, optimizer=optimizer, compute=compute, watch=watch
        )
