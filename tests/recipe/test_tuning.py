"""Tuning of the trunk's last layers: what moves, what stays, and what is kept."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from recipe import tuning
from recipe.batches import HeadBatches, TrainingData
from recipe.head import Head
from recipe.losses import HeadLosses
from recipe.settings import Settings
from recipe.trunk import NUM_FEATURES
from recipe.tuning import TrunkLosses, class_drift, tune_trunk
from safetensors.torch import load_file
from torch import nn

from tests.recipe.conftest import MAP_SHAPE


@pytest.fixture
def upper() -> nn.Sequential:
    """Layers from a map to features, with a norm whose statistics are those of other images."""
    width = math.prod(MAP_SHAPE)
    norm = nn.BatchNorm2d(MAP_SHAPE[0])
    layers = nn.Sequential(norm, nn.Flatten(), nn.Linear(width, NUM_FEATURES), nn.ReLU6())
    return layers.requires_grad_(requires_grad=False)


@pytest.fixture
def small(settings: Settings) -> Settings:
    """Four steps of tuning."""
    return replace(settings, tuning=replace(settings.tuning, steps=4, batch_size=20, share=0.25))


def tune(
    upper: nn.Module, head: Head, data: TrainingData, settings: Settings, folder: Path
) -> dict[str, torch.Tensor]:
    trunk: Any = SimpleNamespace(upper=upper)
    tune_trunk(trunk, head, data, settings, seed=0, folder=folder)
    return {name: value.clone() for name, value in upper.state_dict().items()}


def test_the_drift_is_the_mean_kl_divergence_of_the_classes() -> None:
    before = np.array([[1.0, 0.0, -2.0], [0.5, 0.5, 3.0]])
    after = np.array([[0.0, 1.0, -1.0], [0.5, 0.5, 3.0]])
    told, now = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (before, after))
    expected = (told * np.log(told / now)).sum(1).mean()
    assert float(class_drift(torch.tensor(before), torch.tensor(after))) == pytest.approx(expected)


def test_weights_move_and_the_statistics_of_norms_stay(
    upper: nn.Sequential, head: Head, data: TrainingData, small: Settings, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in upper.state_dict().items()}
    after = tune(upper, head, data, small, tmp_path)
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert not any(parameter.requires_grad for parameter in upper.parameters())


def test_the_layers_are_a_mean_of_the_published_and_the_tuned(
    upper: nn.Sequential, head: Head, data: TrainingData, small: Settings, tmp_path: Path
) -> None:
    published = {name: value.clone() for name, value in upper.state_dict().items()}
    mean = tune(upper, head, data, small, tmp_path)
    (file,) = tmp_path.glob("*/upper.safetensors")
    tuned = load_file(file)
    assert not torch.equal(tuned["2.weight"], published["2.weight"])
    for name in ("0.weight", "0.bias", "2.weight", "2.bias"):
        expected = published[name] + small.tuning.share * (tuned[name] - published[name])
        torch.testing.assert_close(mean[name], expected)


def test_what_was_tuned_is_read_the_next_time(
    upper: nn.Sequential,
    head: Head,
    data: TrainingData,
    small: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published, start = upper.state_dict(), head.state_dict()
    published, start = ({k: v.clone() for k, v in each.items()} for each in (published, start))
    first = tune(upper, head, data, small, tmp_path)
    upper.load_state_dict(published)
    head.load_state_dict(start)
    monkeypatch.setattr(tuning, "_run", lambda *_, **__: pytest.fail("it is tuned once more"))
    second = tune(upper, head, data, small, tmp_path)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_losses_are_those_of_the_head_on_tuned_features(
    upper: nn.Sequential, head: Head, data: TrainingData, small: Settings
) -> None:
    upper.eval()
    batch = next(HeadBatches(data, small.draws, batch_size=20, seed=0).after(0))
    losses = HeadLosses(head, small.draws)
    with torch.no_grad():
        parts = TrunkLosses(upper, data.pairs.maps, losses)(batch)
    maps = torch.from_numpy(data.pairs.maps.places[0][0].maps[batch.rows.numpy()]).float()
    features = upper(maps)
    with torch.no_grad():
        expected = losses(replace(batch, features=features))
    assert parts.keys() - expected.keys() == {"class_drift", "logit_drift"}
    for name, value in expected.items():
        assert float(parts[name]) == pytest.approx(float(value), rel=1e-5), name
    difference = head.class_logits(features) - head.class_logits(batch.features)
    assert float(parts["logit_drift"]) == pytest.approx(float((difference**2).mean()), rel=1e-5)
