"""Taught concepts: found in a folder, mixed with words, and as labels, against words and means.

Run as  python benchmarks/concepts.py  [--clip-data FOLDER] [--seeds N] [--fit] ; the photographs
are fetched on the first run. FOLDER holds embeddings of published models: see stored_sets.py. A
concept is taught from five images of a class, drawn anew for each seed; these are no results.
Figures are means over classes and seeds, with 95 % intervals from a bootstrap over classes.

Constants of clipkit.adaptation.concept_embedding are chosen on every second class of each set
(--fit prints what else was tried there); all other tables are of the other classes.

Shapes: N images, C classes, D dimensions, B everyday words.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import permutations
from pathlib import Path
from unittest.mock import patch

import numpy as np
from composition import average_precision, interval
from labelled_photos import EVERYDAY, fetch_photos
from mixed_search import MixedSearch, make_query
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from stored_sets import cifar, coco, mixed_photos

import clipkit
from clipkit.adaptation import concept_embedding
from clipkit.adaptation.concept_embedding import embed_concept
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.search.ranking import library_center
from clipkit.search.relevance import DEFAULT_MIN_RELEVANCE, NOTHING_BELOW
from clipkit.zero_shot.templates import TEMPLATE_SETS

Mask = NDArray[np.bool_]
Numbers = NDArray[np.floating]

SHOTS = 5
FEWEST = 8  # images of a class that is taught: five, and three to find
FEWEST_BOTH = 5  # images that show two classes
NUM_SINGLE = 30  # photographs of which views are made
NEGATIVES = 5  # the nearest images of other things
LOOSE_WORDS = {"carsgraz": "automobile", "cat": "cat", "dog": "dog"}  # of both sets of ViT-B/32
TRIED = {
    "FILTER_RIDGE": (0.03, 0.1, 0.3, 1.0, 3.0),
    "WORDS_WEIGHT": (0.0, 0.3, 0.6, 1.0, 2.0),
    "RADIUS": (0.8, 1.0, 1.2, 1.4, 1.7),
}


@dataclass(frozen=True)
class Folder:
    """Images of one model, what each shows, and how a person may ask for it."""

    name: str
    images: Embeddings  # (N, D)
    bank: Embeddings  # (B, D)
    shows: Mask  # (C, N)
    texts: Sequence[Embeddings]  # of each class the queries that were tried, the plain name first

    @cached_property
    def search(self) -> MixedSearch:
        """The images, as clipkit searches them."""
        return MixedSearch(self.images, self.bank)

    @cached_property
    def center(self) -> Embeddings:
        """The centre of the images, as a library has it, shape (D,)."""
        return library_center(self.images)

    def classes(self, half: int) -> list[int]:
        """Return every second of the classes with enough images, from the first or the second."""
        return [place for place in range(len(self.shows)) if self.shows[place].sum() >= FEWEST][
            half::2
        ]

    def draws(self, half: int, seeds: int) -> Iterator[tuple[int, list[int], Embeddings]]:
        """Yield a class, the images that it is taught from, and their embeddings."""
        for place in self.classes(half):
            for seed in range(seeds):
                generator = np.random.default_rng([seed, place])
                rows = generator.choice(np.flatnonzero(self.shows[place]), SHOTS, replace=False)
                yield place, rows.tolist(), self.images[rows]

    def concept(
        self, shown: Embeddings, *, has_center: bool = True, **options: Embeddings | None
    ) -> Embeddings:
        """Return the embedding of a concept."""
        center = self.center if has_center else None
        return embed_concept(shown, self.bank, image_center=center, **options)

    def found(
        self, parts: Sequence[tuple[Embeddings, float, bool]], hidden: list[int]
    ) -> tuple[Numbers, Numbers]:
        """Return numbers that are higher the earlier an image comes, and relevances."""
        return self.search.found(make_query(parts), hidden)


def read_folders(clip_data: Path | None) -> list[Folder]:
    """Return the photographs of the starter, and the folders of published embeddings."""
    encoder = clipkit.load("starter", cache_texts=False)
    bank = np.asarray(encoder.encode_texts(BACKGROUND_NAMES))
    photos = fetch_photos(EVERYDAY)
    images = np.asarray(encoder.encode_images([photo.path for photo in photos]))
    names = sorted({name for photo in photos for name in photo.names})
    matches = np.array([[name in photo.names for photo in photos] for name in names])
    texts = _texts(encoder, names)
    folders = [Folder("starter, everyday photographs", images, bank, matches, texts)]
    if clip_data is None:
        return folders
    of_cifar, of_coco, of_mixed = cifar(clip_data), coco(clip_data), mixed_photos(clip_data)
    with np.load(clip_data / "cifar10_500_vitb32.npz") as stored:
        images = np.asarray(encoder.encode_images(list(stored["pixels"])))
    texts = _texts(encoder, of_cifar.class_names)
    folders.append(Folder("starter, CIFAR-10", images, bank, of_cifar.shows.T, texts))
    with np.load(clip_data / "coco500_vitb16.npz") as stored:
        ensemble = normalize_rows(stored["class_text_ensemble"])
    texts = [np.stack(both) for both in zip(of_coco.texts, ensemble, strict=True)]
    folders.append(Folder("ViT-B/16, COCO", of_coco.images, of_coco.bank, of_coco.shows.T, texts))
    folders.append(
        Folder(
            "ViT-B/32, CIFAR-10",
            of_cifar.images,
            of_cifar.bank,
            of_cifar.shows.T,
            [text[None] for text in of_cifar.texts],
        )
    )
    together = np.concatenate([of_mixed.images, of_cifar.images])
    shows = np.zeros((len(of_mixed.class_names), len(together)), bool)
    shows[:, : len(of_mixed.images)] = of_mixed.shows.T
    for place, name in enumerate(of_mixed.class_names):
        if name in LOOSE_WORDS:
            column = of_cifar.class_names.index(LOOSE_WORDS[name])
            shows[place, len(of_mixed.images) :] = of_cifar.shows[:, column]
    texts = [text[None] for text in of_mixed.texts]
    folders.append(
        Folder("ViT-B/32, mixed photographs and CIFAR-10", together, of_cifar.bank, shows, texts)
    )
    return folders


def _texts(encoder: clipkit.Encoder, words: Sequence[str]) -> list[Embeddings]:
    """Return for each name its embedding, that of a prompt, and that of the usual prompts."""
    names = np.asarray(encoder.encode_texts(words))
    photo = np.asarray(encoder.encode_texts([f"a photo of a {word}" for word in words]))
    templates = TEMPLATE_SETS["default"]
    prompts = [[template.format(word) for template in templates] for word in words]
    ensemble = np.asarray(encoder.encode_prompts(prompts))
    return [np.stack(rows) for rows in zip(names, photo, ensemble, strict=True)]


class Means:
    """Figures by row, averaged over seeds and then over classes."""

    def __init__(self) -> None:
        self._values: dict[str, dict[object, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, row: str, unit: object, value: float) -> None:
        """Note a figure of one draw of a unit: a class, or a pair of them."""
        self._values[row][unit].append(value)

    def units(self, row: str) -> NDArray[np.float64]:
        """Return the mean of each unit."""
        return np.array([np.mean(values) for values in self._values[row].values()])

    def print(self, title: str, against: str) -> None:
        """Print a table of all rows, with the difference to one of them."""
        print(f"\n{title} ({len(self.units(against))})")
        for row in self._values:
            mean, base = self.units(row), self.units(against)
            gain = "" if row == against else interval((mean - base).tolist())
            print(f"  {row:<42} {mean.mean():.3f}  {gain}")


def print_search(folder: Folder, seeds: int) -> None:
    """Print the average precision of searching for a concept."""
    means = Means()
    for place, hidden, shown in folder.draws(1, seeds):
        precision = partial(_precision, folder, folder.shows[place], hidden)
        texts = folder.texts[place]
        of_texts = [precision(text) for text in texts]
        means.add("text: the name", place, of_texts[0])
        means.add("text: the best of those tried", place, max(of_texts))
        mean = normalize_rows(shown.mean(axis=0)[None])[0]
        plain = average_precision(folder.images @ mean, folder.shows[place], hidden)
        means.add("mean of images, cosine", place, plain)
        as_image = precision(mean, is_image=True)
        means.add("mean of images, as an image of the query", place, as_image)
        for row, concept in (
            ("concept, 1 of the images", folder.concept(shown[:1])),
            ("concept, 2 of the images", folder.concept(shown[:2])),
            ("concept", folder.concept(shown)),
            ("concept, without an index", folder.concept(shown, has_center=False)),
            ("concept --as its name", folder.concept(shown, kind=texts[0])),
            (
                "the same without an index",
                folder.concept(shown, kind=texts[0], has_center=False),
            ),
        ):
            means.add(row, place, precision(concept))
    means.print(f"{folder.name}: search", "text: the best of those tried")


def print_negatives(folder: Folder, seeds: int) -> None:
    """Print the average precision of a concept that was told from others."""
    means = Means()
    for place, hidden, shown in folder.draws(1, seeds):
        wrong = np.flatnonzero(~folder.shows[place])
        near = wrong[np.argsort(-(folder.images[wrong] @ shown.mean(axis=0)))[:NEGATIVES]]
        precision = partial(_precision, folder, folder.shows[place], [*hidden, *near.tolist()])
        means.add("concept", place, precision(folder.concept(shown)))
        told = folder.concept(shown, others=folder.images[near])
        means.add("concept --not", place, precision(told))
    means.print(f"{folder.name}: search with the {NEGATIVES} nearest others given", "concept")


def _precision(
    folder: Folder, right: Mask, hidden: list[int], vector: Embeddings, *, is_image: bool = False
) -> float:
    """Return the average precision of a query of one part."""
    scores, _ = folder.found([(vector, 1.0, is_image)], hidden)
    return average_precision(scores, right, hidden)


def print_single_things(seed: int = 0) -> None:
    """Print the same for one thing and no other of its kind: views of a photograph, cut from it."""
    encoder = clipkit.load("starter", cache_texts=False)
    bank = np.asarray(encoder.encode_texts(BACKGROUND_NAMES))
    photos = fetch_photos(EVERYDAY)
    images = np.asarray(encoder.encode_images([photo.path for photo in photos]))
    generator, means = np.random.default_rng(seed), Means()
    for place in generator.choice(len(photos), NUM_SINGLE, replace=False).tolist():
        with Image.open(photos[place].path) as photo:
            views = [_view(photo.convert("RGB"), generator) for _ in range(2 * SHOTS)]
        rows = np.asarray(encoder.encode_images(views))
        together = np.concatenate([rows, np.delete(images, place, axis=0)])
        shows = np.arange(len(together))[None] < len(rows)
        folder = Folder("", together, bank, shows, [])
        hidden, shown = list(range(SHOTS)), rows[:SHOTS]
        mean = normalize_rows(shown.mean(axis=0)[None])[0]
        precision = partial(_precision, folder, shows[0], hidden)
        plain = average_precision(together @ mean, shows[0], hidden)
        means.add("mean of images, cosine", place, plain)
        means.add("mean of images, as an image of the query", place, precision(mean, is_image=True))
        means.add("concept", place, precision(folder.concept(shown)))
        alone = folder.concept(shown, has_center=False)
        means.add("concept, without an index", place, precision(alone))
    means.print("starter, one photograph among 496 by five views of it", "mean of images, cosine")


def _view(photo: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Return a part of a photograph, half to three quarters of each side, lighter or darker."""
    width, height = photo.size
    share = generator.uniform(0.45, 0.75)
    left, top = generator.uniform(0, 1 - share, 2) * (width, height)
    view = photo.crop((int(left), int(top), int(left + share * width), int(top + share * height)))
    if generator.random() < 0.5:
        view = ImageOps.mirror(view)
    return ImageEnhance.Brightness(view).enhance(generator.uniform(0.6, 1.4))


def print_mixed(folder: Folder, seeds: int) -> None:
    """Print the average precision of a concept and a word together."""
    for title, both in (("both of them", True), ("either of them", False)):
        means = Means()
        for one, other in permutations(folder.classes(1), 2):
            first, second = folder.shows[one], folder.shows[other]
            alone = np.flatnonzero(first & ~second)
            enough = (first & second).sum() >= FEWEST_BOTH if both else True
            if not enough or len(alone) < SHOTS or (second & ~first).sum() < FEWEST_BOTH:
                continue
            target = first & second if both else first | second
            for seed in range(seeds):
                generator = np.random.default_rng([seed, one, other])
                hidden = generator.choice(alone, SHOTS, replace=False).tolist()
                _mixed_draw(folder, means, (one, other), hidden, target)
        if means.units("the word").size:
            means.print(f"{folder.name}: a concept and a word, {title}", "the word")


def _mixed_draw(
    folder: Folder, means: Means, pair: tuple[int, int], hidden: list[int], target: Mask
) -> None:
    shown = folder.images[hidden]
    mean = normalize_rows(shown.mean(axis=0)[None])[0]
    word, own_word = folder.texts[pair[1]][0], folder.texts[pair[0]][0]
    concept = folder.concept(shown)
    text, image = (word, 1.0, False), (mean, 1.0, True)
    for row, parts in (
        ("the word", [text]),
        ("the concept", [(concept, 1.0, False)]),
        ("concept + word", [(concept, 1.0, False), text]),
        ("mean of images as an image + word", [image, text]),
        ("the concept's own name + word", [(own_word, 1.0, False), text]),
    ):
        scores, _ = folder.found(parts, hidden)
        means.add(row, pair, average_precision(scores, target, hidden))
    plain = folder.images @ normalize_rows((mean + word)[None])[0]
    means.add("mean of images + word, plain sum", pair, average_precision(plain, target, hidden))


def print_relevance(folder: Folder, seeds: int) -> None:
    """Print what counts as found, and the verdict where nothing of a class is there."""
    counts: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for place, hidden, shown in folder.draws(1, seeds):
        right = folder.shows[place]
        absent = MixedSearch(folder.images[~right], folder.bank)
        mean = normalize_rows(shown.mean(axis=0)[None])[0]
        name = folder.texts[place][0]
        for row, vector, is_image in (
            ("text: the name", name, False),
            ("mean of images, as an image of the query", mean, True),
            ("concept", folder.concept(shown), False),
            ("concept --as its name", folder.concept(shown, kind=name), False),
            ("concept, without an index", folder.concept(shown, has_center=False), False),
        ):
            parts = [(vector, 1.0, is_image)]
            relevance = np.delete(folder.found(parts, hidden)[1], hidden)
            is_right = np.delete(right, hidden)
            best = absent.found(make_query(parts))[1].max()
            found = relevance >= DEFAULT_MIN_RELEVANCE
            counts[row].append(
                (
                    (found & is_right).sum(),
                    found.sum(),
                    is_right.sum(),
                    relevance.max() >= DEFAULT_MIN_RELEVANCE,
                    best >= DEFAULT_MIN_RELEVANCE,
                    best < NOTHING_BELOW,
                )
            )
    print(f"\n{folder.name}: found  precision recall F1 | verdict 'found' | absent: found, nothing")
    for row, values in counts.items():
        good, found, right, verdict, wrongly, nothing = np.array(values, float).T
        precision, recall = good.sum() / max(found.sum(), 1), good.sum() / right.sum()
        f1 = 2 * good.sum() / (found.sum() + right.sum())
        print(
            f"  {row:<42} {precision:.2f} {recall:.2f} {f1:.2f} | {verdict.mean():.2f} | "
            f"{wrongly.mean():.2f} {nothing.mean():.2f}"
        )


def print_labels(folder: Folder, seeds: int) -> None:
    """Print how well a concept does as one label among words, where an image shows one class."""
    is_one = folder.shows.sum(axis=0) == 1
    classes = [place for place in range(len(folder.shows)) if (folder.shows[place] & is_one).any()]
    if is_one.mean() < 0.9:
        return
    labels = np.array([folder.shows[classes, row].argmax() for row in range(len(is_one))])
    words = np.stack([folder.texts[place][-1] for place in classes])
    means = Means()
    for place, hidden, shown in folder.draws(1, seeds):
        kept = np.setdiff1d(np.arange(len(is_one)), hidden)
        at = classes.index(place)
        for row, vector in (
            ("text: the name", words[at]),
            ("concept", folder.concept(shown)),
            ("concept --as its name", folder.concept(shown, kind=folder.texts[place][0])),
        ):
            texts = words.copy()
            texts[at] = vector
            chosen = (folder.images[kept] @ texts.T).argmax(axis=1)
            means.add(row, place, float((chosen == labels[kept]).mean()))
    title = f"{folder.name}: accuracy with it as one of {len(classes)} labels"
    means.print(title, "text: the name")


def print_fit(folders: Sequence[Folder], seeds: int) -> None:
    """Print what other constants give on the classes that they are chosen on."""
    for constant, values in TRIED.items():
        for value in values:
            with patch.object(concept_embedding, constant, value):
                figures = [_development(folder, seeds) for folder in folders]
            precisions, f1s = zip(*figures, strict=True)
            print(
                f"{constant:<13} {value:<5}"
                f" AP {np.mean(precisions):.3f} ({' '.join(f'{one:.3f}' for one in precisions)})"
                f"  F1 {np.mean(f1s):.3f} ({' '.join(f'{one:.2f}' for one in f1s)})"
            )


def _development(folder: Folder, seeds: int) -> tuple[float, float]:
    """Return the mean average precision and the F1 of what counts as found."""
    precisions, counts = [], np.zeros(3)
    for place, hidden, shown in folder.draws(0, seeds):
        scores, relevance = folder.found([(folder.concept(shown), 1.0, False)], hidden)
        precisions.append(average_precision(scores, folder.shows[place], hidden))
        found = np.delete(relevance, hidden) >= DEFAULT_MIN_RELEVANCE
        right = np.delete(folder.shows[place], hidden)
        counts += [(found & right).sum(), found.sum(), right.sum()]
    return float(np.mean(precisions)), float(2 * counts[0] / (counts[1] + counts[2]))


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clip-data", type=Path, help="a folder of embeddings of real CLIP models")
    parser.add_argument("--seeds", type=int, default=5, help="draws a class (default 5)")
    parser.add_argument("--fit", action="store_true", help="print what else was tried, and no more")
    arguments = parser.parse_args()
    folders = read_folders(arguments.clip_data)
    if arguments.fit:
        print_fit(folders, arguments.seeds)
        return
    tables: tuple[Callable[[Folder, int], None], ...] = (
        print_search,
        print_negatives,
        print_mixed,
        print_relevance,
        print_labels,
    )
    print_single_things()
    for folder in folders:
        print(f"\n{folder.name}: {len(folder.images)} images, {len(folder.classes(1))} classes")
        for table in tables:
            table(folder, arguments.seeds)


if __name__ == "__main__":
    main()
