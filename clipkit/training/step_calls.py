"""Calling the callbacks of a run's steps: without effect on its random numbers, until one stops."""

from collections.abc import Callable, Mapping
from pathlib import Path

from clipkit.progress import Callbacks, StopTraining
from clipkit.training.resume import kept_random_state


class StepCalls:
    """Calls the callbacks of a run's steps, and remembers what came of it.

    Args:
        callbacks: Whose on_step, on_validation and on_checkpoint are called.
    """

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self.is_stop_asked = False  # by StopTraining
        self.error: Exception | None = None  # that a callback raised, and that ends the run

    def on_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Tell of a step that is done.

        Args:
            step: Its number.
            metrics: Its own, by name.
        """
        if self._callbacks.on_step is not Callbacks.on_step:  # it costs a little each step
            self._call(self._callbacks.on_step, step, dict(metrics))

    def on_validation(self, step: int, score: float | None, metrics: Mapping[str, float]) -> None:
        """Tell of weights that were measured.

        Args:
            step: How many steps were done.
            score: What the best weights are chosen by; None: there is none.
            metrics: All that was measured, by name.
        """
        scored = {} if score is None else {"score": score}
        self._call(self._callbacks.on_validation, step, {**scored, **metrics})

    def on_checkpoint(self, step: int, path: Path) -> None:
        """Tell of a checkpoint that was written.

        Args:
            step: How many steps were done.
            path: Its directory.
        """
        self._call(self._callbacks.on_checkpoint, step, path)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            with kept_random_state():
                function(*arguments)
        except StopTraining:
            self.is_stop_asked = True
        except Exception as error:
            self.error = error
            raise
