"""The last step of a preprocess, for pictures that wait as levels: where the tower runs."""

import torch
from torch import Tensor

from clipkit.inputs.preprocess import Preprocess


def standardize(levels: Tensor, preprocess: Preprocess) -> Tensor:
    """Return pictures as an image tower takes them, bit for bit as ``preprocess`` does.

    Args:
        levels: Pictures of the tower's size, 0..255, shape (B, 3, S, S).
        preprocess: The tower's.

    Returns:
        Pixel values in float32, where and in the layout in which the levels lie.
    """
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=levels.device)[:, None, None]
        for values in (preprocess.mean, preprocess.std)
    )
    return levels.float().div_(255).sub_(mean).div_(std)
