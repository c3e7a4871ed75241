"""Whether answers to the sample photographs tell right settings of a model from wrong ones.

Run as  python benchmarks/photograph_settings.py : the starter with other means, ways to resize and
interpolations. With --activations small models are trained on the photographs with either
activation, and answer with both (a minute each). docs/doctor.md has what came out.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import clipkit
from clipkit.doctor.behaviour import judged_photographs, photograph_labels, probability_of_better
from clipkit.doctor.settings import KNOWN_STANDARDS
from clipkit.inputs.preprocess import OPENAI_MEAN, OPENAI_STD, Preprocess
from clipkit.runtime.parity import reference_images

STEPS = 60


def variants(own: Preprocess) -> Iterator[tuple[str, Preprocess]]:
    """Yield the settings to compare, by name; the first is the starter's own."""
    standards = {**KNOWN_STANDARDS, "swapped": (OPENAI_STD, OPENAI_MEAN)}
    yield "as it was trained", own
    for name, (mean, std) in standards.items():
        for mode in ("shortest", "squash", "longest"):
            for interpolation in ("bicubic", "bilinear") if mean == own.mean else ("bicubic",):
                changed = replace(
                    own, mean=mean, std=std, resize_mode=mode, interpolation=interpolation
                )
                if changed != own:
                    yield f"{name} {mode} {interpolation}", changed


def compare_preprocess() -> None:
    """Print right answers, log loss and p-value of the starter with each setting."""
    encoder = clipkit.load("starter", cache_texts=False)
    own = None
    for name, preprocess in variants(encoder.preprocess):
        pixels = np.stack([preprocess.pixel_values(path) for path in reference_images()])
        found = judged_photographs(encoder, np.asarray(encoder.encode_pixel_values(pixels)))
        own = own or found
        p = "" if found is own else f", p = {probability_of_better(own, found):.2g} to be better"
        print(f"{name}: {int(found.right.sum())} right, log loss {found.losses.mean():.2f}{p}")


def compare_activations() -> None:
    """Print what models that were trained with either activation answer with both."""
    from clipkit.models.other_activation import other_activation

    for seed in range(2):
        for trained in ("QuickGELU", "GELU"):
            with tempfile.TemporaryDirectory() as directory:
                train(Path(directory), seed, is_quick=trained == "QuickGELU")
                encoder = clipkit.load(directory, engine="torch", device="cpu", cache_texts=False)
                own = judged_photographs(encoder, encoder.encode_images(reference_images()))
                with other_activation(encoder.towers.model):
                    other = judged_photographs(encoder, encoder.encode_images(reference_images()))
            print(
                f"trained with {trained}, seed {seed}: {int(own.right.sum())} right, with the "
                f"other {int(other.right.sum())}; log loss {own.losses.mean():.3f} and "
                f"{other.losses.mean():.3f}, p = {probability_of_better(other, own):.2g} that its "
                f"own is better, {probability_of_better(own, other):.2g} that the other is"
            )


def train(directory: Path, seed: int, *, is_quick: bool) -> None:
    """Train a small model on the photographs and their labels, and write it to a directory."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    text_cfg = {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
    vision_cfg = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8}
    config = {"embed_dim": 24, "vision_cfg": vision_cfg, "text_cfg": text_cfg}
    config["quick_gelu"] = is_quick
    torch.manual_seed(seed)
    model = open_clip.CLIP(**config)
    names, labels = photograph_labels()
    preprocess = Preprocess((32, 32), resize_mode="squash")
    pixels = torch.from_numpy(np.stack([preprocess(path) for path in reference_images()]))
    tokens = open_clip.SimpleTokenizer(context_length=16)([f"a photo of a {n}." for n in names])
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05)
    for _ in range(STEPS):
        images, texts, scale = model(pixels + 0.3 * torch.randn_like(pixels), tokens)[:3]
        loss = torch.nn.functional.cross_entropy(scale * images @ texts.T, torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_file(model.state_dict(), directory / "open_clip_model.safetensors")
    content = {"model_cfg": config, "preprocess_cfg": {"resize_mode": "squash"}}
    (directory / "open_clip_config.json").write_text(json.dumps(content))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--activations", action="store_true", help="train small models")
    if parser.parse_args().activations:
        compare_activations()
    else:
        compare_preprocess()
