"""The embedded model's files: whole, small, portable, and those that its card describes."""

import hashlib
import json
from pathlib import Path

import pytest

from clipkit.runtime.bundle import Bundle, verify
from clipkit.runtime.parity import reference_digest


def test_the_card_describes_these_very_weights(starter_folder: Path) -> None:
    weights = (starter_folder / "open_clip_model.safetensors").read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    assert digest in (starter_folder / "CARD.md").read_text(encoding="utf-8")
    bundle = verify(starter_folder)  # every file is the one it was compiled with
    assert bundle.files[bundle.weights].sha256 == digest


@pytest.mark.parametrize("word", ["ConSE", "chance", "licence", "cannot", "seed"])
def test_the_card_says_what_a_card_must(starter_folder: Path, word: str) -> None:
    assert word.lower() in (starter_folder / "CARD.md").read_text(encoding="utf-8").lower()


def test_the_files_are_small_enough_to_embed(starter_folder: Path) -> None:
    files = [path for path in starter_folder.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 70e6


def test_the_config_names_no_path_of_the_machine_it_was_made_on(starter_folder: Path) -> None:
    config = json.loads((starter_folder / "open_clip_config.json").read_text())
    assert not config["model_cfg"]["text_cfg"]["hf_model_name"].startswith("/")
    for path in starter_folder.glob("*.json"):
        content = path.read_text(encoding="utf-8")
        assert "/root/" not in content, path.name
        assert "/home/" not in content, path.name


def test_the_measured_parity_is_above_the_gate(starter_folder: Path) -> None:
    bundle = Bundle.read(starter_folder)
    assert bundle.reference == reference_digest()
    parity = bundle.precisions["fp32"]
    assert parity.num_images >= 30
    assert parity.num_texts >= 30
    assert min(parity.mean_image_cosine, parity.mean_text_cosine) >= 0.999
    assert min(parity.p1_image_cosine, parity.p1_text_cosine) >= 0.995


@pytest.mark.slow
def test_plain_open_clip_opens_it(starter_folder: Path) -> None:
    """As the card says: with hf_model_name pointed at the directory, offline."""
    open_clip = pytest.importorskip("open_clip")
    import torch

    import clipkit

    config = json.loads((starter_folder / "open_clip_config.json").read_text())
    text_cfg = {
        **config["model_cfg"]["text_cfg"],
        "hf_model_name": str(starter_folder),
        "hf_model_pretrained": False,
    }
    model, _, _ = open_clip.create_model_and_transforms(
        f"local-dir:{starter_folder}", text_cfg=text_cfg
    )
    tokenizer = open_clip.get_tokenizer(f"local-dir:{starter_folder}")
    with torch.inference_mode():
        plain = model.eval().encode_text(tokenizer(["a cat", "a dog"]), normalize=True)
    own = clipkit.load("starter").encode_texts(["a cat", "a dog"])
    kept = own.shape[1]
    assert not plain[:, kept:].any()
    assert torch.allclose(plain[:, :kept], torch.from_numpy(own), atol=1e-5)
