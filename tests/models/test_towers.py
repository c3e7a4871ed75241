"""Token and patch features against open_clip's own tokens, of every kind of tower."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clipkit.errors import CheckpointError
from clipkit.models.checkpoint import load_towers
from clipkit.models.sources import resolve_source
from clipkit.models.towers import Towers
from tests.models.conftest import (
    TINY_BERT,
    TINY_TEXT,
    Family,
    make_open_clip,
    tiny_config,
    write_directory,
)

PIXEL_VALUES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
TOKEN_IDS = torch.randint(1, 99, (2, 16), generator=torch.Generator().manual_seed(4))


def _towers(config: dict[str, Any], place: Path) -> Towers:
    write_directory(place, make_open_clip(config), config)
    return load_towers(resolve_source(place))


def _spy(module: Any) -> list[Any]:
    """Return a list that gets what a module gives."""
    outputs: list[Any] = []
    module.register_forward_hook(lambda _, __, output: outputs.append(output))
    return outputs


def test_token_features_of_clip_are_what_its_final_norm_gives(tmp_path: Path) -> None:
    towers = _towers(tiny_config(), tmp_path)
    normed = _spy(towers.model.ln_final)
    towers.model.encode_text(TOKEN_IDS)
    expected = normed[0]

    tokens = towers.token_features(TOKEN_IDS)

    assert tokens.shape == (2, 16, 32)
    assert torch.equal(tokens, expected)
    ends = TOKEN_IDS.argmax(dim=-1)
    pooled = tokens[torch.arange(2), ends] @ towers.model.text_projection
    assert torch.allclose(pooled, towers.text_features(TOKEN_IDS), atol=1e-6)


def test_token_features_equal_open_clips_output_tokens(tmp_path: Path) -> None:
    config = tiny_config(custom_text=True)
    towers = _towers(config, tmp_path)
    towers.model.text.output_tokens = True
    _, expected = towers.model.text(TOKEN_IDS)
    towers.model.text.output_tokens = False

    assert torch.equal(towers.token_features(TOKEN_IDS), expected)


def test_token_features_of_a_hugging_face_tower_are_its_last_hidden_state(
    family: Callable[[str], Family],
) -> None:
    case = family("hf-text")
    towers = load_towers(resolve_source(case.directory))
    case.model.text.output_tokens = True
    _, expected = case.model.text(case.token_ids)
    case.model.text.output_tokens = False

    tokens = towers.token_features(case.token_ids)

    assert tokens.shape == (3, 16, 32)
    assert torch.equal(tokens, expected)


@pytest.mark.parametrize("settings", [{}, {"pool_type": "avg", "final_ln_after_pool": True}])
def test_patch_features_of_a_vit_equal_open_clips_output_tokens(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    config = tiny_config()
    config["vision_cfg"] |= settings
    towers = _towers(config, tmp_path)
    towers.model.visual.output_tokens = True
    _, expected = towers.model.visual(PIXEL_VALUES)
    towers.model.visual.output_tokens = False

    patches = towers.patch_features(PIXEL_VALUES)

    assert patches.shape == (2, 4, 64)
    assert torch.equal(patches, expected)


def test_patch_features_of_a_resnet_are_the_positions_of_its_last_stage(tmp_path: Path) -> None:
    vision_cfg = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
    towers = _towers(tiny_config(vision_cfg=vision_cfg), tmp_path)
    stage = _spy(towers.model.visual.layer4)
    pixel_values = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    towers.image_features(pixel_values)

    patches = towers.patch_features(pixel_values)

    assert patches.shape == (2, 4, 512)
    for row, column in ((0, 0), (0, 1), (1, 0)):
        assert torch.equal(patches[:, 2 * row + column], stage[0][:, :, row, column])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trunk", "shape"),
    [
        ("convnext_atto", (2, 4, 320)),
        ("vit_tiny_patch16_224", (2, 196, 192)),  # with a class token
        ("swin_tiny_patch4_window7_224", (2, 49, 768)),  # with the width last
    ],
)
def test_patch_features_of_a_timm_trunk_leave_out_class_tokens(
    tmp_path: Path, trunk: str, shape: tuple[int, ...]
) -> None:
    size = 64 if trunk.startswith("convnext") else 224
    vision_cfg = {"timm_model_name": trunk, "timm_pool": "", "image_size": size}
    towers = _towers(tiny_config(vision_cfg=vision_cfg), tmp_path)
    pixel_values = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        patches = towers.patch_features(pixel_values)
        grid = towers.model.visual.trunk.forward_intermediates(
            pixel_values, indices=1, norm=True, intermediates_only=True, output_fmt="NCHW"
        )[-1]
    assert patches.shape == shape
    if not trunk.startswith("convnext"):  # whose last norm belongs to its head
        assert torch.allclose(patches, grid.flatten(2).transpose(1, 2), atol=1e-5)


def test_coca_gives_features_tokens_and_patches(tmp_path: Path) -> None:
    config = tiny_config(
        custom_text=True,
        multimodal_cfg={
            "context_length": 16,
            "vocab_size": 99,
            "width": 32,
            "heads": 2,
            "layers": 1,
        },
        text_cfg={**TINY_TEXT, "context_length": 15, "embed_cls": True, "output_tokens": True},
    )
    config["vision_cfg"] |= {
        "attentional_pool": True,
        "attn_pooler_heads": 2,
        "attn_pooler_queries": 3,
        "output_tokens": True,
    }
    import open_clip

    model = open_clip.CoCa(**{key: config[key] for key in config if key != "custom_text"}).eval()
    write_directory(tmp_path, model, config)
    towers = load_towers(resolve_source(tmp_path))
    token_ids = TOKEN_IDS[:, :15]

    with torch.inference_mode():
        image = model.encode_image(PIXEL_VALUES, normalize=False)
        assert torch.equal(towers.image_features(PIXEL_VALUES), image)
        text = model.encode_text(token_ids, normalize=False)
        assert torch.equal(towers.text_features(token_ids), text)
        assert towers.token_features(token_ids).shape == (2, 15, 32)
        assert towers.patch_features(PIXEL_VALUES).shape == (2, 4, 64)


def test_kept_dims_outside_the_space_are_refused() -> None:
    for kept_dims in (0, 25):
        with pytest.raises(CheckpointError, match=f"must be between 1 and 24, got {kept_dims}"):
            Towers(
                torch.nn.Identity(),
                model_cfg=tiny_config(),
                preprocess_cfg={},
                tokenizer_source=Path(),
                kept_dims=kept_dims,
            )


TINY_HUGGING_FACE = {
    "bert": TINY_BERT,
    "roberta": {**TINY_BERT, "model_type": "roberta", "pad_token_id": 1},
    "xlm-roberta": {**TINY_BERT, "model_type": "xlm-roberta", "pad_token_id": 1},
    "mt5": {
        "model_type": "mt5",
        "vocab_size": 99,
        "d_model": 32,
        "d_kv": 16,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 2,
        "pad_token_id": 0,
    },
    "m2m_100": {  # NLLB
        "model_type": "m2m_100",
        "vocab_size": 99,
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 64,
        "pad_token_id": 1,
    },
}


def _plain_towers(config: dict[str, Any], model: Any = None) -> Towers:
    return Towers(
        model or make_open_clip(config),
        model_cfg=config,
        preprocess_cfg={"size": 32},
        tokenizer_source=Path(),
    ).eval()


def _native_towers(text_cfg: dict[str, Any], *, is_custom: bool) -> Towers:
    return _plain_towers(tiny_config(text_cfg={**TINY_TEXT, **text_cfg}, custom_text=is_custom))


def _hugging_face_towers(name: str, pooler: str, place: Path) -> Towers:
    (place / "config.json").write_text(json.dumps(TINY_HUGGING_FACE[name]))
    text_cfg = {
        "hf_model_name": str(place),
        "hf_model_pretrained": False,
        "hf_proj_type": "linear",
        "hf_pooler_type": pooler,
        "context_length": 16,
    }
    return _plain_towers(tiny_config(text_cfg=text_cfg))


def _padded_rows(padding_id: int, end_id: int) -> torch.Tensor:
    """Return rows of 4, 9 and 6 tokens, each with its end, and then padding."""
    token_ids = torch.randint(3, 90, (3, 16), generator=torch.Generator().manual_seed(5))
    for row, length in zip(token_ids, (4, 9, 6), strict=True):
        row[length - 1] = end_id
        row[length:] = padding_id
    return token_ids


@pytest.mark.parametrize("is_custom", [False, True], ids=["CLIP", "CustomTextCLIP"])
@pytest.mark.parametrize(
    ("text_cfg", "padding_id", "end_id"),
    [
        ({}, 0, 98),
        ({"pool_type": "argmax", "pad_id": 7}, 0, 98),  # 7 could be a row's highest id
        ({"pool_type": "eos", "eos_id": 2}, 0, 2),
        ({"pool_type": "eos", "pad_id": 1}, 1, 2),
        ({"proj_bias": True}, 0, 98),
        ({"proj_type": "none", "width": 24}, 0, 98),
        ({"qk_norm": True, "scale_heads": True}, 0, 98),  # blocks of another class
    ],
)
def test_causal_towers_take_rows_without_their_padding(
    text_cfg: dict[str, Any], padding_id: int, end_id: int, is_custom: bool
) -> None:
    towers = _native_towers(text_cfg, is_custom=is_custom)
    assert towers.padding_id == padding_id
    token_ids = _padded_rows(padding_id, end_id)
    with torch.inference_mode():
        expected = towers.model.encode_text(token_ids)
        assert torch.equal(towers.text_features(token_ids), expected)
        torch.testing.assert_close(
            towers.text_features(token_ids[:, :9]), expected, atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize(
    "text_cfg",
    [
        {"no_causal_mask": True},  # MobileCLIP-S
        {"no_causal_mask": True, "pool_type": "last"},  # SigLIP, CLIPA
        {"pool_type": "last"},
        {"pool_type": "first"},
        {"pool_type": "eos", "eos_id": 0},  # the end is the padding
        {"embed_cls": True},  # CoCa
    ],
)
def test_native_towers_that_see_their_padding_keep_rows_whole(text_cfg: dict[str, Any]) -> None:
    towers = _native_towers(text_cfg, is_custom=True)
    assert towers.padding_id is None
    with torch.inference_mode():
        assert torch.equal(towers.text_features(TOKEN_IDS), towers.model.encode_text(TOKEN_IDS))


@pytest.mark.parametrize("text_cfg", [{"no_causal_mask": True}, {"embed_cls": True}])
def test_what_keeps_rows_whole_does_change_with_the_padding(text_cfg: dict[str, Any]) -> None:
    """What open_clip's own tower gives at another length, where it takes one."""
    towers = _native_towers(text_cfg, is_custom=True)
    token_ids = _padded_rows(0, 98)
    with torch.inference_mode():
        whole, cut = towers.model.text(token_ids), towers.model.text(token_ids[:, :9])
    assert (whole - cut).abs().max() > 0.1


@pytest.mark.parametrize("pooler", ["mean_pooler", "cls_pooler", "cls_last_hidden_state_pooler"])
@pytest.mark.parametrize("name", TINY_HUGGING_FACE)
def test_hugging_face_towers_take_rows_without_their_padding(
    name: str, pooler: str, tmp_path: Path
) -> None:
    towers = _hugging_face_towers(name, pooler, tmp_path)
    padding_id: Any = TINY_HUGGING_FACE[name]["pad_token_id"]
    assert towers.padding_id == padding_id
    token_ids = _padded_rows(padding_id, 2)
    with torch.inference_mode():
        expected = towers.model.encode_text(token_ids)
        torch.testing.assert_close(
            towers.text_features(token_ids[:, :9]), expected, atol=1e-5, rtol=1e-5
        )


def test_hugging_face_towers_that_were_not_compared_keep_rows_whole(tmp_path: Path) -> None:
    assert _hugging_face_towers("bert", "max_pooler", tmp_path).padding_id is None
    towers = _hugging_face_towers("bert", "mean_pooler", tmp_path)
    towers.model.text.config.model_type = "another"
    assert towers.padding_id is None


def test_coca_without_a_class_token_takes_rows_without_their_padding() -> None:
    import open_clip

    decoder = {"context_length": 16, "vocab_size": 99, "width": 32, "heads": 2, "layers": 1}
    config = tiny_config(text_cfg={**TINY_TEXT, "output_tokens": True}, multimodal_cfg=decoder)
    towers = _plain_towers(config, open_clip.CoCa(**config))
    assert towers.padding_id == 0
    token_ids = _padded_rows(0, 98)
    with torch.inference_mode():
        expected = towers.model.encode_text(token_ids, normalize=False)
        torch.testing.assert_close(
            towers.text_features(token_ids[:, :9]), expected, atol=1e-5, rtol=1e-5
        )


def test_an_encoder_of_other_dimensions_than_the_config_says_is_named(tmp_path: Path) -> None:
    # timm's own trunk without a projection gives its width, whatever embed_dim is.
    vision = {"timm_model_name": "test_vit", "timm_model_pretrained": False, "image_size": 32}
    vision |= {"timm_pool": "avg", "timm_proj": "none"}
    config = tiny_config(vision_cfg=vision, text_cfg=dict(TINY_TEXT))
    towers = _towers(config, tmp_path / "model")
    with pytest.raises(CheckpointError, match="image encoder gives 64 numbers, and embed_dim of"):
        towers.image_features(PIXEL_VALUES)
    assert towers.text_features(TOKEN_IDS).shape == (2, config["embed_dim"])
