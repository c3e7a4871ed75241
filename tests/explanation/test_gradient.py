"""Heat by gradients on every kind of tower, and that it leaves the tower as it was."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from clipkit.errors import InputError
from clipkit.explanation import gradient
from clipkit.explanation.gradient import gradient_heat
from clipkit.explanation.patches import each_alone, last_layer
from tests.models.conftest import make_open_clip

TEXT = {"context_length": 8, "vocab_size": 9, "width": 32, "heads": 2, "layers": 1}
VISIONS: dict[str, dict[str, Any]] = {
    "native": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8},
    "efficientnet": {"timm_model_name": "tf_efficientnet_lite0", "timm_proj": "mlp"},
    "convnext": {"timm_model_name": "convnext_atto", "timm_pool": "", "timm_proj": "linear"},
    "swin": {"timm_model_name": "swin_s3_tiny_224", "timm_pool": "", "timm_proj": "linear"},
    "eva": {"timm_model_name": "eva02_tiny_patch14_224", "timm_pool": "token", "timm_proj": None},
}
SIZES = {"efficientnet": 64, "convnext": 64, "swin": 224, "eva": 224}


def tower(kind: str) -> tuple[Any, torch.Tensor]:
    vision = {"image_size": SIZES.get(kind, 64), **VISIONS[kind]}
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": TEXT}
    visual = make_open_clip(config).visual
    size = int(vision["image_size"])
    return visual, torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", VISIONS)
def test_heat_lies_on_the_places_and_the_tower_stays_as_it_was(kind: str) -> None:
    visual, pixels = tower(kind)
    direction = torch.randn(24, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        before = visual(pixels)
        heat, places = gradient_heat(visual, pixels, direction)
        layer = last_layer(visual, pixels)
        torch.testing.assert_close(places.flatten(0, 1), each_alone(visual, layer))
        torch.testing.assert_close(visual(pixels), before, atol=0, rtol=0)
    assert heat.shape == places.shape[:2] == layer.grid
    assert heat.min() >= 0 and heat.max() > 0 and not heat.requires_grad
    assert all(parameter.grad is None for parameter in visual.parameters())
    for module in visual.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_the_heat_is_gradient_times_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    # A tower of one linear layer, whose gradient is known: places (1, 2), channels 2, features 2.
    class Trunk(nn.Module):
        feature_info = ({"module": "stage", "reduction": 16},)

        def __init__(self) -> None:
            super().__init__()
            self.stage = nn.Identity()

        def forward_features(self, x: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = self.stage(x)
            return features

        def forward_head(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)

    visual = nn.Module()
    visual.trunk, visual.head = Trunk(), nn.Identity()
    features = torch.tensor([[3.0, 0.6], [4.0, 0.8 * 3]]).reshape(1, 2, 1, 2)
    direction = torch.tensor([1.0, 0.0])
    heat, _ = gradient_heat(visual, features, direction)

    def score(flat: np.ndarray[Any, Any]) -> float:
        x, y = flat.reshape(2, 2)
        cosines = x / np.sqrt(x**2 + y**2)
        return float(np.log(np.exp(gradient.SHARPNESS * cosines / spread).sum()))

    flat = features.numpy().astype(np.float64).ravel()
    x, y = flat.reshape(2, 2)
    spread = np.std(x / np.sqrt(x**2 + y**2), ddof=1)
    steps = np.eye(4) * 1e-5
    slopes = np.array([(score(flat + s) - score(flat - s)) / 2e-5 for s in steps])
    expected = np.maximum((slopes * flat).reshape(2, 2).sum(axis=0), 0)
    np.testing.assert_allclose(heat[0], expected, atol=1e-4)


def test_a_tower_without_known_layers_is_refused() -> None:
    with pytest.raises(InputError, match="kind Linear has no layer of places"):
        gradient_heat(nn.Linear(2, 2), torch.zeros(1, 3, 8, 8), torch.ones(2))
