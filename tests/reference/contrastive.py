"""The contrastive losses pair by pair, as the papers print them, and their gradient at once."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def infonce(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    captions: Sequence[int],
    image_keys: Sequence[int],
) -> Tensor:
    """Return CLIP's loss (arXiv 2103.00020, figure 3) without negatives that are the same."""
    num = len(captions)
    total = torch.zeros((), dtype=images.dtype)
    for i in range(num):
        others = [
            j for j in range(num) if captions[i] != captions[j] and image_keys[i] != image_keys[j]
        ]
        own = _logit(images[i], texts[i], scale, bias).exp()
        row = own + sum(_logit(images[i], texts[j], scale, bias).exp() for j in others)
        column = own + sum(_logit(images[j], texts[i], scale, bias).exp() for j in others)
        total = total - (own / row).log() - (own / column).log()
    return total / (2 * num)


def sigmoid(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    captions: Sequence[int],
    image_keys: Sequence[int],
) -> Tensor:
    """Return SigLIP's loss (arXiv 2303.15343, equation 1), those that are the same as matches."""
    num = len(captions)
    total = torch.zeros((), dtype=images.dtype)
    for i in range(num):
        for j in range(num):
            is_same = captions[i] == captions[j] or image_keys[i] == image_keys[j]
            sign = 1 if is_same else -1
            total = total + (1 + (-sign * _logit(images[i], texts[j], scale, bias)).exp()).log()
    return total / num


def gradients(module: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """Return the gradient of a loss by name of parameter; zeros where it does not depend on it."""
    named = {name: item for name, item in module.named_parameters() if item.requires_grad}
    parts = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {
        name: torch.zeros_like(item) if part is None else part
        for (name, item), part in zip(named.items(), parts, strict=True)
    }


def largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Return the largest difference of two gradients, of which the second must not be small."""
    assert first.keys() == second.keys()
    assert max(float(tensor.abs().max()) for tensor in second.values()) > 1e-3
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def _logit(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    cosine: Tensor = (image * text).sum() / (image.norm() * text.norm())
    logit = scale * cosine
    return logit if bias is None else logit + bias
