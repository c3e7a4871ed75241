"""The last block of a vision transformer, against the tower itself and slow formulas."""

import math
from typing import Any

import open_clip
import pytest
import timm
import torch
from timm.models.vision_transformer import Block
from torch import Tensor

from clipkit.errors import InputError
from clipkit.explanation.last_block import (
    NEIGHBOUR_SPREAD,
    Attention,
    attend,
    block_embeddings,
    has_last_block,
    heads,
    last_block,
    tokens_before,
)
from clipkit.explanation.patches import LastLayer, each_alone, last_layer

GRID = (2, 3)


def native(**vision: Any) -> Any:
    torch.manual_seed(0)
    vision_cfg = {"image_size": (32, 48), "layers": 2, "width": 64, "patch_size": 16, **vision}
    text_cfg = {"context_length": 8, "vocab_size": 9, "width": 32, "heads": 2, "layers": 1}
    return open_clip.CLIP(24, vision_cfg, text_cfg).eval().visual


def siglip() -> Any:
    from open_clip.timm_model import TimmModel

    torch.manual_seed(0)
    visual = TimmModel.__new__(TimmModel)
    torch.nn.Module.__init__(visual)
    visual.trunk = timm.create_model(
        "vit_base_patch16_siglip_224",
        num_classes=0,
        img_size=(32, 48),
        embed_dim=64,
        depth=2,
        num_heads=2,
    )
    visual.head = torch.nn.Sequential()
    return visual.eval()


def image() -> Tensor:
    return torch.randn(1, 3, 32, 48, generator=torch.Generator().manual_seed(1))


def blocks() -> list[Any]:
    torch.manual_seed(0)
    normed = Block(64, 4, qkv_bias=True, qk_norm=True, init_values=0.3)
    return [last_block(native(ls_init_value=0.3)), last_block(siglip()), normed.eval()]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_queries_keys_and_values_make_the_blocks_own_output(number: int) -> None:
    block = blocks()[number]
    tokens = torch.randn(1, 7, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        query, key, value = heads(block, tokens)
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
        if number == 0:
            tokens_after = tokens + block.ls_1(block.attn.out_proj(mixed))
            tokens_after = tokens_after + block.ls_2(block.mlp(block.ln_2(tokens_after)))
        else:
            tokens_after = tokens + block.ls1(block.attn.proj(mixed))
            tokens_after = tokens_after + block.ls2(block.mlp(block.norm2(tokens_after)))
        torch.testing.assert_close(tokens_after, block(tokens), atol=1e-6, rtol=0)


@pytest.mark.parametrize("attention", ["clearclip", "naclip"])
@pytest.mark.parametrize("prefix", [0, 1])
def test_attention_is_that_of_the_papers_place_by_place(attention: Attention, prefix: int) -> None:
    block = last_block(native())
    count = prefix + GRID[0] * GRID[1]
    tokens = torch.randn(1, count, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found = attend(block, tokens, attention, GRID, prefix=prefix)
        normed = block.ln_1(tokens)[0]
        weight, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
        parts = [normed @ weight[i * 64 :][:64].T + bias[i * 64 :][:64] for i in range(3)]
        width = 64 // block.attn.num_heads
        rows = []
        for token in range(count):
            joined = []
            for start in range(0, 64, width):
                same = parts[0 if attention == "clearclip" else 1][:, start : start + width]
                powers = []
                for other in range(count):
                    score = float(same[token] @ same[other]) / math.sqrt(width)
                    if attention == "naclip" and min(token, other) >= prefix:
                        a, b = (divmod(place - prefix, GRID[1]) for place in (token, other))
                        squared = (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2
                        score += math.exp(-squared / (2 * NEIGHBOUR_SPREAD**2))
                    powers.append(math.exp(score))
                values = parts[2][:, start : start + width]
                shares = torch.tensor(powers) / sum(powers)
                joined.append((shares[:, None] * values).sum(dim=0))
            rows.append(block.attn.out_proj(torch.cat(joined)))
    torch.testing.assert_close(found[0], torch.stack(rows), atol=1e-5, rtol=0)


def test_the_spread_is_the_published_one() -> None:
    assert NEIGHBOUR_SPREAD == 5


@pytest.mark.parametrize(
    "vision", [{}, {"final_ln_after_pool": True}, {"pool_type": "avg", "final_ln_after_pool": True}]
)
def test_places_of_a_native_tower_are_pooled_as_it_pools(vision: dict[str, Any]) -> None:
    visual = native(**vision)
    with torch.no_grad():
        layer = last_layer(visual, image())
        found = each_alone(visual, layer)
        patches = layer.features[0, 1:]
        torch.testing.assert_close(found, visual.ln_post(patches) @ visual.proj)
        # The class token in the place of a patch is what the tower itself puts out.
        if not vision.get("pool_type"):
            swapped = layer.features[:, [0, 0]]
            torch.testing.assert_close(
                each_alone(visual, LastLayer(swapped, (1, 1)))[0], visual(image())[0]
            )


def test_places_of_siglip_are_the_values_of_its_pooling() -> None:
    visual = siglip()
    pool = visual.trunk.attn_pool
    with torch.no_grad():
        layer = last_layer(visual, image())
        assert layer.grid == GRID
        value = pool.kv(layer.features[0])[:, 64:]
        pooled = pool.proj(value)
        expected = pooled + pool.mlp(pool.norm(pooled))
        torch.testing.assert_close(each_alone(visual, layer), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("attention", ["clearclip", "naclip"])
@pytest.mark.parametrize("make", [native, siglip])
def test_embeddings_are_of_a_grid_that_need_not_be_square(make: Any, attention: Attention) -> None:
    visual = make()
    with torch.no_grad():
        before = visual(image())
        found = block_embeddings(visual, image(), attention)
        assert found.shape[:2] == GRID
        torch.testing.assert_close(visual(image()), before, atol=0, rtol=0)
    assert not last_block(visual)._forward_pre_hooks


def test_a_hook_is_removed_when_the_tower_fails() -> None:
    visual = native()
    with pytest.raises(RuntimeError):
        block_embeddings(visual, torch.zeros(1, 3, 16, 16), "naclip")
    assert not last_block(visual)._forward_pre_hooks
    with pytest.raises(ZeroDivisionError), tokens_before(last_block(visual)):
        raise ZeroDivisionError
    assert not last_block(visual)._forward_pre_hooks


def test_a_block_of_another_kind_is_refused() -> None:
    visual = native(block_type="custom", qk_norm=True)
    assert not has_last_block(visual)
    with pytest.raises(InputError, match="no last block of attention"):
        block_embeddings(visual, image(), "naclip")
