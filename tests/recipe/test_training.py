"""The head's training by the trainer's loop: rates, losses, and going on after a stop."""

import math
import signal
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from recipe.batches import HeadBatch, TrainingData
from recipe.head import Head, average_heads
from recipe.losses import HeadStep, contrastive_loss
from recipe.packages import RecipeError
from recipe.settings import Settings
from recipe.training import train_head

from clipkit.runs.metrics_log import read_metrics
from clipkit.training.config import OptimizerConfig


def train(head: Head, data: TrainingData, settings: Settings, runs: Path, *, seed: int = 0) -> Head:
    trained = deepcopy(head)
    torch.manual_seed(seed)  # of where the free units start
    train_head(trained, data, settings, seed=seed, runs=runs)
    return trained


def test_a_stopped_training_goes_on_bit_for_bit(
    head: Head,
    data: TrainingData,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    straight = train(head, data, settings, tmp_path / "straight")
    plain = HeadStep.backward
    batches: list[HeadBatch] = []

    def stop_in_the_second(step: HeadStep, batch: HeadBatch) -> dict[str, torch.Tensor]:
        batches.append(batch)
        if len(batches) == 2:
            signal.raise_signal(signal.SIGTERM)
        losses: dict[str, torch.Tensor] = plain(step, batch)
        return losses

    monkeypatch.setattr(HeadStep, "backward", stop_in_the_second)
    runs = tmp_path / "stopped"
    with pytest.raises(RecipeError, match="after step 2: give the same command"):
        train(head, data, settings, runs)
    resumed = train(head, data, settings, runs)
    assert len(batches) == 18
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    (folder,) = runs.iterdir()
    assert [entry["step"] for entry in read_metrics(folder)] == [1, 10, 18]


@pytest.mark.slow
def test_the_mean_of_heads_is_that_of_each_weight_and_changes_none(
    head: Head, data: TrainingData, settings: Settings, tmp_path: Path
) -> None:
    heads = [train(head, data, settings, tmp_path, seed=seed) for seed in range(3)]
    before = [{name: value.clone() for name, value in each.state_dict().items()} for each in heads]
    mean = average_heads(heads).state_dict()
    for name, value in mean.items():
        slow = sum(each[name].double() for each in before) / 3
        assert torch.allclose(value.double(), slow, atol=1e-6), name
        for each, old in zip(heads, before, strict=True):
            assert torch.equal(each.state_dict()[name], old[name]), name
    assert not torch.equal(before[0]["text_map"], before[1]["text_map"])


def test_an_ended_training_leaves_its_metrics_only(
    head: Head, data: TrainingData, settings: Settings, tmp_path: Path
) -> None:
    for seed in (0, 1):
        train(head, data, settings, tmp_path, seed=seed)
    folders = sorted(tmp_path.iterdir())
    assert [folder.name[:7] for folder in folders] == ["seed-0-", "seed-1-"]
    for folder in folders:
        assert sorted(path.name for path in folder.iterdir()) == ["metrics.jsonl", "tensorboard"]


def test_the_whole_loss_is_the_weighted_sum_of_its_parts(
    head: Head, data: TrainingData, settings: Settings, tmp_path: Path
) -> None:
    train(head, data, settings, tmp_path)
    (folder,) = tmp_path.iterdir()
    last = read_metrics(folder)[-1]
    parts = {name: weight * last[name] for name, weight in vars(settings.weights).items()}
    assert all(part > 0 for part in parts.values())
    assert last["loss"] == pytest.approx(sum(parts.values()), rel=1e-5)


def test_parts_learn_at_their_own_rates(
    head: Head, data: TrainingData, settings: Settings, tmp_path: Path
) -> None:
    """The first step of Adam moves a parameter by its rate, whatever its gradient."""
    optimizer = OptimizerConfig(lr=1e-3, eps=1e-12, weight_decay=0, schedule="constant")
    settings = replace(settings, optimizer=replace(optimizer, warmup_fraction=0))
    settings = replace(settings, amount=replace(settings.amount, batch_size=160, epochs=1))
    trained = train(head, data, settings, tmp_path)
    names = ("low_threshold", "high_threshold", "low_weight", "high_weight", "text_map")
    before, after = head.state_dict(), trained.state_dict()
    moved = {name: (after[name] - before[name]).abs().max().item() for name in names}
    assert moved.pop("text_map") == pytest.approx(3e-4, rel=1e-2)
    assert moved == pytest.approx(dict.fromkeys(moved, 3e-3), rel=1e-2)


@pytest.mark.parametrize(
    "matches",
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[1, 1, 0], [1, 1, 0], [0, 0, 1]],
        [[1, 0, 1], [0, 1, 0], [0, 0, 1]],  # the third text is true of the first picture too
    ],
)
def test_the_contrastive_loss_is_that_of_a_slow_reference(matches: list[list[int]]) -> None:
    logits = [[2.0, -1.0, 0.5], [0.0, 1.5, 3.0], [-2.0, 0.25, 1.0]]
    expected = 0.0
    for one in range(3):
        of_picture = (logits[one], matches[one])
        of_text = ([row[one] for row in logits], [row[one] for row in matches])
        for values, is_true in (of_picture, of_text):
            whole = math.log(sum(math.exp(value) for value in values))
            right = [whole - value for value, true in zip(values, is_true, strict=True) if true]
            expected += sum(right) / len(right) / 6
    loss = contrastive_loss(torch.tensor(logits), torch.tensor(matches).bool())
    assert loss.item() == pytest.approx(expected)
