"""Peers on torch, each used as its own documentation shows it, on the CPU in float32.

Run by a peer's Python, as  python torch_peers.py PEER ARCHITECTURE CHECKPOINT DIRECTORY , where
CHECKPOINT is a state dict of open_clip's and DIRECTORY the same model for transformers.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from worker import serve

Functions = dict[str, Callable[..., Any]]

BATCH = 32


def open_clip_functions(architecture: str, checkpoint: str, directory: str) -> Functions:
    """Serve the loop of open_clip's README, in batches."""
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(
        architecture, pretrained=checkpoint
    )
    model.eval()
    tokenizer = open_clip.get_tokenizer(architecture)

    def embed(inputs: Sequence[Any], load: Callable[[Any], Any], tower: Callable[..., Any]) -> Any:
        rows = []
        for start in range(0, len(inputs), BATCH):
            with torch.no_grad():
                features = tower(load(inputs[start : start + BATCH]))
                features /= features.norm(dim=-1, keepdim=True)
            rows.append(features)
        return torch.cat(rows)

    def load_images(paths: Sequence[str]) -> torch.Tensor:
        return torch.stack([preprocess(Image.open(path)) for path in paths])

    return {
        "images": lambda paths: embed(paths, load_images, model.encode_image),
        "texts": lambda texts: embed(texts, tokenizer, model.encode_text),
    }


def sentence_transformers_functions(
    architecture: str, checkpoint: str, directory: str
) -> Functions:
    """Serve SentenceTransformer.encode, whose batches are 32 by default."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(directory, device="cpu")

    def images(paths: Sequence[str]) -> Any:
        return model.encode(
            [Image.open(path) for path in paths], normalize_embeddings=True, show_progress_bar=False
        )

    def texts(texts: Sequence[str]) -> Any:
        return model.encode(texts, normalize_embeddings=True, show_progress_bar=False)

    return {"images": images, "texts": texts}


def transformers_functions(architecture: str, checkpoint: str, directory: str) -> Functions:
    """Serve the pipeline for zero-shot classification, as it comes."""
    from transformers import pipeline

    classifier = pipeline("zero-shot-image-classification", model=directory, device="cpu")

    def classify(paths: Sequence[str], labels: Sequence[str]) -> Any:
        return classifier(paths, candidate_labels=labels)

    return {"classify": classify}


PEERS = {
    "open_clip": open_clip_functions,
    "sentence-transformers": sentence_transformers_functions,
    "transformers": transformers_functions,
}


if __name__ == "__main__":
    peer, architecture, checkpoint, directory = sys.argv[1:]
    serve(PEERS[peer](architecture, checkpoint, directory))
