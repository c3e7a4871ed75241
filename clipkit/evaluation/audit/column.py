"""All that is measured of the groups of one column, and which of it is a finding."""

from collections.abc import Sequence

from clipkit.errors import InputError
from clipkit.evaluation.audit import group_classification, group_ranking
from clipkit.evaluation.audit.grouped_images import ColumnGroups, column_groups
from clipkit.evaluation.audit.report import ColumnAudit, GroupClassification
from clipkit.evaluation.audit.scores import AuditScores, AuditTexts


def num_families(scores: AuditScores) -> int:
    """Return how many families of tests are made of each column."""
    count = 0
    if scores.answers is not None:
        count += group_classification.NUM_FAMILIES
    if scores.queries.shape[1] or scores.concepts.shape[1]:
        count += group_ranking.NUM_FAMILIES
    return count


def measure_column(
    column: str,
    cells: Sequence[str | None],
    scores: AuditScores,
    texts: AuditTexts,
    *,
    families: int,
) -> ColumnAudit:
    """Return what is measured of the groups of one column.

    Args:
        column: Its name.
        cells: The group of each of N images; None: not known.
        scores: What a model says of these images.
        texts: What they were compared with.
        families: How many families of tests the report has, which each p is corrected for.

    Returns:
        The figures.

    Raises:
        InputError: If the column has fewer than two groups of enough images, or too many.
    """
    groups = column_groups(column, cells)
    queries, associations = group_ranking.measure_rankings(
        groups,
        (texts.query_names, scores.queries[groups.images]),
        (texts.concept_names, scores.concepts[groups.images]),
        families=families,
    )
    return ColumnAudit(
        column=column,
        num_images=len(groups.images),
        num_missing=groups.num_missing,
        sizes=groups.sizes,
        classification=_classification(column, cells, scores, texts, families),
        queries=queries,
        associations=associations,
    )


def _classification(
    column: str, cells: Sequence[str | None], scores: AuditScores, texts: AuditTexts, families: int
) -> GroupClassification | None:
    if scores.answers is None:
        return None
    try:
        groups: ColumnGroups = column_groups(column, [cells[image] for image in scores.labelled])
    except InputError:  # too few of the images with a group have a class
        return None
    return group_classification.measure_classification(
        groups, scores.labels, scores.answers, texts.class_names, families=families
    )
