"""Token and patch features against open_clip's own tokens, of every kind of tower."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clipkit.errors import CheckpointError
from clipkit.models.checkpoint import load_towers
from clipkit.models.sources import resolve_source
from clipkit.models.towers import Towers
from tests.models.conftest import TINY_TEXT, Family, make_open_clip, tiny_config, write_directory

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
