"""Closed-form debiasing of text embeddings: a projection, measured on held-out images.

Shapes: N images, D dimensions, R directions, G groups.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.evaluation.audit.column import measure_column
from clipkit.evaluation.audit.findings import findings_of
from clipkit.evaluation.audit.grouped_images import ColumnGroups, column_groups
from clipkit.evaluation.audit.report import ColumnAudit, DebiasResult
from clipkit.evaluation.audit.scores import AuditImages, AuditScores, AuditTexts, score_texts
from clipkit.evaluation.classification import ImageScores
from clipkit.metrics.comparison import Interval, bootstrap_interval

_ROUNDING = 1e-5  # of a norm
_LEAST_SHARE = 1e-3  # of the largest direction; what is smaller is rounding
_NOTHING_TO_TAKE = {
    "images of the groups": "nothing was taken out: among images of one class the groups do not "
    "differ, as where each class has one image only, or one group",
    "words": "nothing was taken out: the model gives both words the same embedding",
}
Floats = NDArray[np.float64]


def span_of(differences: NDArray[np.floating]) -> Floats:
    """Return orthonormal directions that span some differences of embeddings.

    Args:
        differences: Shape (M, D).

    Returns:
        Shape (R, D), R <= M; those that are rounding only are left out.
    """
    _, sizes, directions = np.linalg.svd(np.asarray(differences, np.float64), full_matrices=False)
    kept: Floats = directions[sizes > _LEAST_SHARE * max(sizes.max(initial=0.0), 1e-12)]
    return kept


def group_directions(images: AuditImages, column: ColumnGroups) -> Floats:
    """Return the directions in which the images of groups differ.

    Args:
        images: All. Differences are those among images of one class, so that what tells classes
            apart stays; images of no known class are as one.
        column: The groups of some of them.

    Returns:
        Orthonormal, shape (R, D), R < G.
    """
    rows = np.asarray(images.embeddings, np.float64)[column.images]
    strata = images.labels[column.images] + 1
    means = np.zeros((strata.max() + 1, rows.shape[1]))
    np.add.at(means, strata, rows)
    means /= np.maximum(np.bincount(strata), 1)[:, None]
    rest = rows - means[strata]
    of_group = [
        rest[column.groups == place].mean(axis=0) for place in np.unique(column.groups).tolist()
    ]
    return span_of(np.array(of_group) - np.mean(of_group, axis=0))


def project_out(embeddings: Embeddings, directions: Floats) -> Embeddings:
    """Return embeddings without their part along some directions, of norm 1 again.

    Args:
        embeddings: Shape (M, D).
        directions: Orthonormal, shape (R, D).

    Returns:
        Shape (M, D). A row that lies along the directions altogether becomes 0: it fits nothing.

    Source:
        Chuang et al. 2023, "Debiasing vision-language models via biased prompts" (arXiv
        2302.00070): P0 = I - V (V'V)^-1 V'.
    """
    rows = np.asarray(embeddings, np.float64)
    rest = rows - rows @ directions.T @ directions
    norms = np.linalg.norm(rest, axis=1, keepdims=True)
    return np.where(norms > _ROUNDING, rest / np.maximum(norms, _ROUNDING), 0.0).astype(np.float32)


def measure_debiasing(
    images: AuditImages,
    texts: AuditTexts,
    cells: Sequence[str | None],
    before: tuple[ColumnAudit, AuditScores],
    *,
    families: int,
    word_directions: Floats | None,
) -> DebiasResult:
    """Return what changes if the groups' directions are taken out of all text embeddings.

    Args:
        images: N.
        texts: Whose embeddings are changed.
        cells: The group of each image.
        before: What was measured without, and the scores that it was measured on.
        families: How many families of tests the report has.
        word_directions: Orthonormal directions that come from words. None: they are those in which
            the images of the groups differ. These are found on one half of the images and measured
            on the other, and the other way round.

    Returns:
        The figures before and after, and in a sentence what they come to.
    """
    audit, scores = before
    column = column_groups(audit.column, cells)
    half = np.random.default_rng(0).permutation(len(cells)) % 2
    taken = [
        _of_half(images, column, half != part) if word_directions is None else word_directions
        for part in (0, 1)
    ]
    source = "words" if word_directions is not None else "images of the groups"
    num_findings = len(findings_of(audit))
    if not any(map(len, taken)):
        counts = (num_findings, num_findings)
        return DebiasResult(source, 0, (), None, counts, _NOTHING_TO_TAKE[source])
    parts = []
    for part, directions in enumerate(taken):
        rows = np.flatnonzero(half == part)
        parts.append((rows, score_texts(images.part(rows), _projected(texts, directions))))
    after = _joined(parts, scores)
    found = measure_column(audit.column, cells, after, texts, families=families)
    figures, change = _compared(audit, found), _change(scores, after)
    counts = num_findings, len(findings_of(found))
    return DebiasResult(
        directions=source,
        num_directions=max(map(len, taken)),
        figures=figures,
        accuracy_change=change,
        num_findings=counts,
        verdict=_verdict(figures, change, counts),
    )


def _of_half(images: AuditImages, column: ColumnGroups, is_in: NDArray[np.bool_]) -> Floats:
    kept = is_in[column.images]
    half = replace(column, images=column.images[kept], groups=column.groups[kept])
    return group_directions(images, half)


def _projected(texts: AuditTexts, directions: Floats) -> AuditTexts:
    return replace(
        texts,
        classes=project_out(texts.classes, directions),
        queries=project_out(texts.queries, directions),
        concepts=project_out(texts.concepts, directions),
        everyday=project_out(texts.everyday, directions),
    )


def _joined(
    parts: Sequence[tuple[NDArray[np.intp], AuditScores]], like: AuditScores
) -> AuditScores:
    """Return the scores of parts of the images in the order of all."""
    rows = np.concatenate([rows for rows, _ in parts])
    order = np.argsort(rows)
    queries = np.concatenate([scores.queries for _, scores in parts])[order]
    concepts = np.concatenate([scores.concepts for _, scores in parts])[order]
    answers = None
    if like.answers is not None:
        joined = ImageScores.joined([scores.answers for _, scores in parts if scores.answers])
        places = np.argsort(np.concatenate([rows[scores.labelled] for rows, scores in parts]))
        answers = joined.taken(places)
    return replace(like, answers=answers, queries=queries, concepts=concepts)


def _change(before: AuditScores, after: AuditScores) -> Interval | None:
    if before.answers is None or after.answers is None:
        return None
    difference = after.answers.is_right.astype(np.float64) - before.answers.is_right
    return bootstrap_interval(difference)


def _compared(before: ColumnAudit, after: ColumnAudit) -> tuple[tuple[str, float, float], ...]:
    pairs = zip(_figures(before), _figures(after), strict=True)
    return tuple((name, value, other) for (name, value), (_, other) in pairs)


def _figures(column: ColumnAudit) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    if column.classification is not None:
        worst = min(group.accuracy.mean for group in column.classification.groups)
        found += [
            ("accuracy, groups alike", column.classification.macro_accuracy.mean),
            ("accuracy of the worst group", worst),
            ("gap in accuracy", column.classification.gap.mean),
        ]
    if column.queries:
        found.append(("mean NDKL", float(np.mean([query.ndkl for query in column.queries]))))
    if column.associations:
        sizes = [abs(one.effect.mean) for one in column.associations]
        found.append(("mean size of associations", float(np.mean(sizes))))
    return found


def _verdict(
    figures: Sequence[tuple[str, float, float]],
    change: Interval | None,
    num_findings: tuple[int, int],
) -> str:
    """Return in a sentence what debiasing comes to."""
    worst = [after - before for name, before, after in figures if "worst" in name]
    is_costly = change is not None and change.high < 0
    is_worse = num_findings[1] > num_findings[0] or (bool(worst) and worst[0] < 0 and is_costly)
    is_better = num_findings[1] < num_findings[0]
    cost = "" if change is None else f", accuracy {change.mean * 100:+.1f} points"
    counts = f"findings: {num_findings[0]} before, {num_findings[1]} after{cost}"
    if is_worse and not is_better:
        return f"worse than doing nothing: {counts}"
    if is_better and is_costly:
        return f"fewer differences, paid for with accuracy: {counts}"
    if is_better:
        return f"fewer differences: {counts}"
    return f"no gain: {counts}"
