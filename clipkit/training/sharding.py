"""Towers on several processes: whole on each (DDP), or each holding a share of the weights (FSDP2).

Both are torch's own. What wraps a module leaves the mean of the processes' gradients in it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from clipkit.models.towers import Towers
from clipkit.training.config import Sharding
from clipkit.training.trained_towers import TrainedTowers


def wrap(module: TrainedTowers, sharding: Sharding, device: torch.device) -> nn.Module:
    """Return towers on a device that share their gradients with the other processes.

    All processes go on from the weights of the first. Build the optimizer afterwards.

    Args:
        module: The towers; "fsdp" changes them, see :func:`copy_weights`.
        sharding: "ddp" or "fsdp".
        device: Where this process computes.

    Returns:
        What to call in the towers' place; the towers themselves with one process, or with "fsdp".
    """
    module = module.to(device)
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return module
    if sharding == "ddp":
        return DistributedDataParallel(module, gradient_as_bucket_view=True)
    _shard(module, device)
    return module


def unwrap(module: nn.Module) -> TrainedTowers:
    """Return the towers that :func:`wrap` was given."""
    inner = module.module if isinstance(module, DistributedDataParallel) else module
    assert isinstance(inner, TrainedTowers)
    return inner


@contextmanager
def without_sync(module: nn.Module) -> Iterator[None]:
    """Keep gradients of this process to itself: forward and backward passes that others follow."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            module.set_requires_gradient_sync(True)
    elif isinstance(module, DistributedDataParallel):
        with module.no_sync():
            yield
    else:
        yield


def copy_weights(module: nn.Module, towers: Towers) -> None:
    """Copy the weights as they are now into towers that are whole, as FSDP2's are not.

    All processes call it, and all get all weights.

    Args:
        module: What :func:`wrap` returned.
        towers: A copy of the towers that were wrapped, made before; on any device.
    """
    whole = towers.model.state_dict()
    for name, tensor in unwrap(module).towers.model.state_dict().items():
        tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        whole[name].copy_(tensor.reshape(whole[name].shape))


def _shard(module: TrainedTowers, device: torch.device) -> None:
    model = module.towers.model
    for name in ("logit_scale", "logit_bias"):
        parameter = getattr(model, name)
        if parameter is not None:  # what is split needs a dimension
            row = nn.Parameter(parameter.detach().reshape(1), parameter.requires_grad)
            setattr(model, name, row)
    for tensor in (*module.parameters(), *module.buffers()):
        dist.broadcast(tensor.detach(), src=0)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for layer in _layers(module):
        fully_shard(layer, mesh=mesh)
    fully_shard(module, mesh=mesh)


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers of all towers: what stands in a list or sequence, outermost first found."""
    for child in module.children():
        if not isinstance(child, nn.ModuleList | nn.Sequential):
            yield from _layers(child)
            continue
        for layer in child:
            if isinstance(layer, nn.ModuleList):  # no forward pass of its own
                yield from _layers(layer)
            elif any(True for _ in layer.parameters()):
                yield layer
