"""Which weights of two towers LoRA can adapt: queries, keys, values and others, found by name.

Names of layers are those of open_clip, timm and transformers.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from clipkit.errors import InputError, MissingExtraError
from clipkit.models.lora_info import LoraTarget

try:
    from torch import Tensor, nn
except ImportError as error:
    raise MissingExtraError("torch", "Adapting towers") from error

Tower = Literal["image", "text"]
TARGETS: tuple[LoraTarget, ...] = get_args(LoraTarget)
USUAL: tuple[LoraTarget, ...] = ("q", "k", "v", "conv")

_ATTENTION: dict[str, tuple[LoraTarget, ...]] = {
    "qkv": ("q", "k", "v"),
    "kv": ("k", "v"),
    **dict.fromkeys(("q", "q_proj", "query"), ("q",)),
    **dict.fromkeys(("k", "k_proj", "key"), ("k",)),
    **dict.fromkeys(("v", "v_proj", "value"), ("v",)),
    **dict.fromkeys(("out_proj", "o"), ("out",)),
}
# The output where only the names above it tell: timm's, a ResNet's of open_clip's, BERT's.
_OUTPUT = re.compile(r"((attn\w*|token_mixer)\.proj|attnpool\.c_proj|attention\.output\.dense)$")


@dataclass(frozen=True)
class AdaptableWeight:
    """A weight that LoRA can adapt."""

    tower: Tower
    module: nn.Module
    parameter: str  # of the module
    name: str  # in the model's state dict
    parts: tuple[LoraTarget, ...]  # what its blocks of equal height are, from the first row on

    @property
    def tensor(self) -> Tensor:
        """The weight: (out, in), or (out, in, 1, 1)."""
        weight: Tensor = getattr(self.module, self.parameter)
        return weight

    @property
    def most_rank(self) -> int:
        """The rank of a part of the weight, beyond which a product of two matrices adds nothing."""
        return min(self.tensor.shape[0] // len(self.parts), self.tensor[0].numel())


def adaptable_weights(model: nn.Module) -> Iterator[AdaptableWeight]:
    """Yield all weights of both towers that LoRA can adapt, in the model's order.

    Args:
        model: open_clip's model, without adapters. Of CoCa the decoder is left out.

    Yields:
        Weights of linear layers, of 1 x 1 convolutions and of attention.
    """
    for path, module in model.named_modules():
        tower: Tower = "image" if path.split(".")[0] == "visual" else "text"
        if path.split(".")[0] == "text_decoder":
            continue
        for parameter, parts in _parts(path, module):
            yield AdaptableWeight(tower, module, parameter, f"{path}.{parameter}", parts)


def chosen_weights(
    model: nn.Module, towers: tuple[Tower, ...], targets: tuple[LoraTarget, ...]
) -> list[tuple[AdaptableWeight, tuple[LoraTarget, ...]]]:
    """Return which weights to adapt, and of each which parts.

    Args:
        model: open_clip's model, without adapters.
        towers: Which to adapt.
        targets: What of them; empty: queries, keys, values and 1 x 1 convolutions, or, of a tower
            that has none of these, its linear layers.

    Returns:
        Weights, each with the parts to adapt.

    Raises:
        InputError: If a tower has none of the targets, or no tower has one of them.
    """
    weights = list(adaptable_weights(model))
    chosen = []
    for tower in towers:
        own = [weight for weight in weights if weight.tower == tower]
        wanted = targets or USUAL
        if not targets and not _having(own, USUAL):
            wanted = ("linear",)
        found = _having(own, wanted)
        if not found:
            raise InputError(
                f"the {tower} tower has none of model.lora_targets = {_listed(wanted)}: it has "
                f"{_listed(_kinds(own)) or 'nothing that can be adapted'}. Name one of these too, "
                f'or adapt the other tower alone by lora_towers = "{_other(tower)}"'
            )
        chosen += found
    there = _kinds([weight for weight in weights if weight.tower in towers])
    missing = [target for target in targets if target not in there]
    if missing:
        raise InputError(
            f"model.lora_targets names {_listed(missing)}, which no adapted tower has: there are "
            f"{_listed(there)}"
        )
    return chosen


def _having(
    weights: list[AdaptableWeight], targets: tuple[LoraTarget, ...]
) -> list[tuple[AdaptableWeight, tuple[LoraTarget, ...]]]:
    named = [
        (weight, tuple(part for part in weight.parts if part in targets)) for weight in weights
    ]
    return [(weight, parts) for weight, parts in named if parts]


def _kinds(weights: list[AdaptableWeight]) -> list[LoraTarget]:
    there = {part for weight in weights for part in weight.parts}
    return [target for target in TARGETS if target in there]


def _listed(targets: tuple[LoraTarget, ...] | list[LoraTarget]) -> str:
    return ", ".join(targets)


def _other(tower: Tower) -> Tower:
    return "text" if tower == "image" else "image"


def _parts(path: str, module: nn.Module) -> Iterator[tuple[str, tuple[LoraTarget, ...]]]:
    """Yield the parameters of a module that can be adapted, and what their blocks are."""
    if isinstance(getattr(module, "in_proj_weight", None), nn.Parameter):  # of attention, fused
        yield "in_proj_weight", ("q", "k", "v")
    elif isinstance(module, nn.MultiheadAttention):  # keys or values of another width
        yield "q_proj_weight", ("q",)
        yield "k_proj_weight", ("k",)
        yield "v_proj_weight", ("v",)
    elif isinstance(module, nn.Linear):
        usual: tuple[LoraTarget, ...] = ("out",) if _OUTPUT.search(path) else ("linear",)
        yield "weight", _ATTENTION.get(path.rpartition(".")[2], usual)
    elif isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1:
        yield "weight", ("conv",)
