"""clipkit.audit: how a model treats groups of images, by accuracy, rankings and association."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clipkit.data.pair import PairLayout
from clipkit.embeddings import Embeddings
from clipkit.encoder.embedded_images import embed_images
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from clipkit.evaluation.audit.column import measure_column, num_families
from clipkit.evaluation.audit.concepts import (
    CONCEPT_TEMPLATE,
    DEFAULT_CONCEPTS,
    everyday_prompts,
)
from clipkit.evaluation.audit.counterfactuals import (
    DEFAULT_SWAPS,
    Swap,
    swap_classes,
    swap_queries,
    swapped_texts,
)
from clipkit.evaluation.audit.debiasing import measure_debiasing, span_of
from clipkit.evaluation.audit.findings import ALPHA, findings_of
from clipkit.evaluation.audit.grouped_images import (
    LEAST_IMAGES,
    GroupedImages,
    column_groups,
    open_grouped,
)
from clipkit.evaluation.audit.report import AuditReport, ColumnAudit, Counterfactual
from clipkit.evaluation.audit.scores import AuditImages, AuditTexts, score_texts
from clipkit.evaluation.report import data_name
from clipkit.progress import Callbacks
from clipkit.zero_shot.classifier import ZeroShotClassifier
from clipkit.zero_shot.templates import DEFAULT_TEMPLATES, fill_template, resolve_templates

Directions = NDArray[np.float64] | Literal["images"] | None
_MOST_QUERIES, _MOST_CONCEPTS, _MOST_COLUMNS = 100, 500, 20


@dataclass(frozen=True)
class AuditOptions:
    """What :func:`clipkit.audit` measures, and where the groups of images are said."""

    group_columns: tuple[str, ...]  # at least one
    groups_table: str | Path = ""  # for class folders: the table with these columns
    label_column: str = ""  # of a table: with the class of each image; empty: no classes
    layout: PairLayout = field(default_factory=PairLayout)  # image_column, class_names
    templates: str = DEFAULT_TEMPLATES  # for the classes: a set, or a template
    queries: tuple[str, ...] = ()  # embedded as they are
    concepts: tuple[str, ...] = DEFAULT_CONCEPTS  # "a doctor": put into "a photo of {}"
    swaps: tuple[Swap, ...] = DEFAULT_SWAPS  # tried on class names and queries
    debias: bool = False  # along the directions in which the images of the groups differ …
    debias_words: tuple[Swap, ...] = ()  # … or along those of words: ("a man", "a woman")


def audit(
    encoder: Encoder,
    data: str | Path,
    options: AuditOptions,
    *,
    callbacks: Callbacks | None = None,
) -> AuditReport:
    """Return what differs between groups of images, and which of it is more than chance.

    Groups are those that the data say, never guessed. Embeddings are kept in the user's cache, so
    that an audit that was interrupted is resumed and one with other texts takes seconds.

    Args:
        encoder: The model.
        data: A table of images (CSV, TSV, JSON Lines, Parquet), or class folders.
        options: What to measure.
        callbacks: For messages and progress.

    Returns:
        The figures, with their intervals, and the findings. Of a group of fewer than 20 images
        there are none.

    Raises:
        InputError: If a column is not there, has no two groups of 20 images or more, or no image
            can be read; or if there is nothing to compare: no class, query or concept.
        MissingExtraError: If a table is Parquet and pyarrow is not installed.
    """
    callbacks = callbacks or Callbacks()
    options = _checked(options)
    data = str(data)
    opened = open_grouped(
        data,
        options.group_columns,
        groups_table=str(options.groups_table),
        label_column=options.label_column,
        layout=options.layout,
        callbacks=callbacks,
    )
    for column, cells in opened.groups.items():  # before hours of work
        column_groups(column, cells)
    if not (opened.class_names or options.queries or options.concepts):
        raise InputError("an audit needs classes, queries or concepts, got none of them")
    embedded = embed_images(encoder, opened.dataset, "embedding images", callbacks)
    texts = _embed_texts(encoder, opened, options, callbacks)
    images = AuditImages(
        np.asarray(embedded.embeddings), opened.labels[embedded.rows], encoder.scoring
    )
    groups = {
        column: [cells[row] for row in embedded.rows] for column, cells in opened.groups.items()
    }
    columns, families = _measure(images, texts, groups, _words(encoder, options), callbacks)
    findings = [finding for column in columns for finding in findings_of(column)]
    return AuditReport(
        model=encoder.name,
        space_id=encoder.space_id,
        data=data_name(data),
        num_images=len(embedded.rows),
        columns=columns,
        findings=tuple(sorted(findings, key=lambda finding: finding.p)),
        alpha=ALPHA,
        num_families=families,
        templates=resolve_templates(options.templates) if opened.class_names else (),
        class_names=opened.class_names,
        queries=options.queries,
        concepts=options.concepts,
        concept_template=CONCEPT_TEMPLATE if options.concepts else "",
        counterfactuals=_counterfactuals(encoder, options, images, texts),
        warnings=(
            *opened.notes,
            *_left_out(columns),
            *_told_by_class(groups, images.labels),
            *_unused(options, opened.class_names),
        ),
        skipped=embedded.skipped,
    )


def _checked(options: AuditOptions) -> AuditOptions:
    columns = tuple(dict.fromkeys(options.group_columns))
    queries = tuple(dict.fromkeys(options.queries))
    concepts = tuple(dict.fromkeys(options.concepts))
    if not columns or not all(columns):
        raise InputError("an audit needs the name of a column with groups, got none")
    for some, most, what in (
        (columns, _MOST_COLUMNS, "columns"),
        (queries, _MOST_QUERIES, "queries"),
        (concepts, _MOST_CONCEPTS, "concepts"),
    ):
        if len(some) > most:
            raise InputError(
                f"at most {most} {what} can be audited at once, got {len(some):,}: each more makes "
                "it harder to tell a difference from chance"
            )
        if not all(text.strip() for text in some):
            raise InputError(f"one of the {what} is empty")
    resolve_templates(options.templates)
    return replace(options, group_columns=columns, queries=queries, concepts=concepts)


def _embed_texts(
    encoder: Encoder, opened: GroupedImages, options: AuditOptions, callbacks: Callbacks
) -> AuditTexts:
    none = np.empty((0, encoder.embed_dim), np.float32)
    classes: Embeddings = none
    with callbacks.progress_for("embedding class names") as progress:
        if opened.class_names:
            classifier = ZeroShotClassifier(
                encoder, opened.class_names, templates=options.templates, progress=progress
            )
            classes = np.asarray(classifier.class_embeddings)
    with callbacks.progress_for("embedding queries and concepts") as progress:
        filled = [CONCEPT_TEMPLATE.replace("{}", concept) for concept in options.concepts]
        everyday = everyday_prompts() if filled else []
        prompts = [*options.queries, *filled, *everyday]
        rows = np.asarray(encoder.encode_texts(prompts, progress=progress)) if prompts else none
    first, second = len(options.queries), len(options.queries) + len(filled)
    return AuditTexts(
        opened.class_names,
        classes,
        options.queries,
        rows[:first],
        options.concepts,
        rows[first:second],
        rows[second:],
    )


def _words(encoder: Encoder, options: AuditOptions) -> Directions:
    """Return the directions to take out of the texts, if that is asked for."""
    if not options.debias_words:
        return "images" if options.debias else None
    templates = resolve_templates(options.templates)
    words = [word for pair in options.debias_words for word in pair]
    prompts = [[fill_template(template, word) for template in templates] for word in words]
    sides = np.asarray(encoder.encode_prompts(prompts))
    return span_of(sides[::2] - sides[1::2])


def _measure(
    images: AuditImages,
    texts: AuditTexts,
    groups: dict[str, list[str | None]],
    directions: Directions,
    callbacks: Callbacks,
) -> tuple[tuple[ColumnAudit, ...], int]:
    """Return the figures of each column, and how many families of tests there are."""
    scores = score_texts(images, texts)
    families = num_families(scores) * len(groups)
    columns: list[ColumnAudit] = []
    with callbacks.progress_for("shuffling groups") as progress:
        progress(0, len(groups))
        for column, cells in groups.items():
            found = measure_column(column, cells, scores, texts, families=families)
            if directions is not None:
                result = measure_debiasing(
                    images,
                    texts,
                    cells,
                    (found, scores),
                    families=families,
                    word_directions=None if isinstance(directions, str) else directions,
                )
                found = replace(found, debiased=result)
            columns.append(found)
            progress(len(columns), len(groups))
    return tuple(columns), families


def _counterfactuals(
    encoder: Encoder, options: AuditOptions, images: AuditImages, texts: AuditTexts
) -> tuple[Counterfactual, ...]:
    queries = swapped_texts(options.queries, options.swaps)
    classes = swapped_texts(texts.class_names, options.swaps)
    found: list[Counterfactual] = []
    if classes:
        templates = resolve_templates(options.templates)
        prompts = [[fill_template(one, other) for one in templates] for _, other in classes]
        found += swap_classes(images, texts, classes, np.asarray(encoder.encode_prompts(prompts)))
    if queries:
        after = np.asarray(encoder.encode_texts([other for _, other in queries]))
        before = texts.queries[[place for place, _ in queries]]
        pairs = [(options.queries[place], other) for place, other in queries]
        found += swap_queries(images.embeddings, pairs, (before, after))
    return tuple(found)


def _told_by_class(groups: dict[str, list[str | None]], labels: NDArray[np.intp]) -> list[str]:
    """Return warnings of columns whose groups have no class in common."""
    notes = []
    for column, cells in groups.items():
        found = column_groups(column, cells)
        pairs = {*zip(labels[found.images].tolist(), found.groups.tolist(), strict=True)}
        classes = [label for label, _ in pairs if label >= 0]
        if classes and len(classes) == len({*classes}):
            notes.append(
                f"each class is in one group of {column} only: accuracies by group are those of "
                "different classes, and say nothing of how images of one class are treated"
            )
    return notes


def _unused(options: AuditOptions, class_names: tuple[str, ...]) -> list[str]:
    """Return which of the user's own options have changed nothing."""
    texts = (*class_names, *options.queries)
    notes = [
        f"the swap {' = '.join(swap)} changes nothing: neither is in a class name or a query, or "
        "what it makes of one is there already"
        for swap in options.swaps
        if swap not in DEFAULT_SWAPS and not swapped_texts(texts, [swap])
    ]
    is_default = options.templates == DEFAULT_TEMPLATES
    if not (is_default or class_names or options.debias_words):
        notes.append("the templates are not used: they are for classes, and there are none")
    return notes


def _left_out(columns: Sequence[ColumnAudit]) -> list[str]:
    notes = []
    for column in columns:
        if column.num_missing:
            notes.append(
                f"images without {column.column}: {column.num_missing:,}; they are left out of its "
                "figures, not guessed"
            )
        small = [size.count for size in column.sizes if not size.is_shown]
        if small:
            notes.append(
                f"groups of {column.column} of fewer than {LEAST_IMAGES} images: {len(small):,} "
                f"(of {sum(small):,} images in all); they have no figures and are left out"
            )
    return notes
