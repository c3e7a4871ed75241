"""clipkit.evaluate: how good a model is on a dataset of the user's own."""

from dataclasses import replace
from pathlib import Path

from clipkit.data.benchmark_layout import BenchmarkSet, find_benchmark_set
from clipkit.data.labelled_images import LabelledImages, by_class, open_labelled
from clipkit.data.pair import PairDataset, PairLayout
from clipkit.data.sources import has_split, open_pairs
from clipkit.data.table_rows import MissingColumnError
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from clipkit.evaluation.caption_retrieval import evaluate_captions
from clipkit.evaluation.cross_fitting import check_can_calibrate
from clipkit.evaluation.options import NO_CALIBRATION, EvaluationOptions, in_split, task_of
from clipkit.evaluation.probe_evaluation import evaluate_probe
from clipkit.evaluation.report import EvaluationReport
from clipkit.evaluation.search_queries import evaluate_search, read_queries
from clipkit.evaluation.zero_shot_classification import evaluate_class_names
from clipkit.paths import expand_home
from clipkit.progress import Callbacks


def evaluate(
    encoder: Encoder,
    data: str | Path,
    options: EvaluationOptions | None = None,
    *,
    callbacks: Callbacks | None = None,
) -> EvaluationReport:
    """Return how good a model is on a dataset.

    Embeddings are kept in the user's cache directory, so that an evaluation that was interrupted is
    resumed and one with other templates takes seconds.

    Args:
        encoder: The model.
        data: Class folders, a table, shards with .cls, or a dataset in CLIP_benchmark's layout
            (folder or address) for classification; images with captions for retrieval; a folder of
            images for search.
        options: What to measure; None: classification of images that have classes, else retrieval.
        callbacks: For messages and progress.

    Returns:
        Metrics by CLIP_benchmark's names, in fractions, and the details.

    Raises:
        InputError: If the data do not fit the task, or nothing of them can be read.
        MissingExtraError: If a probe or a calibration is asked for and scikit-learn is not
            installed.
    """
    options, callbacks = options or EvaluationOptions(), callbacks or Callbacks()
    data = str(data)
    task = task_of(options)
    if options.calibrate:
        check_can_calibrate()
    if task == "search":
        queries = read_queries(expand_home(options.queries))
        return evaluate_search(encoder, data, queries, callbacks)
    benchmark = find_benchmark_set(data, options.split)
    if benchmark is None:
        options = in_split(data, options)
    if task == "probe":
        sets = (_open_train(data, options, callbacks), _open(data, options, benchmark, callbacks))
        return evaluate_probe(encoder, data, options, sets, callbacks)
    has_names = bool(options.label_column or options.layout.class_names)
    if task == "auto" and benchmark is not None:
        has_names = has_names or bool(benchmark.class_names)
    if task == "classification" or (has_names and task == "auto"):
        labelled = _open(data, options, benchmark, callbacks)
        return evaluate_class_names(encoder, data, options, labelled, callbacks)
    pairs = _open_pairs(data if benchmark is None else benchmark.shards, options.layout, callbacks)
    if task == "auto" and pairs.class_names:
        labelled = _checked(data, by_class(data, pairs))
        return evaluate_class_names(encoder, data, options, labelled, callbacks)
    if options.calibrate:
        raise InputError(NO_CALIBRATION)
    if options.templates:
        callbacks.warn(f"templates are not used: {data} has captions, and those are its texts")
    return evaluate_captions(encoder, data, pairs, callbacks)


def _open_pairs(path: str, layout: PairLayout, callbacks: Callbacks) -> PairDataset:
    try:
        return open_pairs(path, layout, callbacks=callbacks)
    except MissingColumnError as error:
        if error.key != "caption_column":
            raise
        raise InputError(
            f"{error.lack}: name the column with the class of each image (--label-column), or the "
            "one with its caption (--caption-column)"
        ) from error


def _open(
    data: str, options: EvaluationOptions, benchmark: BenchmarkSet | None, callbacks: Callbacks
) -> LabelledImages:
    labelled = open_labelled(
        data,
        options.layout,
        benchmark=benchmark,
        label_column=options.label_column,
        callbacks=callbacks,
    )
    return _checked(data, labelled)


def _checked(data: str, labelled: LabelledImages) -> LabelledImages:
    """Refuse images of one class."""
    if len(labelled.class_names) < 2:
        skipped = labelled.dataset.skipped
        rest = f"; {len(skipped)} were skipped, such as {skipped[0]}" if skipped else ""
        raise InputError(
            f"all images of {data} that count are of one class, {labelled.class_names[0]}, so that "
            f"every answer would be right: classification needs two classes or more{rest}"
        )
    return labelled


def _open_train(data: str, options: EvaluationOptions, callbacks: Callbacks) -> LabelledImages:
    """Return the training data: those named, else the split called train."""
    path = str(options.train or data)
    layout = replace(options.layout, split="train")
    found = find_benchmark_set(path, "train")
    if not options.train and found is None and not has_split(path, "train"):
        raise InputError(
            f"a probe needs training data, and {data} has no split for it: give some "
            "(--train PAIRS)"
        )
    return _open(path, replace(options, layout=layout), found, callbacks)
