"""Heat by gradients: how much each place of an earlier layer does for the places that fit a text.

The gradient is that of the best places' cosines, each pooled alone, and not of the whole image's:
an image of several things scores low for each of them, and its gradient points nowhere.

Shapes: H x W places of the last layer, C channels, E features.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from clipkit.errors import InputError
from clipkit.explanation.last_block import last_block
from clipkit.explanation.patches import (
    each_alone,
    is_channels_last,
    is_resnet,
    last_layer,
    num_prefix,
    on_grid,
    unknown_tower,
)

REDUCTION = 16  # pixels a side of a place, of the layer of a convolutional tower
SHARPNESS = 2.0  # of the soft maximum over places, per spread of their cosines


def gradient_heat(visual: Any, pixel_values: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Return the heat of one image by gradient times activation (HiResCAM), and its places.

    Args:
        visual: open_clip's module.
        pixel_values: Shape (1, 3, S, S).
        direction: What the places are to fit, shape (D,), D <= E: features past D are not used.

    Returns:
        The heat, 0 or more, of no scale, shape (H, W); and the features of the places of the last
        layer, shape (H, W, E).

    Raises:
        InputError: If it is a tower whose layers are not known.

    Source:
        Draelos & Carin 2020, "HiResCAM" (arXiv 2011.08891); the score is own.
    """
    module, is_before = _layer(visual)
    with torch.enable_grad(), _leaf_at(module, is_before=is_before) as seen:
        layer = last_layer(visual, pixel_values)
        places = each_alone(visual, layer)
        cosines = nn.functional.normalize(places[:, : len(direction)], dim=1) @ direction
        spread = cosines.detach().std().clamp_min(1e-12)
        score = torch.logsumexp(SHARPNESS * cosines / spread, dim=0)
        (gradient,) = torch.autograd.grad(score, seen)
    heat = _summed(visual, gradient * seen[0].detach(), layer.grid)
    if not (heat > 0).any():  # every place speaks against it: what does so least is the hottest
        heat = heat - heat.min()
    pooled = nn.functional.adaptive_avg_pool2d(heat.clamp_min(0)[None], layer.grid)[0]
    return pooled, on_grid(places.detach(), layer.grid)


def _layer(visual: Any) -> tuple[nn.Module, bool]:
    """Return the module whose features are weighed, and whether it is those before it."""
    if is_resnet(visual):
        return visual.layer3, False
    block = last_block(visual)
    if block is not None:
        return block, True
    stages = [
        info["module"]
        for info in getattr(getattr(visual, "trunk", None), "feature_info", None) or ()
        if info.get("reduction", 0) == REDUCTION
    ]
    if not stages:
        raise InputError(unknown_tower(visual))
    module: nn.Module = visual.trunk.get_submodule(stages[-1])
    return module, False


@contextmanager
def _leaf_at(module: nn.Module, *, is_before: bool) -> Iterator[list[Tensor]]:
    """Cut the graph at a module: what passes there is a leaf, and in the list that is given."""
    seen: list[Tensor] = []

    def cut(features: Tensor) -> Tensor:
        seen.append(features.detach().requires_grad_())
        return seen[-1]

    if is_before:
        handle = module.register_forward_pre_hook(lambda _, given: (cut(given[0]), *given[1:]))
    else:
        handle = module.register_forward_hook(lambda _, __, given: cut(given))
    try:
        yield seen
    finally:
        handle.remove()


def _summed(visual: Any, product: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return a product of features and gradients summed over channels, one number a place."""
    if product.ndim == 3:
        return on_grid(product[0, num_prefix(visual) :].sum(dim=-1), grid)
    is_last = hasattr(visual, "trunk") and is_channels_last(visual)
    summed: Tensor = product[0].sum(dim=-1 if is_last else 0)
    return summed
