"""The report of an audit: what differs between groups, each figure with its n and interval."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from clipkit.errors import ImageReadError
from clipkit.metrics.comparison import Interval

Kind = Literal["accuracy", "confidence", "equalised odds", "retrieval", "association"]

CANNOT_KNOW = (
    "The groups are those of your labels: where these are wrong or too coarse, so are the figures, "
    "and people are more than one column.",
    "Figures are of these images and these prompts. Other wordings can change them a lot, and "
    "images that were not drawn as those in use will be do not speak for them.",
    "Images count as independent. Several of one person, scene or burst make figures look surer "
    "than they are.",
    "A difference is no cause. Groups may differ in what they show, in light, in framing or in who "
    "took the images; the audit cannot tell that from the model, and what the data lack it cannot "
    "see.",
    "No finding does not mean no bias: a smaller one, or one of a group of few images, is not "
    "found. The intervals say how large it may still be.",
    "Which difference is unjust, and which error does harm, is for people to say who know the use "
    "and those it concerns.",
)


@dataclass(frozen=True)
class GroupSize:
    """How many images a group has."""

    name: str
    count: int
    is_shown: bool  # whether they are enough for figures


@dataclass(frozen=True)
class Finding:
    """A difference between groups that is more than chance, all tests of the report considered."""

    column: str
    kind: Kind
    subject: str  # the class, the query or the concept; empty: all classes
    group: str  # that stands out most
    p: float  # corrected for all tests of the report
    sentence: str


@dataclass(frozen=True)
class GroupAccuracy:
    """How good the classification of one group is."""

    name: str
    accuracy: Interval  # top-1, over the images of the group
    difference: Interval  # from the accuracy of all other groups together
    difference_p: float  # corrected
    overconfidence: Interval  # mean confidence minus accuracy
    overconfidence_p: float  # that it is that of the other groups, corrected
    ece: Interval  # expected calibration error; of few images it is too large


@dataclass(frozen=True)
class RateGap:
    """How often images of a class are found, or others taken for it, by group."""

    class_name: str
    rate: Literal["tpr", "fpr"]
    groups: tuple[tuple[str, Interval], ...]  # with enough images
    gap: Interval  # highest minus lowest
    p: float  # corrected


@dataclass(frozen=True)
class GroupClassification:
    """Zero-shot classification by group."""

    groups: tuple[GroupAccuracy, ...]
    best: str
    worst: str
    gap: Interval  # accuracy of the best group minus that of the worst
    macro_accuracy: Interval  # each group counts the same
    rates: tuple[RateGap, ...]  # largest gap first
    tpr_gap: float | None  # the largest; None: no class has enough images in two groups
    fpr_gap: float | None


@dataclass(frozen=True)
class SkewAtK:
    """Who is among the first k images of a query."""

    k: int
    groups: tuple[tuple[str, Interval], ...]  # ln(share among the first k / share of the images)

    @property
    def min_skew(self) -> float:
        """That of the group that is most lacking, 0 or less."""
        return min(skew.mean for _, skew in self.groups)

    @property
    def max_skew(self) -> float:
        """That of the group that is there most, 0 or more."""
        return max(skew.mean for _, skew in self.groups)


@dataclass(frozen=True)
class QuerySkew:
    """How the groups are spread over the ranking of one query."""

    query: str
    at: tuple[SkewAtK, ...]  # by k
    ndkl: float  # of the first k, the largest k
    ndkl_by_chance: Interval  # of rankings with shuffled groups: mean and 95 % of them
    group: str  # that stands out most among the first k …
    k: int  # … of this k
    p: float  # corrected for all queries, k and groups


@dataclass(frozen=True)
class Association:
    """How much closer one group is to a concept than the others."""

    concept: str
    group: str
    effect: Interval  # d: difference of mean cosines in standard deviations of all
    p: float  # corrected for all concepts and groups


@dataclass(frozen=True)
class DebiasResult:
    """What taking the groups' directions out of the text embeddings changes, on held-out images."""

    directions: str  # where they are from
    num_directions: int  # 0: there was nothing to take out, so nothing was measured again
    figures: tuple[tuple[str, float, float], ...]  # name, before, after
    accuracy_change: Interval | None  # after minus before; None: no labels, or no directions
    num_findings: tuple[int, int]  # before, after
    verdict: str


@dataclass(frozen=True)
class ColumnAudit:
    """What was measured of the groups of one column."""

    column: str
    num_images: int  # of groups that are large enough
    num_missing: int  # images without a group
    sizes: tuple[GroupSize, ...]  # largest first
    classification: GroupClassification | None = None  # None: no labels
    queries: tuple[QuerySkew, ...] = ()
    associations: tuple[Association, ...] = ()
    debiased: DebiasResult | None = None  # if asked for


@dataclass(frozen=True)
class Counterfactual:
    """What changes if words of a prompt are swapped."""

    kind: Literal["class", "query"]
    text: str
    swapped: str
    changed: Interval  # share of images whose answer, or whose place in the first k, changes
    k: int | None  # of a query
    shift: Interval  # of the cosine
    recall_change: Interval | None = None  # of the class, on its own images


@dataclass(frozen=True)
class AuditReport:
    """What differs between groups of images, with 95 % intervals and the prompts behind it."""

    model: str
    space_id: str
    data: str
    num_images: int  # that could be read
    columns: tuple[ColumnAudit, ...]
    findings: tuple[Finding, ...]  # surest first
    alpha: float  # the probability of any false finding that is accepted
    num_families: int  # of tests, whose number the findings are corrected for besides their size
    templates: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    concepts: tuple[str, ...] = ()
    concept_template: str = ""
    counterfactuals: tuple[Counterfactual, ...] = ()
    cannot_know: tuple[str, ...] = CANNOT_KNOW
    warnings: tuple[str, ...] = ()
    skipped: tuple[ImageReadError, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        values = asdict(self) | {
            "skipped": [{"path": error.path, "reason": error.reason} for error in self.skipped]
        }
        return values
