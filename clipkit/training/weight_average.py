"""A moving average of the weights that are trained (EMA), which is measured and saved instead.

The average of many steps lies nearer to the middle of where they wander, as if the learning rate
had fallen, and costs one pass over the weights in a step.

Source:
    Polyak and Juditsky 1992; the decay's warmup is of TensorFlow's ``ExponentialMovingAverage``;
    that batch norm's running statistics are averaged too, of timm's ``ModelEmaV3``.
"""

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from clipkit.models.towers import Towers


class WeightAverage:
    """The moving average of what is trained in towers, on their device and in their precision.

    It begins with the weights that the towers have now.

    Args:
        towers: As they are trained, float32. With FSDP each rank averages its own shards.
        decay: The share of the average that an update keeps, 0..1, once there were many.
    """

    def __init__(self, towers: Towers, decay: float) -> None:
        self._towers = towers
        self._decay = decay
        self._average = {
            name: tensor.detach().clone() for name, tensor in _changing(towers.model).items()
        }

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The average by the names of the model's state dict: weights that are trained, buffers."""
        return self._average

    def update(self, number: int) -> None:
        """Take the weights of a step into the average.

        Args:
            number: Of this update, from 1: the first ones keep less, (1 + number) / (10 + number),
                so that the start is forgotten.
        """
        decay = min(self._decay, (1 + number) / (10 + number))
        now = _changing(self._towers.model)
        move = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch's
        move(
            [_local(tensor) for tensor in self._average.values()],
            [_local(now[name]) for name in self._average],
            number,
        )

    def averaged_towers(self) -> Towers:
        """Return towers that have the average, now and after each update.

        They share everything else, such as frozen weights, with those that are trained.
        """
        model = self._towers.model
        tensors = (*model.named_parameters(), *model.named_buffers())
        shared: dict[int, Tensor] = {id(tensor): tensor for _, tensor in tensors}
        for name, tensor in tensors:
            if name in self._average:
                found = self._average[name]
                is_weight = isinstance(tensor, nn.Parameter)
                shared[id(tensor)] = nn.Parameter(found) if is_weight else found
        return deepcopy(self._towers, shared)


def _changing(model: nn.Module) -> dict[str, Tensor]:
    """Return what training changes in a model: trained weights and floating-point buffers."""
    named = model.named_parameters(remove_duplicate=False)
    frozen = {name for name, parameter in named if not parameter.requires_grad}
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name not in frozen and torch.is_floating_point(tensor)
    }


def _local(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this rank has: all of it, unless FSDP shards it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
