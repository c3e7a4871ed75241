"""Batch norms of several processes; their exchange itself is torch's and needs several GPUs."""

import copy

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from clipkit.models.batch_norm import has_trained_batch_norm, sync_batch_norms
from clipkit.models.freezing import freeze_batch_norm


def make_tower() -> nn.Sequential:
    """Return two stages, the second with timm's batch norm, which ends in a ReLU."""
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    tower = nn.Sequential(first, nn.Sequential(nn.Conv2d(4, 5, 3), BatchNormAct2d(5)))
    tower.train()(torch.randn(8, 3, 8, 8))  # running statistics that differ from 0 and 1
    return tower


def test_trained_batch_norms_are_synchronized_and_compute_the_same() -> None:
    tower = make_tower()
    before = copy.deepcopy(tower)
    weights = dict(tower.named_parameters())
    assert has_trained_batch_norm(tower)

    sync_batch_norms(tower)

    norms = [module for module in tower.modules() if isinstance(module, nn.SyncBatchNorm)]
    assert len(norms) == 2
    assert tower.state_dict().keys() == before.state_dict().keys()
    # The same parameters: an optimizer may hold them already.
    assert all(parameter is weights[name] for name, parameter in tower.named_parameters())
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(tower.eval()(images), before.eval()(images), rtol=0, atol=0)
    assert tower(images).min() == 0  # the ReLU is there


def test_frozen_batch_norms_stay_as_they_are() -> None:
    tower = make_tower()
    freeze_batch_norm(tower[0])

    sync_batch_norms(tower)

    first, second = tower.train().get_submodule("0.1"), tower.get_submodule("1.1")
    assert type(first) is nn.BatchNorm2d
    assert isinstance(second, nn.SyncBatchNorm)
    assert (first.training, second.training) == (False, True)
    freeze_batch_norm(tower)
    assert not has_trained_batch_norm(tower)
