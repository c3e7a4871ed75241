"""clipkit.load on every family against open_clip's own pipeline: files in, embeddings out."""

import dataclasses
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

import clipkit
from clipkit.encoder.encoder import Encoder
from clipkit.errors import CheckpointError, InputError
from tests.models.conftest import (
    TINY_TEXT,
    Family,
    make_open_clip,
    tiny_config,
    write_directory,
)

TEXTS = ["a photo of a cat", "", "w1 w2 w94 A Dog, on a LAKE!", "w7 " * 90]


@pytest.fixture(scope="module")
def images(samples: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Samples as PNG, which no decoder scales, so that pixels are equal to the last bit."""
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"{path.stem}.png" for path in samples[:3]]
    for path, sample in zip(paths, samples, strict=False):
        with Image.open(sample) as image:
            image.convert("RGB").resize((300, 260)).save(path)
    return paths


def upstream(case: Family, images: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Return image and text embeddings by open_clip's own preprocess, tokenizer and model."""
    preprocess = image_transform_v2(
        PreprocessCfg(**case.model.visual.preprocess_cfg), is_train=False
    )
    tokenizer = open_clip.get_tokenizer(f"local-dir:{case.directory}")
    pixel_values = torch.stack([preprocess(Image.open(path)) for path in images])
    with torch.inference_mode():
        image = case.model.encode_image(pixel_values, normalize=True)
        text = case.model.encode_text(tokenizer(TEXTS), normalize=True)
    return image.numpy(), text.numpy()


def encode(encoder: Encoder, images: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    with warnings.catch_warnings():
        # Some of the texts are too long, and the small vocabularies know few words.
        warnings.simplefilter("ignore", clipkit.ClipkitWarning)
        return encoder.encode_images(images), encoder.encode_texts(TEXTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-B-32-quickgelu", "ViT-B-16-SigLIP", "convnext", "hf-text"])
def test_embeddings_equal_open_clips_and_survive_saving(
    family: Callable[[str], Family], images: list[Path], name: str, tmp_path: Path
) -> None:
    case = family(name)
    encoder = clipkit.load(case.directory, device="cpu", precision="fp32", cache_texts=False)
    image, text = encode(encoder, images)
    expected_image, expected_text = upstream(case, images)
    np.testing.assert_allclose(image, expected_image, atol=1e-5, rtol=0)
    np.testing.assert_allclose(text, expected_text, atol=1e-5, rtol=0)

    encoder.save(tmp_path / "saved")
    saved = f"local-dir:{tmp_path / 'saved'}"
    again = clipkit.load(saved, device="cpu", cache_texts=False)
    assert again.space_id == encoder.space_id
    assert again.scoring == encoder.scoring
    for first, second in zip((image, text), encode(again, images), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", ["native", "hf-text"])
def test_a_tokenizer_that_fills_and_cuts_on_the_left_gives_open_clips_embeddings(
    family: Callable[[str], Family], images: list[Path], name: str, tmp_path: Path
) -> None:
    theirs = family("hf-text")
    shutil.copytree(theirs.directory, tmp_path / "left")
    case = dataclasses.replace(theirs, directory=tmp_path / "left")
    if name == "native":  # behind a causal mask, so that what fills the end of rows is cut off
        text_cfg = {**TINY_TEXT, "vocab_size": 100, "hf_tokenizer_name": ".", "context_length": 16}
        model_cfg = tiny_config(text_cfg=text_cfg)
        model = make_open_clip(model_cfg)
        write_directory(case.directory, model, model_cfg)
        case = dataclasses.replace(case, model=model, model_cfg=model_cfg)
    space_ids = set()
    for change in (
        {},
        {"padding_side": "left"},
        {"padding_side": "left", "truncation_side": "left"},
        {"pad_token": "w7"},
    ):
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", **change}
        (case.directory / "tokenizer_config.json").write_text(json.dumps(settings))
        encoder = clipkit.load(case.directory, engine="torch", device="cpu", cache_texts=False)
        _, text = encode(encoder, images)
        np.testing.assert_allclose(text, upstream(case, images)[1], atol=1e-5, rtol=0)
        space_ids.add(encoder.space_id)
        encoder.save(tmp_path / "saved")
        again = clipkit.load(tmp_path / "saved", engine="torch", device="cpu", cache_texts=False)
        assert again.space_id == encoder.space_id
        np.testing.assert_array_equal(encode(again, images)[1], text)
    assert len(space_ids) == 4


@pytest.mark.slow
def test_sigmoid_checkpoints_score_with_their_bias(
    family: Callable[[str], Family], images: list[Path]
) -> None:
    case = family("ViT-B-16-SigLIP")
    encoder = clipkit.load(case.directory, device="cpu")
    classifier = clipkit.ZeroShotClassifier(encoder, ["w1", "w2"], templates="{}")
    embeddings = encoder.encode_images(images)
    logits = np.exp(3.25) * embeddings @ encoder.encode_texts(["w1", "w2"]).T - 7.5
    np.testing.assert_allclose(classifier.scores(embeddings), 1 / (1 + np.exp(-logits)), rtol=1e-4)


def test_saved_clip_brings_a_vocabulary_for_readers_without_open_clip(
    family: Callable[[str], Family], tmp_path: Path
) -> None:
    clipkit.load(family("convnext").directory, device="cpu").save(tmp_path / "saved")
    assert (tmp_path / "saved" / "tokenizer.json").is_file()


def test_rounded_weights_are_not_saved(family: Callable[[str], Family], tmp_path: Path) -> None:
    encoder = clipkit.load(family("convnext").directory, device="cpu", precision="bf16")
    with pytest.raises(InputError, match=r'rounded to bf16 .* precision="fp32"'):
        encoder.save(tmp_path / "saved")


@pytest.mark.slow
def test_half_precision_on_the_cpu_stays_close(
    family: Callable[[str], Family], images: list[Path]
) -> None:
    directory = family("ViT-B-32").directory
    full = clipkit.load(directory, device="cpu").encode_images(images)
    half = clipkit.load(directory, device="cpu", precision="bf16").encode_images(images)
    assert np.einsum("nd,nd->n", full, half).min() > 0.999


def test_the_compiled_engine_does_not_save(starter: Encoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match='engine="torch"'):
        starter.save(tmp_path / "saved")


def test_saving_over_something_else_is_refused(
    family: Callable[[str], Family], tmp_path: Path
) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"precious")
    encoder = clipkit.load(family("convnext").directory, device="cpu")
    with pytest.raises(CheckpointError, match="is not a checkpoint directory"):
        encoder.save(tmp_path)
    assert (tmp_path / "holiday.jpg").read_bytes() == b"precious"


@pytest.mark.slow
def test_a_weights_file_with_its_architecture(
    family: Callable[[str], Family], tmp_path: Path
) -> None:
    case = family("ViT-B-32-quickgelu")
    torch.save({"epoch": 3, "state_dict": case.model.state_dict()}, tmp_path / "epoch_3.pt")
    encoder = clipkit.load(f"ViT-B-32-quickgelu={tmp_path / 'epoch_3.pt'}", device="cpu")
    texts = ["a photo of a cat"]
    with torch.inference_mode():
        tokens: Any = open_clip.get_tokenizer("ViT-B-32")(texts)
        expected = case.model.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(encoder.encode_texts(texts), expected, atol=1e-5, rtol=0)
