"""Evaluation of search: queries of the user's own, and which images of a folder answer them."""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipkit.data.caption_files import decode_text
from clipkit.data.table_rows import SEPARATORS, split_line
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from clipkit.evaluation.caption_retrieval import query_measures
from clipkit.evaluation.report import EvaluationReport, QueryResult, data_name, few_warning
from clipkit.metrics.comparison import bootstrap_interval, share_interval
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
        found = _from_json(text) if path.suffix.lower() == ".json" else _from_table(text)
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
    if not len(library):
        rest = f"; {len(synced.skipped)} were skipped" if synced.skipped else ""
        raise InputError(f"{library.folder} holds no images that can be read{rest}")
    if len(library) == 1:
        raise InputError(
            f"{library.folder} has one image only, and every answer would be right: search needs "
            "two or more"
        )
    ranks: list[int] = []
    asked: list[int] = []
    with callbacks.progress_for("searching") as progress:
        for number, (query, wanted) in enumerate(queries.items()):
            hits = library.search(query, k=len(library))
            place = {hit.path: rank for rank, hit in enumerate(hits)}
            if number == 0:  # every query ranks the same images
                _check_paths(queries, library.folder, place)
            ranks += [place[path] for path in {library.folder / path: None for path in wanted}]
            asked += [number] * (len(ranks) - len(asked))
            progress(number + 1, len(queries))
    of_query = query_measures(np.array(ranks), np.array(asked), len(queries), len(library))
    intervals = {
        name: (share_interval if name.startswith("recall") else bootstrap_interval)(values)
        for name, values in of_query.items()
    }
    results = [
        QueryResult(
            query,
            relevant=asked.count(number),
            first_rank=1 + min(rank for rank, of in zip(ranks, asked, strict=True) if of == number),
            average_precision=float(of_query["map"][number]),
        )
        for number, query in enumerate(queries)
    ]
    return EvaluationReport(
        model=encoder.name,
        space_id=encoder.space_id,
        data=data_name(folder),
        task="search",
        num_images=len(library),
        metrics={name: found.mean for name, found in intervals.items()},
        intervals=intervals,
        settings={"queries": len(queries)},
        warnings=few_warning(len(queries), "queries", intervals),
        queries=tuple(sorted(results, key=lambda result: result.average_precision)),
        skipped=tuple(synced.skipped),
    )


def _check_paths(
    queries: Mapping[str, Sequence[str]], folder: Path, ranked: Collection[Path]
) -> None:
    """Refuse paths of images that are not searched."""
    wanted = [(query, path) for query, paths in queries.items() for path in paths]
    lost = [(query, path) for query, path in wanted if folder / path not in ranked]
    if lost:
        query, path = lost[0]
        raise InputError(
            f"{len(lost)} of {len(wanted)} paths in the queries are not among the {len(ranked)} "
            f"images of {folder}, such as {path!r} for {query!r}: give paths in that "
            "folder, of images that can be read"
        )


def _from_json(text: str) -> dict[str, list[str]]:
    value = json.loads(text, object_pairs_hook=_without_repeats)
    if not isinstance(value, dict | list):
        raise ValueError(f"it holds {value!s:.60}")
    found: dict[str, list[str]] = defaultdict(list)
    for query, paths in value.items() if isinstance(value, dict) else map(_listed, value):
        listed = [paths] if isinstance(paths, str) else paths
        are_paths = isinstance(listed, list) and all(map(_is_text, listed))
        if not are_paths or not listed or not query.strip():
            raise ValueError(f"the query {query!r:.60} has {paths!s:.60} for paths")
        found[query.strip()] += listed
    return dict(found)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; of a key that is there twice json would take the last."""
    for key, count in Counter(key for key, _ in pairs).items():
        if count > 1:
            raise ValueError(
                f"{key!r:.60} is there {count} times: give it once, with all its paths"
            )
    return dict(pairs)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _listed(entry: Any) -> tuple[str, Any]:
    """Return the query and the paths of an object in a list."""
    if isinstance(entry, dict):
        query = next((entry[key] for key in _QUERY_COLUMNS if key in entry), None)
        paths = next((entry[key] for key in _LISTED if key in entry), None)
        if isinstance(query, str) and paths is not None:
            return query, paths
    raise ValueError(f"it holds {entry!s:.60} in its list")


def _from_table(text: str) -> dict[str, list[str]]:
    lines = text.splitlines()
    # By what the header says and not by the file's ending: spreadsheets write .csv with semicolons.
    headers = {mark: split_line(lines[0] if lines else "", mark) for mark in SEPARATORS}
    separator = max(
        headers, key=lambda mark: (sum(map(bool, _columns(headers[mark]))), mark == ",")
    )
    query, image = _columns(headers[separator])
    rows = csv.DictReader(lines, delimiter=separator, strict=True)
    if not query or not image:
        raise ValueError(f"its columns are {', '.join(rows.fieldnames or ()) or 'none'}")
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if None in row:
            raise ValueError(
                f"line {rows.line_num} has more cells than the first: put what has a separator in "
                "it into quotation marks, and give each path a line of its own"
            )
        if not (row[query] or "").strip() or not (row[image] or "").strip():
            raise ValueError(f"line {rows.line_num} lacks the query or the path")
        found[row[query].strip()].append(row[image].strip())
    return dict(found)


def _columns(header: Sequence[str]) -> tuple[str, str]:
    """Return the columns of queries and of paths, each empty where it is not there."""
    named = {name.strip().lower(): name for name in header}
    query, image = (
        next((named[name] for name in some if name in named), "")
        for some in (_QUERY_COLUMNS, _PATH_COLUMNS)
    )
    return query, image
