"""Labelled collections of images and queries, of several models, for benchmarks/relevance.py.

The starter's are embedded on the first run, from the photographs of labelled_photos.py. Those of
OpenAI's CLIP are read from a folder of published embeddings (--clip-data): the files of
stored_sets.py, and two more of facebookresearch+Detic/.

clipkit's own everyday words need a text encoder. For CLIP the nearest names that there are stand in
for them: those of OpenImages and Objects365 for ViT-B/32, COCO's own 80 classes for ViT-B/16.

Shapes: Q queries, N images, B background words, D dimensions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from labelled_photos import EVERYDAY, THINGS, fetch_photos, read_queries, true_matches
from numpy.typing import ArrayLike, NDArray
from stored_sets import DETIC, StoredSet, cifar, coco, mixed_photos, open_images

import clipkit
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.embeddings import normalize_rows

Rows = NDArray[np.float64]
Mask = NDArray[np.bool_]

SEED = 0
FEW = 50  # images of the smallest variant
# Of mixed130, with COCO's name for what they show; in its other two folders there are several
# things.
FOLDERS = {"cat": "cat", "dog": "dog", "bike": "bicycle", "carsgraz": "car"}
# Of COCO's classes, those that no photograph of these four folders can show.
ABSENT = (
    "airplane train boat elephant bear zebra giraffe sheep cow horse skis snowboard kite "
    "surfboard pizza broccoli donut hot_dog toothbrush parking_meter"
)


@dataclass(frozen=True)
class Collection:
    """Images, queries and which image answers which query, embedded by one model."""

    name: str
    model: str
    images: Rows  # (N, D)
    texts: Rows  # (Q, D); rows of `images` if the queries are images
    matches: Mask  # (Q, N)
    bank: Rows  # (B, D)
    variant: str = "all"
    query_images: NDArray[np.intp] | None = None  # (Q,) which image each query is, if it is one

    @property
    def shown(self) -> Mask:
        """Which images may be results, (Q, N): not the query itself."""
        shown = np.ones(self.matches.shape, dtype=bool)
        if self.query_images is not None:
            shown[np.arange(len(shown)), self.query_images] = False
        return shown

    def keep(self, images: NDArray[np.intp], variant: str) -> "Collection":
        """Return the collection with some of its images, and all of its queries."""
        return replace(
            self, images=self.images[images], matches=self.matches[:, images], variant=variant
        )

    def variants(self) -> Iterator["Collection"]:
        """Yield it whole, with half of the matched images taken out, and cut to 50 images."""
        yield self
        if self.query_images is not None:
            return
        generator = np.random.default_rng(SEED)
        out = generator.permutation(len(self.texts))[: len(self.texts) // 2]
        left = ~self.matches[out].any(axis=0)
        if left.mean() <= 0.15 or self.matches.sum(axis=1).mean() >= 5:
            # Queries of many matches: the rarest go first, until half of the images are left.
            left = np.ones(len(self.images), dtype=bool)
            for query in np.argsort(self.matches.sum(axis=1)):
                if (left & ~self.matches[query]).mean() < 0.5:
                    break
                left &= ~self.matches[query]
        yield self.keep(np.flatnonzero(left), "half")
        yield self.keep(generator.permutation(len(self.images))[:FEW], str(FEW))


def read_collections(clip_data: Path | None) -> list[Collection]:
    """Return the starter's collections of words, and CLIP's where its embeddings are."""
    published = read_published(clip_data) if clip_data else []
    return [*published, *embed_photographs(clip_data)]


def image_collections(collections: list[Collection]) -> list[Collection]:
    """Return the collections in which every image has a label, with images as queries."""
    found = []
    for each in collections:
        labels = each.matches.T.astype(float)  # (N, Q)
        if each.name == "COCO classes":  # alike: half of the classes in common
            both = labels @ labels.T
            either = labels.sum(axis=1)[:, None] + labels.sum(axis=1) - both
            alike = both >= 0.5 * np.maximum(either, 1)
        elif each.name in ("CIFAR-10", "four folders", "CIFAR-10, starter"):
            alike = labels @ labels.T > 0
        else:
            continue
        np.fill_diagonal(alike, val=False)
        found.append(
            replace(
                each,
                texts=each.images,
                matches=alike,
                query_images=np.arange(len(alike)),
            )
        )
    return found


def embed_photographs(clip_data: Path | None) -> list[Collection]:
    """Return the starter's collections, embedded."""
    encoder = clipkit.load("starter", cache_texts=False)
    bank = unit_rows(encoder.encode_texts(BACKGROUND_NAMES))
    found = []
    for name, source in (("things", THINGS), ("everyday", EVERYDAY)):
        photos, queries = fetch_photos(source), read_queries(source)
        images = unit_rows(encoder.encode_images([photo.path for photo in photos]))
        texts = unit_rows(encoder.encode_texts([query.words for query in queries]))
        matches = true_matches(queries, photos)
        found.append(Collection(name, "starter", images, texts, matches, bank))
        if name == "everyday":  # what each photograph was described by is a query too
            labels = sorted({photo.label for photo in photos})
            matches = np.array([[photo.label == label for photo in photos] for label in labels])
            texts = unit_rows(encoder.encode_texts(labels))
            found.append(Collection("descriptions", "starter", images, texts, matches, bank))
    if clip_data:
        pixels, names, matches = read_cifar(clip_data)
        images, texts = (
            unit_rows(encoder.encode_images(pixels)),
            unit_rows(encoder.encode_texts(names)),
        )
        found.append(Collection("CIFAR-10, starter", "starter", images, texts, matches, bank))
    return found


def read_cifar(folder: Path) -> tuple[list[NDArray[np.uint8]], list[str], Mask]:
    """Return CIFAR's images as pixels, its classes, and which image is of which, (Q, N)."""
    stored = cifar(folder)
    with np.load(folder / "cifar10_500_vitb32.npz") as file:
        return list(file["pixels"]), stored.class_names, stored.shows.T


def read_published(folder: Path) -> list[Collection]:
    """Return the collections of published CLIP embeddings."""
    of_coco, of_cifar = coco(folder), cifar(folder)
    with np.load(folder / "coco500_vitb16.npz") as stored:
        photographs, captions = unit_rows(stored["image"]), unit_rows(stored["caption_text"])
    with np.load(folder / "lvis1203_vitb32.npz") as stored:
        prototypes, names = (
            unit_rows(stored["image_prototype_k5"]),
            unit_rows(stored["text_a_cname"]),
        )
    objects = unit_rows(np.load(folder / DETIC / "o365_clip_a+cnamefix.npy"))
    bank = np.concatenate([open_images(folder).astype(np.float64), objects])
    b16, b32 = "CLIP ViT-B/16", "CLIP ViT-B/32"
    classes = _stored("COCO classes", b16, of_coco, of_coco.texts.astype(np.float64))
    return [
        classes,
        Collection("COCO captions", b16, photographs, captions, _own(captions), classes.bank),
        _stored("CIFAR-10", b32, of_cifar, bank),
        Collection("LVIS names", b32, prototypes, names, _own(names), bank),
        _four_folders(folder, of_coco.class_names, bank),
    ]


def _stored(name: str, model: str, stored: StoredSet, bank: Rows) -> Collection:
    """Return a stored set with its classes as the queries."""
    images, texts = (rows.astype(np.float64) for rows in (stored.images, stored.texts))
    return Collection(name, model, images, texts, stored.shows.T, bank)


def _four_folders(folder: Path, names: list[str], bank: Rows) -> Collection:
    """Return mixed130's photographs of cats, dogs, bicycles and cars; other classes are absent."""
    mixed = mixed_photos(folder)
    rows = np.flatnonzero(mixed.shows.any(axis=1))
    shown = [FOLDERS[mixed.class_names[place]] for place in mixed.shows[rows].argmax(axis=1)]
    absent = [name.replace("_", " ") for name in ABSENT.split()]
    queries = [*FOLDERS.values(), *(name for name in absent if name in names)]
    matches = np.array([[name == query for name in shown] for query in queries])
    texts = unit_rows(np.load(folder / DETIC / "coco_clip_a+cname.npy"))
    texts = texts[[names.index(query) for query in queries]]
    images = mixed.images[rows].astype(np.float64)
    return Collection("four folders", "CLIP ViT-B/32", images, texts, matches, bank)


def _own(texts: Rows) -> Mask:
    return np.eye(len(texts), dtype=bool)


def unit_rows(embeddings: ArrayLike) -> Rows:
    """Return rows of norm 1, in double precision."""
    return np.asarray(normalize_rows(np.asarray(embeddings, np.float32)), np.float64)
