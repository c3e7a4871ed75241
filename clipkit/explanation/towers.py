"""Heat by looking into the image tower: what torch is needed for.

Shapes: H x W places, D dimensions of the shared space, S image size.
"""

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from clipkit.embeddings import normalize_rows
from clipkit.encoder.encoder import Encoder
from clipkit.explanation.gradient import gradient_heat
from clipkit.explanation.heat_map import Method
from clipkit.explanation.last_block import block_embeddings, has_last_block
from clipkit.explanation.patches import each_alone, last_layer, on_grid

Inside = Literal["naclip", "clearclip", "patches", "gradient"]


class Places(NamedTuple):
    """What a method has found of an image."""

    embeddings: NDArray[np.float32]  # (H, W, D), of norm 1 or less
    heat: NDArray[np.float32] | None = None  # (H, W), 0 or more, where it is no cosine


def best_method(encoder: Encoder) -> Method:
    """Return "naclip" for a vision transformer that it can take, "windows" for another tower."""
    return "naclip" if has_last_block(encoder.towers.image_encoder) else "windows"


def tower_places(
    encoder: Encoder,
    pixel_values: NDArray[np.float32],
    method: Inside,
    direction: NDArray[np.float32],
) -> Places:
    """Return the embeddings of the places of one image, and its heat by gradients.

    Args:
        encoder: On torch. Its weights and modules stay as they are.
        pixel_values: Shape (3, S, S).
        method: Which.
        direction: What a gradient is for, shape (D,).

    Returns:
        The places; their heat only of the method "gradient".

    Raises:
        InputError: If the encoder does not run on torch, or its tower has no such layers.
    """
    visual = encoder.towers.image_encoder
    some = next(visual.parameters())
    batch = torch.from_numpy(pixel_values)[None].to(some.device, some.dtype)
    heat = None
    with torch.no_grad():
        if method == "gradient":
            wanted = torch.from_numpy(direction).to(batch)
            found, features = gradient_heat(visual, batch, wanted)
            heat = found.float().cpu().numpy()
        elif method == "patches":
            layer = last_layer(visual, batch)
            features = on_grid(each_alone(visual, layer), layer.grid)
        else:
            features = block_embeddings(visual, batch, method)
    rows = features[..., : encoder.embed_dim].float().cpu().numpy()
    grid = rows.shape[:2]
    embeddings = normalize_rows(rows.reshape(grid[0] * grid[1], -1))
    return Places(np.asarray(embeddings).reshape(*grid, -1), heat)
