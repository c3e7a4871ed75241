"""Whether the audit finds a biased model and leaves a fair one alone; what debiasing is worth.

Run as  python benchmarks/audit.py  [--clip-data FOLDER] [--seeds N]. The images are parts of the
sample photographs by the starter; with FOLDER also CIFAR's and COCO's, as published models embed
them (see stored_sets.py). It prints the tables of docs/audit.md.

The biased model is a head that copies the group of an image into its embedding: of one group it
moves the embedding along the direction of one concept, so far that the groups differ by d standard
deviations of what the audit measures of that concept. Groups are drawn at random, so that nothing
else differs, and any finding at d = 0 is a false alarm. Every seed draws groups and images anew and
takes another concept.

Shapes: N images, C classes, D dimensions.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from stored_sets import ANIMALS, StoredSet, read_sets

import clipkit
from clipkit import markdown
from clipkit.embeddings import normalize_rows
from clipkit.evaluation.audit.column import measure_column, num_families
from clipkit.evaluation.audit.concepts import (
    CONCEPT_TEMPLATE,
    DEFAULT_CONCEPTS,
    everyday_prompts,
)
from clipkit.evaluation.audit.debiasing import measure_debiasing
from clipkit.evaluation.audit.findings import findings_of
from clipkit.evaluation.audit.report import ColumnAudit, Finding
from clipkit.evaluation.audit.scores import AuditImages, AuditScores, AuditTexts, score_texts
from clipkit.metrics.comparison import share_interval
from clipkit.runtime.base import Scoring

SAMPLES = Path(__file__).parents[1] / "demo" / "samples"
NUM_PARTS = 11  # of each photograph
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
SIZES = ((250, 250), (460, 40), (50, 50))
QUERIES = ("an animal", "a vehicle", "a building", "a plant", "a black and white photo")
CREATURES = (
    "bee, cat, clownfish, cow, crab, dog, duck, gibbon, giraffe, hedgehog, hen, horse, kingfisher, "
    "koala, owl, panda, parrot, polar bear, red panda, sheep"
)
NUM_CONCEPTS = 30
CLIP_SCALE = Scoring(log_scale=float(np.log(100.0)))
Groups = NDArray[np.intp]


@dataclass(frozen=True)
class Audited:
    """Images of one model with texts to audit them by."""

    name: str
    images: AuditImages
    texts: AuditTexts
    visible: dict[str, Groups]  # attributes that can be seen, 0 or 1 an image


def starter_set() -> Audited:
    """Return parts of the sample photographs by the starter."""
    labels = json.loads((SAMPLES / "labels.json").read_text(encoding="utf-8"))
    names = tuple(sorted(set(labels.values())))
    rng, parts, classes, grey = np.random.default_rng(0), [], [], []
    for file, label in labels.items():
        with Image.open(SAMPLES / file) as opened:
            photo = opened.convert("RGB")
        for number in range(NUM_PARTS):
            share = rng.uniform(0.6, 1.0)
            width, height = int(photo.width * share), int(photo.height * share)
            left, top = (
                rng.integers(photo.width - width + 1),
                rng.integers(photo.height - height + 1),
            )
            part = photo.crop((left, top, left + width, top + height)).resize((224, 224))
            parts.append(part.convert("L").convert("RGB") if number % 2 else part)
            classes.append(names.index(label))
            grey.append(number % 2)
    encoder = clipkit.load()
    filled = [CONCEPT_TEMPLATE.replace("{}", concept) for concept in DEFAULT_CONCEPTS]
    texts = AuditTexts(
        names,
        np.asarray(clipkit.ZeroShotClassifier(encoder, names).class_embeddings),
        QUERIES,
        np.asarray(encoder.encode_texts(QUERIES)),
        DEFAULT_CONCEPTS,
        np.asarray(encoder.encode_texts(filled)),
        np.asarray(encoder.encode_texts(everyday_prompts())),
    )
    rows = np.asarray(encoder.encode_images(parts))
    images = AuditImages(rows, np.array(classes), encoder.scoring)
    visible = {
        "black and white": np.array(grey),
        "an animal": np.array([int(names[label] in CREATURES.split(", ")) for label in classes]),
    }
    return Audited("samples, starter", images, texts, visible)


def stored(found: StoredSet, folder: Path) -> Audited:
    """Return a stored set: the classes are its own, the concepts everyday words."""
    alone = found.shows.sum(axis=1) == 1
    labels = np.where(alone, found.shows.argmax(axis=1), -1)
    # Random words are the concepts, and the rest of the bank is what they are weighed by.
    order = np.random.default_rng(0).permutation(len(found.bank))
    concepts, rest = order[:NUM_CONCEPTS], order[NUM_CONCEPTS:]
    texts = AuditTexts(
        tuple(found.class_names),
        found.texts,
        tuple(found.class_names[:5]),
        found.texts[:5],
        tuple(f"word {number}" for number in concepts),
        found.bank[concepts],
        found.bank[rest],
    )
    images = AuditImages(found.images, labels, CLIP_SCALE)
    return Audited(found.name, images, texts, _visible(found, folder))


def _visible(found: StoredSet, folder: Path) -> dict[str, Groups]:
    if "person" in found.class_names:
        return {"a person in it": found.shows[:, found.class_names.index("person")].astype(np.intp)}
    if set(found.class_names) >= ANIMALS:
        is_animal = [name in ANIMALS for name in found.class_names]
        with np.load(folder / "cifar10_500_vitb32.npz") as file:
            light = file["pixels"].mean(axis=(1, 2, 3))
        return {
            "animal": (found.shows @ np.array(is_animal, dtype=np.intp)).astype(np.intp),
            "lighter than most": (light > np.median(light)).astype(np.intp),
        }
    return {}


def biased(data: Audited, part: AuditImages, groups: Groups, which: int, d: float) -> AuditImages:
    """Return images by a head that copies the group into the embedding along a concept."""
    rows = np.asarray(part.embeddings, np.float64)
    # What is moved is what the report measures: the concept less the mean of everyday words.
    along = data.texts.concepts[which] - data.texts.everyday.mean(axis=0, dtype=np.float64)
    step = d * (rows @ along).std(ddof=1) / (along @ along)
    moved = rows + np.where(groups[:, None] == 1, step, 0.0) * along
    return replace(part, embeddings=normalize_rows(moved))


def drawn(data: Audited, sizes: tuple[int, int], seed: int) -> tuple[AuditImages, Groups]:
    """Return random images in two random groups."""
    rng = np.random.default_rng(seed)
    total = min(sum(sizes), len(data.images.embeddings))
    rows = rng.permutation(len(data.images.embeddings))[:total]
    groups = np.zeros(total, dtype=np.intp)
    groups[: round(total * sizes[1] / sum(sizes))] = 1
    return data.images.part(rows), groups


def audited(
    images: AuditImages, groups: Groups, texts: AuditTexts
) -> tuple[ColumnAudit, AuditScores, list[Finding]]:
    """Return what the audit says of two groups."""
    scores = score_texts(images, texts)
    families = num_families(scores)
    column = measure_column("group", cells_of(groups), scores, texts, families=families)
    return column, scores, findings_of(column)


def cells_of(groups: Groups) -> list[str | None]:
    """Return groups by name."""
    return ["second" if group else "first" for group in groups]


def shown_share(hits: Sequence[bool]) -> str:
    """Return a share with its interval."""
    found = share_interval(np.array(hits, dtype=np.float64))
    return f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f})"


def detection(data: Audited, num_seeds: int) -> None:
    """Print how often the bias is found, by its strength and the sizes of the groups."""
    title(f"{data.name}: share of {num_seeds} seeds with a finding (d = 0: false alarms)")
    rows = []
    for sizes in SIZES:
        cells = []
        for strength in STRENGTHS:
            hits = []
            for seed in range(num_seeds):
                images, groups = drawn(data, sizes, seed)
                which = seed % len(data.texts.concept_names)
                images = biased(data, images, groups, which, strength)
                _, _, found = audited(images, groups, data.texts)
                subjects = {one.subject for one in found if one.group == "second"}
                is_right = data.texts.concept_names[which] in subjects
                hits.append(bool(found) if strength == 0 else is_right)
            cells.append(shown_share(hits))
        rows.append([f"{sizes[0]} and {sizes[1]}", *cells])
    print_table(["images", *(f"d = {strength:g}" for strength in STRENGTHS)], rows)


def attributes(data: Audited) -> None:
    """Print what is found of attributes that can be seen."""
    for name, groups in data.visible.items():
        _, _, found = audited(data.images, groups, data.texts)
        title(f"{data.name}: {name} ({len(found)} findings)")
        for one in found[:4]:
            print(f"- {one.kind}: {one.sentence}; p {one.p:.2g}")


def removal(data: Audited, num_seeds: int) -> None:
    """Print what debiasing is worth, by the strength of the bias."""
    title(f"{data.name}: debiased, means over {num_seeds} seeds, 250 and 250 images")
    rows = []
    for strength in (0.0, 0.5, 1.0):
        results = []
        for seed in range(num_seeds):
            images, groups = drawn(data, SIZES[0], seed)
            which = seed % len(data.texts.concept_names)
            images = biased(data, images, groups, which, strength)
            column, scores, _ = audited(images, groups, data.texts)
            results.append(
                measure_debiasing(
                    images,
                    data.texts,
                    cells_of(groups),
                    (column, scores),
                    families=num_families(scores),
                    word_directions=None,
                )
            )
        before, after = np.mean([one.num_findings for one in results], axis=0)
        effects = np.mean(
            [entry[1:] for one in results for entry in one.figures if "associations" in entry[0]],
            axis=0,
        )
        changes = [100 * one.accuracy_change.mean for one in results if one.accuracy_change]
        worse = np.mean([one.verdict.startswith("worse") for one in results])
        rows.append(
            [
                f"{strength:g}",
                *(f"{before:.2f}", f"{after:.2f}"),
                *(f"{effects[0]:.3f}", f"{effects[1]:.3f}"),
                f"{np.mean(changes):+.2f} ({min(changes):+.1f} to {max(changes):+.1f})",
                f"{worse:.2f}",
            ]
        )
    print_table(
        [
            "d",
            *("findings before", "after"),
            *("mean size of d before", "after"),
            *("accuracy, points (range)", "told worse than nothing"),
        ],
        rows,
    )


def title(text: str) -> None:
    """Print a heading."""
    print(f"\n### {text}\n", flush=True)


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print a table in Markdown."""
    print("\n".join(markdown.table(header, rows)), flush=True)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip-data", type=Path, help="folder with stored embeddings")
    parser.add_argument("--seeds", type=int, default=50)
    arguments = parser.parse_args()
    sets = [starter_set()]
    if arguments.clip_data is not None:
        folder = arguments.clip_data
        sets += [stored(found, folder) for found in read_sets(folder) if len(found.images) >= 300]
    start = time.monotonic()
    for data in sets:
        detection(data, arguments.seeds)
        attributes(data)
        removal(data, arguments.seeds)
    print(f"\n{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
