"""Saving as transformers and open_clip_train have it: their own code opens it, equal in numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import transformers
from PIL import Image

import clipkit
from clipkit.embeddings import normalize_rows
from clipkit.errors import CheckpointError, InputError
from clipkit.models import transformers_layout
from clipkit.models.checkpoint import load_towers, save_towers
from clipkit.models.sources import resolve_source
from tests.models.conftest import Family
from tests.models.transformers_models import MAKERS, TINY_TIMM, TransformersModel, make

TEXTS = ["a photo of a cat", "two red boats & the sea", "A CAF\u00c9 in the rain"]


@pytest.fixture(autouse=True)
def tiny_siglip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "clipkit"))
    monkeypatch.setitem(transformers_layout.TIMM_SIGLIP, (32, 2, 2, 16), TINY_TIMM)


def _opened(directory: Path) -> TransformersModel:
    models: Any = transformers.AutoModel
    return TransformersModel(models.from_pretrained(directory).eval(), directory)


@pytest.mark.parametrize("family", MAKERS)
@pytest.mark.filterwarnings("ignore::clipkit.UnknownTextWarning")
def test_a_checkpoint_comes_back_as_it_was(family: str, tmp_path: Path) -> None:
    source = make(family, tmp_path / "source")
    encoder = clipkit.load(source.directory, engine="torch", cache_texts=False)
    encoder.save(tmp_path / "saved", layout="transformers")
    opened = _opened(tmp_path / "saved")
    theirs = opened.model.state_dict()
    for name, tensor in source.model.state_dict().items():
        torch.testing.assert_close(theirs[name], tensor, atol=0, rtol=0)
    image = Image.open(Path("demo/samples/cat.jpg")).convert("RGB")
    pixel_values = opened.processor([image], return_tensors="pt")["pixel_values"]
    np.testing.assert_allclose(
        encoder.encode_images([image]),
        normalize_rows(opened.image_features(pixel_values).numpy()),
        atol=1e-5,
    )
    again = clipkit.load(tmp_path / "saved", engine="torch", cache_texts=False)
    assert again.space_id == encoder.space_id


def test_what_it_replaces_is_a_checkpoint(tmp_path: Path) -> None:
    encoder = clipkit.load(make("clip", tmp_path / "source").directory, engine="torch")
    for layout in ("transformers", "open_clip", "transformers", "open_clip_train"):
        encoder.save(tmp_path / "saved", layout=layout)
    encoder.save(tmp_path / "saved")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("Dear Ann")
    with pytest.raises(CheckpointError, match="is not a checkpoint directory"):
        encoder.save(tmp_path / "other", layout="transformers")
    with pytest.raises(InputError, match="layout must be"):
        encoder.save(tmp_path / "saved", layout="onnx")  # type: ignore[arg-type]


def test_clips_own_vocabulary_becomes_transformers_tokenizer(
    family: Callable[[str], Family], tmp_path: Path
) -> None:
    case = family("ViT-B-32-quickgelu")
    encoder = clipkit.load(case.directory, engine="torch", cache_texts=False)
    encoder.save(tmp_path / "saved", layout="transformers")
    opened = _opened(tmp_path / "saved")
    assert opened.model.config.text_config.hidden_act == "quick_gelu"
    tokens = opened.tokenizer(TEXTS, padding="max_length", truncation=True, max_length=77)
    ours = encoder.tokenize(TEXTS).token_ids
    for row, expected in zip(tokens["input_ids"], ours, strict=True):
        end = row.index(49407) + 1
        assert row[:end] == expected[:end].tolist()  # behind it only the padding differs
    tokens = opened.tokenizer(TEXTS[:1], padding="max_length", max_length=77, return_tensors="pt")
    with torch.inference_mode():
        features: Any = opened.model.get_text_features(**tokens)
    found = getattr(features, "pooler_output", features)
    np.testing.assert_allclose(
        encoder.encode_texts(TEXTS[:1]), normalize_rows(found.numpy()), atol=1e-5
    )


@pytest.mark.parametrize("name", ["RN50", "convnext", "hf-text"])
def test_what_transformers_has_no_class_for_is_refused(
    name: str, family: Callable[[str], Family], tmp_path: Path
) -> None:
    encoder = clipkit.load(family(name).directory, engine="torch")
    with pytest.raises(CheckpointError, match="transformers has no model with the encoders"):
        encoder.save(tmp_path / "saved", layout="transformers")
    assert not (tmp_path / "saved").exists()


def test_dimensions_that_are_cut_off_have_no_place_there(
    family: Callable[[str], Family], tmp_path: Path
) -> None:
    towers = load_towers(resolve_source(family("ViT-B-32").directory))
    towers.kept_dims = 8
    with pytest.raises(CheckpointError, match="kept_dims"):
        save_towers(towers, tmp_path / "saved", layout="transformers")


def test_open_clip_train_resumes_from_the_file(
    family: Callable[[str], Family], tmp_path: Path
) -> None:
    case = family("ViT-B-32")
    encoder = clipkit.load(case.directory, engine="torch", cache_texts=False)
    encoder.save(tmp_path / "saved", layout="open_clip_train")
    path = tmp_path / "saved" / "epoch_0.pt"
    # As open_clip_train reads it for --resume: without an epoch it is a model alone.
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    assert "epoch" not in checkpoint
    other = type(case.model)(**{**case.model_cfg})
    open_clip.load_checkpoint(other, str(path))
    for name, tensor in case.model.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, atol=0, rtol=0)
