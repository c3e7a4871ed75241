"""Embeddings of the places of an image tower's last layer, through the tower's own head.

What the tower does to all of its places at the end (pooling, norm, projection) is done to each
place alone: attention to one place is its value, the mean of one place is itself. So each place has
a cosine in the shared space, without a formula for each kind of head.

Shapes: P = H x W places, L tokens with those of classes, C channels, E features.
"""

from typing import Any, NamedTuple

from torch import Tensor

from clipkit.errors import InputError


class LastLayer(NamedTuple):
    """What an image tower has of one image before it pools."""

    features: Tensor  # tokens (1, L, C), or a map (1, C, H, W), or (1, H, W, C)
    grid: tuple[int, int]  # (H, W)


def is_native(visual: Any) -> bool:
    """Return whether a tower is open_clip's own vision transformer."""
    return hasattr(visual, "transformer") and hasattr(visual, "ln_post")


def is_resnet(visual: Any) -> bool:
    """Return whether a tower is CLIP's ResNet."""
    return hasattr(visual, "attnpool") and hasattr(visual, "layer4")


def last_layer(visual: Any, pixel_values: Tensor) -> LastLayer:
    """Return the last layer of an image tower for one image.

    Args:
        visual: open_clip's module.
        pixel_values: Shape (1, 3, S, S).

    Returns:
        Its features: before the final norm of open_clip's transformer, which is part of its
        pooling, and after that of timm's.

    Raises:
        InputError: If it is a tower whose places are not known.
    """
    if is_native(visual):
        return LastLayer(visual.transformer(visual._embeds(pixel_values)), visual.grid_size)
    if is_resnet(visual):
        x = visual.stem(pixel_values)
        for stage in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            x = stage(x)
        return LastLayer(x, (x.shape[2], x.shape[3]))
    if not hasattr(visual, "trunk"):
        raise InputError(unknown_tower(visual))
    features: Tensor = visual.trunk.forward_features(pixel_values)
    if features.ndim == 3:
        return LastLayer(features, token_grid(visual, features))
    is_last = is_channels_last(visual)
    height, width = features.shape[1:3] if is_last else features.shape[2:]
    return LastLayer(features, (height, width))


def each_alone(visual: Any, layer: LastLayer) -> Tensor:
    """Return what the tower's pooling and projection make of each place alone.

    Args:
        visual: open_clip's module.
        layer: Of that tower.

    Returns:
        Features of any norm, shape (P, E).
    """
    features = layer.features
    if is_native(visual):
        uses_class = visual.attn_pool is None and visual.pool_type == "avg"
        alone = _tokens_alone(features, 1, keeps_prefix=uses_class)
        pooled: Tensor = visual._pool(alone)[0]
        return pooled if visual.proj is None else pooled @ visual.proj
    if is_resnet(visual):
        pool = visual.attnpool
        values: Tensor = pool.c_proj(pool.v_proj(features.flatten(2)[0].T))
        return values
    trunk = visual.trunk
    if features.ndim == 3:
        keeps_prefix = getattr(trunk, "global_pool", "") not in ("token", "map")
        alone = _tokens_alone(features, num_prefix(visual), keeps_prefix=keeps_prefix)
    elif is_channels_last(visual):
        alone = features.flatten(1, 2)[0][:, None, None]
    else:
        alone = features.flatten(2)[0].T[:, :, None, None]
    embedded: Tensor = visual.head(trunk.forward_head(alone))
    return embedded


def on_grid(rows: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return rows, one a place, laid out on a grid (H, W)."""
    return rows.reshape(*grid, *rows.shape[1:])


def num_prefix(visual: Any) -> int:
    """Return how many tokens before those of the patches are of no place."""
    return 1 if is_native(visual) else int(getattr(visual.trunk, "num_prefix_tokens", 0))


def is_channels_last(visual: Any) -> bool:
    """Return whether timm's trunk has its channels last, as Swin has."""
    return getattr(visual.trunk, "output_fmt", "NCHW") == "NHWC"


def token_grid(visual: Any, tokens: Tensor) -> tuple[int, int]:
    """Return the grid (H, W) that the patches of a timm transformer lie in.

    Args:
        visual: open_clip's adapter.
        tokens: Shape (1, L, C).

    Returns:
        Rows and columns.

    Raises:
        InputError: If the tower does not say.
    """
    count = tokens.shape[1] - num_prefix(visual)
    grid = getattr(getattr(visual.trunk, "patch_embed", None), "grid_size", None)
    if grid is None or grid[0] * grid[1] != count:
        raise InputError(unknown_tower(visual))
    return int(grid[0]), int(grid[1])


def unknown_tower(visual: Any, missing: str = "layer of places") -> str:
    """Return the message about a tower that a method cannot explain."""
    kind = type(getattr(visual, "trunk", visual)).__name__
    return (
        f"an image tower of the kind {kind} has no {missing} that this method knows: take the "
        'method "windows", which works with any model'
    )


def _tokens_alone(tokens: Tensor, prefix: int, *, keeps_prefix: bool) -> Tensor:
    """Return a sequence for each patch, shape (P, 1, C): with class tokens if a pool skips them."""
    import torch

    patches = tokens[0, prefix:, None]
    if not keeps_prefix or not prefix:
        return patches
    return torch.cat([tokens[:, :prefix].expand(len(patches), -1, -1), patches], dim=1)
