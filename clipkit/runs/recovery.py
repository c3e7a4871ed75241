"""What a run resumes from and whose weights its end takes, also where checkpoints are damaged."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clipkit.errors import CheckpointError, TrainingError
from clipkit.runs.metrics_log import read_validation
from clipkit.training.checkpoints import RunCheckpoints
from clipkit.training.step_calls import StepCalls


def find_resume_step(checkpoints: RunCheckpoints, *, warn: Callable[[str], None]) -> int | None:
    """Return the step of the newest good checkpoint, and warn of later ones that are damaged.

    Args:
        checkpoints: Of the run.
        warn: Called with a sentence on each that is damaged.

    Returns:
        Its step; None if there is no checkpoint at all.

    Raises:
        TrainingError: If all of them are damaged. To start again would be days of work, and a copy
            may lie elsewhere: a person decides.
    """
    step, damaged = checkpoints.newest_good()
    listed = [f"{checkpoints.path(one)}: {', '.join(files)}" for one, files in damaged.items()]
    if step is None and damaged:
        raise TrainingError(
            f"all checkpoints of this run are damaged ({'; '.join(listed)}). Put good copies of "
            f"their files back to resume; or delete {checkpoints.directory}, and the same command "
            "starts again from the first step"
        )
    for one, files in damaged.items():
        warn(f"{checkpoints.path(one)} is damaged and is skipped: {', '.join(files)}")
    return step


def find_best_step(checkpoints: RunCheckpoints, directory: Path, best: int) -> tuple[int, str]:
    """Return the step whose weights are the best that there are, and why not of the best one.

    Args:
        checkpoints: Of the run.
        directory: Of the run, with its metrics.
        best: The step whose weights are the best.

    Returns:
        That step and "", if its checkpoint is good. Else the good one with the highest score, the
        last one if none has a score; and a sentence that says so.

    Raises:
        TrainingError: If no checkpoint is good.
    """
    damaged = checkpoints.damaged_files(best)
    if not damaged:
        return best, ""
    path = checkpoints.path(best)
    reason = f"{path} is damaged: {', '.join(damaged)}" if path.is_dir() else f"{path} is gone"
    good = [step for step in checkpoints.steps() if not checkpoints.damaged_files(step)]
    if not good:
        raise TrainingError(f"the best checkpoint {reason}, and no other one is good")
    scores = {step: read_validation(directory, step=step).score for step in good}
    scored = {step: score for step, score in scores.items() if score is not None}
    step = max(scored, key=scored.__getitem__, default=good[-1])
    return step, f"the best checkpoint {reason}. Step {step} is the best of those that are good"


@contextmanager
def resumable(checkpoints: RunCheckpoints, calls: StepCalls) -> Iterator[None]:
    """Say of a file that cannot be written what the same command does next.

    Args:
        checkpoints: Of the run.
        calls: The callbacks of the caller, whose own errors are left as they are.

    Yields:
        Nothing.

    Raises:
        TrainingError: Instead of an error of the system or of a checkpoint.
    """
    try:
        yield
    except (OSError, CheckpointError) as error:
        if error is calls.error:
            raise
        if isinstance(error, CheckpointError):
            raise TrainingError(_advice(str(error), checkpoints)) from error
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise TrainingError(_advice(what, checkpoints)) from error


def _advice(what: str, checkpoints: RunCheckpoints) -> str:
    return f"{what}. Make room, or put right what else is wrong; {checkpoints.outlook()}"
