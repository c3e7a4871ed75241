"""What a model says of itself: its logit scale, and open_clip's own modules."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

import clipkit
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from tests.models.conftest import make_open_clip, tiny_config, write_directory


def test_an_encoder_says_what_it_is(encoder: Encoder) -> None:
    assert "embed_dim=3" in repr(encoder)
    assert "space_id='fake'" in repr(encoder)


def test_the_scale_of_the_starter_is_its_stored_parameter_on_both_engines(
    starter: Encoder, starter_folder: Path
) -> None:
    stored = load_file(starter_folder / "open_clip_model.safetensors")["logit_scale"]
    for encoder in (starter, clipkit.load("starter", engine="torch", device="cpu")):
        assert encoder.logit_scale == pytest.approx(math.exp(stored.item()))
        assert encoder.logit_bias is None


@pytest.mark.parametrize("bias", [None, -10.0])
def test_scale_and_bias_are_those_of_open_clips_own_logits(
    tmp_path: Path, bias: float | None
) -> None:
    # open_clip's get_logits multiplies cosines by the scale and adds the bias.
    config: dict[str, Any] = tiny_config(init_logit_bias=bias)
    model = make_open_clip(config)
    write_directory(tmp_path, model, config)
    encoder = clipkit.load(tmp_path, device="cpu", cache_texts=False)
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    text = torch.randint(1, 99, (3, 16), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        logits, _ = model.get_logits(image, text)
        cosines = (
            model.encode_image(image, normalize=True) @ model.encode_text(text, normalize=True).T
        )
    mine = encoder.logit_scale * cosines + (encoder.logit_bias or 0.0)
    np.testing.assert_allclose(mine, logits, rtol=1e-5)
    assert encoder.scoring.is_sigmoid == (bias is not None)


# --- open_clip's modules --------------------------------------------------------------------------


def test_open_clips_modules_compute_the_embeddings(samples: list[Path], starter: Encoder) -> None:
    encoder = clipkit.load("starter", engine="torch", device="cpu", cache_texts=False)
    towers = encoder.towers
    texts = ["a cat", "a red boat on a lake"]
    images = [Image.open(path) for path in samples[:2]]
    with torch.inference_mode():
        found = [
            towers.image_encoder(torch.stack([towers.preprocess(image) for image in images])),
            towers.text_encoder(towers.tokenizer(texts)),
        ]
    for features, expected in zip(
        found, (encoder.encode_images(images), encoder.encode_texts(texts)), strict=True
    ):
        rows = torch.nn.functional.normalize(features, dim=-1)[:, : encoder.embed_dim]
        np.testing.assert_allclose(rows, expected, atol=1e-5)
    assert encoder.towers is towers, "their tokenizer takes a second"


def test_what_is_trained_of_the_modules_is_what_the_encoder_computes_with(
    tiny_checkpoint: Path, samples: list[Path]
) -> None:
    encoder = clipkit.load(tiny_checkpoint, engine="torch", device="cpu", cache_texts=False)
    towers = encoder.towers
    before = encoder.encode_texts(["a cat"])
    features = towers.text_encoder(towers.tokenizer(["a cat"]))
    features.sum().backward()
    with torch.no_grad():
        for item in towers.text_encoder.parameters():
            assert item.grad is not None
            item.sub_(item.grad, alpha=0.1)
    assert np.abs(encoder.encode_texts(["a cat"]) - before).max() > 1e-3


def test_the_compiled_engine_has_no_modules(starter: Encoder) -> None:
    with pytest.raises(InputError, match=r'open_clip\'s modules .* onnx .* engine="torch"'):
        _ = starter.towers
