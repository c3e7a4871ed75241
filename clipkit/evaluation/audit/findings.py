"""Findings of an audit: the differences between groups that are more than chance, in sentences."""

import math
from collections.abc import Iterator

from clipkit.evaluation.audit.report import Association, ColumnAudit, Finding, GroupClassification
from clipkit.metrics.comparison import Interval

ALPHA = 0.05  # probability of any false finding in a report


def findings_of(column: ColumnAudit) -> list[Finding]:
    """Return the findings of a column, surest first.

    Args:
        column: Whose p are corrected for all tests of the report.

    Returns:
        One a figure at most, of the group that stands out most.
    """
    found = [*_of_rankings(column), *_of_associations(column)]
    if column.classification is not None:
        found += _of_classification(column.column, column.classification)
    return sorted((finding for finding in found if finding.p <= ALPHA), key=lambda one: one.p)


def _of_classification(column: str, found: GroupClassification) -> Iterator[Finding]:
    group = min(found.groups, key=lambda one: (one.difference_p, one.accuracy.mean))
    yield Finding(
        column,
        "accuracy",
        "",
        group.name,
        group.difference_p,
        f"{group.accuracy.mean:.0%} of the images of {group.name!r} are classified right "
        f"(n {group.accuracy.count:,}), {_points(group.difference)} than those of the others",
    )
    group = min(found.groups, key=lambda one: (one.overconfidence_p, -one.overconfidence.mean))
    others = ", ".join(
        f"{one.overconfidence.mean:+.2f} ({one.name})" for one in found.groups if one != group
    )
    yield Finding(
        column,
        "confidence",
        "",
        group.name,
        group.overconfidence_p,
        f"confidence less accuracy is {group.overconfidence.mean:+.2f} for {group.name!r} "
        f"(95 % {_range(group.overconfidence)}), {others} for the others",
    )
    for rate in found.rates:
        high = max(rate.groups, key=lambda one: one[1].mean)
        low = min(rate.groups, key=lambda one: one[1].mean)
        what = (
            f"of the images of class {rate.class_name!r} are found"
            if rate.rate == "tpr"
            else f"of the images of other classes are taken for {rate.class_name!r}"
        )
        yield Finding(
            column,
            "equalised odds",
            rate.class_name,
            high[0],
            rate.p,
            f"{high[1].mean:.0%} {what} in {high[0]!r} (n {high[1].count:,}), {low[1].mean:.0%} in "
            f"{low[0]!r} (n {low[1].count:,}): a gap of {rate.gap.mean:.0%} (95 % "
            f"{rate.gap.low:.0%} to {rate.gap.high:.0%})",
        )


def _of_rankings(column: ColumnAudit) -> Iterator[Finding]:
    for query in column.queries:
        skews = next(at for at in query.at if at.k == query.k)
        skew = dict(skews.groups)[query.group]
        times = math.exp(skew.mean)
        yield Finding(
            column.column,
            "retrieval",
            query.query,
            query.group,
            query.p,
            f"among the first {query.k} images for {query.query!r}, {query.group!r} is "
            f"{times:.2f} times as frequent as among all {column.num_images:,} (95 % "
            f"{math.exp(skew.low):.2f} to {math.exp(skew.high):.2f})",
        )


def strongest_associations(column: ColumnAudit) -> list[Association]:
    """Return of each concept the association of the group that stands out, surest first."""
    best: dict[str, Association] = {}
    for one in sorted(column.associations, key=_sureness):
        best.setdefault(one.concept, one)
    return list(best.values())


def _sureness(one: Association) -> tuple[float, float, float]:
    """Order associations; of two groups that mirror each other, the closer one comes first."""
    return one.p, -round(abs(one.effect.mean), 9), -one.effect.mean


def _of_associations(column: ColumnAudit) -> Iterator[Finding]:
    for one in strongest_associations(column):
        yield Finding(
            column.column,
            "association",
            one.concept,
            one.group,
            one.p,
            f"{one.group!r} is {'closer to' if one.effect.mean > 0 else 'farther from'} "
            f"{one.concept!r} than the other groups, by {abs(one.effect.mean):.2f} standard "
            f"deviations (95 % {_range(one.effect)}, n {one.effect.count:,})",
        )


def _points(difference: Interval) -> str:
    word = "fewer" if difference.mean < 0 else "more"
    return (
        f"{abs(difference.mean) * 100:.0f} points {word} (95 % {difference.low * 100:+.0f} to "
        f"{difference.high * 100:+.0f})"
    )


def _range(interval: Interval) -> str:
    return f"{interval.low:+.2f} to {interval.high:+.2f}"
