"""Extending a run: what may then differ, and the state that its training goes on from."""

import math

from clipkit.training.config import ScheduleKind
from clipkit.training.resume import TrainerState

EXTENDABLE_SOURCES = frozenset({"data.train", "data.validation", "watch.retention_set"})
"""Settings whose files may be others when a run is extended."""

_SETTINGS = (
    "compute.epochs",
    "compute.max_steps",
    "optimizer.lr",
    "optimizer.schedule",
    "optimizer.warmup_fraction",
    "optimizer.warmup_steps",
    "optimizer.cooldown_fraction",
)
_SECTIONS = ("data", "watch")
EXTENDABLE = f"{', '.join(_SETTINGS)}, and all of [{'] and ['.join(_SECTIONS)}]"
"""What may differ, for a message."""


def is_extendable(key: str) -> bool:
    """Return whether a setting, as "optimizer.lr", may differ when a run is extended."""
    return key in _SETTINGS or key.partition(".")[0] in _SECTIONS


def extend_state(
    state: TrainerState,
    *,
    schedule: ScheduleKind,
    former_steps_per_epoch: int,
    steps_per_epoch: int,
    has_other_pairs: bool,
    has_other_measurements: bool,
) -> None:
    """Let a run be extended after the step that it has reached: its schedule begins again there.

    Args:
        state: How far the run is; changed in place.
        schedule: From now on. A constant rate goes on as it was, in its warmup too.
        former_steps_per_epoch: Of the pairs until now; 0: an earlier version did not keep it.
        steps_per_epoch: Of the pairs from now on.
        has_other_pairs: Whether they are others; then they begin with a new epoch.
        has_other_measurements: Whether scores are of other images than before, so that they cannot
            be compared.
    """
    state.num_worse, state.is_ended_early = 0, False
    state.schedule_begin = state.step
    state.warmup = (state.warmup or (0, 0)) if schedule == "constant" else None
    if has_other_measurements:
        state.best_score = state.best_fine_score = None
    if has_other_pairs:
        epochs = math.ceil(state.position / (former_steps_per_epoch or max(state.step, 1)))
        state.data_offset = epochs * steps_per_epoch - state.step
        state.num_former_bad = len(state.bad)
