"""Batch norms that are trained, and their synchronization over several processes.

Each process would normalize by the mean and the variance of its share of a batch. The synchronized
ones take those of the whole batch (torch.nn.SyncBatchNorm, on CUDA only), so that several processes
compute what one does.
"""

from collections.abc import Iterator
from typing import NamedTuple

from clipkit.errors import MissingExtraError

try:
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm
except ImportError as error:
    raise MissingExtraError("torch", "Training towers") from error


class _Place(NamedTuple):
    parent: nn.Module
    name: str
    norm: nn.Module


def has_trained_batch_norm(module: nn.Module) -> bool:
    """Return whether any batch norm would normalize by the statistics of batches in training."""
    return any(True for _ in _trained(module))


def sync_batch_norms(module: nn.Module) -> None:
    """Synchronize the batch norms that are trained, in place; names of weights stay.

    Args:
        module: Where to look for them. Frozen ones stay as they are.
    """
    # It keeps timm's activation, which torch's own function drops.
    from timm.layers.norm_act import convert_sync_batchnorm

    for place in list(_trained(module)):
        norm = convert_sync_batchnorm(place.norm)  # type: ignore[no-untyped-call]
        setattr(place.parent, place.name, norm)


def _trained(module: nn.Module) -> Iterator[_Place]:
    for parent in module.modules():
        for name, child in parent.named_children():
            # What is frozen has a train() of its own, see clipkit.models.freezing.
            if isinstance(child, _BatchNorm) and "train" not in vars(child):
                yield _Place(parent, name, child)
