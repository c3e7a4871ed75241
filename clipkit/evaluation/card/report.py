"""The model card: what is known of a model, and what probes have measured it can do."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from clipkit.evaluation.card.origin import ModelOrigin
from clipkit.metrics.comparison import Interval

Verdict = Literal["better", "at chance", "worse"]


@dataclass(frozen=True)
class ProbeAnswer:
    """What a model chose for one image."""

    shows: str  # the image in words
    prompts: int  # which of the probe's sets of prompts it was asked with
    right: int  # the prompt that is right, by its number in the set
    chosen: int

    @property
    def is_right(self) -> bool:
        """Whether the right prompt had the highest cosine."""
        return self.right == self.chosen


@dataclass(frozen=True)
class ProbeResult:
    """What one probe says of an ability: a share of right answers, tested against chance."""

    name: str
    ability: str  # after "can"
    num_images: int
    # Share of right answers with its 95 % interval. Its count is of independent cases: values such
    # as colours, or pairs of things; several images of one are no more than one case.
    accuracy: Interval
    chance: float  # share of right answers without the ability
    chance_low: float  # 95 % of models without it are between these
    chance_high: float
    p_value: float  # two-sided, exact permutation test
    corrected_p: float  # for the number of probes of the card, by Holm
    verdict: Verdict  # at 5 % for the whole card
    sentence: str  # the verdict for a person, without the model's name
    prompts: tuple[tuple[str, ...], ...]
    answers: tuple[ProbeAnswer, ...]


@dataclass(frozen=True)
class ModelCard:
    """What a model is and what it can do, measured by small probes with known answers."""

    model: str  # its name, without a folder of this machine
    space_id: str
    facts: dict[str, str]  # what decides its embeddings, by name
    origin: ModelOrigin
    probes: tuple[ProbeResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the card as JSON can hold it, with every prompt and every answer."""
        return asdict(self)
