"""Relevance and the verdict of a search, beside flat cosine cuts and published ideas.

Run as  python benchmarks/relevance.py  [--clip-data FOLDER]  [--json FILE]. The photographs of the
starter's collections are fetched on the first run; FOLDER holds embeddings of published models
(see relevance_collections.py). Every collection is measured as it is, with half of the matched
images taken out, and cut to 50 images.

The constants of relevance are fitted on the other collections and reported on the one that was
left out; once more with all collections of a model left out. Its two bounds, .4 for "found" and
.05 for "probably nothing", are shares of right hits and stay. The cosine's cut, and the rivals', is
the best on the very data that they are judged by: an advantage that relevance does not get.

Shapes: Q queries, N images.
"""

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from relevance_collections import Collection, Rows, image_collections, read_collections
from relevance_designs import (
    RIVALS,
    Constants,
    Evidence,
    best_f1,
    cosine,
    f1_at_cuts,
    f1_of_pairs,
    logistic,
    mean_average_precision,
    relevance,
    shipped,
)

from clipkit.search.relevance import DEFAULT_MIN_RELEVANCE, NOTHING_BELOW

HITS = 10  # shown by default
FORMER_CUT = 5.0  # of the z-score
GRID_RICHNESS = (3.0, 3.5, 4.0, 4.5, 5.0, 6.0)
GRID_GAP = (0.0, 0.3, 0.6, 1.0)
BINS = 10


# Fitting


def fit_constants(sets: Sequence[Evidence]) -> Constants:
    """Return the constants that suit collections best, each collection weighing the same."""
    weights = _weights(sets)
    best, fitted = -np.inf, Constants()
    for richness, gap_weight in itertools.product(GRID_RICHNESS, GRID_GAP):
        sums = [evidence.sums(richness, gap_weight) for evidence in sets]
        center, slope = _fit_curve(sums, sets, weights)
        tried = Constants(richness, gap_weight, center, slope)
        f1 = [
            f1_of_pairs(
                relevance(each, tried) >= DEFAULT_MIN_RELEVANCE, evidence.collection.matches
            )
            for each, evidence in zip(sums, sets, strict=True)
        ]
        if (mean := float(np.average(f1, weights=weights))) > best:
            best, fitted = mean, tried
    return fitted


def _fit_curve(
    sums: Sequence[Rows], sets: Sequence[Evidence], weights: Rows
) -> tuple[float, float]:
    """Return center and slope of a logistic regression on the hits that would be shown."""
    pairs = [(each, evidence.collection) for each, evidence in zip(sums, sets, strict=True)]
    x, y, w = _shown(pairs, weights)
    design, beta = np.stack([x, np.ones_like(x)], axis=1), np.array([1.0, -5.0])
    for _ in range(30):  # Newton
        p = logistic(design @ beta)
        gradient = design.T @ (w * (y - p))
        hessian = (design * (w * p * (1 - p))[:, None]).T @ design
        beta = beta + np.linalg.solve(hessian + 1e-12 * np.eye(2), gradient)
    return float(-beta[1] / beta[0]), float(beta[0])


def _weights(sets: Sequence[Evidence]) -> Rows:
    """Return weights such that each collection counts the same, whatever its variants."""
    names = [evidence.collection.name for evidence in sets]
    return np.array([1 / names.count(name) for name in names])


# Reporting


def measure(evidence: Evidence, scores: Rows) -> dict[str, object]:
    """Return the figures of one set by the relevance of its images."""
    matches, found = evidence.collection.matches, scores >= DEFAULT_MIN_RELEVANCE
    there, best = matches.any(axis=1), scores.max(axis=1)
    is_found, is_nothing = best >= DEFAULT_MIN_RELEVANCE, best < NOTHING_BELOW
    told_nothing = evidence.former.max(axis=1) < FORMER_CUT
    return _row(
        evidence.collection,
        {
            "precision": float((found & matches).sum() / max(found.sum(), 1)),
            "recall": float((found & matches).sum() / max(matches.sum(), 1)),
            "F1": f1_of_pairs(found, matches),
            "F1 of the best cosine cut": evidence.best_cosine_f1,
            "F1 before": f1_of_pairs(evidence.former >= FORMER_CUT, matches),
            "nothing, but there": float((is_nothing & there).mean()),
            "found, but absent": float((is_found & ~there).mean()),
            "decided": float((is_found | is_nothing).mean()),
            "nothing, but there, before": float((told_nothing & there).mean()),
            "found, but absent, before": float((~told_nothing & ~there).mean()),
            "ECE": calibration_error([(scores, evidence.collection)]),
        },
    )


def calibration_error(found: Sequence[tuple[Rows, Collection]]) -> float:
    """Return the expected calibration error over the hits shown, each collection alike."""
    values, targets, weights = _shown(found)
    places = np.minimum((values * BINS).astype(int), BINS - 1)
    errors = [(weights * (values - targets))[places == place].sum() for place in range(BINS)]
    return float(np.abs(errors).sum() / weights.sum())


def reliability(found: Sequence[tuple[Rows, Collection]]) -> list[tuple[float, float, float]]:
    """Return mean relevance, the share that fits, and the share of hits, bin by bin."""
    values, targets, weights = _shown(found)
    places = np.minimum((values * BINS).astype(int), BINS - 1)
    rows = []
    for place in range(BINS):
        inside = places == place
        if inside.sum() >= 10:
            share = weights[inside].sum() / weights.sum()
            means = (
                np.average(each[inside], weights=weights[inside]) for each in (values, targets)
            )
            rows.append((*map(float, means), float(share)))
    return rows


def _shown(
    found: Sequence[tuple[Rows, Collection]], weights: Rows | None = None
) -> tuple[Rows, Rows, Rows]:
    """Return the hits shown: their scores, whether they fit, and weights that share each set's."""
    values, targets, shares = [], [], []
    weights = np.ones(len(found)) if weights is None else weights
    for (scores, collection), weight in zip(found, weights, strict=True):
        order = np.argsort(-scores, axis=1)[:, :HITS]
        values.append(np.take_along_axis(scores, order, axis=1).ravel())
        targets.append(np.take_along_axis(collection.matches, order, axis=1).ravel().astype(float))
        shares.append(np.full(order.size, weight / order.size))
    return np.concatenate(values), np.concatenate(targets), np.concatenate(shares)


def leave_out(
    sets: Sequence[Evidence], group: Callable[[Collection], str]
) -> list[tuple[Evidence, Rows]]:
    """Return each set with its relevance by constants that were fitted without its group."""
    found = []
    groups = [group(evidence.collection) for evidence in sets]
    for name in dict.fromkeys(groups):
        others = [each for each, other in zip(sets, groups, strict=True) if other != name]
        constants = fit_constants(others)
        for evidence, own in zip(sets, groups, strict=True):
            if own == name:
                sums = evidence.sums(constants.richness, constants.gap_weight)
                found.append((evidence, relevance(sums, constants)))
    return found


def kind_of(collection: Collection) -> str:
    """Return which collections are left out together: queries on the same photographs."""
    return "everyday" if collection.name == "descriptions" else collection.name


def by_model(
    found: Sequence[tuple[Evidence, Rows]],
    function: Callable[[Sequence[tuple[Rows, Collection]]], object],
) -> dict[str, object]:
    """Return what a function of relevances and collections gives for each model's."""
    pairs = [(scores, evidence.collection) for evidence, scores in found]
    models = dict.fromkeys(collection.model for _, collection in pairs)
    return {model: function([each for each in pairs if each[1].model == model]) for model in models}


def report(collections: list[Collection]) -> dict[str, object]:
    """Return every table."""
    sets = [Evidence(each) for whole in collections for each in whole.variants()]
    tables: dict[str, object] = {"fitted on all": vars(fit_constants(sets))}
    by_group = {"collection": kind_of, "model": lambda collection: collection.model}
    for name, group in by_group.items():
        if len({group(evidence.collection) for evidence in sets}) < 2:
            continue
        left = leave_out(sets, group)
        tables[f"one {name} left out"] = [measure(*each) for each in left]
        tables[f"ECE by model, one {name} left out"] = by_model(left, calibration_error)
        if name == "collection":
            tables["reliability"] = by_model(left, reliability)
    every = [(evidence, shipped(evidence.collection)) for evidence in sets]
    tables["shipped constants"] = [measure(*each) for each in every]
    tables["ECE by model, shipped constants"] = by_model(every, calibration_error)
    tables["rivals"] = {
        name: _rival([function(evidence.collection) for evidence in sets], sets)
        for name, function in RIVALS.items()
    }
    own = [each.sums(Constants().richness, Constants().gap_weight) for each in sets]
    tables["rivals"]["relevance"] = _rival(own, sets)
    tables["order"] = [_order_row(e) for e in sets if e.collection.variant == "all"]
    tables["images as queries"] = [_image_row(each) for each in image_collections(collections)]
    return tables


def _rival(scores: Sequence[Rows], sets: Sequence[Evidence]) -> dict[str, float]:
    """Return mean F1 at the best cut for each set, and at the best one cut for all."""
    pooled = np.concatenate([each.ravel()[::17] for each in scores])
    cuts = np.quantile(pooled, np.linspace(0.7, 0.9999, 300))
    all_matches = [evidence.collection.matches for evidence in sets]
    pairs = list(zip(scores, all_matches, strict=True))
    curves = np.array([f1_at_cuts(each, matches, cuts) for each, matches in pairs])
    flat = np.array([evidence.best_cosine_f1 for evidence in sets])
    shared = curves[:, curves.mean(axis=0).argmax()]
    return {
        "best cut for each": float(np.mean([best_f1(*pair)[0] for pair in pairs])),
        "one cut for all": float(shared.mean()),
        "least, beside the best cosine cut": float((shared - flat).min()),
    }


def _order_row(evidence: Evidence) -> dict[str, object]:
    collection = evidence.collection
    ordered = {"cosine": cosine(collection), "evidence": evidence.sums(Constants().richness, 0.0)}
    return _row(
        collection,
        {name: mean_average_precision(s, collection.matches) for name, s in ordered.items()},
    )


def _image_row(collection: Collection) -> dict[str, object]:
    found, plain = shipped(collection), np.where(collection.shown, cosine(collection), -1.0)
    return _row(
        collection,
        {
            "F1": f1_of_pairs(found >= DEFAULT_MIN_RELEVANCE, collection.matches),
            "F1 of the best cosine cut": best_f1(plain, collection.matches)[0],
            "mAP": mean_average_precision(found, collection.matches),
            "mAP of the cosine": mean_average_precision(plain, collection.matches),
            "ECE": calibration_error([(found, collection)]),
        },
    )


def _row(collection: Collection, figures: dict[str, float]) -> dict[str, object]:
    names = {"collection": collection.name, "model": collection.model}
    return {**names, "variant": collection.variant, **figures}


def print_tables(tables: dict[str, object]) -> None:
    """Print the tables as Markdown."""
    for title, table in tables.items():
        print(f"\n### {title}\n")
        if isinstance(table, list):
            _print_rows(table)
        elif isinstance(table, dict) and all(isinstance(row, dict) for row in table.values()):
            _print_rows([{"": name, **row} for name, row in table.items()])
        elif isinstance(table, dict):
            for name, value in table.items():
                print(f"- {name}: {_cell(value)}")


def _print_rows(rows: Sequence[dict[str, object]]) -> None:
    names = list(rows[0])
    print("| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|")
    for row in rows:
        print("| " + " | ".join(_cell(row[name]) for name in names) + " |")
    numbers = [name for name in names if isinstance(rows[0][name], float)]
    if len(rows) > 1 and "variant" in names:
        means = {name: float(np.mean([row[name] for row in rows])) for name in numbers}
        cells = [_cell(means[name]) if name in means else "" for name in names]
        print("| **mean** " + "| ".join(["", *cells[1:]]) + " |")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list | tuple):
        return "  ".join(_cell(each) for each in value)
    return str(value)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clip-data", type=Path, help="embeddings of published models")
    parser.add_argument("--json", type=Path, help="write the tables to this file")
    arguments = parser.parse_args()
    tables = report(read_collections(arguments.clip_data))
    print_tables(tables)
    if arguments.json:
        arguments.json.write_text(json.dumps(tables, indent=2) + "\n")


if __name__ == "__main__":
    main()
