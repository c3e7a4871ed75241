"""How sure a measurement on few images is, and a difference of two on the same images.

Shapes: N images; M values, of images, captions or queries. A value that is NaN was not measured.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
"""One value an image, shape (N,); 0 and 1 where an answer is wrong or right."""

_Z95 = 1.959963984540054  # standard normal, 95 % within
_DRAWS = 20_000
_PRIOR = 0.5  # Jeffreys': so that one image never makes anything certain


@dataclass(frozen=True)
class Interval:
    """A mean and where the true one lies with 95 %."""

    mean: float
    low: float
    high: float
    count: int  # of images


def share_interval(values: Values) -> Interval:
    """Return the share of ones, with Wilson's interval.

    Args:
        values: 0 to 1 an image; at least one is no NaN.

    Returns:
        The mean and its interval, within 0..1.

    Example:
        >>> found = share_interval(np.array([1.0, 1.0, 0.0, 1.0]))
        >>> found.mean, round(found.low, 3), round(found.high, 3)
        (0.75, 0.301, 0.954)

    Source:
        Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    known = values[~np.isnan(values)]
    mean = float(known.mean())
    count = len(known)
    middle = (mean + _Z95**2 / (2 * count)) / (1 + _Z95**2 / count)
    spread = math.sqrt(mean * (1 - mean) / count + _Z95**2 / (4 * count**2))
    half = _Z95 * spread / (1 + _Z95**2 / count)
    return Interval(mean, max(0.0, middle - half), min(1.0, middle + half), count)


def clustered_share_interval(shares: Values, count: int) -> Interval:
    """Return a share of ones with its interval, of images that come in clusters of alike ones.

    How alike the images of a cluster are is seen from how much clusters differ: the interval is
    that of as many independent images as would differ as little, no fewer than clusters and no more
    than images. It is Wilson's with a continuity correction: of few clusters, right or wrong as a
    whole, the plain one is too narrow.

    Args:
        shares: Of ones in each cluster, 0..1, shape (N,); clusters are of one size.
        count: Images in all clusters together.

    Returns:
        The mean and its interval, within 0..1, with the count of clusters.

    Example:
        >>> found = clustered_share_interval(np.array([1.0, 0.0, 1.0, 1.0]), 400)
        >>> found.mean, round(found.low, 3), round(found.high, 3), found.count
        (0.75, 0.219, 0.987, 4)

    Source:
        Kish 1965, "Survey Sampling", on the effective sample size; Newcombe 1998, "Two-sided
        confidence intervals for the single proportion", method 4.
    """
    mean = float(shares.mean())
    variance = float(shares.var(ddof=1)) / len(shares) if len(shares) > 1 else 0.0
    independent = float(len(shares))  # also where all are right or all wrong, which shows nothing
    if 0 < mean < 1:
        independent = mean * (1 - mean) / variance if variance else float(count)
    effective = min(max(independent, len(shares)), count)
    return Interval(mean, *_corrected_wilson(mean, effective), len(shares))


def _corrected_wilson(mean: float, count: float) -> tuple[float, float]:
    """Return Wilson's interval with a continuity correction."""
    middle, twice = 2 * count * mean + _Z95**2, 2 * (count + _Z95**2)
    below = _Z95**2 - 2 - 1 / count + 4 * mean * (count * (1 - mean) + 1)
    above = _Z95**2 + 2 - 1 / count + 4 * mean * (count * (1 - mean) - 1)
    low = 0.0 if mean == 0 else (middle - 1 - _Z95 * math.sqrt(below)) / twice
    high = 1.0 if mean == 1 else (middle + 1 + _Z95 * math.sqrt(above)) / twice
    return max(0.0, low), min(1.0, high)


def share_change(before: Values, after: Values) -> Interval:
    """Return the difference of two shares of the same images, with its 95 % interval.

    Args:
        before: 0 or 1 an image, shape (N,), N >= 1.
        after: The same images in the same order.

    Returns:
        Share after less share before, and its interval, which has a width even if no answer
        changes or all do: few images make nothing certain.

    Example:
        >>> found = share_change(np.array([0.0, 0.0, 0.0, 1.0]), np.array([1.0, 1.0, 1.0, 1.0]))
        >>> found.mean, round(found.low, 3), round(found.high, 3)
        (0.75, 0.085, 0.954)

    Source:
        Newcombe 1998, "Improved confidence intervals for the difference between binomial
        proportions based on paired data", method 10.
    """
    first, second = share_interval(before), share_interval(after)
    count = len(before)
    both, neither = float(before @ after), float((1 - before) @ (1 - after))
    product = both * neither - float(before @ (1 - after)) * float((1 - before) @ after)
    if product > 0:  # its correction for continuity
        product = max(0.0, product - count / 2)
    size = count**2 * math.sqrt(first.mean * (1 - first.mean) * second.mean * (1 - second.mean))
    correlation = product / size if size > 0 else 0.0
    below = _joint(second.mean - second.low, first.high - first.mean, correlation)
    above = _joint(second.high - second.mean, first.mean - first.low, correlation)
    difference = second.mean - first.mean
    return Interval(difference, difference - below, difference + above, count)


def _joint(first: float, second: float, correlation: float) -> float:
    """Return how far a difference may be off by what its two sides may be."""
    return math.sqrt(max(0.0, first**2 - 2 * correlation * first * second + second**2))


def bootstrap_interval(
    values: Values, groups: NDArray[np.integer[Any]] | None = None, *, draws: int = 1000
) -> Interval:
    """Return a mean with its bootstrap interval: what it is for images drawn again from these.

    Args:
        values: Any measure an image, or several of an image; NaN where it was not measured. At
            least one is a number.
        groups: Of each value the number of what it belongs to, such as the image of a caption,
            shape (N,), 0 or more: these are drawn, with all of their values. None: each by itself.
        draws: How many times all are drawn again; the same ones every time.

    Returns:
        The mean of all values, and the 2.5th and 97.5th percentile of the means that were drawn.
        Of a few images it is too narrow, and of images that are all alike it has no width: for
        shares :func:`share_interval` is better.

    Source:
        Efron 1979, "Bootstrap methods: another look at the jackknife"; percentile interval.
    """
    known = ~np.isnan(values)
    measured = values[known]
    number = np.arange(len(measured))
    if groups is not None:
        number = np.unique(groups[known], return_inverse=True)[1]
    sums, counts = np.bincount(number, weights=measured), np.bincount(number)
    rng = np.random.default_rng(0)
    means = np.empty(draws)
    for draw in range(draws):
        drawn = rng.integers(len(sums), size=len(sums))
        means[draw] = sums[drawn].sum() / counts[drawn].sum()
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(measured.mean()), float(low), float(high), len(sums))


def class_mean_interval(
    is_right: NDArray[np.bool_], labels: NDArray[np.integer[Any]], *, draws: int = 1000
) -> Interval:
    """Return the mean recall of classes with its bootstrap interval over the images.

    Args:
        is_right: Whether each image is taken for its class, shape (N,), N >= 1.
        labels: The class of each, shape (N,).
        draws: How many times the images are drawn again; the same ones every time.

    Returns:
        The mean over the classes that have images, and the 2.5th and 97.5th percentile of that of
        the images drawn, all within 0..1. As for :func:`bootstrap_interval`, it is too narrow for
        few images.

    Example:
        >>> found = class_mean_interval(np.array([True, True, False]), np.array([0, 0, 1]))
        >>> found.mean, found.low, found.high
        (0.5, 0.0, 1.0)
    """
    _, number, counts = np.unique(labels, return_inverse=True, return_counts=True)
    right = np.bincount(number[is_right], minlength=len(counts))
    # Drawing images is drawing how many there are of each class, right and wrong.
    shares = np.concatenate([right, counts - right]) / len(labels)
    rng = np.random.default_rng(0)
    means = np.empty(draws)
    for draw in range(draws):
        found, missed = rng.multinomial(len(labels), shares).reshape(2, -1)
        is_there = found + missed > 0
        means[draw] = np.mean(found[is_there] / (found + missed)[is_there])
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(np.mean(right / counts)), float(low), float(high), len(labels))


@dataclass(frozen=True)
class ItemValues:
    """The values that a metric is the mean of, and what each is of."""

    values: Values  # shape (M,)
    # Numbers of images or queries, shape (M,). Several values may be of one, such as those of the
    # captions of an image: they are not independent, and are drawn together.
    items: NDArray[np.intp]

    @property
    def mean(self) -> float:
        """The metric."""
        return float(self.values.mean())

    def interval(self) -> Interval:
        """Return the metric and where the true one lies with 95 %.

        Wilson's interval of a share of images or queries, else bootstrapped over them.
        """
        if self.is_share:
            return share_interval(self.values)
        return bootstrap_interval(self.values, self.items)

    @property
    def is_share(self) -> bool:
        """Whether the metric is the share of images or queries of which something is true."""
        is_binary = bool(np.isin(self.values, (0.0, 1.0)).all())
        return is_binary and len(np.unique(self.items)) == len(self.items)

    def change(self, after: "ItemValues") -> Interval:
        """Return by how much the metric of another model is higher, with its 95 % interval.

        Args:
            after: The other model's, of the same items in the same order.

        Returns:
            Newcombe's interval of shares of images or queries, else bootstrapped over them.
        """
        if self.is_share and after.is_share:
            return share_change(self.values, after.values)
        return bootstrap_interval(after.values - self.values, self.items)

    def among(self, items: NDArray[np.intp]) -> "ItemValues":
        """Return the values of some images or queries, in the order in which they are here."""
        kept = np.isin(self.items, items)
        return ItemValues(self.values[kept], self.items[kept])


@dataclass(frozen=True)
class PairedChange:
    """What became of the same images from one model to another."""

    lost: int  # better before: right, and then wrong
    gained: int  # better after
    count: int  # measured with both

    @classmethod
    def of(cls, before: Values, after: Values) -> "PairedChange":
        """Return the change between two measurements of the same images.

        Args:
            before: A value an image, such as 1 if it is right and 0 if not.
            after: The same images in the same order.

        Returns:
            The counts, of the images that both have measured.
        """
        both = ~np.isnan(before) & ~np.isnan(after)
        first, second = before[both], after[both]
        lost, gained = np.count_nonzero(second < first), np.count_nonzero(second > first)
        return cls(int(lost), int(gained), len(first))

    def probability_of_loss(self, more_than: float) -> float:
        """Return how probable it is that more images in a hundred are lost than gained than this.

        Args:
            more_than: A share, 0..1.

        Returns:
            0..1, under Jeffreys' prior for the shares of lost, gained and unchanged images.

        Example:
            >>> round(PairedChange(lost=1, gained=0, count=45).probability_of_loss(0.02), 2)
            0.46
        """
        same = self.count - self.lost - self.gained
        alphas = np.array([self.lost, self.gained, same]) + _PRIOR
        shares = np.random.default_rng(0).dirichlet(alphas, _DRAWS)
        return float(np.mean(shares[:, 0] - shares[:, 1] > more_than))
