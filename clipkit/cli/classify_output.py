"""What ``clipkit classify`` prints of an image: text, JSON or CSV."""

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clipkit.cli.terminal import display_width, to_json
from clipkit.plain_text import visible
from clipkit.zero_shot.label_scores import LabelScore


@dataclass(frozen=True)
class Answer:
    """What is said of one image."""

    labels: list[LabelScore]  # the first of them, best first
    label_set: list[LabelScore] | None = None  # those among which the right one is, if asked for
    is_unknown: bool | None = None  # whether it shows none of the labels, if asked for

    @property
    def shown(self) -> list[LabelScore]:
        """What a table shows: the set if there is one."""
        return self.labels if self.label_set is None else self.label_set


class _JsonWriter:
    def write(self, path: str, answer: Answer) -> None:
        values: dict[str, Any] = {"path": path, "labels": _pairs(answer.labels)}
        if answer.label_set is not None:
            values["label_set"] = _pairs(answer.label_set)
        if answer.is_unknown is not None:
            values["unknown"] = answer.is_unknown
        print(to_json(values), flush=True)


def _pairs(labels: Sequence[LabelScore]) -> list[dict[str, Any]]:
    return [{"label": item["label"], "score": item["score"]} for item in labels]


class _CsvWriter:
    def __init__(self) -> None:
        self._rows = csv.writer(sys.stdout, lineterminator="\n")
        self._rows.writerow(["path", "label", "score"])

    def write(self, path: str, answer: Answer) -> None:
        for item in answer.shown:
            self._rows.writerow([path, item["label"], f"{item['score']:.6f}"])


class _TextWriter:
    def __init__(self, paths: Sequence[str]) -> None:
        # Lines come one by one, so the width is known beforehand; a terminal gets one column.
        is_aligned = sys.stdout.isatty()
        self._width = max((display_width(visible(path)) for path in paths if is_aligned), default=0)

    def write(self, path: str, answer: Answer) -> None:
        scores = "  ".join(f"{visible(item['label'])} {item['score']:.1%}" for item in answer.shown)
        if self._width:
            shown = visible(path)
            blanks = " " * (self._width - display_width(shown))
            print(f"{shown}{blanks}  {scores}", flush=True)
        else:
            # As in JSON where a name has a line break or the like, so that it stays one line.
            shown = path if path.isprintable() else to_json(path)
            print(f"{shown}\t{scores}", flush=True)


Writer = _JsonWriter | _CsvWriter | _TextWriter


def choose_writer(arguments: argparse.Namespace, paths: Sequence[str]) -> Writer:
    """Return what writes in the form that was asked for.

    Args:
        arguments: With ``json`` and ``csv``.
        paths: Of all images.

    Returns:
        The writer; that of CSV has printed its header.
    """
    if arguments.json:
        return _JsonWriter()
    return _CsvWriter() if arguments.csv else _TextWriter(paths)
