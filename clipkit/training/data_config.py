"""The settings of [data] in RUN.toml: image-text pairs, their draws, and how images are augmented.

A comment at each field is its manual, as in :mod:`clipkit.training.config`.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, Strict

from clipkit.errors import InputError
from clipkit.inputs.augmentation import RECIPES, Augmentation, RecipeName
from clipkit.training.config_errors import checked_settings, plain_values
from clipkit.training.config_paths import Anchor, FilePath, absolute_sources, source_tables
from clipkit.training.config_values import (
    MOST,
    Count,
    Flag,
    Number,
    PartialShare,
    Share,
    Text,
    Whole,
    check_bits,
)

_MOST_WEIGHT = 1e6


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
