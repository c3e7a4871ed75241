"""open_clip's own modules of a loaded checkpoint, against those that open_clip makes itself."""

from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from clipkit.models.checkpoint import load_towers
from clipkit.models.open_clip_towers import open_clip_towers
from clipkit.models.sources import resolve_source
from tests.models.conftest import Family


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("ViT-B-32-quickgelu", marks=pytest.mark.slow),
        pytest.param("ViT-B-16-SigLIP", marks=pytest.mark.slow),
        "hf-text",
    ],
)
def test_the_modules_of_every_family_are_open_clips(
    family: Callable[[str], Family], samples: list[Path], name: str
) -> None:
    case = family(name)
    towers = open_clip_towers(load_towers(resolve_source(case.directory)))
    tokenizer = open_clip.get_tokenizer(f"local-dir:{case.directory}")
    words = ["w1 w2 A dog", ""]
    assert torch.equal(towers.tokenizer(words), tokenizer(words))
    preprocess = image_transform_v2(
        PreprocessCfg(**case.model.visual.preprocess_cfg), is_train=False
    )
    with Image.open(samples[0]) as image, torch.inference_mode():
        pixel_values = preprocess(image)[None]
        assert torch.equal(towers.preprocess(image)[None], pixel_values)
        assert torch.equal(
            towers.image_encoder(pixel_values), case.model.encode_image(pixel_values)
        )
        assert torch.equal(
            towers.text_encoder(case.token_ids), case.model.encode_text(case.token_ids)
        )
    mine = {id(item) for item in towers.model.parameters()}
    for tower in (towers.image_encoder, towers.text_encoder):
        assert {id(item) for item in tower.parameters()} < mine
