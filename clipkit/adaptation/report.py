"""The report of a ladder: what each rung is worth and costs, and which one to take."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from clipkit.adaptation.head import Head
from clipkit.errors import ImageReadError


@dataclass(frozen=True)
class RungReport:
    """What a rung is worth, as means over the splits where nothing else is said."""

    step: int | None  # of the ladder, from 0; None: the small model without the base
    name: str
    title: str
    lack: str = ""  # why it was not measured; then there are no figures
    accuracy: float | None = None  # share of the test images that are right
    spread: float | None = None  # standard deviation of the accuracy over the splits
    mean_per_class: float | None = None  # accuracy of each class, averaged
    worst_class: str = ""  # the class of lowest accuracy, over all splits
    worst_accuracy: float | None = None  # of that class
    ece: float | None = None  # expected calibration error of the probabilities as fitted
    ece_calibrated: float | None = None  # with the temperature that held-out images ask for
    kept: float | None = None  # accuracy on images of other things, by their own names
    forgot: float = 0.0  # by how much the right names of these became less probable
    seconds: float | None = None  # of fitting one split, without embedding the images
    num_bytes: int | None = None  # that are kept beside the base model
    gain: float | None = None  # in accuracy over the best cheaper rung
    gain_error: float | None = None  # its standard error, over the images
    gain_over: str = ""  # the title of that cheaper rung

    @property
    def is_worse(self) -> bool:
        """Whether a cheaper rung is better, by more than two standard errors."""
        return self.gain is not None and self.gain < -2 * (self.gain_error or 0.0)


@dataclass(frozen=True)
class CurvePoint:
    """The accuracy of the recommended rung with so many images a class."""

    shots: int  # images a class that it was fitted on, at most
    num_images: int  # in all, mean over the splits
    accuracy: float  # mean over the splits
    spread: float  # standard deviation over the splits


@dataclass(frozen=True)
class ClassNeed:
    """A class that more labels would help first."""

    name: str
    count: int  # labelled images of it
    accuracy: float  # of the recommended rung


# Fields that to_dict() turns into something else, or leaves out.
_APART = frozenset(
    ("head", "rungs", "baseline", "curve", "needs", "skipped", "settings", "split_files")
)


@dataclass(frozen=True)
class AdaptationReport:
    """What adapting a model to labelled images is worth, rung by rung."""

    model: str  # the model's name
    data: str  # where the images came from
    space_id: str
    num_images: int  # that could be read
    num_classes: int
    num_test_images: int  # of one split, mean
    seeds: tuple[int, ...]  # one split each
    retention_images: int  # images of other things; 0: none
    max_forgetting: float  # a rung that forgot more is not recommended
    rungs: tuple[RungReport, ...]  # cheapest first
    baseline: RungReport | None  # the small model without the base; None: not asked for
    recommended: str  # the name of a rung, or of the small model
    recommendation: str  # in a sentence or two, with the reason
    curve: tuple[CurvePoint, ...] = ()
    curve_rung: str = ""  # the rung that the curve and the needs are of
    needs: tuple[ClassNeed, ...] = ()  # lowest accuracy first
    warnings: tuple[str, ...] = ()
    skipped: tuple[ImageReadError, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    # Of the recommended rung, or of the best head where that is none, fitted on all images.
    head: Head | None = field(default=None, compare=False)
    # The splits, one a seed, as the text of files that adapt() takes again.
    split_files: tuple[str, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, as JSON can hold them, without the head and the splits."""
        values = {name: value for name, value in self.__dict__.items() if name not in _APART}
        return {
            **values,
            "rungs": [asdict(rung) for rung in self.rungs],
            "baseline": None if self.baseline is None else asdict(self.baseline),
            "curve": [asdict(point) for point in self.curve],
            "needs": [asdict(need) for need in self.needs],
            "skipped": [error.to_dict() for error in self.skipped],
            "settings": dict(self.settings),
            "head": None if self.head is None else self.head.method,
        }
