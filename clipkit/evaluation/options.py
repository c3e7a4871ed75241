"""What an evaluation measures: the options, and which of them go together."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from clipkit.arguments import items_of
from clipkit.data.pair import PairLayout
from clipkit.data.sources import has_split
from clipkit.data.split_folders import split_of
from clipkit.errors import InputError

EvaluationTask = Literal["auto", "classification", "retrieval", "probe", "search"]
_USUAL_SPLIT = "test"
NO_CALIBRATION = (
    "a calibration is of zero-shot classification: give images with classes, such as folders of "
    "images that are named by what they show, and no other task"
)


@dataclass(frozen=True)
class EvaluationOptions:
    """What :func:`clipkit.evaluate` measures, and how the data are laid out."""

    task: EvaluationTask = "auto"
    # Sets of templates, or templates: the metrics are those of the first, the others are compared.
    # None: those that come with the dataset, else "default".
    templates: tuple[str, ...] = ()
    layout: PairLayout = field(default_factory=lambda: PairLayout(split="test"))
    label_column: str = ""  # of a table: with the class of each image
    split: str = _USUAL_SPLIT  # of a dataset that is divided into splits
    train: str | Path = ""  # the dataset that a probe is fitted on
    shots: int | None = None  # images a class that a probe is fitted on; None: all
    queries: str | Path = ""  # a file with queries and the paths that answer them, for search
    seed: int = 0
    calibrate: bool = False  # whether to fit a calibration, of the first templates


def task_of(options: EvaluationOptions) -> EvaluationTask:
    """Return the task as far as the options say it; refuse options that do not go together.

    Args:
        options: As given.

    Returns:
        "auto" where the data will say it.

    Raises:
        InputError: If the task is unknown, or an option is for another one.
    """
    if options.task not in get_args(EvaluationTask):
        known = ", ".join(get_args(EvaluationTask))
        raise InputError(f'task must be one of {known}, got "{options.task}"')
    list(items_of(options.templates, "templates must be a list of sets of templates"))
    implied: EvaluationTask = "search" if options.queries else "probe" if options.train else "auto"
    task = options.task if implied == "auto" else implied
    if options.task not in ("auto", task) or (options.queries and options.train):
        given = " and ".join(name for name in ("queries", "train") if getattr(options, name))
        raise InputError(
            f'queries are for the task "search", training data (train) for "probe": got {given} '
            f'and the task "{options.task}"'
        )
    if options.calibrate and task not in ("auto", "classification"):
        raise InputError(NO_CALIBRATION)
    if task == "search" and not options.queries:
        raise InputError("to evaluate search, give a file with queries (--queries FILE)")
    unused = {
        "templates": bool(options.templates) and task not in ("auto", "classification"),
        "shots": options.shots is not None and task != "probe",
        "label_column": bool(options.label_column) and task in ("retrieval", "search"),
    }
    for name in (name for name, is_it in unused.items() if is_it):
        kind = "a probe (--train PAIRS)" if name == "shots" else "classification"
        raise InputError(f"{name} is for {kind}, and has no effect here: leave it out")
    return task


def in_split(data: str, options: EvaluationOptions) -> EvaluationOptions:
    """Return options that read the split asked for of a folder that is no benchmark's.

    Args:
        data: The dataset.
        options: As given; their own split is for CLIP_benchmark's layout, that of their layout
            for a folder with a folder or table a split.

    Returns:
        The same, with that split in the layout.

    Raises:
        InputError: If there is no such split.
    """
    if options.split == options.layout.split or options.split == _USUAL_SPLIT:
        return options
    split = split_of(options.split)
    if split is not None and has_split(data, split):
        return replace(options, layout=replace(options.layout, split=split))
    raise InputError(
        f'{data} has no split "{options.split}": it is no dataset in CLIP_benchmark\'s layout, and '
        "of other folders the splits are train, validation and test"
    )
