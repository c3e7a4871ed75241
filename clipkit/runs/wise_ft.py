"""Choosing the WiSE-FT mixture of base and fine-tuned weights on validation pairs.

Source:
    Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (WiSE-FT, arXiv 2109.01903).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from clipkit.runs.validation import TRIPWIRE
from clipkit.training.loop import Validation

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
PUBLISHED_ALPHA = 0.5  # the paper's own, where nothing can be measured


@dataclass(frozen=True)
class Mixture:
    """What (1 - alpha) of the start and alpha of the end are worth together."""

    alpha: float
    validation: Validation

    @property
    def tripwire(self) -> float | None:
        """Accuracy on the reference set, 0..1."""
        return self.validation.metrics.get(TRIPWIRE)


def choose_mixture(mixtures: Sequence[Mixture], *, max_forgetting: float) -> Mixture:
    """Return the mixture with the best score among those that have not forgotten too much.

    Without scores it is the one with the most of the end.

    Args:
        mixtures: As measured, the start first, then by rising alpha.
        max_forgetting: How far the accuracy on the reference set may be below the start's, 0..1.

    Returns:
        The best one; of equal ones that nearest to the start.
    """
    start = mixtures[0].tripwire
    allowed = [
        mixture
        for mixture in mixtures
        # A hair more than allowed is rounding: 43/45 - 42/45 is not exactly 1/45.
        if start is None or (mixture.tripwire or 0.0) >= start - max_forgetting - 1e-9
    ]
    if not mixtures[0].validation.is_scored:
        return allowed[-1]
    return max(allowed, key=lambda mixture: (mixture.validation.score or 0.0, -mixture.alpha))
