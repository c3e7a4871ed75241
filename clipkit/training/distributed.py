"""Training on several processes: gathering over ranks, DDP and FSDP2.

Shapes: B rows of one process, N rows of all processes, the first process's first.

Both are torch's own. What wraps a module leaves the mean of the processes' gradients in it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from clipkit.errors import TrainingError
from clipkit.models.towers import Towers
from clipkit.runtime.torch_device import choose_device
from clipkit.training.config import Sharding
from clipkit.training.trained_towers import TrainedTowers

# What one process does for all, features of all images or a long validation, takes hours; one
# that ends is noticed at once, by its closed connection and by torchrun.
_PATIENCE = timedelta(days=30)


@dataclass(frozen=True)
class Ranks:
    """One process among those of a run; by default the only one, which has nobody to ask.

    All processes call the same method with the same shapes, or all of them wait.
    """

    rank: int = 0  # 0..world_size - 1
    world_size: int = 1

    def choose_device(self, device: str) -> torch.device:
        """Return where this process computes.

        Args:
            device: As :func:`clipkit.runtime.torch_device.choose_device` takes it. Of several
                processes on CUDA each takes a device of its own.

        Returns:
            A device that this machine has.
        """
        if self.world_size > 1 and device in ("auto", "cuda") and torch.cuda.is_available():
            device = f"cuda:{_local_rank()}"
        return choose_device(device)

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes, shape (N, ...), for rows (B, ...); no gradient."""
        return rows if self.world_size == 1 else _all_rows(rows.detach())

    def gather_with_gradient(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes; a process's rows get the gradient of every process.

        Args:
            rows: Shape (B, ...).

        Returns:
            Shape (N, ...).
        """
        if self.world_size == 1:
            return rows
        gathered: Tensor = _GatherRows.apply(rows, self.rank)
        return gathered

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over all processes, element by element, without gradient."""
        values = values.detach().clone()
        if self.world_size > 1:
            dist.all_reduce(values)
        return values / self.world_size

    def maximum(self, value: float) -> float:
        """Return the largest of all processes' values."""
        if self.world_size == 1:
            return value
        largest = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return float(largest)

    def collect(self, value: Any) -> list[Any]:
        """Return a value of each process, the first process's first."""
        if self.world_size == 1:
            return [value]
        values = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values


@contextmanager
def joined_process_group() -> Iterator[Ranks]:
    """Join the other processes for as long as this is entered, if torchrun started several.

    Yields:
        This process among them; the only one without torchrun.

    Raises:
        TrainingError: If another process ends while this one waits for it.
    """
    if not dist.is_torchelastic_launched():
        yield Ranks()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(_local_rank())  # where NCCL sends from
    # gloo for tensors on the CPU, NCCL for those on CUDA
    dist.init_process_group(timeout=_PATIENCE)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    except RuntimeError as error:
        # gloo has no exception of its own for a lost connection.
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise TrainingError(
            "another process of this run has ended, and says why; this one ends with it"
        ) from error
    finally:
        dist.destroy_process_group()


class _GatherRows(torch.autograd.Function):
    # torch.distributed.nn.functional.all_gather is this. torch 2.14 warns that it will go, and
    # what takes its place is not in torch 2.6.

    @staticmethod
    def forward(ctx: Any, rows: Tensor, rank: int) -> Tensor:
        ctx.own = slice(rank * len(rows), (rank + 1) * len(rows))
        return _all_rows(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.own], None


def _local_rank() -> int:
    """Return which of its machine's processes this is, as torchrun says."""
    return int(os.environ["LOCAL_RANK"])


def _all_rows(rows: Tensor) -> Tensor:
    rows = rows.contiguous()
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows)
    return torch.cat(parts)


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
