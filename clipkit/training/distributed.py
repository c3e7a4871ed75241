"""Training on several processes: all-gather and all-reduce over ranks, DDP and FSDP2.

The collectives and wrappers are torch.distributed's own; a wrapped module leaves the mean of all
ranks' gradients in the parameters.

Shapes: B rows of one rank, N rows of all ranks, those of rank 0 first.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from clipkit.errors import LostProcessError
from clipkit.models.towers import Towers
from clipkit.runtime.torch_device import choose_device
from clipkit.training.config import Sharding
from clipkit.training.rendezvous import meet
from clipkit.training.trained_towers import TrainedTowers

# The others wait for hours where rank 0 computes the features of all images or validates; a rank
# that ends is noticed at once, by its closed connection and by torchrun.
_TIMEOUT = timedelta(days=30)


@dataclass(frozen=True)
class Ranks:
    """This process's rank among the processes of a run, and what they exchange.

    By default it is the only one, and nothing is exchanged. All ranks call the same method with the
    same shapes, or all of them wait.
    """

    rank: int = 0  # 0..world_size - 1
    world_size: int = 1

    def choose_device(self, device: str) -> torch.device:
        """Return the device of this rank.

        Args:
            device: As :func:`clipkit.runtime.torch_device.choose_device` takes it. Of several ranks
                on CUDA each takes a device of its own.

        Returns:
            A device that this machine has.
        """
        if self.world_size > 1 and device in ("auto", "cuda") and torch.cuda.is_available():
            device = f"cuda:{_local_rank()}"
        return choose_device(device)

    def syncs_batch_norms(self, device: torch.device) -> bool:
        """Return whether batch norms can take the statistics of all ranks: torch's on CUDA only."""
        return self.world_size > 1 and device.type == "cuda"

    def all_gather(self, rows: Tensor) -> Tensor:
        """Return the rows of all ranks, shape (N, ...), for rows (B, ...); no gradient."""
        return rows if self.world_size == 1 else _all_gather(rows.detach())

    def all_gather_with_gradient(self, rows: Tensor) -> Tensor:
        """Return the rows of all ranks; a rank's own rows get the gradient of every rank.

        Args:
            rows: Shape (B, ...).

        Returns:
            Shape (N, ...).
        """
        if self.world_size == 1:
            return rows
        gathered: Tensor = _AllGather.apply(rows, self.rank)
        return gathered

    def all_gather_objects(self, value: Any) -> list[Any]:
        """Return the value of each rank, in the order of the ranks; it is pickled on the way."""
        if self.world_size == 1:
            return [value]
        values = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def all_reduce_mean(self, values: Tensor) -> Tensor:
        """Return the mean over all ranks, element by element, without gradient."""
        values = values.detach().clone()
        if self.world_size > 1:
            dist.all_reduce(values)
        return values / self.world_size

    def all_reduce_max(self, value: float) -> float:
        """Return the largest of all ranks' values."""
        if self.world_size == 1:
            return value
        largest = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return float(largest)

    def barrier(self) -> None:
        """Wait until all ranks have called this."""
        self.all_reduce_max(0.0)

    @contextmanager
    def one_of_machine_first(self) -> Iterator[None]:
        """Let one rank of each machine run the block, and the others when it has left it.

        So what it puts into the machine's cache is made once. If it raises, the others do not run.
        """
        is_first = self.world_size == 1 or _local_rank() == 0
        if not is_first:
            self.barrier()
        yield
        if is_first:
            self.barrier()


@contextmanager
def joined_process_group() -> Iterator[Ranks]:
    """Join the other processes for as long as this is entered, if torchrun started several.

    Yields:
        This process's rank among them; without torchrun, that of the only one.

    Raises:
        LostProcessError: If another process ends while this one waits for it.
    """
    if not dist.is_torchelastic_launched():
        yield Ranks()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(_local_rank())  # which NCCL uses
    try:
        store, rank, world_size = meet(_TIMEOUT)
        # gloo for tensors on the CPU, NCCL for those on CUDA
        dist.init_process_group(store=store, rank=rank, world_size=world_size, timeout=_TIMEOUT)
        yield Ranks(dist.get_rank(), dist.get_world_size())
    except RuntimeError as error:
        # gloo has no exception of its own for a lost connection.
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise LostProcessError(
            "another process of this run has ended, and this one ends with it: what that one said "
            "is the reason; one that was killed says nothing. The same command resumes from the "
            "newest checkpoint, if there is one"
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def wrap(module: TrainedTowers, sharding: Sharding, device: torch.device) -> nn.Module:
    """Return towers on a device that share their gradients with the other ranks.

    All ranks take over the weights of rank 0. Build the optimizer afterwards.

    Args:
        module: The towers; "fsdp" changes them, see :func:`copy_full_weights`.
        sharding: "ddp" or "fsdp".
        device: Where this rank computes.

    Returns:
        The module to call instead; the towers themselves with one process, or with "fsdp".
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
    """Accumulate gradients on this rank only, in forward and backward passes before the last."""
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


def copy_full_weights(
    module: nn.Module, towers: Towers, averages: Mapping[str, Tensor] = MappingProxyType({})
) -> None:
    """Copy the present weights into unsharded towers; with FSDP2 each rank has only a shard.

    All ranks call it, and all get all weights.

    Args:
        module: What :func:`wrap` returned.
        towers: A copy of the towers that were wrapped, made before; on any device.
        averages: Shards to copy instead of weights, by their names in the model's state dict.
    """
    full = towers.model.state_dict()
    present = unwrap(module).towers.model.state_dict()
    for name, tensor in {**present, **averages}.items():
        tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        full[name].copy_(tensor.reshape(full[name].shape))


class _AllGather(torch.autograd.Function):
    # The same as torch.distributed.nn.functional.all_gather, which torch 2.14 deprecates; its
    # successor is not in torch 2.6.

    @staticmethod
    def forward(ctx: Any, rows: Tensor, rank: int) -> Tensor:
        ctx.own = slice(rank * len(rows), (rank + 1) * len(rows))
        return _all_gather(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.own], None


def _all_gather(rows: Tensor) -> Tensor:
    rows = rows.contiguous()
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows)
    return torch.cat(parts)


def _local_rank() -> int:
    """Return this process's rank on its machine, as torchrun sets it."""
    return int(os.environ["LOCAL_RANK"])


def _shard(module: TrainedTowers, device: torch.device) -> None:
    """Split the weights over the ranks by FSDP2, layer by layer."""
    model = module.towers.model
    for name in ("logit_scale", "logit_bias"):
        parameter = getattr(model, name)
        if parameter is not None:  # FSDP shards the first dimension, so there has to be one
            row = nn.Parameter(parameter.detach().reshape(1), parameter.requires_grad)
            setattr(model, name, row)
    for tensor in (*module.parameters(), *module.buffers()):
        dist.broadcast(tensor.detach(), src=0)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for layer in _layers(module):
        fully_shard(layer, mesh=mesh)
    fully_shard(module, mesh=mesh)


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers of all towers: the items of the outermost lists and sequences."""
    for child in module.children():
        if not isinstance(child, nn.ModuleList | nn.Sequential):
            yield from _layers(child)
            continue
        for layer in child:
            if isinstance(layer, nn.ModuleList):  # no forward pass of its own
                yield from _layers(layer)
            elif any(True for _ in layer.parameters()):
                yield layer
