"""The loop on a module of two numbers whose gradients are known, counted by hand."""

import itertools
import math
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clipkit.errors import TrainingError
from clipkit.training import loop
from clipkit.training.config import OptimizerConfig, WatchConfig
from clipkit.training.loop import Hooks, TrainingLoop, Validation
from clipkit.training.resume import TrainerState

PLAIN = OptimizerConfig(lr=0.1, clip_norm=0, schedule="constant", warmup_fraction=0)


class Pair(nn.Module):
    """Two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Parameter(torch.zeros(1))
        self.fast = nn.Parameter(torch.zeros(1))


class SlopeStep:
    """A loss that rises by 3 and 4 for the numbers, so by 5 along its gradient.

    Args:
        pair: The numbers.
        losses: What it says the losses are, step by step; then 1.
        slopes: The gradient.
    """

    def __init__(
        self, pair: Pair, losses: Sequence[float] = (), slopes: tuple[float, float] = (3, 4)
    ) -> None:
        self._pair = pair
        self._losses = itertools.chain(losses, itertools.repeat(1.0))
        self._slopes = slopes
        self.scale: Callable[[Tensor], Tensor] = lambda loss: loss
        self.seen: list[tuple[int, bool]] = []  # batches, and whether the module was in training

    def backward(self, batch: int) -> Mapping[str, Tensor]:
        self.seen.append((batch, self._pair.training))
        plain, fast = self._slopes
        loss = (plain * self._pair.plain + fast * self._pair.fast).sum()
        torch.autograd.backward(self.scale(loss))
        return {"loss": torch.tensor(next(self._losses)), "part": torch.tensor(0.25)}


class Numbers:
    """Batches that are their own number.

    Args:
        steps_per_epoch: How many there are in an epoch.
    """

    def __init__(self, steps_per_epoch: int = 2) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.is_closed = False

    def after(self, step: int) -> Generator[int]:
        try:
            yield from itertools.count(step)
        finally:
            self.is_closed = True


class Descent(torch.optim.SGD):
    """Plain descent, whose learning rates can be given."""

    def __init__(self, pair: Pair, rates: Iterator[float]) -> None:
        super().__init__(pair.parameters(), lr=99.0)
        self._rates = rates

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["lr"] = next(self._rates, group["lr"])
        return super().step(closure)


@dataclass
class Run:
    """A run that is only counted."""

    numbers: Numbers = field(default_factory=Numbers)
    state: TrainerState = field(default_factory=TrainerState)
    scores: Sequence[float | Validation | None] = ()  # of its validations, in turn
    losses: Sequence[float] = ()
    slopes: tuple[float, float] = (3, 4)
    signal_at: Mapping[int, Sequence[signal.Signals]] = field(default_factory=dict)
    all_reduce_max: Callable[[float], float] = lambda value: value
    has_finite_features: Callable[[], bool] = lambda: True
    scaler: torch.amp.GradScaler | None = None

    def __post_init__(self) -> None:
        self.pair = Pair()
        self.step = SlopeStep(self.pair, self.losses, self.slopes)
        self.logged: list[tuple[int, Mapping[str, float]]] = []
        self.validated: list[int] = []
        self.saved: list[tuple[int, float]] = []  # step, seconds
        self.noted: list[int] = []
        self.progress: list[tuple[int, int]] = []
        self.after_step: list[float] = []
        self.rates: Iterator[float] = iter(())  # instead of the schedule's, while there are any

    def train(self, epochs: int = 2, config: OptimizerConfig = PLAIN, **watch: Any) -> bool:
        optimizer = Descent(self.pair, self.rates)
        scores = iter(self.scores)

        def validate() -> Validation | None:
            self.pair.eval()
            score = next(scores, None)
            if isinstance(score, Validation):
                return score
            return Validation(score, {"recall": 0.5}) if self.scores else None

        hooks = Hooks(
            log=lambda step, metrics: self.logged.append((step, metrics)),
            log_validation=lambda step, validation: self.validated.append(step),
            validate=validate,
            save=lambda: self.saved.append((self.state.step, self.state.seconds)),
            after_step=lambda: self.after_step.append(self.pair.plain.item()),
            all_reduce_max=self.all_reduce_max,
            progress=self._progress,
            note_batch=self.noted.append,
            has_finite_features=self.has_finite_features,
            newest_checkpoint=lambda: Path(f"step-{self.saved_steps[-1]}") if self.saved else None,
        )
        if self.scaler is not None:
            self.step.scale = self.scaler.scale
        loop: TrainingLoop[int] = TrainingLoop(
            self.pair, self.step.backward, self.numbers, optimizer, hooks, scaler=self.scaler
        )
        settings = WatchConfig(**{"log_steps": 1, **watch})
        return loop.run(
            self.state,
            num_steps=epochs * self.numbers.steps_per_epoch,
            config=config,
            watch=settings,
        )

    def _progress(self, done: int, total: int) -> None:
        self.progress.append((done, total))
        for number in self.signal_at.get(done, ()):
            os.kill(os.getpid(), number)

    @property
    def saved_steps(self) -> list[int]:
        return [step for step, _ in self.saved]


# Steps


def test_a_group_learns_at_the_rate_times_its_factor() -> None:
    """Four steps of plain descent at 0.1: 0.4 along a slope of one, 1.2 with a factor of 3."""
    pair = Pair()
    groups: list[dict[str, Any]] = [
        {"params": [pair.plain]},
        {"params": [pair.fast], "rate_factor": 3.0},
    ]
    rates = []
    hooks = Hooks(
        log=lambda step, metrics: rates.append(metrics["lr"]),
        log_validation=lambda step, validation: None,
        validate=lambda: None,
        save=lambda: None,
        after_step=lambda: None,
    )
    backward, optimizer = SlopeStep(pair, slopes=(1, 1)).backward, torch.optim.SGD(groups)
    loop: TrainingLoop[int] = TrainingLoop(pair, backward, Numbers(), optimizer, hooks)
    assert loop.run(TrainerState(), num_steps=4, config=PLAIN, watch=WatchConfig(log_steps=1))
    assert pair.plain.item() == pytest.approx(-0.4)
    assert pair.fast.item() == pytest.approx(-1.2)
    assert rates == [0.1] * 4  # what is written down is the rate without factors


def test_the_rate_warms_up_and_falls_along_a_cosine() -> None:
    """Ten steps of which two warm up: half and whole, then (1 + cos(pi t / 8)) / 2, t = 0..7."""
    run = Run(numbers=Numbers(5))
    config = OptimizerConfig(lr=0.1, clip_norm=0, warmup_fraction=0.2)
    assert run.train(config=config)
    rates = [metrics["lr"] for _, metrics in run.logged]
    falling = [0.05 * (1 + math.cos(math.pi * step / 8)) for step in range(8)]
    assert rates == pytest.approx([0.05, 0.1, *falling])
    assert run.pair.plain.item() == pytest.approx(-3 * sum(rates), rel=1e-5)
    assert run.pair.fast.item() == pytest.approx(-4 * sum(rates), rel=1e-5)


@pytest.mark.parametrize(("clip_norm", "factor"), [(0, 1.0), (10, 1.0), (1.0, 0.2), (0.5, 0.1)])
def test_a_gradient_of_norm_five_is_clipped_as_a_whole(clip_norm: float, factor: float) -> None:
    run = Run()
    config = OptimizerConfig(lr=0.1, clip_norm=clip_norm, schedule="constant", warmup_fraction=0)
    run.train(epochs=1, config=config)
    assert run.pair.plain.item() == pytest.approx(2 * -0.1 * 3 * factor, rel=1e-5)
    assert run.pair.fast.item() == pytest.approx(2 * -0.1 * 4 * factor, rel=1e-5)
    assert [metrics["gradient_norm"] for _, metrics in run.logged] == pytest.approx([5, 5])


def test_each_step_has_its_batch_in_training_mode_and_is_told_of() -> None:
    run = Run(scores=[0.1, 0.2])
    assert run.train()
    assert run.step.seen == [(number, True) for number in range(4)]
    assert run.noted == [0, 1, 2, 3]
    assert run.progress == [(step, 4) for step in range(1, 5)]
    assert run.after_step == pytest.approx([-0.3, -0.6, -0.9, -1.2])  # the weights have moved
    assert run.numbers.is_closed


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_it_before_the_weights_are_touched(loss: float) -> None:
    run = Run(losses=[1.0, 1.0, loss])
    words = rf"the loss of step 3 is {loss}: .*Start from model\.base = step-2 with a lower opt"
    with pytest.raises(TrainingError, match=words):
        run.train(checkpoint_steps=2)
    assert run.pair.plain.item() == pytest.approx(-0.6)
    assert run.saved_steps == [2]
    assert run.state.step == 2
    assert run.numbers.is_closed


def test_a_gradient_that_is_no_number_ends_it_too() -> None:
    run = Run(slopes=(3, math.nan))
    words = "the gradient norm of step 1 is nan: .*Start again with a lower optimizer.lr"
    with pytest.raises(TrainingError, match=words):
        run.train()
    assert run.pair.plain.item() == 0
    assert run.saved == []


def test_a_gradient_that_overflows_only_lowers_the_scale() -> None:
    """4 * 2^126 is no float32; 4 * 2^125 is, and 3 * 2^126."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126)
    run = Run(numbers=Numbers(2), scaler=scaler)
    config = OptimizerConfig(lr=0.1, clip_norm=1.0, schedule="constant", warmup_fraction=0)
    assert run.train(config=config)
    # Three steps of four, each of 0.1 along a gradient of norm 5 that is clipped to 1.
    assert run.pair.plain.item() == pytest.approx(-0.1 * 3 * 0.6)
    assert run.pair.fast.item() == pytest.approx(-0.1 * 3 * 0.8)
    assert run.noted == [0, 1, 2, 3]
    assert len(run.after_step) == 3
    assert (run.state.step, run.state.skipped_steps) == (4, 1)
    first, *others = (metrics for _, metrics in run.logged)
    assert first == {"epoch": 0.5, "lr": 0.1, "skipped_steps": 1, "loss_scale": 2.0**125}
    for metrics in others:
        assert metrics["skipped_steps"] == 1 and metrics["loss_scale"] == 2.0**125
        assert metrics["gradient_norm"] == pytest.approx(5)
        assert metrics["loss"] == 1


def test_what_is_logged_leaves_out_the_steps_that_are_skipped() -> None:
    """Losses of 1 to 4, of which the third overflows at 2^126: the mean of 2 and 4 is 3."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**125, growth_interval=2)
    run = Run(numbers=Numbers(4), losses=[1.0, 2.0, math.nan, 4.0], scaler=scaler)
    assert run.train(epochs=1, log_steps=4)
    assert [step for step, _ in run.logged] == [1, 4]
    assert run.logged[-1][1]["loss"] == 3
    assert run.logged[-1][1]["skipped_steps"] == 1


def test_gradients_that_overflow_at_any_scale_are_divergence() -> None:
    """From 2^16 down to 1/2 are 17 halvings, the last of which is one too many."""
    run = Run(numbers=Numbers(50), slopes=(3, math.nan), scaler=torch.amp.GradScaler("cpu"))
    words = (
        "gradients overflow in float16 at step 17, after the loss scale has fallen to 0.5: training"
        ' has diverged and was not saved. Start again .*compute.precision = "fp32"'
    )
    with pytest.raises(TrainingError, match=words):
        run.train()
    assert run.pair.plain.item() == 0
    assert run.state.skipped_steps == 16


def test_a_loss_that_is_no_number_ends_it_with_a_scale_too() -> None:
    run = Run(losses=[1.0, math.inf], scaler=torch.amp.GradScaler("cpu"))
    with pytest.raises(TrainingError, match="the loss of step 2 is inf"):
        run.train()


@pytest.mark.parametrize(
    "happens", [{"every_epochs": 0.5}, {"checkpoint_steps": 1}, {"checkpoint_minutes": 0}, {}]
)
def test_weights_that_are_no_numbers_are_neither_measured_nor_saved(
    happens: dict[str, Any],
) -> None:
    """The third step is one of 1e39, and float32 ends at 3.4e38; its loss was finite."""
    run = Run(numbers=Numbers(3), slopes=(1, 1e18), scores=[0.5] * 9)
    run.rates = iter([1e-18, 1e-18, 1e21])
    words = "after step 3 the weights are not finite: training has diverged and was not saved"
    with pytest.raises(TrainingError, match=words):
        run.train(epochs=1, **happens)
    assert set(run.validated) <= {2}
    assert set(run.saved_steps) <= {1, 2}


def test_weights_without_features_are_neither_measured_nor_saved() -> None:
    run = Run(scores=[0.5] * 9, has_finite_features=lambda: False)
    with pytest.raises(TrainingError, match="the features are zero or not finite: training has"):
        run.train()
    assert (run.validated, run.saved) == ([], [])


def test_weights_that_are_no_numbers_are_not_saved_at_a_stop() -> None:
    run = Run(numbers=Numbers(5), slopes=(1, 1e18), signal_at={2: [signal.SIGTERM]})
    run.rates = iter([1e-18, 1e21])
    with pytest.raises(TrainingError, match="after step 2 the weights are not finite"):
        run.train()
    assert run.saved == []


@pytest.mark.parametrize(
    ("validation", "name"),
    [
        (Validation(math.nan, {}), "score"),
        (Validation(None, {"validation_loss": math.nan}), "validation_loss"),
        (Validation(0.5, {"validation_loss": math.inf}), "validation_loss"),
    ],
)
def test_a_measurement_that_is_no_number_is_divergence(validation: Validation, name: str) -> None:
    run = Run(scores=[validation])
    with pytest.raises(TrainingError, match=f"the {name} measured after step 2 is .* diverged"):
        run.train()
    assert run.validated == [2]  # the log has it
    assert run.saved == []


def test_a_probability_that_is_zero_is_no_divergence() -> None:
    """The logarithm of one that is too small for float32 is minus infinity."""
    run = Run(scores=[Validation(0.5, {"accuracy_log_probability": -math.inf})] * 2)
    assert run.train()


# What happens now and then


@pytest.mark.parametrize(
    ("log_steps", "expected"),
    [(1, [1, 2, 3, 4, 5, 6]), (2, [1, 2, 4, 6]), (4, [1, 4, 6]), (100, [1, 6])],
)
def test_the_first_the_last_and_every_nth_step_are_logged(
    log_steps: int, expected: list[int]
) -> None:
    run = Run(numbers=Numbers(3))
    run.train(log_steps=log_steps)
    assert [step for step, _ in run.logged] == expected
    for step, metrics in run.logged:
        assert metrics["loss"] == 1
        assert metrics["part"] == 0.25
        assert metrics["epoch"] == pytest.approx(step / 3)
        assert 0 <= metrics["data_seconds"] <= metrics["step_seconds"]


def test_what_is_logged_is_the_mean_of_the_steps_since_the_line_before() -> None:
    run = Run(numbers=Numbers(3), losses=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    run.train(log_steps=4)
    assert [(step, metrics["loss"]) for step, metrics in run.logged] == [(1, 1), (4, 3), (6, 5.5)]


def test_a_mean_goes_on_where_a_stopped_run_is_resumed() -> None:
    """Stopped after the third of six steps: the line of the fourth is the mean of 2, 3 and 4."""
    stopped = Run(numbers=Numbers(3), losses=[1.0, 2.0, 3.0], signal_at={3: [signal.SIGTERM]})
    assert not stopped.train(log_steps=4)
    resumed = Run(
        numbers=Numbers(3), losses=[4.0, 5.0, 6.0], state=TrainerState(**asdict(stopped.state))
    )
    assert resumed.train(log_steps=4)
    lines = stopped.logged + resumed.logged
    assert [(step, metrics["loss"]) for step, metrics in lines] == [(1, 1), (4, 3), (6, 5.5)]


@pytest.mark.parametrize(
    ("every_epochs", "expected"),
    [
        (1.0, [4, 8]), (0.5, [2, 4, 6, 8]), (0.25, [1, 2, 3, 4, 5, 6, 7, 8]), (2.0, [8]),
        (0.75, [3, 6, 8]), (1.5, [6, 8]), (0.0, [1, 2, 3, 4, 5, 6, 7, 8]), (99.0, [8]),
    ],
)  # fmt: skip
def test_it_measures_so_often_and_at_the_end(every_epochs: float, expected: list[int]) -> None:
    run = Run(numbers=Numbers(4), scores=[0.1] * 9)
    run.train(every_epochs=every_epochs)
    assert run.validated == expected


def test_it_saves_after_a_better_score_and_at_the_end() -> None:
    """Measured at 2, 4, 6 and 8; of these 2 and 6 are better."""
    run = Run(numbers=Numbers(4), scores=[0.5, 0.4, 0.7, 0.7])
    assert run.train(every_epochs=0.5)
    assert run.validated == [2, 4, 6, 8]
    assert run.saved_steps == [2, 6, 8]
    assert (run.state.best_score, run.state.best_step) == (0.7, 6)
    assert run.state.num_worse == 1  # an equal one is no better

    worse = Run(numbers=Numbers(4), scores=[0.5, 0.4, 0.3, 0.3])
    worse.train(every_epochs=0.5)
    assert worse.saved_steps == [2, 8]
    assert (worse.state.best_score, worse.state.best_step) == (0.5, 2)


@pytest.mark.parametrize(
    ("every", "expected"), [(0, [8]), (1, [1, 2, 3, 4, 5, 6, 7, 8]), (3, [3, 6, 8]), (99, [8])]
)
def test_it_saves_after_every_so_many_steps(every: int, expected: list[int]) -> None:
    run = Run(numbers=Numbers(4))
    run.train(checkpoint_steps=every)
    assert run.saved_steps == expected


def test_without_a_score_the_last_one_is_the_best() -> None:
    run = Run(scores=[None, None])
    run.train(patience=1)
    assert (run.state.best_score, run.state.best_step) == (None, 4)
    assert run.saved_steps == [4]  # none in between need be kept


def test_without_a_validation_nothing_is_best() -> None:
    run = Run()
    assert run.train(patience=1)
    assert (run.validated, run.state.best_step, run.saved_steps) == ([], 0, [4])


def clock_of(run: Run, seconds: float) -> SimpleNamespace:
    """Return a module of time in which a step takes so long; other threads keep the real one."""
    elapsed = lambda: seconds * len(run.after_step)  # noqa: E731
    return SimpleNamespace(monotonic=elapsed, perf_counter=elapsed)


@pytest.mark.parametrize(
    ("seconds", "checkpoint_minutes", "expected"),
    [
        (120, 10, [1, 2, 4, 8, 13, 18, 20]),  # after 2, 4, 8 and 16 minutes, then every ten
        (20, 10, [3, 6, 12, 20]),  # after 1, 2 and 4 minutes
        (20, 0.5, [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]),
        (20, 0, list(range(1, 21))),
        (7200, 10, list(range(1, 21))),
    ],
)
def test_a_checkpoint_is_due_by_the_clock(
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    checkpoint_minutes: float,
    expected: list[int],
) -> None:
    """When twice as long was trained as at the last one, or after so many minutes."""
    run = Run(numbers=Numbers(20), state=TrainerState(seconds=5.0))
    monkeypatch.setattr(loop, "time", clock_of(run, seconds))
    run.train(epochs=1, checkpoint_minutes=checkpoint_minutes)
    assert run.saved == [(step, 5 + step * seconds) for step in expected]


@pytest.mark.parametrize(
    ("seconds", "checkpoint_minutes", "expected"),
    [
        # Two steps an epoch: at 30 s, half of the first minute, and then after 30, 30, 45, 68, ...
        (1, 10, [30, 60, 90, 136, 204, 306, 400]),
        (1, 0.1, range(4, 401, 4)),
        (25, 1e6, [2, 4, 6, 10, 16]),
        (40, 1e6, [2, 4, 6, 8]),
    ],
)
def test_the_end_of_an_epoch_saves_if_half_of_the_wait_is_over(
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    checkpoint_minutes: float,
    expected: Sequence[int],
) -> None:
    run = Run()
    monkeypatch.setattr(loop, "time", clock_of(run, seconds))
    run.train(epochs=expected[-1] // 2, checkpoint_minutes=checkpoint_minutes)
    assert run.saved_steps == list(expected)


def test_seconds_before_it_was_resumed_count(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(state=TrainerState(step=2, seconds=1000))
    monkeypatch.setattr(loop, "time", clock_of(run, 60.0))
    run.train()
    assert run.state.seconds == 1120


# The end


@pytest.mark.parametrize(
    ("scores", "patience", "last"),
    [
        ([0.5, 0.4, 0.4, 0.9], 2, 3), ([0.5, 0.4, 0.6, 0.4, 0.4], 2, 5), ([0.5, 0.4], 1, 2),
        ([0.5, 0.4, 0.3, 0.2, 0.1], 0, 6), ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 1, 6),
    ],
)  # fmt: skip
def test_early_stopping_ends_it_after_so_many_validations_without_a_better_one(
    scores: list[float], patience: int, last: int
) -> None:
    run = Run(numbers=Numbers(1), scores=[*scores, 0.0, 0.0])
    assert run.train(epochs=6, patience=patience)
    assert run.state.step == last
    assert run.state.is_ended_early == (last < 6)
    assert run.saved_steps[-1] == last


def test_a_run_that_has_ended_is_not_resumed() -> None:
    for ended in (TrainerState(step=4), TrainerState(step=3, is_ended_early=True)):
        run = Run(state=ended)
        assert run.train()
        assert (run.step.seen, run.saved, run.validated) == ([], [], [])


def test_a_run_resumes_where_it_was() -> None:
    run = Run(state=TrainerState(step=3, best_score=0.9, best_step=2), scores=[0.8])
    assert run.train()
    assert run.step.seen == [(3, True)]
    assert (run.validated, run.saved_steps, run.state.best_step) == ([4], [4], 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_ends_it_after_the_step_with_a_checkpoint(number: signal.Signals) -> None:
    run = Run(numbers=Numbers(5), signal_at={3: [number]})
    assert not run.train()
    assert run.state.step == 3
    assert run.saved_steps == [3]
    assert run.numbers.is_closed
    rest = Run(numbers=Numbers(5), state=run.state)
    assert rest.train()
    assert [batch for batch, _ in rest.step.seen] == [3, 4, 5, 6, 7, 8, 9]


def test_a_request_after_the_last_step_comes_too_late() -> None:
    run = Run(signal_at={4: [signal.SIGTERM]})
    assert run.train()
    assert run.saved_steps == [4]


def test_a_second_ctrl_c_acts_at_once() -> None:
    run = Run(numbers=Numbers(5), signal_at={3: [signal.SIGINT, signal.SIGINT]})
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert run.saved == []
    assert run.numbers.is_closed


# Several processes


class Agreement:
    """Two loops in two threads ask each other, as processes do."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(2, timeout=30)
        self._values = [0.0, 0.0]

    def hook(self, rank: int) -> Callable[[float], float]:
        """Return what one of them asks by: the larger of both values."""

        def agree(value: float) -> float:
            self._values[rank] = value
            self._barrier.wait()
            largest = max(self._values)
            self._barrier.wait()
            return largest

        return agree


def train_both(first: Run, second: Run, **watch: Any) -> list[bool]:
    """Train two runs as two processes do; the second has the signals."""
    agreement = Agreement()
    first.all_reduce_max, second.all_reduce_max = agreement.hook(0), agreement.hook(1)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(first.train, **watch)
        return [second.train(**watch), future.result()]


def test_what_the_first_process_measures_ends_all() -> None:
    first, second = Run(numbers=Numbers(3), scores=[0.5, 0.4]), Run(numbers=Numbers(3))
    assert train_both(first, second, epochs=4, patience=1) == [True, True]
    for run in (first, second):
        assert run.state.step == 6
        assert run.state.is_ended_early
        assert run.saved_steps == [3, 6]
    assert second.validated == []


def test_all_save_when_the_first_finds_a_better_score() -> None:
    scores = [0.5, 0.4, 0.7, 0.6]
    first, second = Run(numbers=Numbers(8), scores=scores), Run(numbers=Numbers(8))
    train_both(first, second, epochs=1, every_epochs=0.25)
    assert first.validated == [2, 4, 6, 8]
    assert first.saved_steps == second.saved_steps == [2, 6, 8]


def test_a_signal_to_one_rank_stops_all_after_the_same_step() -> None:
    first = Run(numbers=Numbers(5))
    second = Run(numbers=Numbers(5), signal_at={3: [signal.SIGTERM]})
    assert train_both(first, second) == [False, False]
    for run in (first, second):
        assert run.state.step == 3
        assert run.saved_steps == [3]
