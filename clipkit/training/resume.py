"""Stopping a run between two steps and resuming it bit for bit: step, optimizer, random states."""

import random
import signal
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from types import FrameType, TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from clipkit.errors import TrainingError

FORMAT = 1  # of the training state that a checkpoint holds
# The state of an unsharded model, on the CPU.
_UNSHARDED = StateDictOptions(full_state_dict=True, cpu_offload=True)


@dataclass
class TrainerState:
    """How far a run is, apart from its weights; checkpoints hold it under "progression"."""

    step: int = 0  # steps that are done
    skipped_steps: int = 0  # of them, for gradients that overflowed in float16
    best_score: float | None = None  # of the validations so far; higher is better
    best_fine_score: float | None = None  # of that one, for scores that are equal
    best_step: int = 0
    num_worse: int = 0  # validations since the best one: the counter of early stopping
    is_ended_early: bool = False  # by early stopping
    seconds: float = 0.0  # of training, also before it was resumed
    bad: dict[str, str] = field(default_factory=dict)  # pairs that could not be read: name, reason
    sums: dict[str, float] = field(default_factory=dict)  # of each step's metrics, since a log line
    num_summed: int = 0  # steps
    num_extensions: int = 0  # how often the run was extended
    schedule_begin: int = 0  # the step at which the learning rate's schedule begins
    # The first step of the warmup and how many it has; None: of an earlier version.
    warmup: tuple[int, int] | None = None
    # The batch after step S is that of S + data_offset: not 0 since the run was extended with other
    # pairs, which begin with an epoch.
    data_offset: int = 0
    num_former_bad: int = 0  # of "bad", those of pairs that were trained on before these

    @property
    def position(self) -> int:
        """How many batches of the pairs are done, those of former pairs counted as epochs."""
        return self.step + self.data_offset

    @property
    def num_rising(self) -> int | None:
        """The steps of the schedule in which the rate rises; None: not known before a first run."""
        if self.warmup is None:
            return None
        first, num_warmup = self.warmup
        return max(0, first + num_warmup - self.schedule_begin)

    def add_metrics(self, metrics: Mapping[str, float]) -> None:
        """Count the metrics of a step in the means of the next line of the log."""
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.num_summed += 1

    def take_means(self) -> dict[str, float]:
        """Return the mean metrics of the steps since the last call."""
        means = {name: total / self.num_summed for name, total in self.sums.items()}
        self.sums, self.num_summed = {}, 0
        return means


def capture_state(
    progress: TrainerState,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    random_states: list[dict[str, Any]],
    averaged: Collection[str] = (),
) -> dict[str, Any]:
    """Return everything but the towers' weights, as torch saves it without pickled classes.

    With sharded weights all ranks call this, and rank 0 gets the whole.

    Args:
        progress: How far the run is.
        module: What is trained; the maps to a teacher's space are captured, its towers are not.
        optimizer: With its moments.
        random_states: One of each rank, as :func:`random_state` returns it.
        averaged: Weights of the model whose moving average is saved as the checkpoint's model, so
            that they have to be captured here; their names in the model's state dict.

    Returns:
        Tensors, numbers and texts in dicts and lists.
    """
    # First of all: with FSDP it shards again what the last forward pass has left whole.
    weights = get_model_state_dict(module, options=_UNSHARDED)
    moments: dict[str, Any] = {}
    if optimizer.state:  # before its first step torch would take one, so that there is a state
        moments = get_optimizer_state_dict(module, optimizer, options=_UNSHARDED)
    kept = {f"towers.model.{name}" for name in averaged}
    return {
        "format": FORMAT,
        "progression": asdict(progress),
        "beside": {
            name: value
            for name, value in weights.items()
            if not name.startswith("towers.") or name in kept
        },
        "optimizer": moments,
        "random": random_states,
    }


def restore_state(
    state: dict[str, Any], module: nn.Module, optimizer: torch.optim.Optimizer
) -> TrainerState:
    """Restore a module, except for what a checkpoint's model has, and an optimizer.

    Args:
        state: What :func:`capture_state` returned, read from a file.
        module: As there, with the towers' weights in place.
        optimizer: Of the same parameters.

    Returns:
        How far the run was.

    Raises:
        TrainingError: If the state is of another clipkit or of other parameters.
    """
    if state.get("format") != FORMAT:
        raise TrainingError(
            f"the training state has format {state.get('format')}, this clipkit reads {FORMAT}: "
            "resume with the version that wrote it"
        )
    try:
        if state["beside"]:
            options = StateDictOptions(full_state_dict=True, strict=False)
            set_model_state_dict(module, _fitted(state["beside"], module), options=options)
        if state["optimizer"]:
            set_optimizer_state_dict(module, optimizer, state["optimizer"], options=_UNSHARDED)
    except (KeyError, ValueError, RuntimeError) as error:
        raise TrainingError(f"the training state does not fit this run: {error}") from error
    return TrainerState(**state["progression"])


def _fitted(weights: Mapping[str, Tensor], module: nn.Module) -> dict[str, Any]:
    """Return weights in the shapes of a module: FSDP makes rows of scale and bias."""
    present: dict[str, Any] = dict(get_model_state_dict(module))
    return {name: weight.reshape(present[name].shape) for name, weight in weights.items()}


def random_state() -> dict[str, Any]:
    """Return the states of all random generators of this process, as tensors, numbers and texts."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(name), [int(key) for key in keys], position, has_gauss, gauss],
        "python": [version, list(internal), gauss_next],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Restore all random generators of this process to what :func:`random_state` returned."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        # The run may have been moved to a machine with fewer GPUs.
        torch.cuda.set_rng_state_all(state["cuda"][: torch.cuda.device_count()])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))


def seed_everything(seed: int, rank: int) -> None:
    """Seed all random generators of a process: differently in each rank, equally in each run."""
    sequence = np.random.SeedSequence([seed, rank])
    first, second, third = (int(number) for number in sequence.generate_state(3))
    torch.manual_seed(first)
    np.random.seed(second)
    random.seed(third)


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Leave all random generators of this process as they were, whatever the block draws or seeds.

    Yields:
        Nothing.
    """
    before = random_state()
    try:
        yield
    finally:
        restore_random_state(before)


class StopRequest:
    """Turns SIGTERM and Ctrl-C into a request to stop after the step; a second one ends at once.

    Signals can only be caught in the main thread; in another one no stop is ever requested.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    @property
    def is_made(self) -> bool:
        """Whether someone asked to stop."""
        return self.signal is not None

    def __enter__(self) -> Self:
        """Start to catch the signals."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._catch)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back to whoever had them."""
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]
        self._before.clear()

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if self.is_made:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
