"""Labelled images and texts embedded by published CLIP models, read from a folder.

None of it is part of this repository. The folder holds cifar10_500_vitb32.npz,
coco500_vitb16.npz, mixed130_vitb32.npz, lvis1203_vitb32.npz and
facebookresearch+Detic/oid_clip_a+cname.npy.

Shapes: N images, C classes, B everyday words, D dimensions.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings, normalize_rows

Mask = NDArray[np.bool_]

DETIC = "facebookresearch+Detic"
# The classes of OpenImages in Detic's file that CIFAR's belong to: "a animal" and "a vehicle".
OPEN_IMAGES = {"animal": 6, "vehicle": 148}
ANIMALS = {"bird", "cat", "deer", "dog", "frog", "horse"}
# COCO's supercategories; their text is the mean of their classes'.
KINDS = {
    "animal": "bird cat dog horse sheep cow elephant bear zebra giraffe",
    "vehicle": "bicycle car motorcycle airplane bus train truck boat",
    "food": "banana apple sandwich orange broccoli carrot hot_dog pizza donut cake",
    "furniture": "chair couch potted_plant bed dining_table toilet",
    "appliance": "microwave oven toaster sink refrigerator",
    "kitchenware": "bottle wine_glass cup fork knife spoon bowl",
    "electronics": "tv laptop mouse remote keyboard cell_phone",
}
# The labels of the mixed photographs that have a word among LVIS's.
MIXED = {"bike": "bicycle", "carsgraz": "car_(automobile)", "cat": "cat", "dog": "dog"}


@dataclass(frozen=True)
class StoredSet:
    """Images of one model, and which of some classes each shows."""

    name: str
    images: Embeddings  # (N, D)
    bank: Embeddings  # everyday words, (B, D)
    class_names: list[str]
    texts: Embeddings  # of the classes, (C, D)
    shows: Mask  # (N, C)
    wider: dict[str, tuple[Embeddings, list[str]]]  # a text and the classes that it includes


def read_sets(folder: Path) -> list[StoredSet]:
    """Return the sets of a folder."""
    return [cifar(folder), mixed_photos(folder), coco(folder)]


def cifar(folder: Path) -> StoredSet:
    """Return 500 of CIFAR's images by OpenAI's ViT-B/32."""
    bank = open_images(folder)
    with np.load(folder / "cifar10_500_vitb32.npz") as stored:
        images, labels = normalize_rows(stored["image"]), stored["labels"]
        texts, names = normalize_rows(stored["class_text_a_cname"]), stored["class_names"].tolist()
    wider = {
        kind: (bank[place], [name for name in names if (name in ANIMALS) == (kind == "animal")])
        for kind, place in OPEN_IMAGES.items()
    }
    shows = labels[:, None] == np.arange(len(names))
    return StoredSet("ViT-B/32, CIFAR-10", images, bank, names, texts, shows, wider)


def mixed_photos(folder: Path) -> StoredSet:
    """Return 130 photographs of cats, dogs, cars, bicycles and other things by ViT-B/32."""
    with np.load(folder / "lvis1203_vitb32.npz") as stored:
        words = stored["names"].tolist()
        texts = normalize_rows(stored["text_a_cname"])[[words.index(w) for w in MIXED.values()]]
    with np.load(folder / "mixed130_vitb32.npz") as stored:
        images, labels = normalize_rows(stored["image"]), stored["label"]
    shows = labels[:, None] == np.array(list(MIXED))
    name = "ViT-B/32, mixed photographs"
    return StoredSet(name, images, open_images(folder), list(MIXED), texts, shows, {})


def coco(folder: Path) -> StoredSet:
    """Return 497 of COCO's photographs, which show many things each, by OpenAI's ViT-B/16."""
    with np.load(folder / "coco500_vitb16.npz") as stored:
        labelled = stored["labelled"]
        images, shows = normalize_rows(stored["image"][labelled]), stored["labels80"][labelled] > 0
        texts, names = normalize_rows(stored["class_text_single"]), stored["class_names80"].tolist()
    wider = {}
    for kind, words in KINDS.items():
        members = [word.replace("_", " ") for word in words.split()]
        mean = texts[[names.index(member) for member in members]].mean(axis=0)
        wider[kind] = (normalize_rows(mean[None])[0], members)
    return StoredSet("ViT-B/16, COCO", images, texts, names, texts, shows, wider)


def open_images(folder: Path) -> Embeddings:
    """Return 500 everyday words by OpenAI's ViT-B/32."""
    return normalize_rows(np.load(folder / DETIC / "oid_clip_a+cname.npy"))
