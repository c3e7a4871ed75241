"""What crops find, cost and take: one collection indexed with and without, in one run.

    python benchmarks/crops.py --collection everyday

Each index is made by `PhotoLibrary.sync` and asked every query of the collection, so that what is
measured is what users get: mean average precision, recall among the first ten, and what the search
says as a whole, by the kind of query where the collection tells kinds. Queries without a match show
whether the verdict stays what it is: the best of five rows lies higher by chance.
"""

import argparse
import importlib
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from composition import interval
from labelled_photos import (
    CACHE_FOLDER,
    EVERYDAY,
    THINGS,
    LabelledPhoto,
    LabelledQuery,
    PhotoCache,
    fetch_photos,
    read_queries,
    true_matches,
)
from numpy.typing import NDArray
from PIL import Image, ImageOps

import clipkit
from clipkit.inputs.crop_boxes import CROPS

COLLECTIONS = ("everyday", "things", "validation", "pasted")
FIRST = 10  # hits that somebody looks at
_WARM_UP = 16  # images that start the engine
_SEED = 0
_SCENE = (1280, 960)  # pixels of a photograph that a thing is pasted into


@dataclass(frozen=True)
class Answer:
    """What one index answers to one query."""

    kind: str
    num_matches: int
    precision: float  # average, over all matches; 0 without any
    recall: float  # share of the matches, or of ten, among the first ten
    verdict: str
    num_found: int
    num_right: int  # of those that count as found


@dataclass(frozen=True)
class Indexed:
    """One index, and its answers."""

    crops: int
    seconds: float
    processor_seconds: float
    num_bytes: int  # of the vectors
    answers: list[Answer]


def read_collection(name: str, scratch: Path) -> tuple[list[LabelledPhoto], list[LabelledQuery]]:
    """Return the photographs and the queries of a collection.

    Args:
        name: One of COLLECTIONS; "pasted" are the things, each a fifth of the sides of a photograph
            of everyday life, and the queries that one of them answers.
        scratch: Where images are made.
    """
    if name == "pasted":
        things, queries = read_collection("things", scratch)
        names = frozenset[str]().union(*(thing.names for thing in things))
        asked = [query for query in queries if query.labels & names]
        return paste(things, fetch_photos(EVERYDAY), scratch / "pasted"), asked
    if name == "validation":
        validation: Any = importlib.import_module("recipe.validation")
        photos = validation.read_validation(PhotoCache(CACHE_FOLDER))
        return photos, validation.read_validation_queries()
    collection = {"everyday": EVERYDAY, "things": THINGS}[name]
    return fetch_photos(collection), read_queries(collection)


def paste(
    things: Sequence[LabelledPhoto], photos: Sequence[LabelledPhoto], folder: Path
) -> list[LabelledPhoto]:
    """Write each thing into another photograph, small and anywhere; return what that shows then."""
    folder.mkdir()
    generator = np.random.default_rng(_SEED)
    order = generator.permutation(len(photos))
    pasted = []
    for number, thing in enumerate(things):
        with Image.open(photos[order[number]].path) as opened:
            scene = ImageOps.fit(opened.convert("RGB"), _SCENE)
        with Image.open(thing.path) as opened:
            small = opened.convert("RGBA")
        small.thumbnail((_SCENE[0] // 5, _SCENE[1] // 5))
        x, y = (int(generator.integers(scene.size[at] - small.size[at])) for at in (0, 1))
        scene.paste(small, (x, y), small)
        path = folder / f"{number:04}.jpg"
        scene.save(path, quality=92)
        pasted.append(LabelledPhoto(path, thing.label, thing.also_right))
    return pasted


def measure(
    photos: Sequence[LabelledPhoto],
    queries: Sequence[LabelledQuery],
    encoder: clipkit.Encoder,
    crops: int,
    folder: Path,
) -> Indexed:
    """Index the photographs with so many rows each, and ask every query."""
    matches = true_matches(queries, photos)
    images = folder / "photos"
    if not images.exists():
        images.mkdir()
        for number, photo in enumerate(photos):
            (images / f"{number:04}{photo.path.suffix.lower()}").symlink_to(photo.path.resolve())
    library = clipkit.PhotoLibrary.open(images, encoder, location=folder / f"index-{crops}")
    started = time.perf_counter(), time.process_time()
    library.sync(crops=crops)
    seconds, processor_seconds = time.perf_counter() - started[0], time.process_time() - started[1]
    size = sum(path.stat().st_size for path in library.location.glob("*.f16"))
    answers = [_answer(library, query, row) for query, row in zip(queries, matches, strict=True)]
    return Indexed(crops, seconds, processor_seconds, size, answers)


def _answer(
    library: clipkit.PhotoLibrary, query: LabelledQuery, matches: NDArray[np.bool_]
) -> Answer:
    hits = library.search(query.words, k=len(matches))
    right = np.array([matches[int(hit.path.stem)] for hit in hits], dtype=bool)
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    number = int(right.sum())
    return Answer(
        kind=getattr(query, "kind", ""),
        num_matches=number,
        precision=float(precision[right].mean()) if number else 0.0,
        recall=float(right[:FIRST].sum() / min(FIRST, number)) if number else 0.0,
        verdict=hits.verdict,
        num_found=hits.num_found,
        num_right=int(right[: hits.num_found].sum()),
    )


def lines(indexed: Sequence[Indexed]) -> list[str]:
    """Return the tables as lines of text."""
    plain, cropped = indexed
    told = [
        f"{cropped.crops} rows for 1: {cropped.seconds / plain.seconds:.2f} times as long, "
        f"{cropped.processor_seconds / plain.processor_seconds:.2f} times the processor's time, "
        f"{cropped.num_bytes / plain.num_bytes:.2f} times as many bytes",
        "",
        "| queries | | average precision | recall@10 | difference of recall |",
        "|---|--:|--:|--:|--:|",
    ]
    kinds = dict.fromkeys(answer.kind for answer in plain.answers)
    for kind in ["all", *kinds] if len(kinds) > 1 else ["all"]:
        pairs = [
            pair
            for pair in zip(plain.answers, cropped.answers, strict=True)
            if pair[0].num_matches and kind in ("all", pair[0].kind)
        ]
        precision = [np.mean([pair[side].precision for pair in pairs]) for side in (0, 1)]
        recall = [np.mean([pair[side].recall for pair in pairs]) for side in (0, 1)]
        gain = interval([second.recall - first.recall for first, second in pairs])
        told.append(
            f"| {kind} | {len(pairs)} | {precision[0]:.3f} to {precision[1]:.3f} | "
            f"{recall[0]:.3f} to {recall[1]:.3f} | {gain} |"
        )
    told += [
        "",
        "| rows | F1 of what counts as found | found, with a match | without | nothing, without |",
    ]
    told.append("|--:|--:|--:|--:|--:|")
    return told + [_verdict_line(each) for each in indexed]


def _verdict_line(indexed: Indexed) -> str:
    answers = indexed.answers
    num_right = sum(answer.num_right for answer in answers)
    num_told = sum(answer.num_found + answer.num_matches for answer in answers)
    there = [answer.verdict for answer in answers if answer.num_matches]
    absent = [answer.verdict for answer in answers if not answer.num_matches]
    return (
        f"| {indexed.crops} | {2 * num_right / num_told:.3f} | "
        f"{there.count('found') / max(1, len(there)):.3f} | "
        f"{absent.count('found') / max(1, len(absent)):.3f} | "
        f"{absent.count('probably nothing') / max(1, len(absent)):.3f} |"
    )


def main() -> None:
    """Measure a collection with and without crops, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--collection", choices=COLLECTIONS, default="everyday")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every answer")
    arguments = parser.parse_args()
    encoder = clipkit.load(arguments.model, cache_texts=False)
    with tempfile.TemporaryDirectory() as scratch:
        photos, queries = read_collection(arguments.collection, Path(scratch))
        encoder.encode_images([photo.path for photo in photos[:_WARM_UP]])
        indexed = [measure(photos, queries, encoder, crops, Path(scratch)) for crops in CROPS]
    print(f"{arguments.collection}: {len(photos)} photographs, {len(queries)} queries\n")
    print("\n".join(lines(indexed)))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(each) for each in indexed], indent=1) + "\n")


if __name__ == "__main__":
    main()
