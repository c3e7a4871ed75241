"""What an extension of a run would change, for a preflight; nothing is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipkit.runs.directory import CHECKPOINTS_NAME, as_before, changed_settings
from clipkit.runs.extension import (
    check_extensions_kept,
    check_has_checkpoint,
    check_is_run,
    check_steps_left,
    extension_lines,
    read_extensions,
)
from clipkit.training.checkpoints import RunCheckpoints
from clipkit.training.config import RunConfig
from clipkit.training.data_loading import PairBatches
from clipkit.training.extension import extend_state
from clipkit.training.resume import TrainerState


@dataclass(frozen=True)
class PlannedExtension:
    """A run that would be extended, as its newest checkpoint has it."""

    saved: Mapping[str, Any]  # training state
    changes: Mapping[str, tuple[Any, Any]]  # settings: what they were, what they are to be
    num_before: int  # extensions that have begun

    def state(self, config: RunConfig, batches: PairBatches) -> TrainerState:
        """Return how far the run is, as its extension would take it.

        Args:
            config: Of the extension, resolved.
            batches: Of its pairs.

        Returns:
            The state.

        Raises:
            InputError: If the run would end before.
        """
        state = TrainerState(**self.saved["progression"])
        has_other_pairs = self.saved["sources"].get("data.train") != batches.fingerprint
        if self.changes or has_other_pairs or state.num_extensions < self.num_before:
            extend_state(
                state,
                schedule=config.optimizer.schedule,
                former_steps_per_epoch=self.saved.get("steps_per_epoch", 0),
                steps_per_epoch=batches.steps_per_epoch,
                has_other_pairs=has_other_pairs,
                has_other_measurements=False,
            )
        num_steps = config.compute.num_steps(batches.steps_per_epoch, data_offset=state.data_offset)
        check_steps_left(config, state, num_steps)
        return state

    def lines(self, config: RunConfig, state: TrainerState, num_steps: int) -> list[str]:
        """Return what would change, as lines for a person."""
        if state.schedule_begin < state.step or not state.step:
            return [f"resuming after step {state.step} of {num_steps}"]
        return extension_lines(config, state, num_steps, self.changes)


def plan_extension(config: RunConfig) -> PlannedExtension | None:
    """Return the extension of the run in a directory; None if no checkpoint was written there yet.

    Args:
        config: The settings of the extension, resolved.

    Returns:
        What it goes on from and what differs.

    Raises:
        InputError: If there is no run, or they cannot be those of an extension.
        TrainingError: If what is known of its extensions is damaged or lost.
    """
    directory = Path(config.output)
    if directory.is_dir():
        config = as_before(directory, config, extend=True)
    check_is_run(directory)
    checkpoints = RunCheckpoints(directory / CHECKPOINTS_NAME)
    step, _ = checkpoints.newest_good()
    if step is None:
        check_has_checkpoint(directory)
        return None
    changes = changed_settings(directory, config)
    saved, num_before = checkpoints.load(step)[1], len(read_extensions(directory))
    check_extensions_kept(directory, saved, num_before)
    return PlannedExtension(saved, changes, num_before)
