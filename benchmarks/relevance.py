"""Relevance beside a flat cosine cut-off and softmax over the queries, on labelled photographs.

Run as  python benchmarks/relevance.py  [--json] [--model NAME]. It fetches the photographs at the
first run (see labelled_photos.py). Queries are words and images; some have several matches, some
one, some none. Half of each kind, drawn once with a fixed seed, is for development: the constants
of clipkit/search/relevance.py were chosen there. The rivals' thresholds are the best on the very
queries that they are judged by, an advantage that relevance does not get; softmax also sees all
queries of their half at once.

Shapes: Q queries, K images.
"""

import argparse
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cut_offs import MEASURES, RANKINGS, Array, CutOff, Mask, auroc
from labelled_photos import LabelledPhoto, fetch_photos, read_queries, true_matches
from numpy.typing import NDArray

import clipkit
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.search.relevance import DEFAULT_MIN_RELEVANCE, NullDistribution

SEED = 0
NUM_RESAMPLES = 2000
HIDDEN = -np.inf  # the score of a query image for itself


@dataclass(frozen=True)
class Embedded:
    """A model's embeddings of the images, the queries of words and the everyday words."""

    images: Array
    words: Array
    bank: Array
    logit_scale: float

    @classmethod
    def by_model(cls, name: str, paths: list[Path], words: list[str]) -> "Embedded":
        """Embed with a model that clipkit loads."""
        encoder = clipkit.load(name)
        texts = encoder.encode_texts([*words, *BACKGROUND_NAMES])
        return cls(
            encoder.encode_images(paths).astype(np.float64),
            texts[: len(words)].astype(np.float64),
            texts[len(words) :].astype(np.float64),
            encoder.logit_scale,
        )

    @classmethod
    def from_file(cls, file: Path) -> "Embedded":
        """Read the embeddings that benchmarks/training_free.py wrote."""
        with np.load(file) as stored:
            return cls(stored["images"], stored["words"], stored["bank"], float(stored["scale"]))


@dataclass(frozen=True)
class Queries:
    """Queries of one or both kinds and every method's score of every image, shape (Q, K)."""

    matches: Mask
    shown: Mask  # False where an image is the query itself
    scores: dict[str, Array]
    is_development: Mask  # (Q,)

    def part(self, *, development: bool) -> "Queries":
        """Return the development or the held-out half."""
        return self.take(np.flatnonzero(self.is_development == development))

    def take(self, rows: NDArray[np.intp]) -> "Queries":
        """Return some of the queries."""
        scores = {name: values[rows] for name, values in self.scores.items()}
        return Queries(self.matches[rows], self.shown[rows], scores, self.is_development[rows])

    def cut(self, method: str, threshold: float | None = None) -> CutOff:
        """Return one method's cut-off at a threshold, or at the best one on these very queries."""
        return CutOff.at(self.scores[method], self.matches, threshold)

    def joined(self, other: "Queries") -> "Queries":
        """Return both sets of queries as one."""
        scores = {name: np.vstack([self.scores[name], other.scores[name]]) for name in self.scores}
        return Queries(
            np.vstack([self.matches, other.matches]),
            np.vstack([self.shown, other.shown]),
            scores,
            np.concatenate([self.is_development, other.is_development]),
        )


# Scoring


def score_queries(embedded: Embedded, photos: list[LabelledPhoto]) -> dict[str, Queries]:
    """Return the queries of words and those of images, scored."""
    null = NullDistribution(embedded.bank, embedded.images)
    every_pair = np.ones((len(embedded.words), len(photos)), dtype=bool)
    others = ~np.eye(len(photos), dtype=bool)
    return {
        "words": _queries(
            true_matches(read_queries(), photos), every_pair, embedded, null, are_images=False
        ),
        "images": _queries(image_matches(photos), others, embedded, null, are_images=True),
    }


def image_matches(photos: list[LabelledPhoto]) -> Mask:
    """Return whether two images show the same: what one is of, the other shows too."""
    same = np.array([[a.label in b.names or b.label in a.names for b in photos] for a in photos])
    return same & ~np.eye(len(photos), dtype=bool)


def _queries(
    matches: Mask, shown: Mask, embedded: Embedded, null: NullDistribution, *, are_images: bool
) -> Queries:
    rows = embedded.images if are_images else embedded.words
    cosines = np.where(shown, rows @ embedded.images.T, HIDDEN)
    relevance = [null.relevance(row[None], [1.0], [are_images], embedded.images) for row in rows]
    is_development = split_images(len(matches)) if are_images else split_words(matches.sum(axis=1))
    softmax = np.full(cosines.shape, HIDDEN)
    for half in (is_development, ~is_development):
        powers = np.exp(embedded.logit_scale * (cosines[half] - 1))
        softmax[half] = np.where(shown[half], powers / powers.sum(axis=0), HIDDEN)
    scores = {
        "relevance": np.where(shown, np.array(relevance), HIDDEN),
        "cosine": cosines,
        "softmax": softmax,
    }
    return Queries(matches, shown, scores, is_development)


def split_words(num_matches: NDArray[np.int_]) -> Mask:
    """Return which queries are for development: half of those with none, one, several matches."""
    generator = random.Random(SEED)
    is_development = np.zeros(len(num_matches), dtype=bool)
    for kind in range(3):
        rows = np.flatnonzero(np.minimum(num_matches, 2) == kind).tolist()
        generator.shuffle(rows)
        is_development[rows[: len(rows) // 2]] = True
    return is_development


def split_images(count: int) -> Mask:
    """Return which images are queries for development: half of them."""
    is_development = np.zeros(count, dtype=bool)
    is_development[np.random.default_rng(SEED).permutation(count)[: count // 2]] = True
    return is_development


# The report


def report(kinds: dict[str, Queries], other_threshold: float | None) -> dict[str, object]:
    """Return every table: for words, for images, for both together, and for the order."""
    tables: dict[str, object] = {}
    both = kinds["words"].joined(kinds["images"])
    for name, queries in (kinds | {"both": both}).items():
        more = {}
        if other_threshold is not None:
            more[f"cosine from {other_threshold} on"] = queries.cut("cosine", other_threshold)
        if name == "both":
            each = [kind.cut("cosine") for kind in kinds.values()]
            more["cosine, a threshold for each kind"] = each[0].joined(each[1])
        tables[name] = panel(queries, more)
    tables["ranking"] = {name: rankings(queries) for name, queries in kinds.items()}
    return tables


def panel(queries: Queries, more: dict[str, CutOff]) -> dict[str, object]:
    """Return the figures of every method, and by how much relevance is better."""
    cuts = {"relevance": queries.cut("relevance", DEFAULT_MIN_RELEVANCE)}
    cuts |= {name: queries.cut(name) for name in ("cosine", "softmax")} | more
    counts = queries.matches.sum(axis=1)
    figures = {
        name: {measure: function(cut) for measure, function in MEASURES.items()}
        for name, cut in cuts.items()
    }
    for name, scores in queries.scores.items():
        figures[name]["threshold"] = cuts[name].threshold
        missing = scores[~queries.matches & queries.shown]
        figures[name]["AUROC of pairs"] = auroc(scores[queries.matches], missing)
    return {
        "queries": {
            "several": int((counts > 1).sum()),
            "one": int((counts == 1).sum()),
            "none": int((counts == 0).sum()),
        },
        "methods": figures,
        "relevance minus": {
            name: {
                measure: difference(cuts["relevance"], cut, function)
                for measure, function in MEASURES.items()
            }
            for name, cut in cuts.items()
            if name != "relevance"
        },
    }


def difference(first: CutOff, second: CutOff, measure: Callable[[CutOff], float]) -> list[float]:
    """Return first minus second and its 95 % interval; queries are drawn with repetition."""
    generator = np.random.default_rng(SEED)
    draws = []
    for _ in range(NUM_RESAMPLES):
        rows = generator.integers(0, len(first.best), len(first.best))
        draws.append(measure(first.take(rows)) - measure(second.take(rows)))
    low, high = np.percentile(draws, [2.5, 97.5])
    return [measure(first) - measure(second), float(low), float(high)]


def rankings(queries: Queries) -> dict[str, dict[str, object]]:
    """Return how well cosine and relevance order the images, and the difference's interval."""
    rows = np.flatnonzero(queries.matches.any(axis=1))
    generator = np.random.default_rng(SEED)
    draws = generator.integers(0, len(rows), (NUM_RESAMPLES, len(rows)))
    tables: dict[str, dict[str, object]] = {}
    for name, function in RANKINGS.items():
        values = {
            method: np.array(
                [
                    function(np.argsort(-queries.scores[method][row]), queries.matches[row])
                    for row in rows
                ]
            )
            for method in ("cosine", "relevance")
        }
        gains = values["relevance"] - values["cosine"]
        interval = np.percentile(gains[draws].mean(axis=1), [2.5, 97.5])
        tables[name] = {method: float(value.mean()) for method, value in values.items()}
        tables[name]["difference"] = [float(gains.mean()), *map(float, interval)]
    return tables


def print_report(halves: dict[str, dict[str, object]]) -> None:
    """Print the tables as Markdown."""
    for half, panels in halves.items():
        for name in ("words", "images", "both"):
            _print_panel(f"{half}, {name}", panels[name])
        print(f"\n### {half}, order of the hits\n")
        print("| queries | measure | cosine | relevance | difference |\n|---|---|---|---|---|")
        for name, tables in panels["ranking"].items():
            for measure, row in tables.items():
                figures = f"{row['cosine']:.3f} | {row['relevance']:.3f}"
                print(f"| {name} | {measure} | {figures} | {_interval(row['difference'])} |")


def _print_panel(title: str, found: dict) -> None:
    counts = found["queries"]
    print(f"\n### {title}: {counts['several']} queries with several matches, ", end="")
    print(f"{counts['one']} with one, {counts['none']} with none\n")
    names = [*MEASURES, "AUROC of pairs", "threshold"]
    print("| method | " + " | ".join(names) + " |\n|---" + "|---" * len(names) + "|")
    for method, row in found["methods"].items():
        cells = [f"{row[name]:.3f}" if name in row else "" for name in names]
        print(f"| {method} | " + " | ".join(cells) + " |")
    for method, row in found["relevance minus"].items():
        cells = [_interval(row[name]) if name in row else "" for name in names]
        print(f"| relevance minus {method} | " + " | ".join(cells) + " |")


def _interval(values: list[float]) -> str:
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*values)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--model", default="starter", help="as for clipkit.load")
    parser.add_argument("--embeddings", type=Path, help="a file of benchmarks/training_free.py")
    parser.add_argument(
        "--also-cosine", type=float, metavar="T", help="another flat cut-off, found elsewhere"
    )
    parser.add_argument("--development", action="store_true", help="leave the held-out half alone")
    arguments = parser.parse_args()
    photos = fetch_photos()
    if arguments.embeddings:
        embedded = Embedded.from_file(arguments.embeddings)
    else:
        words = [query.words for query in read_queries()]
        embedded = Embedded.by_model(arguments.model, [photo.path for photo in photos], words)
    kinds = score_queries(embedded, photos)
    halves = {}
    for name, development in (("development", True), ("held out", False)):
        if development or not arguments.development:
            half = {kind: q.part(development=development) for kind, q in kinds.items()}
            halves[name] = report(half, arguments.also_cosine)
    if arguments.json:
        print(json.dumps(halves, indent=2))
    else:
        print_report(halves)


if __name__ == "__main__":
    main()
