"""A training run on one of its ranks: from the claimed directory to the final checkpoint."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    with_precision,
)
from clipkit.runs.extension import (
    Extending,
    add_extension,
    check_extensions_kept,
    check_has_checkpoint,
    check_steps_left,
    extension_lines,
    extension_warnings,
    keep_settings,
    read_extensions,
)
from clipkit.runs.finalize import finalize_run
from clipkit.runs.given import Given
from clipkit.runs.metrics_log import MetricsLog, read_validation
from clipkit.runs.mining import mine_near_misses
from clipkit.runs.rate_warnings import schedule_warnings
from clipkit.runs.recovery import find_best_step, find_resume_step, resumable
from clipkit.runs.report import TrainingReport, trained_share
from clipkit.runs.start_check import batch_norm_warnings, check_start
from clipkit.runs.tracking import tracked
from clipkit.runs.validation import build_measure
from clipkit.training.batch import Batch
from clipkit.training.checkpoints import RunCheckpoints
from clipkit.training.config import RunConfig
from clipkit.training.data_loading import PairBatches
from clipkit.training.distributed import Ranks
from clipkit.training.loop import Validation
from clipkit.training.mixed_precision import choose_training_precision
from clipkit.training.resume import TrainerState
from clipkit.training.step_calls import StepCalls
from clipkit.training.trained_towers import TrainedTowers
from clipkit.training.trainer import Trainer


class RankRun:
    """A training run on one of its ranks.

    Args:
        config: The run, resolved, with its directory claimed.
        given: Datasets, a loss, and where features are kept.
        ranks: The ranks of the run.
        callbacks: Called with messages, warnings and progress; on other ranks than 0 silent ones.
        extending: Whether the run is to be extended, and by what; None: it is not.
    """

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
        """Train to the end, or until someone asks to stop, and choose the final weights."""
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
        self._warn_of_schedule(trainer)
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

    def _warn_of_schedule(self, trainer: Trainer) -> None:
        """Warn of a schedule that goes wrong: of an extension, if the run was extended."""
        if self._ranks.rank == 0:
            state, optimizer = trainer.state, self._config.optimizer
            num_steps = max(1, trainer.num_steps - state.schedule_begin)
            for line in schedule_warnings(optimizer, num_steps, num_rising=state.num_rising):
                self._callbacks.warn(line)

    def _restore(self, trainer: Trainer, saved: dict[str, Any]) -> None:
        """Resume from a checkpoint, or extend the run from there on."""
        told = self._extending
        check_extensions_kept(self._directory, saved, told.num_before)
        is_new = bool(told.changes or (told.is_asked and trainer.inputs.changed(saved)))
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
        for line in extension_warnings(told.changes, step):
            self._callbacks.warn(line)
        if is_new:
            add_extension(self._directory, step, self._kept)
        for line in extension_lines(self._config, trainer.state, num_steps, told.changes):
            self._callbacks.say(line)

    def _begin_extended(self, trainer: Trainer) -> None:
        """Begin a run with the settings of its extension, of which there is no checkpoint yet."""
        told = self._extending
        check_has_checkpoint(self._directory)
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
