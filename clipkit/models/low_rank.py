"""Low-rank adaptation (LoRA) of one weight: W + scale * B A, computed where the weight is read.

Source:
    Hu et al. 2021, "LoRA" (arXiv 2106.09685), with the scale alpha / sqrt(rank) of Kalajdzievski
    2023, "rsLoRA" (arXiv 2312.03732), as CLIP-LoRA (arXiv 2405.18541) has it.
"""

import math
from collections.abc import Iterator

from clipkit.errors import MissingExtraError

try:
    import torch
    from torch import Tensor, nn
    from torch.nn.utils import parametrize
except ImportError as error:
    raise MissingExtraError("torch", "Adapting towers") from error


class LowRank(nn.Module):
    """A parametrization that adds a product of two thin matrices to a weight, or to parts of it.

    As a parametrization it works where a module hands its weight to a fused kernel and never calls
    a layer, as ``nn.MultiheadAttention`` does with the queries, keys and values of open_clip.

    Args:
        weight: Of a linear layer, shape (out, in), or of a 1 x 1 convolution, (out, in, 1, 1).
        parts: What the weight's blocks of equal height are, from the first row on, as in
            ("q", "k", "v").
        adapted: Which of them are adapted, each by a product of its own; in the same order.
        rank: R, rows of A and columns of B.
        alpha: The product is multiplied by alpha / sqrt(R).
    """

    def __init__(
        self,
        weight: Tensor,
        *,
        parts: tuple[str, ...],
        adapted: tuple[str, ...],
        rank: int,
        alpha: float,
    ) -> None:
        super().__init__()
        rows, columns = weight.shape[0] // len(parts), weight[0].numel()
        self.parts = parts
        self.adapted = adapted
        self.rank = rank
        self.alpha = alpha
        self.lora_A = nn.Parameter(weight.new_zeros(len(adapted), rank, columns))
        self.lora_B = nn.Parameter(weight.new_zeros(len(adapted), rows, rank))

    def initialize(self, generator: torch.Generator) -> None:
        """Draw A as the weights of a linear layer are drawn; B stays zero, so nothing changes."""
        with torch.no_grad():
            for matrix in self.lora_A:
                nn.init.kaiming_uniform_(matrix, a=math.sqrt(5), generator=generator)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the adapted weight, of the same shape."""
        if not self.alpha:
            return weight
        # In the precision of the weights: autocast would round the product to 16 bits first.
        with torch.autocast(weight.device.type, enabled=False):
            change = self.alpha / math.sqrt(self.rank) * (self.lora_B @ self.lora_A)
            blocks = list(weight.flatten(1).chunk(len(self.parts)))
            for part, product in zip(self.adapted, change, strict=True):
                block = self.parts.index(part)
                # Minus its negative: a sum with +0 would turn every weight of -0 into +0.
                blocks[block] = blocks[block] - (0.0 - product)
            return torch.cat(blocks).view_as(weight)


def attach(module: nn.Module, parameter: str, adapter: LowRank) -> None:
    """Let a module read one of its parameters adapted; the parameter itself is frozen."""
    getattr(module, parameter).requires_grad_(False)  # noqa: FBT003
    # unsafe: torch would compare the weight before and after, which takes a pass over it.
    parametrize.register_parametrization(module, parameter, adapter, unsafe=True)


def adapters(model: nn.Module) -> Iterator[tuple[str, LowRank]]:
    """Yield the adapters of a model, each with the name of its weight in the plain model."""
    for path, module in model.named_modules():
        if parametrize.is_parametrized(module):
            for parameter, several in module.parametrizations.items():
                yield f"{path}.{parameter}", several[0]


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of a model with its adapters merged, under the names without them.

    Args:
        model: With adapters or without.

    Returns:
        Every tensor by name, without gradient; those without an adapter share the model's memory.
    """
    state: dict[str, Tensor] = model.state_dict()
    for name, _ in list(adapters(model)):
        path, _, parameter = name.rpartition(".")
        with torch.no_grad():
            merged = getattr(model.get_submodule(path), parameter)
        inside = f"{path}.parametrizations.{parameter}."
        state = {key: value for key, value in state.items() if not key.startswith(inside)}
        state[name] = merged
    return state
