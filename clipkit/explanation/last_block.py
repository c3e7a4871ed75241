"""The last block of a vision transformer, computed so that places keep what they show.

The block's own attention mixes the places for the class token. ClearCLIP lets each place attend to
those with the same query, NACLIP to those with the same key and to its neighbours; both leave out
the residual and the feed-forward part. Nothing in the tower is changed: the tokens before the block
are taken as they pass, and the block is computed from its weights.

Shapes: L tokens, of which P = H x W are patches, C channels, A heads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clipkit.errors import InputError
from clipkit.explanation.patches import (
    LastLayer,
    each_alone,
    is_native,
    last_layer,
    num_prefix,
    on_grid,
    unknown_tower,
)

Attention = Literal["naclip", "clearclip"]

NEIGHBOUR_SPREAD = 5.0  # patches; NACLIP's own setting, its gaussian_std


def has_last_block(visual: Any) -> bool:
    """Return whether the tower's last block is of a kind that is known here.

    These are open_clip's ResidualAttentionBlock and timm's Block with its plain attention: CLIP,
    SigLIP, CLIPA, CoCa and others. EVA's, whose positions turn queries and keys, is not.
    """
    block = last_block(visual)
    if block is None or isinstance(block, nn.Sequential):
        return False
    if is_native(visual):
        return isinstance(getattr(block, "attn", None), nn.MultiheadAttention)
    attention = getattr(block, "attn", None)
    is_plain = type(attention).__name__ == "Attention" and hasattr(attention, "qkv")
    return is_plain and type(block).__name__ == "Block" and hasattr(visual.trunk, "norm")


def last_block(visual: Any) -> Any:
    """Return the last block of a transformer with one list of them; None of any other tower."""
    if is_native(visual):
        return visual.transformer.resblocks[-1]
    blocks = getattr(getattr(visual, "trunk", None), "blocks", None)
    is_transformer = hasattr(getattr(visual, "trunk", None), "patch_embed")
    return blocks[-1] if blocks is not None and is_transformer else None


def block_embeddings(visual: Any, pixel_values: Tensor, attention: Attention) -> Tensor:
    """Return features of the places of one image, as a method computes the last block.

    Args:
        visual: open_clip's module.
        pixel_values: Shape (1, 3, S, S).
        attention: The method.

    Returns:
        Features of any norm, shape (H, W, E).

    Raises:
        InputError: If the tower's last block is of another kind.

    Source:
        Lan et al. 2024, "ClearCLIP" (arXiv 2407.12442); Hajimiri et al. 2024, "Pay Attention to
        Your Neighbours" (arXiv 2404.08181) and its code, ``clip/model.py``.
    """
    if not has_last_block(visual):
        raise InputError(unknown_tower(visual, "last block of attention"))
    block = last_block(visual)
    with tokens_before(block) as seen:
        layer = last_layer(visual, pixel_values)
    tokens = attend(block, seen[0], attention, layer.grid, prefix=num_prefix(visual))
    if not is_native(visual):
        tokens = visual.trunk.norm(tokens)
    return on_grid(each_alone(visual, LastLayer(tokens, layer.grid)), layer.grid)


@contextmanager
def tokens_before(block: nn.Module) -> Iterator[list[Tensor]]:
    """Give a list that holds, once the tower has run, the tokens that came to a block."""
    seen: list[Tensor] = []
    handle = block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        handle.remove()


def attend(
    block: Any, tokens: Tensor, attention: Attention, grid: tuple[int, int], *, prefix: int
) -> Tensor:
    """Return what a block's attention alone makes of tokens, shape (1, L, C).

    Args:
        block: open_clip's or timm's.
        tokens: That came to the block, shape (1, L, C).
        attention: How they attend to each other.
        grid: (H, W) of the patches.
        prefix: Tokens before the patches.

    Returns:
        Without the residual and the feed-forward part.
    """
    query, key, value = heads(block, tokens)
    same = query if attention == "clearclip" else key
    scores = same @ same.transpose(-2, -1) * same.shape[-1] ** -0.5  # (1, A, L, L)
    if attention == "naclip":
        near = neighbours(grid).to(scores)
        scores[:, :, prefix:, prefix:] += near
    mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
    module = block.attn
    if isinstance(module, nn.MultiheadAttention):
        output: Tensor = block.ls_1(module.out_proj(mixed))
        return output
    mixed = module.norm(mixed)
    gate = getattr(module, "gate", None)
    if gate is not None:
        mixed = mixed * gate(block.norm1(tokens)).sigmoid()
    output = block.ls1(module.proj(mixed))
    return output


def heads(block: Any, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values of a block by head, shape (1, A, L, C / A) each."""
    module = block.attn
    if isinstance(module, nn.MultiheadAttention):
        x = block.ln_1(tokens)
        parts = nn.functional.linear(x, module.in_proj_weight, module.in_proj_bias)
    else:
        parts = module.qkv(block.norm1(tokens))
    split = parts.reshape(*tokens.shape[:2], 3, module.num_heads, -1)
    query, key, value = split.permute(2, 0, 3, 1, 4)
    if not isinstance(module, nn.MultiheadAttention):
        query, key = module.q_norm(query), module.k_norm(key)
    return query, key, value


def neighbours(grid: tuple[int, int]) -> Tensor:
    """Return what NACLIP adds to the scores of patches: 1 to itself, less with distance, (P, P)."""
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1).float()
    squared = ((places[:, None] - places[None]) ** 2).sum(dim=-1)
    return torch.exp(-squared / (2 * NEIGHBOUR_SPREAD**2))
