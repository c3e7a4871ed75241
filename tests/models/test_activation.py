"""What activations are called, against the modules that open_clip and transformers build."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from clipkit.errors import CheckpointError
from clipkit.models.activation import image_activation, text_activation, text_kind
from clipkit.models.locate import locate
from clipkit.models.sources import resolve_source
from tests.models.conftest import Family, make_open_clip, tiny_config

CLASSES = {"QuickGELU": "QuickGELU", "GELU": "GELU", "ReLU": "ReLU"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "image", "text"),
    [
        ("ViT-B-32", "GELU", "GELU"),
        ("ViT-B-32-quickgelu", "QuickGELU", "QuickGELU"),
        ("RN50", "ReLU", "GELU"),
        ("convnext", "as timm builds convnext_atto", "GELU"),
        ("hf-text", "GELU", "as bert has it"),
    ],
)
def test_names_are_those_of_the_modules_that_are_built(
    family: Callable[[str], Family], name: str, image: str, text: str
) -> None:
    case = family(name)
    files = locate(resolve_source(case.directory))
    assert image_activation(files.model_cfg) == image
    assert text_activation(files.model_cfg, files.text_config) == text
    kinds = {type(module).__name__ for module in case.model.visual.modules()}
    if image in CLASSES:
        assert CLASSES[image] in kinds
    if name == "hf-text":
        assert files.text_config is not None
        assert text_kind(files.text_config) == "bert"
        (layer, *_) = case.model.text.transformer.encoder.layer
        assert type(layer.intermediate.intermediate_act_fn).__name__ == "GELUActivation"
    else:
        tower = case.model.transformer if hasattr(case.model, "transformer") else None
        tower = tower if tower is not None else case.model.text.transformer
        assert type(tower.resblocks[0].mlp.gelu).__name__ == CLASSES[text]


def test_the_tanh_of_siglip_2_is_told() -> None:
    config = tiny_config()
    config["text_cfg"]["act_kwargs"] = {"approximate": "tanh"}
    block = make_open_clip(config).transformer.resblocks[0]
    assert isinstance(block.mlp.gelu, nn.GELU)
    assert block.mlp.gelu.approximate == "tanh"
    assert text_activation(config, None) == "GELU (tanh)"
    assert image_activation(config) == "GELU"


def test_a_hugging_face_config_names_its_own(tmp_path: Path) -> None:
    for content, expected in (
        ({"model_type": "bert", "hidden_act": "relu"}, "relu"),
        ({"model_type": "mt5", "feed_forward_proj": "gated-gelu"}, "gated-gelu"),
        ({"model_type": "m2m_100", "activation_function": "relu"}, "relu"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(content))
        assert text_activation(tiny_config(), tmp_path) == expected
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        text_activation(tiny_config(), tmp_path)
