"""Stopping between two steps by a signal, and resuming bit for bit."""

import copy
import os
import random
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from clipkit.errors import TrainingError
from clipkit.training.resume import (
    StopRequest,
    TrainerState,
    capture_state,
    random_state,
    restore_random_state,
    restore_state,
    seed_everything,
)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_requests_a_stop(number: signal.Signals) -> None:
    with StopRequest() as stop:
        assert not stop.is_made
        send(number)
        assert stop.is_made
        assert stop.signal == number
    assert stop.is_made


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_a_second_one_acts_at_once(first: signal.Signals, second: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), StopRequest():
        send(first)
        send(second)
        raise AssertionError("it went on")


def test_signal_handlers_are_restored() -> None:
    taken: list[int] = []
    before = [signal.signal(number, lambda one, _: taken.append(one)) for number in SIGNALS]
    try:
        with StopRequest():
            send(signal.SIGTERM)
        with pytest.raises(ValueError, match="on purpose"), StopRequest():
            raise ValueError("on purpose")
        assert taken == []
        for number in SIGNALS:
            send(number)
        assert taken == list(SIGNALS)
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


def test_in_another_thread_no_stop_is_requested() -> None:
    handlers = [signal.getsignal(number) for number in SIGNALS]
    found = []

    def look() -> None:
        with StopRequest() as stop:
            found.append((stop.is_made, [signal.getsignal(number) for number in SIGNALS]))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [(False, handlers)]


class Towered(nn.Module):
    """A module with towers, with something beside them, and with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.towers = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.4), nn.Linear(8, 4))
        self.image_map = nn.Linear(4, 3, bias=False)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.image_map(self.towers(rows))
        return output


def make() -> tuple[Towered, torch.optim.Optimizer]:
    torch.manual_seed(0)
    module = Towered()
    groups: list[dict[str, Any]] = [
        {"params": list(module.towers.parameters()), "weight_decay": 0.2},
        {"params": list(module.image_map.parameters()), "rate_factor": 2.0},
    ]
    return module, torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.98))


def train(module: Towered, optimizer: torch.optim.Optimizer, num_steps: int) -> None:
    """Take steps on noise from all three generators."""
    for _ in range(num_steps):
        numbers = [random.random(), np.random.rand(), *torch.rand(4).tolist()]
        optimizer.zero_grad()
        torch.autograd.backward(module(torch.tensor([numbers])).square().sum())
        optimizer.step()


def state_of(module: nn.Module, optimizer: torch.optim.Optimizer, step: int = 5) -> dict[str, Any]:
    progress = TrainerState(step=step, best_score=0.5, best_step=3, bad={"a.jpg": "is cut"})
    return capture_state(progress, module, optimizer, [random_state()])


def written_and_read(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a state as it comes back from a file that holds no classes."""
    torch.save(state, path)
    read: dict[str, Any] = torch.load(path, weights_only=True)
    return read


def test_half_a_run_and_the_other_half_are_a_whole_one_bit_for_bit(tmp_path: Path) -> None:
    seed_everything(3, 0)
    whole, optimizer = make()
    train(whole, optimizer, 10)

    seed_everything(3, 0)
    first, optimizer = make()
    train(first, optimizer, 5)
    state = written_and_read(state_of(first, optimizer), tmp_path / "state.pt")
    weights = copy.deepcopy(first.towers.state_dict())

    seed_everything(99, 0)
    torch.rand(17)
    second, optimizer = make()
    train(second, optimizer, 2)  # something else altogether
    second.towers.load_state_dict(weights)
    progress = restore_state(state, second, optimizer)
    restore_random_state(state["random"][0])
    train(second, optimizer, 5)

    assert progress == TrainerState(step=5, best_score=0.5, best_step=3, bad={"a.jpg": "is cut"})
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def test_the_towers_are_not_in_the_state_and_what_is_beside_them_is(tmp_path: Path) -> None:
    """Their weights are in a checkpoint of their own."""
    module, optimizer = make()
    state = state_of(module, optimizer)
    assert set(state["beside"]) == {"image_map.weight"}
    other, optimizer = make()
    nn.init.zeros_(other.get_parameter("image_map.weight"))
    first = other.get_parameter("towers.0.weight")
    nn.init.zeros_(first)
    restore_state(written_and_read(state, tmp_path / "state.pt"), other, optimizer)
    assert torch.equal(other.image_map.weight, module.image_map.weight)
    assert not first.any()


def test_a_state_of_before_the_first_step_is_one_too(tmp_path: Path) -> None:
    module, optimizer = make()
    state = written_and_read(state_of(module, optimizer, 0), tmp_path / "state.pt")
    other, optimizer = make()
    assert restore_state(state, other, optimizer).step == 0


def test_all_generators_go_back_to_where_they_were(tmp_path: Path) -> None:
    random.gauss(0, 1)  # each keeps a second number for the next call
    np.random.randn()
    state = written_and_read({"random": random_state()}, tmp_path / "state.pt")
    expected = (random.gauss(0, 1), random.random(), np.random.randn(3), torch.rand(3))
    for _ in range(2):
        restore_random_state(state["random"])
        found = (random.gauss(0, 1), random.random(), np.random.randn(3), torch.rand(3))
        assert found[:2] == expected[:2]
        np.testing.assert_array_equal(found[2], expected[2])
        assert torch.equal(found[3], expected[3])


def test_a_seed_starts_each_process_elsewhere_and_each_run_alike() -> None:
    def draws(seed: int, rank: int) -> tuple[float, float, float]:
        seed_everything(seed, rank)
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    assert draws(1, 0) == draws(1, 0)
    seen = [draws(seed, rank) for seed in (0, 1) for rank in (0, 1, 2)]
    for numbers in zip(*seen, strict=True):
        assert len(set(numbers)) == 6


def test_a_state_of_another_format_is_refused() -> None:
    module, optimizer = make()
    state = state_of(module, optimizer) | {"format": 99}
    with pytest.raises(TrainingError, match="has format 99, this clipkit reads 1: resume with"):
        restore_state(state, module, optimizer)


def test_a_state_of_other_parameters_is_refused() -> None:
    module, optimizer = make()
    train(module, optimizer, 1)
    state = state_of(module, optimizer)
    other = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(TrainingError, match="does not fit this run"):
        restore_state(state, other, torch.optim.AdamW(other.parameters()))
    wider, _ = make()
    wider.image_map = nn.Linear(4, 5, bias=False)
    with pytest.raises(TrainingError, match="does not fit this run"):
        restore_state(state, wider, torch.optim.AdamW(wider.parameters()))
