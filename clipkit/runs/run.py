"""Training a model: one run from its config to a directory with the final checkpoint.

Started as several processes by torchrun, all of them train and the first one writes.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clipkit.arguments import check_kind, check_path
from clipkit.data.map_style import MapStyleDataset
from clipkit.errors import InputError
from clipkit.progress import CALLBACKS_RULE, Callbacks
from clipkit.runs.directory import (
    changed_settings,
    claimed_directory,
)
from clipkit.runs.extension import (
    CONFIG_NAME,
    Extending,
    ended_report,
    keep_settings,
    read_extensions,
)
from clipkit.runs.given import Given
from clipkit.runs.rank_run import RankRun
from clipkit.runs.report import TrainingReport
from clipkit.training.config import CONFIG_RULE, RunConfig
from clipkit.training.distributed import Ranks, joined_process_group
from clipkit.training.loss_function import LossFunction
from clipkit.training.resume import kept_random_state


def train(
    config: RunConfig,
    *,
    dataset: MapStyleDataset | None = None,
    validation: MapStyleDataset | None = None,
    loss: LossFunction | None = None,
    extend: bool = False,
    callbacks: Callbacks | None = None,
) -> TrainingReport:
    """Train a dual encoder, or resume a run that was interrupted.

    The run's directory is ``config.output``. A run that is there already and has the same settings
    is resumed where it stopped, bit for bit on a CPU; one that has ended is reported again. With
    ``extend`` it may have more epochs or steps, other pairs, another schedule or another "watch":
    it goes on from its newest checkpoint, and its final model and report stay until there are new
    ones.

    Datasets and a loss that it began with have to be given again: ``dataset[i]`` must be the same
    for the same i in every process and after a restart, and the loss depend on its arguments only.
    What is random is drawn by clipkit, from seed, epoch and position.

    While it takes steps in the main thread, Ctrl-C and SIGTERM do not raise: the step at hand is
    finished, a checkpoint to resume from is written, and the report comes back with
    ``is_finished`` False. ``report.checkpoint`` is then not there yet: the final model is written
    when the run ends. A second Ctrl-C raises KeyboardInterrupt at once.

    The random generators of Python, NumPy and torch are seeded for the run, and are in the end what
    they were before it.

    Args:
        config: What to train on what, and how.
        dataset: Pairs in memory to train on, instead of data.train: a torch Dataset, a list of
            (image, caption), any :class:`MapStyleDataset`.
        validation: Pairs in memory to validate on, instead of data.validation; likewise.
        loss: What to minimise instead of InfoNCE, see :class:`LossFunction`; with a teacher its
            losses are added as ever.
        extend: Whether to go on with the run in the directory, whose settings may differ as those
            of an extension do. Where nothing differs it is as without; where no run is, an error.
        callbacks: Called with messages, warnings and progress, after steps, validations and
            checkpoints; None: warnings are issued as ClipkitWarning, and nothing else is shown.

    Returns:
        The report of the run; if it was asked to stop, of the steps until then, so look at
        ``is_finished`` before loading ``checkpoint``.

    Raises:
        InputError: If the config or the data cannot be trained with.
        CheckpointError: If the base model cannot be loaded.
        TrainingError: If training cannot continue; what it has written stays.
        MissingExtraError: If torch is not installed.
        Exception: What a callback or the loss raises.
    """
    given = Given(dataset, validation, loss)
    return train_given(config, given, extend=extend, callbacks=callbacks)


def train_given(
    config: RunConfig, given: Given, *, extend: bool = False, callbacks: Callbacks | None = None
) -> TrainingReport:
    """Train, or resume, with what is given beside the config, as :func:`train` does.

    Args:
        config: What to train on what, and how.
        given: Datasets, a loss, and where features are kept.
        extend: Whether settings may differ as those of an extension.
        callbacks: As there.

    Returns:
        The report of the run.
    """
    check_kind(config, "compute", CONFIG_RULE)
    check_kind(callbacks or Callbacks(), "on_step", CALLBACKS_RULE)
    resolved = config.resolve()
    given.check(resolved)
    with joined_process_group() as ranks, kept_random_state():
        if ranks.rank > 0:
            return _follow(resolved, given, ranks)
        callbacks = callbacks or Callbacks()
        with claimed_directory(resolved, extend=extend) as claimed:
            directory = Path(claimed.output)
            changes = changed_settings(directory, claimed) if extend else {}
            extending = Extending(extend, changes, len(read_extensions(directory)))
            ended = None if changes else ended_report(directory)
            ranks.all_gather_objects((claimed, ended, extending))
            if ended is not None:
                callbacks.say(
                    f"{claimed.output} has ended already and this is what it came to; nothing was "
                    "trained now. To train it further, ask for more epochs by --extend (in Python "
                    "extend=True); to train again, choose another output"
                )
                return ended
            return RankRun(claimed, given, ranks, callbacks, extending=extending).run()


def choose_again(
    directory: str | Path,
    overrides: Sequence[str] = (),
    *,
    dataset: MapStyleDataset | None = None,
    validation: MapStyleDataset | None = None,
    callbacks: Callbacks | None = None,
) -> TrainingReport:
    """Choose the final weights of a run that has ended once more, by other settings of "watch".

    Nothing is trained: what lies between the base model and the trained weights is measured again,
    and the final checkpoint and the report are replaced.

    Args:
        directory: Of the run.
        overrides: Settings as "watch.max_forgetting=0.1"; those of "watch" alone.
        dataset: The pairs that it was trained on, if train was given some.
        validation: Those that it was validated on, likewise.
        callbacks: As train takes them.

    Returns:
        The new report.

    Raises:
        InputError: If no run has ended there, or a setting is another.
        CheckpointError: If the base model or the trained weights cannot be loaded.
        TrainingError: If another process works in the directory.
        MissingExtraError: If torch is not installed.
    """
    folder = check_path(directory, "directory").absolute()
    for setting in overrides:
        if not setting.startswith("watch."):
            raise InputError(
                f"the final weights are chosen by settings of watch, got {setting!r}: for another "
                "setting train another run, or extend this one by --extend (in Python extend=True)"
            )
    report = ended_report(folder)
    if report is not None and not (folder / CONFIG_NAME).is_file():
        raise InputError(f"{folder} has no {CONFIG_NAME} any more, the run's settings: put it back")
    if report is None:
        raise InputError(
            f"{folder} is no run that has ended: give the directory of one, in which report.json "
            "lies; one that was interrupted, or whose extension was, is resumed by the command "
            "that began it"
        )
    before, config = (
        # The directory may have been moved.
        replace(RunConfig.from_toml(folder / CONFIG_NAME, some).resolve(), output=str(folder))
        for some in ((), overrides)
    )
    given = Given(dataset, validation)
    given.check(before)
    with claimed_directory(before), kept_random_state():
        run = RankRun(config, given, Ranks(), callbacks or Callbacks())
        chosen = run.choose(
            replace(report, directory=str(folder), alpha=None, interpolations=(), notes=())
        )
        keep_settings(folder, config)
    return chosen


def _follow(config: RunConfig, given: Given, ranks: Ranks) -> TrainingReport:
    """Train as one of the other ranks, with the config that rank 0 has claimed."""
    claimed, ended, extending = ranks.all_gather_objects(None)[0]
    silent = Callbacks(warn=lambda line: None)
    return ended or RankRun(claimed, given, ranks, silent, extending=extending).run()
