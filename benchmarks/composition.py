"""Queries of two parts on labelled photographs: clipkit's order beside its score and a plain sum.

Run as  python benchmarks/composition.py  [--clip-data FOLDER] ; the photographs are fetched on the
first run. FOLDER holds embeddings of published models: see stored_sets.py. Every figure is a mean
average precision, 0 to 1, with 95 % intervals from a paired bootstrap.

Shapes: N images, D dimensions.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations
from pathlib import Path

import numpy as np
from labelled_photos import LabelledPhoto, LabelledQuery, fetch_photos, read_queries, true_matches
from mixed_search import MixedSearch, make_query
from numpy.typing import NDArray
from PIL import Image, ImageOps
from stored_sets import StoredSet, read_sets

import clipkit
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.embeddings import Embeddings, mix_embeddings
from clipkit.search.modality_gap import (
    center_rows,
    centered_similarities,
    estimate_center,
    estimate_spread,
    mix_parts,
    subtraction_loss,
)

Vector = NDArray[np.float32]
Mask = NDArray[np.bool_]

SHIFTS = (1, 7, 16)  # each name is paired with these neighbours in the list of names
FEWEST = 3  # images of a stored set that show a class, or both of a pair
MOST_IMAGES = 10  # of a class that ask with its own word


@dataclass(frozen=True)
class Library:
    """Images, plain and seen from their centre."""

    images: Embeddings
    bank: Embeddings  # everyday words
    center: Vector
    text_center: Vector
    spreads: tuple[float, float]  # of unrelated images and of unrelated texts

    @cached_property
    def search(self) -> MixedSearch:
        """The same images, as clipkit searches them."""
        return MixedSearch(self.images, self.bank)

    def similarities(self, direction: Vector) -> Vector:
        """Return the centred cosine of every image, as a scan of the plain rows gives it."""
        scores = self.images @ np.stack([direction, self.center], axis=1)
        return centered_similarities(scores, direction, self.center)


@dataclass(frozen=True)
class Composed:
    """A query of two parts, and what answers it."""

    unit: str  # queries of one unit are resampled together
    parts: Embeddings  # (2, D)
    are_images: tuple[bool, bool]
    sign: float  # of the second part
    relevant: Mask
    hidden: tuple[int, ...]  # images of the query


Scorer = Callable[[Library, Composed], Vector]


def plain_sum(
    library: Library, query: Composed, *, text_weight: float = 1.0, subtracted: float = 1.0
) -> Vector:
    """Return scores of the weighted sum of the parts as they are."""
    first, second = (1.0 if is_image else text_weight for is_image in query.are_images)
    if query.sign < 0:
        second *= -subtracted
    return np.asarray(library.images @ mix_embeddings(query.parts, [first, second])[0])


def clipkit_order(library: Library, query: Composed, *, weigh: bool = True) -> Vector:
    """Return the order of clipkit's hits: by evidence and score, of the 200 that score best."""
    parts = make_query(list(zip(query.parts, (1.0, query.sign), query.are_images, strict=True)))
    return library.search.found(parts, query.hidden, weigh=weigh)[0].astype(np.float32)


def clipkit_score(library: Library, query: Composed) -> Vector:
    """Return scores of the sum of the centred parts, less what is lost for what is subtracted."""
    if query.sign > 0:
        direction = mix_parts(query.parts, [1.0, 1.0], centers(library, query))
        return library.similarities(direction)
    added, subtracted = (
        library.similarities(part) for part in center_rows(query.parts, centers(library, query))
    )
    spreads = [library.spreads[not is_image] for is_image in query.are_images]
    return np.asarray(added - spreads[0] * subtraction_loss(subtracted / spreads[1]), np.float32)


def centred_sum(library: Library, query: Composed, *, subtracted: float = 1.0) -> Vector:
    """Return scores of the sum of the centred parts, or of their weighted difference."""
    weight = query.sign if query.sign > 0 else -subtracted
    return library.similarities(mix_parts(query.parts, [1.0, weight], centers(library, query)))


def equal_spread(library: Library, query: Composed) -> Vector:
    """Return the sum of both parts' centred scores, each divided by its deviation."""
    parts = center_rows(query.parts, centers(library, query))
    first, second = (library.similarities(part) for part in parts)
    return np.asarray(first / first.std() + query.sign * second / second.std(), np.float32)


def centers(library: Library, query: Composed) -> Embeddings:
    """Return the centre of each part."""
    both = (library.center, library.text_center)
    return np.stack([both[0] if is_image else both[1] for is_image in query.are_images])


SCORERS: dict[str, Scorer] = {
    "1st part": lambda library, query: library.images @ query.parts[0],
    "2nd part": lambda library, query: library.images @ query.parts[1],
    "plain": plain_sum,
    "text x1.5": partial(plain_sum, text_weight=1.5),
    "text x2": partial(plain_sum, text_weight=2.0),
    "plain -/3": partial(plain_sum, subtracted=1 / 3),
    "cent. -/3": partial(centred_sum, subtracted=1 / 3),
    "cent. -1": centred_sum,
    "spread -1": equal_spread,
    "score": clipkit_score,
    "evidence": partial(clipkit_order, weigh=False),
    "clipkit": clipkit_order,
}


def average_precision(scores: Vector, relevant: Mask, hidden: Sequence[int] = ()) -> float:
    """Return the mean, over relevant images, of the precision down to each."""
    kept = np.ones(len(scores), dtype=bool)
    kept[list(hidden)] = False
    hits = relevant[kept][np.argsort(-scores[kept], kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def interval(differences: Sequence[float]) -> str:
    """Return the mean of paired differences and its bootstrap interval, as words."""
    values = np.asarray(differences)
    picks = np.random.default_rng(0).integers(len(values), size=(10_000, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return f"{values.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def collage(first: LabelledPhoto, second: LabelledPhoto) -> Image.Image:
    """Return a chessboard of two images, so that every crop shows both."""
    board = Image.new("RGB", (400, 400))
    for photo, corners in ((first, ((0, 0), (200, 200))), (second, ((200, 0), (0, 200)))):
        with Image.open(photo.path) as image:
            layered = ImageOps.pad(image.convert("RGBA"), (200, 200))
        for corner in corners:
            board.paste("white", (*corner, corner[0] + 200, corner[1] + 200))
            board.paste(layered, corner, layered)
    return board


def composed_queries(
    encoder: clipkit.Encoder, photos: list[LabelledPhoto], singles: Embeddings
) -> tuple[Embeddings, dict[str, list[Composed]]]:
    """Return the images with collages added, and the queries of each task.

    Of each name its first image asks and its last is in the collages.
    """
    showing = {
        name: np.flatnonzero([name in photo.names for photo in photos])
        for name in sorted({name for photo in photos for name in photo.names})
    }
    names = [name for name, places in showing.items() if len(places) > 1]
    pairs = [
        (name, names[(place + shift) % len(names)])
        for shift in SHIFTS
        for place, name in enumerate(names)
    ]
    pairs = [(a, b) for a, b in pairs if not set(showing[a]) & set(showing[b])]
    tiles = [(photos[showing[a][-1]], photos[showing[b][-1]]) for a, b in pairs]
    images = np.concatenate([singles, encoder.encode_images([collage(*two) for two in tiles])])
    shown = [photo.names for photo in photos] + [one.names | two.names for one, two in tiles]
    words = dict(zip(names, encoder.encode_texts(names), strict=True))
    tasks: dict[str, list[Composed]] = {}
    for a, b in [*pairs, *((b, a) for a, b in pairs)]:
        asks = {name: int(showing[name][0]) for name in (a, b)}
        has = {name: np.array([name in there for there in shown]) for name in (a, b)}
        for kinds in ((True, False), (False, True), (False, False), (True, True)):
            parts = np.stack(
                [
                    images[asks[name]] if is_image else words[name]
                    for name, is_image in zip((a, b), kinds, strict=True)
                ]
            )
            title = " {} ".join("image" if is_image else "word" for is_image in kinds)
            for sign, goal, relevant in (
                (1.0, "both", has[a] & has[b]),
                (1.0, "either", has[a] | has[b]),
                (-1.0, "1st only", has[a] & ~has[b]),
            ):
                if sign > 0 and kinds == (False, True):
                    continue  # the same as an image plus a word
                task = f"{title.format('+' if sign > 0 else '-')}: {goal}"
                query = Composed(a, parts, kinds, sign, relevant, tuple(asks.values()))
                tasks.setdefault(task, []).append(query)
    for name in names:
        for place in showing[name].tolist():
            parts = np.stack([images[place], words[name]])
            relevant = np.array([name in there for there in shown])
            query = Composed(name, parts, (True, False), 1.0, relevant, (place,))
            tasks.setdefault("image + its own word", []).append(query)
    return images, tasks


def wider_without_narrower(
    queries: list[LabelledQuery], words: Embeddings, matches: Mask
) -> list[Composed]:
    """Return queries such as "bird - toucan": words less other words that they include."""
    return [
        Composed(
            queries[wide].words,
            words[[wide, narrow]],
            (False, False),
            -1.0,
            matches[wide] & ~matches[narrow],
            (),
        )
        for wide, narrow in np.ndindex(len(queries), len(queries))
        if matches[narrow].any()
        and not (matches[narrow] & ~matches[wide]).any()
        and matches[wide].sum() >= matches[narrow].sum() + 3
    ]


def print_composed(library: Library, tasks: dict[str, list[Composed]]) -> None:
    """Print one line a task; intervals are over the first names, of clipkit minus three others."""
    print(f"\n{len(library.images)} images\n")
    columns_of = (f"{name:>9}" for name in SCORERS)
    print(f"{'':26} {'queries':>7}", *columns_of, " clipkit - plain, - score, - evidence")
    for task, queries in tasks.items():
        by_unit: dict[str, list[list[float]]] = {}
        for query in queries:
            values = [
                average_precision(score(library, query), query.relevant, query.hidden)
                for score in SCORERS.values()
            ]
            by_unit.setdefault(query.unit, []).append(values)
        table = np.array([np.mean(values, axis=0) for values in by_unit.values()])
        columns = dict(zip(SCORERS, table.T, strict=True))
        means = (f"{column.mean():9.3f}" for column in columns.values())
        gains = (
            interval(columns["clipkit"] - columns[name]) for name in ("plain", "score", "evidence")
        )
        print(f"{task:26} {len(queries):7}", *means, "", *gains, flush=True)


def stored_queries(stored: StoredSet) -> dict[str, list[Composed]]:
    """Return the queries of each task for a stored set.

    Its classes are the words. Where photographs show several classes, those pairs of classes ask
    that some photographs show together; an image of A that asks does not show B.
    """
    rng, shows = np.random.default_rng(0), stored.shows
    has_both = shows.sum(axis=1).max() > 1
    tasks: dict[str, list[Composed]] = {}
    usable = [number for number, column in enumerate(shows.T) if column.sum() >= FEWEST]
    for pair in combinations(usable, 2):
        if has_both and (shows[:, pair[0]] & shows[:, pair[1]]).sum() < FEWEST:
            continue
        for first, second in (pair, pair[::-1]):
            for task, query in _stored_pair(stored, first, second, rng):
                is_same_sum = len(set(query.are_images)) == 1 and query.sign > 0 and first > second
                remain = np.delete(query.relevant, query.hidden).any()
                # Where an image shows one class, none shows both, and none of A shows B.
                is_asked = has_both or task.endswith("either")
                if is_asked and remain and not is_same_sum:
                    tasks.setdefault(task, []).append(query)
    tasks["image + its own word"] = list(_stored_own_words(stored, usable, rng))
    return tasks


def _stored_own_words(
    stored: StoredSet, usable: list[int], rng: np.random.Generator
) -> Iterator[Composed]:
    for number in usable:
        relevant = stored.shows[:, number]
        for place in rng.permutation(np.flatnonzero(relevant))[:MOST_IMAGES].tolist():
            parts = np.stack([stored.images[place], stored.texts[number]])
            unit = stored.class_names[number]
            yield Composed(unit, parts, (True, False), 1.0, relevant, (place,))


def _stored_pair(
    stored: StoredSet, first: int, second: int, rng: np.random.Generator
) -> Iterator[tuple[str, Composed]]:
    has = stored.shows[:, first], stored.shows[:, second]
    alone = [np.flatnonzero(mine & ~other) for mine, other in (has, has[::-1])]
    asks = [int(rng.choice(places)) if len(places) else -1 for places in alone]
    for kinds in ((True, False), (False, True), (False, False), (True, True)):
        hidden = tuple(place for place, is_image in zip(asks, kinds, strict=True) if is_image)
        if -1 in hidden:
            continue  # no image shows it without the other
        parts = np.stack(
            [
                stored.images[place] if is_image else stored.texts[number]
                for number, place, is_image in zip((first, second), asks, kinds, strict=True)
            ]
        )
        title = " {} ".join("image" if is_image else "word" for is_image in kinds)
        for sign, goal, relevant in (
            (1.0, "both", has[0] & has[1]),
            (1.0, "either", has[0] | has[1]),
            (-1.0, "1st only", has[0] & ~has[1]),
        ):
            if sign < 0 or kinds != (False, True):
                task = f"{title.format('+' if sign > 0 else '-')}: {goal}"
                unit = stored.class_names[first]
                yield task, Composed(unit, parts, kinds, sign, relevant, hidden)


def print_single(library: Library, words: Embeddings, matches: Mask) -> None:
    """Print whether centring would help a query of one part."""
    rows = []
    for word, relevant in zip(words, matches, strict=True):
        if relevant.any():
            centred = library.similarities(center_rows(word[None, :], library.text_center)[0])
            plain = average_precision(library.images @ word, relevant)
            rows.append((plain, average_precision(centred, relevant)))
    print_pair("one word", rows)
    rows = []
    for relevant in matches[matches.sum(axis=1) > 1]:
        for place in np.flatnonzero(relevant).tolist():
            image = library.images[place]
            centred = library.similarities(center_rows(image[None, :], library.center)[0])
            plain = average_precision(library.images @ image, relevant, [place])
            rows.append((plain, average_precision(centred, relevant, [place])))
    print_pair("one image", rows)


def print_pair(title: str, rows: list[tuple[float, float]]) -> None:
    """Print the means of plain and centred, and the interval of their difference."""
    plain, centred = np.array(rows).T
    difference = interval(centred - plain)
    print(
        f"{title:12} {len(rows)} queries: plain {plain.mean():.3f}, centred {centred.mean():.3f}",
        f"centred - plain {difference}",
    )


def build_library(images: Embeddings, bank: Embeddings) -> Library:
    """Return images with their centre and that of everyday words."""
    center, text_center = (estimate_center(rows.mean(axis=0), len(rows)) for rows in (images, bank))
    seen = center_rows(images, center)[:256]
    spreads = (
        estimate_spread(seen, seen),
        estimate_spread(center_rows(bank, text_center), seen),
    )
    return Library(images, bank, center, text_center, spreads)


def main() -> None:
    """Print the table of composed queries, that of narrowed words, and queries of one part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clip-data", type=Path, help="a folder of embeddings of real CLIP models")
    arguments = parser.parse_args()
    encoder, photos, queries = clipkit.load(), fetch_photos(), read_queries()
    singles = encoder.encode_images([photo.path for photo in photos])
    images, tasks = composed_queries(encoder, photos, singles)
    bank = encoder.encode_texts(list(BACKGROUND_NAMES))
    print_composed(build_library(images, bank), tasks)
    words = encoder.encode_texts([query.words for query in queries])
    matches, library = true_matches(queries, photos), build_library(singles, bank)
    print_composed(library, {"wider - narrower": wider_without_narrower(queries, words, matches)})
    print_single(library, words, matches)
    for stored in read_sets(arguments.clip_data) if arguments.clip_data else ():
        print(f"\n{stored.name}")
        print_composed(build_library(stored.images, stored.bank), stored_queries(stored))


if __name__ == "__main__":
    main()
