"""The processes of a run and what they tell each other, over torch.distributed.

Shapes: B rows of one process, N rows of all processes, the first process's first.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from clipkit.errors import TrainingError
from clipkit.runtime.torch_device import choose_device

# What one process does for all, features of all pictures or a long validation, takes hours; one
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
def joined_ranks() -> Iterator[Ranks]:
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
