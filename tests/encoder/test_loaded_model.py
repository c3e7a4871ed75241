"""What a model says of itself: its logit scale, and open_clip's own modules."""

import json
import math
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace
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


def trainable(directory: Path, *, truncate_dim: int | None = None) -> Encoder:
    """Return an encoder that keeps embeddings of texts on disk."""
    return clipkit.load(directory, engine="torch", device="cpu", truncate_dim=truncate_dim)


def change_weights(encoder: Encoder) -> None:
    """Train the text encoder a bit, in a way that torch's own counters of changes do not see."""
    for item in encoder.towers.text_encoder.parameters():
        item.data.add_(torch.randn(item.shape, generator=torch.Generator().manual_seed(0)))


def test_embeddings_of_changed_weights_are_not_cached(tiny_checkpoint: Path) -> None:
    encoder = trainable(tiny_checkpoint)
    before_it, texts, prompts = encoder.truncated(4), ["a cat"], [["a cat", "a dog"]]
    change_weights(encoder)
    for changed in (encoder, before_it, encoder.truncated(5)):
        changed.encode_texts(texts)
        changed.encode_prompts(prompts)
    for truncate_dim in (None, 4, 5):
        fresh = trainable(tiny_checkpoint, truncate_dim=truncate_dim)
        original = clipkit.load(
            tiny_checkpoint, engine="torch", truncate_dim=truncate_dim, cache_texts=False
        )
        np.testing.assert_array_equal(fresh.encode_texts(texts), original.encode_texts(texts))
        np.testing.assert_array_equal(
            fresh.encode_prompts(prompts), original.encode_prompts(prompts)
        )


def test_changed_weights_are_not_answered_from_the_cache(tiny_checkpoint: Path) -> None:
    encoder = trainable(tiny_checkpoint)
    truncated = encoder.truncated(4)
    before = [encoder.encode_texts(["a cat"]), truncated.encode_texts(["a cat"])]
    change_weights(encoder)
    after = [encoder.encode_texts(["a cat"]), truncated.encode_texts(["a cat"])]
    for old, new in zip(before, after, strict=True):
        assert np.abs(old - new).max() > 1e-3


def test_changed_weights_are_saved_with_the_space_they_have(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    encoder = trainable(tiny_checkpoint)
    change_weights(encoder)
    encoder.save(tmp_path / "tuned")
    config = json.loads((tmp_path / "tuned" / "open_clip_config.json").read_text())
    tuned = trainable(tmp_path / "tuned")
    assert config["clipkit_cfg"]["space_id"] == tuned.space_id != encoder.space_id
    np.testing.assert_allclose(
        tuned.encode_texts(["a cat"]), encoder.encode_texts(["a cat"]), atol=1e-6
    )


def test_changed_weights_do_not_stand_for_the_original_elsewhere(
    tiny_checkpoint: Path, samples: list[Path], tmp_path: Path
) -> None:
    encoder = trainable(tiny_checkpoint)
    shutil.copy(samples[0], tmp_path)
    library = clipkit.PhotoLibrary.open(tmp_path, encoder)
    _ = encoder.towers  # to look at
    library.sync()
    pickle.dumps(encoder)
    shutil.copy(samples[1], tmp_path)
    change_weights(encoder)
    file: Any = SimpleNamespace(path=samples[1].name, size=samples[1].stat().st_size, mtime_ns=0)
    for mix in (
        library.sync,
        lambda: library.search("a cat"),
        lambda: list(library.look_up([file]).stream(encoder)),
        lambda: pickle.dumps(encoder),
        lambda: pickle.dumps(encoder.truncated(4)),
        lambda: clipkit.EncoderPool(encoder, ["cpu"]),
    ):
        with pytest.raises(InputError, match=r"were changed through encoder\.towers.*save"):
            mix()


def test_the_compiled_engine_has_no_modules(starter: Encoder) -> None:
    with pytest.raises(InputError, match=r'open_clip\'s modules .* onnx .* engine="torch"'):
        _ = starter.towers
