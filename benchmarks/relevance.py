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
    average_precision,
    best_f1,
    cosine,
    f1_at_cuts,
    f1_of_pairs,
    relevance,
    shipped,
    word_z_score,
)

HITS = 10  # shown by default
FORMER_CUT = 5.0  # of the z-score
GRID_RICHNESS = (3.0, 3.5, 4.0, 4.5, 5.0, 6.0)
GRID_GAP = (0.0, 0.3, 0.6, 1.0)
BINS = 10

Set = tuple[Collection, Evidence]


# Fitting


def fit_constants(sets: Sequence[Set]) -> Constants:
    """Return the constants that suit collections best, each collection weighing the same."""
    weights = _weights(sets)
    best, fitted = -np.inf, Constants()
    for richness, gap_weight in itertools.product(GRID_RICHNESS, GRID_GAP):
        sums = [evidence.sums(richness, gap_weight) for _, evidence in sets]
        center, slope = _fit_curve(sums, sets, weights)
        tried = Constants(richness, gap_weight, center, slope)
        f1 = [
            f1_of_pairs(relevance(each, tried) >= tried.cut, collection.matches)
            for each, (collection, _) in zip(sums, sets, strict=True)
        ]
        if (mean := float(np.average(f1, weights=weights))) > best:
            best, fitted = mean, tried
    return fitted


def _fit_curve(sums: Sequence[Rows], sets: Sequence[Set], weights: Rows) -> tuple[float, float]:
    """Return center and slope of a logistic regression on the hits that would be shown."""
    values, targets, counts = [], [], []
    for each, (collection, _), weight in zip(sums, sets, weights, strict=True):
        order = np.argsort(-each, axis=1)[:, :HITS]
        values.append(np.take_along_axis(each, order, axis=1).ravel())
        targets.append(np.take_along_axis(collection.matches, order, axis=1).ravel())
        counts.append(np.full(order.size, weight / order.size))
    x, y, w = (np.concatenate(each) for each in (values, targets, counts))
    design, beta = np.stack([x, np.ones_like(x)], axis=1), np.array([1.0, -5.0])
    for _ in range(30):  # Newton
        p = 0.5 + 0.5 * np.tanh(0.5 * (design @ beta))
        gradient = design.T @ (w * (y - p))
        hessian = (design * (w * p * (1 - p))[:, None]).T @ design
        beta = beta + np.linalg.solve(hessian + 1e-12 * np.eye(2), gradient)
    return float(-beta[1] / beta[0]), float(beta[0])


def _weights(sets: Sequence[Set]) -> Rows:
    """Return weights such that each collection counts the same, whatever its variants."""
    names = [collection.name for collection, _ in sets]
    return np.array([1 / names.count(name) for name in names])


# Reporting


def measure(collection: Collection, scores: Rows, constants: Constants) -> dict[str, float]:
    """Return the figures of one set at a cut."""
    matches, found = collection.matches, scores >= constants.cut
    there, best = matches.any(axis=1), scores.max(axis=1)
    is_found, is_nothing = best >= constants.cut, best < constants.nothing_below
    former = word_z_score(collection)
    told_nothing = former.max(axis=1) < FORMER_CUT
    return {
        "precision": float((found & matches).sum() / max(found.sum(), 1)),
        "recall": float((found & matches).sum() / max(matches.sum(), 1)),
        "F1": f1_of_pairs(found, matches),
        "F1 of the best cosine cut": best_f1(cosine(collection), matches)[0],
        "F1 before": f1_of_pairs(former >= FORMER_CUT, matches),
        "nothing, but there": float((is_nothing & there).mean()),
        "found, but absent": float((is_found & ~there).mean()),
        "decided": float((is_found | is_nothing).mean()),
        "nothing, but there, before": float((told_nothing & there).mean()),
        "found, but absent, before": float((~told_nothing & ~there).mean()),
        "ECE": calibration_error([(scores, collection)]),
    }


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


def _shown(found: Sequence[tuple[Rows, Collection]]) -> tuple[Rows, Rows, Rows]:
    values, targets, weights = [], [], []
    for scores, collection in found:
        order = np.argsort(-scores, axis=1)[:, :HITS]
        values.append(np.take_along_axis(scores, order, axis=1).ravel())
        targets.append(np.take_along_axis(collection.matches, order, axis=1).ravel().astype(float))
        weights.append(np.full(order.size, 1 / order.size))
    return np.concatenate(values), np.concatenate(targets), np.concatenate(weights)


def leave_out(
    sets: Sequence[Set], group: Callable[[Collection], str]
) -> list[tuple[Collection, Rows, Constants]]:
    """Return each set with its relevance by constants that were fitted without its group."""
    found = []
    for name in dict.fromkeys(group(collection) for collection, _ in sets):
        constants = fit_constants([each for each in sets if group(each[0]) != name])
        for collection, evidence in sets:
            if group(collection) == name:
                sums = evidence.sums(constants.richness, constants.gap_weight)
                found.append((collection, relevance(sums, constants), constants))
    return found


def kind_of(collection: Collection) -> str:
    """Return which collections are left out together: queries on the same photographs."""
    return "everyday" if collection.name == "descriptions" else collection.name


def report(collections: list[Collection]) -> dict[str, object]:
    """Return every table."""
    sets = [(each, Evidence(each)) for whole in collections for each in whole.variants()]
    tables: dict[str, object] = {"fitted on all": vars(fit_constants(sets))}
    by_group = {"collection": kind_of, "model": lambda collection: collection.model}
    for name, group in by_group.items():
        if len({group(collection) for collection, _ in sets}) < 2:
            continue
        left = leave_out(sets, group)
        tables[f"one {name} left out"] = [_row(c, measure(c, s, k)) for c, s, k in left]
        tables[f"ECE by model, one {name} left out"] = {
            model: calibration_error([(s, c) for c, s, _ in left if c.model == model])
            for model in dict.fromkeys(c.model for c, _, _ in left)
        }
        if name == "collection":
            tables["reliability"] = {
                model: reliability([(s, c) for c, s, _ in left if c.model == model])
                for model in dict.fromkeys(c.model for c, _, _ in left)
            }
    every = [(each, shipped(each)) for each, _ in sets]
    tables["shipped constants"] = [_row(c, measure(c, s, Constants())) for c, s in every]
    tables["ECE by model, shipped constants"] = {
        model: calibration_error([(s, c) for c, s in every if c.model == model])
        for model in dict.fromkeys(c.model for c, _ in every)
    }
    tables["rivals"] = {
        name: _rival([each for each, _ in sets], function) for name, function in RIVALS.items()
    }
    sums = [evidence.sums(Constants().richness, Constants().gap_weight) for _, evidence in sets]
    tables["rivals"]["relevance"] = _rival_of(sums, [each for each, _ in sets])
    tables["order"] = [
        _row(
            each,
            {
                "cosine": average_precision(cosine(each), each.matches),
                "evidence": average_precision(
                    evidence.sums(Constants().richness, 0.0), each.matches
                ),
            },
        )
        for each, evidence in sets
        if each.variant == "all"
    ]
    tables["images as queries"] = [_image_row(each) for each in image_collections(collections)]
    return tables


def _rival(sets: Sequence[Collection], function: Callable[[Collection], Rows]) -> dict[str, float]:
    return _rival_of([function(each) for each in sets], sets)


def _rival_of(scores: Sequence[Rows], sets: Sequence[Collection]) -> dict[str, float]:
    """Return mean F1 at the best cut for each set, and at the best one cut for all."""
    pooled = np.concatenate([each.ravel()[::17] for each in scores])
    cuts = np.quantile(pooled, np.linspace(0.7, 0.9999, 300))
    curves = np.array(
        [f1_at_cuts(each, one.matches, cuts) for each, one in zip(scores, sets, strict=True)]
    )
    flat = np.array([best_f1(cosine(one), one.matches)[0] for one in sets])
    own = [best_f1(each, one.matches)[0] for each, one in zip(scores, sets, strict=True)]
    shared = curves[:, curves.mean(axis=0).argmax()]
    return {
        "best cut for each": float(np.mean(own)),
        "one cut for all": float(shared.mean()),
        "least, beside the best cosine cut": float((shared - flat).min()),
    }


def _image_row(collection: Collection) -> dict[str, object]:
    found, plain = shipped(collection), np.where(collection.shown, cosine(collection), -1.0)
    return _row(
        collection,
        {
            "F1": f1_of_pairs(found >= Constants().cut, collection.matches),
            "F1 of the best cosine cut": best_f1(plain, collection.matches)[0],
            "mAP": average_precision(found, collection.matches),
            "mAP of the cosine": average_precision(plain, collection.matches),
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
