"""Evaluation of search: queries of the user's own, and which images of a folder answer them."""

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from clipkit.data.caption_files import decode_text
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from clipkit.evaluation.caption_retrieval import query_measures
from clipkit.evaluation.report import EvaluationReport, QueryResult
from clipkit.metrics.comparison import ItemValues
from clipkit.progress import Callbacks
from clipkit.search.library import PhotoLibrary

_QUERY_COLUMNS = ("query", "text", "caption")
_PATH_COLUMNS = ("filepath", "path", "file", "image", "file_name", "filename")
_LISTED = ("expected", "relevant", "paths", *_PATH_COLUMNS)
_KINDS = 'JSON such as {"a red boat": ["a.jpg", "b.jpg"]}, or CSV with the columns query,filepath'


def read_queries(path: Path) -> dict[str, list[str]]:
    """Return the queries in a file, and the paths of the images that answer each.

    Args:
        path: JSON with an object {query: [paths]}, or with a list of objects such as
            {"query": "a red boat", "expected": ["a.jpg"]}; or CSV or TSV with a row for each query
            and path, and columns called query and filepath.

    Returns:
        At least one query, each with at least one path.

    Raises:
        InputError: If it cannot be read or is neither.
    """
    try:
        text = decode_text(path.read_bytes())
        found = _from_json(text) if path.suffix.lower() == ".json" else _from_table(path, text)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError, csv.Error) as error:
        raise InputError(f"{path} is no file of queries, which is {_KINDS}: {error}") from error
    if not found:
        raise InputError(f"{path} is no file of queries, which is {_KINDS}: it holds none")
    return found


def evaluate_search(
    encoder: Encoder, folder: str, queries: Mapping[str, Sequence[str]], callbacks: Callbacks
) -> EvaluationReport:
    """Return how well the search of a folder answers queries whose right images are known.

    The folder is indexed as ``clipkit search`` does it, and ranked in the same way.

    Args:
        encoder: The model.
        folder: With the images.
        queries: For each text the paths in the folder of all images that answer it.
        callbacks: For messages and progress.

    Returns:
        Over the queries the means of recall@k (whether any relevant image is among the first k),
        mrr, map and ndcg@10; and each query's own figures, worst first.

    Raises:
        InputError: If a path is not in the index of the folder.
    """
    library = PhotoLibrary.open(folder, encoder)
    with callbacks.progress_for("indexing") as progress:
        synced = library.sync(progress=progress)
    ranks: list[int] = []
    asked: list[int] = []
    with callbacks.progress_for("searching") as progress:
        for number, (query, wanted) in enumerate(queries.items()):
            hits = library.search(query, k=len(library))
            place = {hit.path: rank for rank, hit in enumerate(hits)}
            ranks += [_rank(query, path, library, place) for path in dict.fromkeys(wanted)]
            asked += [number] * (len(ranks) - len(asked))
            progress(number + 1, len(queries))
    of_query = query_measures(np.array(ranks), np.array(asked), len(queries), len(library))
    numbers = np.arange(len(queries))
    values = {name: ItemValues(found, numbers) for name, found in of_query.items()}
    results = [
        QueryResult(
            query,
            relevant=asked.count(number),
            first_rank=1 + min(rank for rank, of in zip(ranks, asked, strict=True) if of == number),
            average_precision=float(of_query["map"][number]),
        )
        for number, query in enumerate(queries)
    ]
    return replace(
        EvaluationReport.of_values(encoder, folder, "search", len(library), values),
        settings={"queries": len(queries)},
        queries=tuple(sorted(results, key=lambda result: result.average_precision)),
        skipped=tuple(synced.skipped),
    )


def _rank(query: str, path: str, library: PhotoLibrary, place: Mapping[Path, int]) -> int:
    at = library.folder / path
    if at not in place:
        raise InputError(
            f'{path}, which answers "{query}", is not among the {len(library)} images of '
            f"{library.folder}: give paths in that folder, of images that can be read"
        )
    return place[at]


def _from_json(text: str) -> dict[str, list[str]]:
    value = json.loads(text)
    if isinstance(value, list):
        value = dict(map(_listed, value))
    if not isinstance(value, dict):
        raise ValueError(f"it holds {value!s:.60}")
    found: dict[str, list[str]] = {}
    for query, paths in value.items():
        listed = [paths] if isinstance(paths, str) else paths
        is_right = isinstance(listed, list) and listed and all(isinstance(at, str) for at in listed)
        if not is_right or not query.strip():
            raise ValueError(f"the query {query!r:.60} has {paths!s:.60} for paths")
        found[query] = listed
    return found


def _listed(entry: Any) -> tuple[str, Any]:
    """Return the query and the paths of an object in a list."""
    if isinstance(entry, dict):
        query = next((entry[key] for key in _QUERY_COLUMNS if key in entry), None)
        paths = next((entry[key] for key in _LISTED if key in entry), None)
        if isinstance(query, str) and paths is not None:
            return query, paths
    raise ValueError(f"it holds {entry!s:.60} in its list")


def _from_table(path: Path, text: str) -> dict[str, list[str]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    rows = csv.DictReader(text.splitlines(), delimiter=delimiter, strict=True)
    columns = {name.strip().lower(): name for name in rows.fieldnames or ()}
    query = next((columns[name] for name in _QUERY_COLUMNS if name in columns), None)
    image = next((columns[name] for name in _PATH_COLUMNS if name in columns), None)
    if query is None or image is None:
        raise ValueError(f"its columns are {', '.join(columns) or 'none'}")
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if not (row[query] or "").strip() or not (row[image] or "").strip():
            raise ValueError(f"line {rows.line_num} lacks the query or the path")
        found[row[query].strip()].append(row[image].strip())
    return dict(found)
