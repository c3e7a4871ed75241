"""Training a model: one run from its config to a directory with the final checkpoint.

Started as several processes by torchrun, all of them train and the first one writes.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import check_kind, check_path
from clipkit.data.map_style import MapStyleDataset
from clipkit.errors import InputError
from clipkit.models.freezing import count_weights
from clipkit.models.towers import Towers
from clipkit.progress import Callbacks, keep_warnings
from clipkit.runs.build import (
    FEATURES_NAME,
    Inputs,
    build_batches,
    identify_towers,
    initial_towers,
    live_encoder,
    load_teacher,
    locked_features,
    prepare_towers,
    read_checkpoint,
    tokenizer_json,
)
from clipkit.runs.data import open_data, with_validation_splits
from clipkit.runs.directory import (
    CHECKPOINTS_NAME,
    changed_settings,
    claimed_directory,
    with_precision,
)
from clipkit.runs.extension import (
    CONFIG_NAME,
    Extending,
    add_extension,
    check_steps_left,
    ended_report,
    extension_lines,
    keep_settings,
    read_extensions,
)
from clipkit.runs.finalize import finalize_run
from clipkit.runs.given import Given
from clipkit.runs.metrics_log import MetricsLog, read_validation
from clipkit.runs.mining import mine_near_misses
from clipkit.runs.recovery import find_best_step, find_resume_step, resumable
from clipkit.runs.report import TrainingReport, read_report, trained_share
from clipkit.runs.start_check import batch_norm_warnings, check_start
from clipkit.runs.tracking import tracked
from clipkit.runs.validation import build_measure
from clipkit.training.batch import Batch
from clipkit.training.checkpoints import RunCheckpoints
from clipkit.training.config import CONFIG_RULE, RunConfig
from clipkit.training.data_loading import PairBatches
from clipkit.training.distributed import Ranks, joined_process_group
from clipkit.training.loop import Validation
from clipkit.training.loss_function import LossFunction
from clipkit.training.mixed_precision import choose_training_precision
from clipkit.training.resume import TrainerState, kept_random_state
from clipkit.training.step_calls import StepCalls
from clipkit.training.trained_towers import TrainedTowers
from clipkit.training.trainer import Trainer


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
        extend: Whether to go on with a run whose settings differ as those of an extension may.
            Where nothing differs it is as without.
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
            return _Run(claimed, given, ranks, callbacks, extending=extending).run()


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
                "setting train another run"
            )
    report = ended_report(folder)
    if report is None or not (folder / CONFIG_NAME).is_file():
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
        run = _Run(config, given, Ranks(), callbacks or Callbacks())
        chosen = run.choose(
            replace(report, directory=str(folder), alpha=None, interpolations=(), notes=())
        )
        keep_settings(folder, config)
    return chosen


def _follow(config: RunConfig, given: Given, ranks: Ranks) -> TrainingReport:
    """Train as one of the other ranks, with the config that rank 0 has claimed."""
    claimed, ended, extending = ranks.all_gather_objects(None)[0]
    silent = Callbacks(warn=lambda line: None)
    return ended or _Run(claimed, given, ranks, silent, extending=extending).run()


class _Run:
    """A training run on one of its ranks."""

    def __init__(
        self,
        config: RunConfig,
        given: Given,
        ranks: Ranks,
        callbacks: Callbacks,
        *,
        extending: Extending | None = None,
    ) -> None:
        self._kept = config  # as run.toml has it
        self._given = given
        self._extending = extending or Extending()
        device = str(ranks.choose_device(config.compute.device))  # each process has its own
        config = replace(config, compute=replace(config.compute, device=device))
        self._config = with_validation_splits(config)
        self._ranks = ranks
        self._warnings: list[str] = []
        self._callbacks = keep_warnings(callbacks, self._warnings)
        self._calls = StepCalls(callbacks)
        self._directory = Path(config.output)
        self._features = given.features or self._directory / FEATURES_NAME
        with ranks.one_of_machine_first():  # the others find shards listed in the cache
            self._data = open_data(self._config, given, callbacks=self._callbacks)
        self._measure = build_measure(config, self._data)

    def run(self) -> TrainingReport:
        towers = initial_towers(self._config)
        inputs = Inputs.of(towers)
        told = self._callbacks if self._ranks.rank == 0 else None
        check_start(self._config, self._data, towers, inputs.tokenizer, callbacks=told)
        sources = self._identify(towers)
        prepare_towers(towers, self._config.model, seed=self._config.seed)
        trained, parameters = count_weights(towers)
        if self._ranks.rank == 0 and trained < parameters:
            self._callbacks.say(f"{trained_share(trained, parameters)} are trained")
        device = self._ranks.choose_device(self._config.compute.device)
        for line in batch_norm_warnings(towers, self._ranks, device):
            self._callbacks.warn(line)
        checkpoints = RunCheckpoints(
            self._directory / CHECKPOINTS_NAME, tokenizer_json=tokenizer_json(towers, inputs)
        )
        trainer = self._build_trainer(towers, sources, checkpoints)
        with resumable(checkpoints, self._calls):
            is_finished = self._train(trainer, inputs, checkpoints)
            report = self._report(trainer, is_finished=is_finished)
            if not is_finished or self._ranks.rank > 0:
                return report
            return self.choose(report)

    def choose(self, report: TrainingReport) -> TrainingReport:
        """Choose the final weights and write them."""
        self._callbacks.say("choosing the final weights")
        checkpoints = RunCheckpoints(self._directory / CHECKPOINTS_NAME)
        best, note = find_best_step(checkpoints, self._directory, report.best_step or report.step)
        warnings = dict.fromkeys((*report.warnings, *self._warnings))
        notes = (note,) if note else ()
        report = replace(report, best_step=best, warnings=tuple(warnings), notes=notes)
        path = checkpoints.path(best)
        return finalize_run(self._config, self._data, self._measure, path, report)

    def _identify(self, towers: Towers) -> dict[str, str]:
        """Return fingerprints of all inputs but the training pairs, by the setting of each."""
        named = {
            "data.validation": self._data.validation,
            "watch.retention_set": self._data.retention_set,
        }
        sources = {name: found.fingerprint for name, found in named.items() if found is not None}
        if not self._config.is_from_scratch:
            sources["model.base"] = identify_towers(towers)
        if self._given.loss is not None:
            sources["loss"] = "given"
        return sources

    def _build_trainer(
        self, towers: Towers, sources: dict[str, str], checkpoints: RunCheckpoints
    ) -> Trainer:
        """Return the trainer, resumed from the newest checkpoint if there is one."""
        step = None
        if self._ranks.rank == 0:
            step = find_resume_step(checkpoints, warn=self._callbacks.warn)
        step = self._ranks.all_gather_objects(step)[0]
        with self._callbacks.progress_for("image features") as progress:
            features = locked_features(
                self._config,
                self._data,
                towers,
                self._features,
                ranks=self._ranks,
                progress=progress,
            )
        teacher = load_teacher(self._config)
        if teacher is not None:
            sources = {**sources, "loss.teacher": teacher.space_id}
        batches = build_batches(
            self._config,
            self._data,
            towers,
            ranks=self._ranks,
            teacher=teacher,
            features=features,
        )
        self._choose_precision(towers, batches)
        if step is not None:
            directory, state = checkpoints.load(step)
            read_checkpoint(towers, directory)
        trainer = Trainer(
            self._config,
            towers,
            batches,
            ranks=self._ranks,
            teacher=teacher,
            fingerprints=sources,
            loss=self._given.loss,
        )
        if step is not None:
            self._restore(trainer, state)
            self._find_best(trainer.state, checkpoints)
        elif self._extending.changes or self._extending.num_before:
            self._begin_extended(trainer)
        return trainer

    def _restore(self, trainer: Trainer, saved: dict[str, Any]) -> None:
        """Resume from a checkpoint, or extend the run from there on."""
        told = self._extending
        is_new = bool(told.changes or (told.is_asked and trainer.changed_sources(saved)))
        num_extensions = told.num_before + is_new
        extends = saved["progression"].get("num_extensions", 0) < num_extensions
        trainer.restore(saved, extends=extends)
        step, num_steps = trainer.state.step, trainer.num_steps
        if not extends:
            self._callbacks.say(f"resuming after step {step} of {num_steps}")
            return
        check_steps_left(self._config, trainer.state, num_steps)
        trainer.state.num_extensions = num_extensions
        if self._ranks.rank > 0:
            return
        if is_new:
            add_extension(self._directory, step, self._kept)
        for line in extension_lines(self._config, trainer.state, num_steps, told.changes):
            self._callbacks.say(line)

    def _begin_extended(self, trainer: Trainer) -> None:
        """Begin a run with the settings of its extension, of which there is no checkpoint yet."""
        told = self._extending
        if read_report(self._directory) is not None:
            raise InputError(
                f"the run in {self._directory} has no checkpoint that could be trained further: "
                f"put the folder {CHECKPOINTS_NAME} back; or train another run from its weights, "
                "with its final folder as model.base"
            )
        trainer.state.num_extensions = told.num_before + bool(told.changes)
        if told.changes and self._ranks.rank == 0:
            add_extension(self._directory, 0, self._kept)

    def _find_best(self, state: TrainerState, checkpoints: RunCheckpoints) -> None:
        """Let later weights become the best, if the checkpoint of the best ones is damaged."""
        if self._ranks.rank > 0 or state.best_score is None or state.best_step == state.step:
            return
        best, note = find_best_step(checkpoints, self._directory, state.best_step)
        if note:
            self._callbacks.warn(note)
            state.best_step = best
            state.best_score = read_validation(self._directory, step=best).score

    def _train(self, trainer: Trainer, inputs: Inputs, checkpoints: RunCheckpoints) -> bool:
        device = self._config.compute.device

        def measure() -> Validation:
            return self._measure(live_encoder(trainer.measured_towers, inputs, device))

        def near_misses(epoch: int) -> NDArray[np.int32]:
            encoder = live_encoder(trainer.measured_towers, inputs, device)
            seed = self._config.seed + epoch
            with self._callbacks.progress_for("near misses") as progress:
                return mine_near_misses(encoder, self._data.train, seed=seed, progress=progress)

        if self._config.data.hard_negatives:
            trainer.mine_hard_negatives(near_misses)
        if self._ranks.rank > 0:
            return trainer.run(checkpoints, measure=measure)
        step = trainer.state.step
        with (
            tracked(self._config, self._callbacks) as tell,
            MetricsLog(self._directory, step=step, tell=tell) as log,
            self._callbacks.progress_for("training") as progress,
        ):

            def log_validation(step: int, validation: Validation) -> None:
                log.write_validation(step, validation)
                self._calls.on_validation(step, validation.score, validation.metrics)

            if step == 0:
                log_validation(0, measure())
            return trainer.run(
                checkpoints,
                measure=measure,
                log=log.write,
                log_validation=log_validation,
                progress=progress,
                calls=self._calls,
            )

    def _choose_precision(self, towers: Towers, batches: PairBatches) -> None:
        def first_batch() -> Batch:
            with closing(batches.after(0)) as several:
                return next(several).batch

        precision = choose_training_precision(self._config, TrainedTowers(towers), first_batch)
        precision = self._ranks.all_gather_objects(precision)[0]
        self._config = with_precision(self._config, precision)
        self._kept = with_precision(self._kept, precision)
        if self._ranks.rank == 0 and not self._extending.changes:
            keep_settings(self._directory, self._kept)

    def _report(self, trainer: Trainer, *, is_finished: bool) -> TrainingReport:
        state = trainer.state
        bad = {error.path: error.reason for error in self._data.skipped} | state.bad
        num_trained, num_parameters = count_weights(trainer.measured_towers)
        return TrainingReport(
            directory=str(self._directory),
            is_finished=is_finished,
            step=state.step,
            num_steps=trainer.num_steps,
            seconds=state.seconds,
            num_pairs=self._data.num_pairs,
            num_parameters=num_parameters,
            num_trained=num_trained,
            extensions=tuple(each["step"] for each in read_extensions(self._directory)),
            best_step=state.best_step or state.step,
            bad=bad,
            warnings=tuple(self._warnings),
        )
