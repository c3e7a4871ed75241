"""The report of an evaluation: metrics by CLIP_benchmark's names, intervals and details."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from clipkit.encoder.encoder import Encoder
from clipkit.errors import ImageReadError
from clipkit.metrics.calibration import ReliabilityBin
from clipkit.metrics.comparison import Interval, ItemValues
from clipkit.search.duplicates.leaks import NearDuplicate
from clipkit.zero_shot.calibration import Calibration

_FEW = 100  # images or queries, below which an interval spans more than about 10 points

Task = Literal["zeroshot_classification", "zeroshot_retrieval", "linear_probe", "search"]


@dataclass(frozen=True)
class ClassResult:
    """One class of a classification."""

    name: str
    count: int  # images of it
    recall: float  # share of them that are taken for it
    precision: float | None  # share of those taken for it that are of it; None: none is
    top_confusion: str  # the class that most of the others are taken for; empty: none


@dataclass(frozen=True)
class Confusion:
    """Images of one class that are taken for another."""

    name: str
    taken_for: str
    count: int
    share: float  # of the images of the class


@dataclass(frozen=True)
class TemplateResult:
    """What a set of templates is worth against the bare class name."""

    templates: str  # the name of the set, or the template
    acc1: float
    lift: Interval  # acc1 minus that of the bare name, on the same images
    gained: int  # images that are right with it and wrong with the bare name
    lost: int


@dataclass(frozen=True)
class QueryResult:
    """One query of a search evaluation."""

    query: str
    relevant: int  # images
    first_rank: int  # of the first relevant image, from 1
    average_precision: float


@dataclass(frozen=True)
class SelectiveAccuracy:
    """The accuracy where only the images of highest confidence are answered."""

    coverage: float  # share of the images that are answered
    accuracy: float  # share of those that are right


@dataclass(frozen=True)
class LabelSetResult:
    """Sets of labels that shall hold the right one, on images that the sets were not fitted on."""

    coverage: float  # share that was asked for
    held: Interval  # share of the sets that hold the right label
    mean_size: float  # labels a set
    single: float  # share of the sets of one label


@dataclass(frozen=True)
class CalibrationResult:
    """What a calibration changes, on images that it was not fitted on (cross-fitting)."""

    folds: int
    before: dict[str, float]  # nll, ece, adaptive_ece, brier
    after: dict[str, float]
    label_sets: tuple[LabelSetResult, ...]  # empty: too few images


@dataclass(frozen=True)
class EvaluationReport:
    """How good a model is on a dataset, with 95 % intervals and the details behind the figures."""

    model: str
    space_id: str
    data: str
    task: Task
    num_images: int  # that could be read
    metrics: dict[str, float]
    intervals: dict[str, Interval] = field(default_factory=dict)  # of some of the metrics
    settings: dict[str, Any] = field(default_factory=dict)  # templates, shots, regularisation, …
    classes: tuple[ClassResult, ...] = ()
    confusions: tuple[Confusion, ...] = ()  # most frequent first
    templates: tuple[TemplateResult, ...] = ()
    reliability: tuple[ReliabilityBin, ...] = ()
    selective: tuple[SelectiveAccuracy, ...] = ()
    calibrated: CalibrationResult | None = None  # if asked for
    calibration: Calibration | None = None  # fitted on all images; it has a file of its own
    queries: tuple[QueryResult, ...] = ()  # worst first
    near_duplicates: tuple[NearDuplicate, ...] = ()
    warnings: tuple[str, ...] = ()
    skipped: tuple[ImageReadError, ...] = ()
    # What the metrics that are means are the means of, by name: to compare models by.
    values: Mapping[str, ItemValues] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of_values(
        cls,
        encoder: Encoder,
        data: str,
        task: Task,
        num_images: int,
        values: Mapping[str, ItemValues],
    ) -> "EvaluationReport":
        """Return a report of metrics that are means, with their intervals.

        Args:
            encoder: The model.
            data: Path or address of the dataset.
            task: What was measured.
            num_images: That could be read.
            values: Of each metric.

        Returns:
            The report, without details.
        """
        return cls(
            model=encoder.name,
            space_id=encoder.space_id,
            data=data_name(data),
            task=task,
            num_images=num_images,
            metrics={name: found.mean for name, found in values.items()},
            intervals={name: found.interval() for name, found in values.items()},
            values=values,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it, in CLIP_benchmark's form.

        Its ``clip_benchmark build`` makes a table of many such files; everything that its form has
        no place for is under "clipkit".
        """
        architecture, _, tag = self.model.partition("/")
        is_published = ":" not in self.model and "/" not in tag
        return {
            "dataset": self.data,
            "model": architecture if is_published else self.model,
            "pretrained": tag if is_published else "",
            "task": self.task,
            "metrics": self.metrics,
            "clipkit": {
                "space_id": self.space_id,
                "num_images": self.num_images,
                "settings": self.settings,
                "intervals": {
                    name: [found.low, found.high] for name, found in self.intervals.items()
                },
                "classes": list(map(asdict, self.classes)),
                "confusions": list(map(asdict, self.confusions)),
                "templates": list(map(asdict, self.templates)),
                "reliability": list(map(asdict, self.reliability)),
                "selective": list(map(asdict, self.selective)),
                "calibrated": None if self.calibrated is None else asdict(self.calibrated),
                "queries": list(map(asdict, self.queries)),
                "near_duplicates": list(map(asdict, self.near_duplicates)),
                "warnings": list(self.warnings),
                "skipped": [{"path": error.path, "reason": error.reason} for error in self.skipped],
            },
        }


def data_name(path: str) -> str:
    """Return what a dataset is called in a report: no folder of this machine."""
    return path if "://" in path else Path(path).name or path


def few_warning(count: int, what: str, intervals: Mapping[str, Interval]) -> tuple[str, ...]:
    """Return a warning if so few images or queries say little, else none.

    Args:
        count: How many there are.
        what: What they are, as "images".
        intervals: Of the metrics; the first shows how wide they are.

    Returns:
        One sentence, or nothing.
    """
    if count >= _FEW or not intervals:
        return ()
    name, found = next(iter(intervals.items()))
    return (f"{count} {what} are few: {name} is {found.low:.2f} to {found.high:.2f} with 95 %",)
