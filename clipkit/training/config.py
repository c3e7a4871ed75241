"""The settings of a training run, RUN.toml: a dataclass for each section, checked by pydantic.

A comment at each field is its manual (docs/training.md prints it). Defaults that depend on whether
there is a base model are None until :meth:`RunConfig.resolve` fills them in: a fine-tuning on few
pairs moves little, a run from scratch follows the published recipes.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from clipkit.errors import InputError, MissingExtraError

try:
    from pydantic import BeforeValidator, Field, Strict
except ImportError as error:
    raise MissingExtraError("torch", "Reading the settings of a training run") from error

from clipkit.inputs.augmentation import RECIPES, Augmentation, RecipeName
from clipkit.models.lora_info import LoraTarget, LoraTowers
from clipkit.training.config_errors import checked_settings, plain_values
from clipkit.training.config_file import (
    Anchor,
    TomlSettings,
    absolute_model,
    absolute_path,
    absolute_sources,
    source_tables,
)
from clipkit.training.config_values import (
    MOST,
    Count,
    Flag,
    NonNegative,
    Number,
    PartialShare,
    Positive,
    PositiveCount,
    PositiveShare,
    Share,
    Text,
    Whole,
    check_bits,
)

LossKind = Literal["infonce", "sigmoid"]
ScheduleKind = Literal["cosine", "linear", "constant"]
Sharding = Literal["ddp", "fsdp"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
TrackerName = Literal["wandb", "mlflow", "trackio"]

CONFIG_RULE = "the config must be a RunConfig, as RunConfig.from_toml returns it"
_MOST_WEIGHT = 1e6

SAMPLES = "samples"
"""Stands for the photographs that come with clipkit, where a retention set is asked for."""

FilePath = Annotated[Text, Anchor(absolute_path)]
ModelName = Annotated[Text, Anchor(absolute_model)]
Architecture = Annotated[
    Text, Anchor(lambda name, at: absolute_path(name, at) if f"{name}".endswith(".json") else name)
]
RetentionSet = Annotated[
    Text | None, Anchor(lambda name, at: name if name == SAMPLES else absolute_path(name, at))
]


@checked_settings("model")
@dataclass(frozen=True)
class ModelConfig:
    """Which model is trained, and how much of it."""

    base: ModelName = ""  # base model to fine-tune, any that clipkit loads; empty: from scratch
    architecture: Architecture = ""  # from scratch: an open_clip config by name, or a JSON file
    tokenizer: FilePath = ""  # from scratch: a folder with tokenizer.json; empty: the config's own
    lock_image: Flag = False  # freeze the image encoder (LiT)
    unlocked_image_groups: Count = 0  # its last so many groups are trained although it is locked
    lock_text: Flag = False  # freeze the text encoder
    unlocked_text_layers: Count = 0  # its last so many layers are trained although it is locked
    # Keep gains and running means; None: yes, unless from scratch. Several processes on CUDA share
    # the statistics of a batch, on a CPU each has its own.
    freeze_batch_norm: Flag | None = None
    patch_dropout: PartialShare = 0.0  # share of patches left out of each image, 0..1 (FLIP: .5)
    gradient_checkpointing: Flag = False  # a third slower or so, with much less memory
    # LoRA: matrices of this rank are added to weights and trained, nothing else; 0: no LoRA.
    lora_rank: Count = 0
    lora_alpha: NonNegative = 1.0  # they are multiplied by lora_alpha / sqrt(lora_rank)
    lora_towers: LoraTowers = "both"  # or "image", "text"
    # "q", "k", "v", "out" of attention, "linear" for other linear layers, "conv" for 1 x 1
    # convolutions; empty: q, k, v and conv, or of a tower that has none of these linear.
    lora_targets: tuple[LoraTarget, ...] = ()

    def __post_init__(self) -> None:
        """Check how the fields go together.

        Raises:
            InputError: If fields contradict each other.
        """
        if bool(self.base) == bool(self.architecture):
            got = "both" if self.base else "neither"
            raise InputError(
                "[model] needs either base (a model to fine-tune) or architecture (from scratch), "
                f"got {got}"
            )
        if self.tokenizer and self.base:
            raise InputError(
                "model.tokenizer is for training from scratch: a base model brings its own"
            )
        for name, lock in (
            ("unlocked_image_groups", "lock_image"),
            ("unlocked_text_layers", "lock_text"),
        ):
            if getattr(self, name) and not getattr(self, lock):
                raise InputError(f"model.{name} goes with {lock} = true, got {getattr(self, name)}")
        if self.lora_rank:
            self._check_lora()
        elif (self.lora_alpha, self.lora_towers, self.lora_targets) != (1.0, "both", ()):
            raise InputError(
                "model.lora_alpha, lora_towers and lora_targets go with a lora_rank above 0, as in "
                "lora_rank = 2"
            )

    def _check_lora(self) -> None:
        if not self.base:
            raise InputError(
                f"model.lora_rank = {self.lora_rank} adapts a base model, and random weights are "
                "none: name one by model.base, or set lora_rank = 0"
            )
        if not self.lora_alpha:
            raise InputError("model.lora_alpha must be above 0: with 0 adapters change nothing")
        for tower, lock in (("image", self.lock_image), ("text", self.lock_text)):
            if lock and tower in self.lora_of:
                raise InputError(
                    f"model.lock_{tower} keeps the {tower} encoder as it is, and lora_towers = "
                    f'"{self.lora_towers}" adapts it: LoRA leaves all weights of the base model as '
                    f"they are, so leave out lock_{tower}; to adapt the other one alone, set "
                    f'lora_towers = "{"text" if tower == "image" else "image"}"'
                )
        if self.unlocked_image_groups or self.unlocked_text_layers:
            raise InputError(
                "model.lora_rank trains adapters and no weight of the base model: set "
                "unlocked_image_groups and unlocked_text_layers to 0, or lora_rank = 0"
            )
        if self.freeze_batch_norm is False:
            raise InputError(
                "model.lora_rank keeps the batch norms of the base model: leave out "
                "freeze_batch_norm, or set lora_rank = 0"
            )

    @property
    def lora_of(self) -> tuple[str, ...]:
        """The towers that LoRA adapts: "image", "text", both or none."""
        if not self.lora_rank:
            return ()
        return ("image", "text") if self.lora_towers == "both" else (self.lora_towers,)

    @property
    def is_image_fixed(self) -> bool:
        """Whether nothing of the image encoder is trained."""
        if self.lora_rank:
            return "image" not in self.lora_of
        return self.lock_image and not self.unlocked_image_groups

    @property
    def is_text_fixed(self) -> bool:
        """Whether nothing of the text encoder is trained."""
        if self.lora_rank:
            return "text" not in self.lora_of
        return self.lock_text and not self.unlocked_text_layers


@checked_settings("data.train")
@dataclass(frozen=True)
class SourceConfig:
    """One dataset of image-text pairs."""

    path: Text  # folder, table, or shards ("data-{000..099}.tar"); "a::b" are two
    # How often its pairs are drawn: 2 twice an epoch, 0.5 every other; see data.mixture.
    weight: Annotated[float, Strict(), BeforeValidator(check_bits)] = 1.0
    # Of a folder divided into train/, val/, test/; "": train to train on, val to validate on.
    split: Literal["", "train", "validation", "test"] = ""

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            InputError: If the path is empty or the weight out of range.
        """
        if not self.path:
            raise InputError("a dataset needs a path, got an empty one")
        if not 0 < self.weight <= _MOST_WEIGHT:
            raise InputError(
                f"the weight of {self.path} must be above 0 and up to {_MOST_WEIGHT:,.0f}, got "
                f"{self.weight:g}: it is how often its pairs are drawn in an epoch"
            )


Sources = Annotated[
    tuple[SourceConfig, ...],
    BeforeValidator(lambda value: source_tables(plain_values(value))),
    Anchor(absolute_sources),
]


@checked_settings("data")
@dataclass(frozen=True)
class DataConfig:
    """Image-text pairs, and how an image is augmented each time."""

    train: Sources = ()  # datasets: see above; empty: one that is given from Python
    # Never trained on; empty: the folders val of those train that have one, as in ds/train, ds/val.
    validation: Sources = ()
    validation_fraction: PartialShare = 0.0  # share of train kept to validate on, if that is empty
    # "auto" detects it; or "folder", "classes", "table", "shards".
    format: Literal["auto", "folder", "classes", "table", "shards"] = "auto"
    # Of a table, with paths or, in Parquet, the files themselves; empty: the first that is called
    # filepath, file_name, image, path or alike.
    image_column: Text = ""
    # Of a table; empty: the first that is called title, caption, text or alike.
    caption_column: Text = ""
    # Of caption files and of members of shards, as in "caption" or "en.txt"; empty: .txt, .caption
    # or .json, the first that holds a caption; in shards then .cls.
    caption_ending: Text = ""
    # File with the names of class folders or of the numbers in .cls: JSON {"n01440764": "tench"},
    # lines of folder,name, or one name a line in sorted order; empty: the folders' names.
    class_names: FilePath = ""
    templates: tuple[Text, ...] = ("a photo of a {}.",)  # class name -> caption
    # What the datasets' weights are: "weights" how often their pairs are drawn; "pairs" or "tokens"
    # the share of an epoch's pairs, or of the tokens of its captions, that comes from each.
    mixture: Literal["weights", "pairs", "tokens"] = "weights"
    # Of class folders: 0 a class is drawn by its number of images, 1 all equally often; .5 by the
    # square root of that number.
    class_balance: Share = 0.0
    # Share of each batch that are hard negatives: pairs that the model itself nearly takes for
    # others of the batch, found anew before each epoch; .5 at most. 0: batches are random.
    hard_negatives: Annotated[Share, Field(le=0.5)] = 0.0
    # Read shards as a stream and keep nothing of them: for sets that do not fit on the disk.
    stream: Flag = False
    samples_per_epoch: Count = 0  # with stream: pairs of an epoch, as many as there are, or fewer
    max_bad_fraction: Share = 0.05  # of pairs that cannot be read; more ends the run
    # Processes that read images; -1: chosen for this machine, 0: none.
    workers: Annotated[Whole, Field(ge=-1)] = -1
    # A published recipe for crop_scale, horizontal_flip, color_jitter and grayscale where they are
    # not set: "none", "clip", "slip", "clipa", "tip-adapter" or "imagenet".
    augmentation: RecipeName = "clip"
    # Share of the area that a random crop keeps, [smallest, largest]; None: by the recipe.
    crop_scale: tuple[Number, Number] | None = None
    crop_ratio: tuple[Number, Number] = (0.75, 1.3333333333333333)  # its width / height
    horizontal_flip: Share | None = None  # probability; it breaks "left", "right" and writing
    color_jitter: Share | None = None  # probability of changed brightness, contrast, colours
    grayscale: Share | None = None  # probability
    random_erasing: Share = 0.0  # probability

    def __post_init__(self) -> None:
        """Check how the fields go together.

        Raises:
            InputError: If two exclude each other, or a crop is out of range.
        """
        if self.validation and self.validation_fraction:
            raise InputError("[data] takes validation or validation_fraction, got both")
        self._check_stream()
        for name, most in (("crop_scale", 1.0), ("crop_ratio", MOST)):
            smallest, largest = getattr(self, name) or (most, most)
            if not 0 < smallest <= largest <= most:
                raise InputError(
                    f"data.{name} must be [smallest, largest], above 0"
                    f"{' and up to 1' if most == 1 else ''}, got {[smallest, largest]}"
                )

    def _check_stream(self) -> None:
        if self.stream != bool(self.samples_per_epoch):
            raise InputError(
                "data.stream = true goes with data.samples_per_epoch, how many pairs an epoch has: "
                "streams are not counted. Set both or neither, got "
                f"stream = {str(self.stream).lower()}, samples_per_epoch = {self.samples_per_epoch}"
            )
        if self.stream and self.validation_fraction:
            raise InputError(
                "data.validation_fraction needs a list of all pairs, which a stream does not have: "
                'keep whole shards, as in train = "data-{000..097}.tar" and validation = '
                '"data-{098..099}.tar"'
            )
        if self.stream and any(source.split for source in self.train):
            raise InputError(
                "data.stream knows no splits: leave out the split of data.train, or data.stream"
            )
        if self.stream and (self.mixture != "weights" or self.class_balance):
            raise InputError(
                "data.mixture and data.class_balance count pairs, and a stream is not counted: of "
                "a stream the weights of data.train say how often its shards are read"
            )
        if self.stream and self.hard_negatives:
            raise InputError(
                "data.hard_negatives arranges the pairs of an epoch, and those of a stream are not "
                "known before they are read: set hard_negatives = 0, or leave out data.stream"
            )

    @property
    def augmentation_used(self) -> Augmentation:
        """How images are augmented: by the recipe, and by what is set beside it."""
        recipe = RECIPES[self.augmentation]
        own = {name: getattr(self, name) for name in vars(recipe)}
        return replace(recipe, **{name: value for name, value in own.items() if value is not None})


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
    cooldown_fraction: Share = (
        0.0  # with "constant": the last share of steps, in which it falls to 0
    )
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
