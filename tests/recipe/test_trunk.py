"""The trunk in two parts: together they are timm's, and each is computed once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from recipe import trunk as trunk_module
from recipe.packages import Cache, RecipeError
from recipe.picture import UnreadablePictureError
from recipe.trunk import ImageJob, Trunk


@pytest.fixture
def trunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trunk:
    """EfficientNet-Lite0 with weights of chance."""
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    monkeypatch.setattr(trunk_module, "load_network", lambda *_: network)
    return Trunk(Cache(tmp_path), 0)


def image(number: int) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (224, 224, 3), np.uint8)
    return Image.fromarray(pixels)


def fail() -> Image.Image:
    raise UnreadablePictureError("damaged")


def jobs() -> list[ImageJob]:
    return [
        ImageJob("first", lambda: image(1)),
        ImageJob("damaged", fail),
        ImageJob("second", lambda: image(2)),
    ]


def test_both_parts_together_are_the_network(trunk: Trunk) -> None:
    network: Any = trunk.network
    found = trunk.features("some", jobs())
    pixels = torch.stack([torch.from_numpy(np.array(image(number))) for number in (1, 2)])
    values = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        expected = network.forward_head(network.forward_features(values), pre_logits=True)
    # the maps between them are kept in half precision: 11 bits
    torch.testing.assert_close(found.features[[0, 2]], expected, rtol=2e-3, atol=2e-3)
    assert found.is_readable.tolist() == [True, False, True]
    assert not found.features[1].any()


def test_features_are_computed_once_for_the_layers_as_they_are(trunk: Trunk) -> None:
    found = trunk.features("some", jobs())
    again = [ImageJob(job.identity, fail) for job in jobs()]  # what cannot be made any more
    assert torch.equal(trunk.features("some", again).features, found.features)
    with torch.no_grad():
        trunk.network.conv_head.weight.mul_(0.5)
    assert not torch.allclose(trunk.features("some", again).features, found.features)


def test_pictures_none_of_which_can_be_read_are_refused(trunk: Trunk) -> None:
    with pytest.raises(RecipeError, match="none of 2 pictures"):
        trunk.features("some", [ImageJob("damaged", fail)] * 2)
