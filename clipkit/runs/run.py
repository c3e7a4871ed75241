"""Training a model: one run from its config to a directory with the final checkpoint.

Started as several processes by torchrun, all of them train and the first one writes.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import check_kind, check_path
from clipkit.errors import InputError
from clipkit.models.freezing import count_weights
from clipkit.models.towers import Towers
from clipkit.progress import Callbacks, keep_warnings
from clipkit.runs.build import (
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
    CONFIG_NAME,
    claimed_directory,
    with_precision,
)
from clipkit.runs.finalize import finalize_run
from clipkit.runs.metrics_log import MetricsLog, read_validation
from clipkit.runs.mining import mine_near_misses
from clipkit.runs.recovery import find_best_step, find_resume_step, resumable
from clipkit.runs.report import TrainingReport, read_report, trained_share
from clipkit.runs.start_check import batch_norm_warnings, check_start
from clipkit.runs.validation import build_measure
from clipkit.training.batch import Batch
from clipkit.training.checkpoints import RunCheckpoints
from clipkit.training.config import CONFIG_RULE, RunConfig
from clipkit.training.data_loading import PairBatches
from clipkit.training.distributed import Ranks, joined_process_group
from clipkit.training.loop import Validation
from clipkit.training.mixed_precision import choose_training_precision
from clipkit.training.resume import TrainerState, kept_random_state
from clipkit.training.trained_towers import TrainedTowers
from clipkit.training.trainer import Trainer


def train(config: RunConfig, *, callbacks: Callbacks | None = None) -> TrainingReport:
    """Train a dual encoder, or resume a run that was interrupted.

    The run's directory is ``config.output``. A run that is there already and has the same settings
    is resumed where it stopped, bit for bit on a CPU; one that has ended is reported again.

    While it takes steps in the main thread, Ctrl-C and SIGTERM do not raise: the step at hand is
    finished, a checkpoint to resume from is written, and the report comes back with
    ``is_finished`` False. ``report.checkpoint`` is then not there yet: the final model is written
    when the run ends. A second Ctrl-C raises KeyboardInterrupt at once.

    The random generators of Python, NumPy and torch are seeded for the run, and are in the end what
    they were before it.

    Args:
        config: What to train on what, and how.
        callbacks: Called with messages, warnings and progress; None: warnings are issued as
            ClipkitWarning, and nothing else is shown.

    Returns:
        The report of the run; if it was asked to stop, of the steps until then, so look at
        ``is_finished`` before loading ``checkpoint``.

    Raises:
        InputError: If the config or the data cannot be trained with.
        CheckpointError: If the base model cannot be loaded.
        TrainingError: If training cannot continue; what it has written stays.
        MissingExtraError: If torch is not installed.
    """
    check_kind(config, "compute", CONFIG_RULE)
    resolved = config.resolve()
    with joined_process_group() as ranks, kept_random_state():
        if ranks.rank > 0:
            return _follow(resolved, ranks)
        callbacks = callbacks or Callbacks()
        with claimed_directory(resolved) as claimed:
            ended = read_report(Path(claimed.output))
            ranks.all_gather_objects((claimed, ended))
            if ended is not None:
                callbacks.say(
                    f"{claimed.output} has ended already and this is what it came to; nothing was "
                    "trained now. To train again, choose another output"
                )
                return ended
            return _Run(claimed, ranks, callbacks).run()


def choose_again(
    directory: str | Path, overrides: Sequence[str] = (), *, callbacks: Callbacks | None = None
) -> TrainingReport:
    """Choose the final weights of a run that has ended once more, by other settings of "watch".

    Nothing is trained: what lies between the base model and the trained weights is measured again,
    and the final checkpoint and the report are replaced.

    Args:
        directory: Of the run.
        overrides: Settings as "watch.max_forgetting=0.1"; those of "watch" alone.
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
    report = read_report(folder)
    if report is None or not (folder / CONFIG_NAME).is_file():
        raise InputError(
            f"{folder} is no run that has ended: give the directory of one, in which report.json "
            "lies; one that was interrupted is resumed by the command that began it"
        )
    before, config = (
        # The directory may have been moved.
        replace(RunConfig.from_toml(folder / CONFIG_NAME, some).resolve(), output=str(folder))
        for some in ((), overrides)
    )
    with claimed_directory(before), kept_random_state():
        run = _Run(config, Ranks(), callbacks or Callbacks())
        chosen = run.choose(
            replace(report, directory=str(folder), alpha=None, interpolations=(), notes=())
        )
        config.to_toml(folder / CONFIG_NAME)
    return chosen


def _follow(config: RunConfig, ranks: Ranks) -> TrainingReport:
    """Train as one of the other ranks, with the config that rank 0 has claimed."""
    claimed, ended = ranks.all_gather_objects(None)[0]
    return ended or _Run(claimed, ranks, Callbacks(warn=lambda line: None)).run()


class _Run:
    """A training run on one of its ranks."""

    def __init__(self, config: RunConfig, ranks: Ranks, callbacks: Callbacks) -> None:
        self._kept = config  # as run.toml has it
        device = str(ranks.choose_device(config.compute.device))  # each process has its own
        config = replace(config, compute=replace(config.compute, device=device))
        self._config = with_validation_splits(config)
        self._ranks = ranks
        self._warnings: list[str] = []
        self._callbacks = keep_warnings(callbacks, self._warnings)
        self._directory = Path(config.output)
        with ranks.one_of_machine_first():  # the others find shards listed in the cache
            self._data = open_data(self._config, callbacks=self._callbacks)
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
        with resumable(checkpoints):
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
                self._directory,
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
        )
        if step is not None:
            trainer.restore(state)
            self._callbacks.say(f"resuming after step {step} of {trainer.num_steps}")
            self._find_best(trainer.state, checkpoints)
        return trainer

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

        mine = near_misses if self._config.data.hard_negatives else None
        if self._ranks.rank > 0:
            return trainer.run(checkpoints, measure=measure, mine=mine)
        step = trainer.state.step
        with (
            MetricsLog(self._directory, step=step) as log,
            self._callbacks.progress_for("training") as progress,
        ):
            if step == 0:
                log.write_validation(0, measure())
            return trainer.run(
                checkpoints,
                measure=measure,
                mine=mine,
                log=log.write,
                log_validation=log.write_validation,
                progress=progress,
            )

    def _choose_precision(self, towers: Towers, batches: PairBatches) -> None:
        def first_batch() -> Batch:
            with closing(batches.after(0)) as several:
                return next(several).batch

        precision = choose_training_precision(self._config, TrainedTowers(towers), first_batch)
        precision = self._ranks.all_gather_objects(precision)[0]
        self._config = with_precision(self._config, precision)
        if self._ranks.rank == 0:
            with_precision(self._kept, precision).to_toml(self._directory / CONFIG_NAME)

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
            best_step=state.best_step or state.step,
            bad=bad,
            warnings=tuple(self._warnings),
        )
