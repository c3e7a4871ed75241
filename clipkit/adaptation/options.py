"""How a model is adapted to labelled images, and what is measured."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from clipkit.arguments import check_whole
from clipkit.data.pair import PairLayout
from clipkit.errors import InputError
from clipkit.zero_shot.templates import DEFAULT_TEMPLATES

SAMPLES = "samples"  # the photographs that come with clipkit, as a retention set
LAST_CACHED_STEP = 4  # up to here embeddings are enough; later steps train the model itself
_TRAINING_SECTIONS = ("optimizer.", "compute.", "loss.")


@dataclass(frozen=True)
class AdaptationOptions:
    """What :func:`clipkit.adapt` does with the images."""

    test: str | Path = ""  # images to measure on; empty: a third of each class
    # A published split in CoOp's form, with paths relative to the images' folder; empty: drawn.
    split_file: str | Path = ""
    templates: str = DEFAULT_TEMPLATES  # a set of prompt templates, or one of your own
    domain: str | None = None  # what kind of things the classes are: "food", "bird"
    layout: PairLayout = field(default_factory=PairLayout)
    label_column: str = ""  # of a table: with the class of each image
    shots: int | None = None  # images a class to adapt with, at most; None: all
    seeds: tuple[int, ...] = (0, 1, 2)  # a split each
    last_step: int = LAST_CACHED_STEP  # of the ladder; steps 5 and 6 train the model (torch)
    # Settings of steps 5 and 6 as RUN.toml has them, such as "compute.epochs=5".
    training: tuple[str, ...] = ()
    # How much less probable the right names of the retention set may become, 0..1; a rung that
    # forgets more is not recommended.
    max_forgetting: float = 0.02
    # Class folders of other things that the model should still know: "samples" for the photographs
    # that come with clipkit, "" for none.
    retention_set: str | Path = SAMPLES
    baseline: bool = True  # whether a small model without the base is measured too
    curve: bool = True  # whether the recommended rung is measured with ever fewer images

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        if self.shots is not None:
            check_whole(self.shots, "shots")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds must be one or more different numbers, got {self.seeds!r}")
        for seed in self.seeds:
            check_whole(seed, "a seed", least=0)
        if self.split_file and (self.test or self.label_column):
            raise InputError(
                "a split file has the test images and the classes: leave out test and label_column"
            )
        check_whole(self.last_step, "the last step", least=0)
        if not 0 <= self.max_forgetting <= 1:
            raise InputError(f"max_forgetting must be 0 to 1, got {self.max_forgetting}")
        for setting in self.training:
            if not setting.startswith(_TRAINING_SECTIONS):
                raise InputError(
                    f"steps 5 and 6 take settings of {', '.join(_TRAINING_SECTIONS)} as in "
                    f"compute.epochs=5, got {setting!r}: their model, images and measurements are "
                    "those of the ladder; for all settings use clipkit train"
                )

    def for_fitting(self) -> "AdaptationOptions":
        """Return the same for what is fitted on all images and measured on none."""
        return replace(self, test="", retention_set="")
