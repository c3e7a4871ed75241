"""How far embeddings of files are from those of the library that a checkpoint comes from.

Run as  python benchmarks/checkpoint_layouts.py  with clipkit[torch] installed; half an hour, 8 GB.
Words after that choose the families that have one of them in their names.
Models of full size with random weights, one of each family: open_clip's from a directory in its
layout, transformers' from what save_pretrained writes. The sample photographs and some captions
go through the library's own image processor, tokenizer and encoders, and through clipkit from the
same files, decoded in full: on torch, and compiled for ONNX Runtime in float32. What is printed
is the largest difference of two coordinates of normalized embeddings.
"""

import argparse
import gc
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image
from text_tower_folders import KNOWN, write_text_tower_folder
from workplace import ROOT, SAMPLES

import clipkit
from clipkit.embeddings import normalize_rows
from clipkit.models.building import build_towers
from clipkit.models.checkpoint import save_towers
from clipkit.models.known_models import clip_vocabulary

# One architecture of each family; those with a vocabulary from the hub get a small one.
ARCHITECTURES = {
    "CLIP and MetaCLIP, ViT": "ViT-B-32-quickgelu",
    "CLIP, ResNet": "RN50",
    "SigLIP": "ViT-B-16-SigLIP",
    "SigLIP2": "ViT-B-32-SigLIP2-256",
    "EVA02": "EVA02-B-16",
    "CoCa": "coca_ViT-B-32",
    "ConvNeXt": "convnext_base",
    "MobileCLIP2": "MobileCLIP2-S0",
    "ViTamin": "ViTamin-S",
    "PE-Core": "PE-Core-T-16-384",
    "MetaCLIP 2": "ViT-L-14-worldwide-quickgelu",
    "SigLIP, multilingual": "ViT-B-16-SigLIP-i18n-256",
    "RoBERTa": "roberta-ViT-B-32",
    "XLM-RoBERTa": "xlm-roberta-base-ViT-B-32",
    "mT5": "mt5-base-ViT-B-32",
    "NLLB-CLIP": "nllb-clip-base",
}
TEXTS = ["a cat asleep on a sofa", "two boats in a storm", "Snow, on a mountain!", "it's 7 o'clock"]
STARTER = ROOT / "weights" / "starter"
Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Original:
    """A checkpoint directory, and what its own library computes."""

    directory: Path
    images: Rows
    texts: Rows


def photos() -> list[Path]:
    """Return the sample photographs."""
    return sorted(SAMPLES.glob("*.jpg"))[:12]


def of_open_clip(architecture: str, directory: Path) -> Original:
    """Return a random model of open_clip's."""
    towers = build_towers(architecture, tokenizer=tokenizer_folder(architecture, directory), seed=0)
    spread_weights(towers.model)
    save_towers(towers, directory)
    del towers
    name = f"local-dir:{directory}"
    text_cfg = open_clip.get_model_config(name)["text_cfg"]
    if "hf_model_name" in text_cfg:  # which open_clip looks for from where the process runs
        text_cfg["hf_model_name"] = str(directory)
    model, _, preprocess = open_clip.create_model_and_transforms(name, text_cfg=text_cfg)
    pixel_values = torch.stack([preprocess(Image.open(path)) for path in photos()])
    with torch.inference_mode():
        images = model.eval().encode_image(pixel_values)
        texts = model.encode_text(open_clip.get_tokenizer(name)(TEXTS))
    return Original(directory, normalize_rows(images.numpy()), normalize_rows(texts.numpy()))


def tokenizer_folder(architecture: str, directory: Path) -> str:
    """Return where an architecture finds its tokenizer, and its text tower's config."""
    wanted = open_clip.get_model_config(architecture)["text_cfg"].get("hf_tokenizer_name", "")
    if wanted not in KNOWN:
        return str(STARTER) if wanted else ""
    folder = directory.with_name(f"{directory.name}-text")
    write_text_tower_folder(wanted, folder)
    return str(folder)


def of_transformers(family: str, directory: Path) -> Original:
    """Return a random model of transformers', of the sizes that its config has by default."""
    size = {"height": 224, "width": 224}
    clip_processor = transformers.CLIPImageProcessor(crop_size=size)
    words = transformers.AutoTokenizer.from_pretrained(STARTER)
    length = 64 if family == "SigLIP" else 52 if family == "Chinese-CLIP" else 77
    if family == "CLIP":
        model: Any = transformers.CLIPModel(transformers.CLIPConfig())
        tokenizer: Any = clip_tokenizer(directory)
    elif family == "MetaCLIP 2":
        text = {"vocab_size": 30522, "eos_token_id": 102, "hidden_act": "gelu"}  # of the words
        config = transformers.MetaClip2Config(
            text_config=text, vision_config={"hidden_act": "gelu", "patch_size": 16}
        )
        model, tokenizer = transformers.MetaClip2Model(config), words
    elif family == "Chinese-CLIP":
        text = {"vocab_size": 30522, "hidden_size": 768, "num_attention_heads": 12}
        text |= {"intermediate_size": 3072, "max_position_embeddings": length}
        config = transformers.ChineseCLIPConfig(text_config=text, vision_config={"patch_size": 16})
        model, tokenizer = transformers.ChineseCLIPModel(config), words
    else:
        model = transformers.SiglipModel(transformers.SiglipConfig())
        tokenizer = words
    processor: Any = clip_processor
    if family == "SigLIP":
        processor = transformers.SiglipImageProcessor(size=size)
    spread_weights(model)
    for part in (model.eval(), tokenizer, processor):
        part.save_pretrained(directory)
    own: Any = transformers.AutoImageProcessor
    pil = own.from_pretrained(directory, backend="pil")
    opened = [Image.open(path).convert("RGB") for path in photos()]
    tokens = dict(
        tokenizer(
            TEXTS, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
    )
    kept = ("input_ids",) if family == "SigLIP" else ("input_ids", "attention_mask")
    with torch.inference_mode():
        images = model.get_image_features(**pil(opened, return_tensors="pt"))
        texts = model.get_text_features(**{name: tokens[name] for name in kept})
    rows = [getattr(found, "pooler_output", found).numpy() for found in (images, texts)]
    return Original(directory, *(normalize_rows(found) for found in rows))


def clip_tokenizer(directory: Path) -> Any:
    """Return transformers' tokenizer of CLIP's own vocabulary."""
    from clipkit.inputs.clip_vocabulary import build_clip_tokenizer

    content = json.loads(build_clip_tokenizer(clip_vocabulary()).to_str())["model"]
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    source = directory.with_name(f"{directory.name}-vocabulary")
    source.mkdir()
    ids = {names.get(entry, entry): number for entry, number in content["vocab"].items()}
    (source / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in content["merges"]]
    (source / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]), encoding="utf-8")
    return transformers.CLIPTokenizer.from_pretrained(source, model_max_length=77)


def spread_weights(model: torch.nn.Module) -> None:
    """Give the parameters that start all alike, such as biases of zero, values of their own."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2 and name not in ("logit_scale", "logit_bias"):
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator)


def differences(original: Original) -> Iterator[str]:
    """Yield the largest differences: of images and texts, on torch and then compiled."""
    for engine in ("torch", "onnx"):
        if engine == "onnx":
            clipkit.compile_model(original.directory)
        encoder = clipkit.load(
            original.directory, engine=engine, precision="fp32", cache_texts=False
        )
        encoder.decode = "exact"
        for found, expected in (
            (encoder.encode_images(photos()), original.images),
            (encoder.encode_texts(TEXTS), original.texts),
        ):
            yield f"{np.abs(found - expected).max():.0e}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", metavar="WORD", help="only rows with such a word")
    words = [word.lower() for word in parser.parse_args().families]
    made: list[tuple[str, Callable[[str, Path], Original], str]] = [
        (f"{family} ({name})", of_open_clip, name) for family, name in ARCHITECTURES.items()
    ]
    for family in ("CLIP", "MetaCLIP 2", "Chinese-CLIP", "SigLIP"):
        made.append((f"transformers: {family}", of_transformers, family))
    print("| family | images, torch | texts, torch | images, ONNX | texts, ONNX |")
    print("|---|--:|--:|--:|--:|", flush=True)
    for title, make, name in made:
        if words and not any(word in title.lower() for word in words):
            continue
        with tempfile.TemporaryDirectory() as folder:
            os.environ["CLIPKIT_HOME"] = folder  # a compiled model is a gigabyte
            cells = differences(make(name, Path(folder) / "model"))
            print(f"| {title} | {' | '.join(cells)} |", flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
