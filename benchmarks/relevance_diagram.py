"""Reliability diagrams of relevance, one panel a model, as an SVG file.

Run as  python benchmarks/relevance_diagram.py TABLES.json DIAGRAM.svg  with the file that
relevance.py --json wrote. A dot is one tenth of the scale: how relevant its hits were said to be,
and which share of them fits; its area is the share of all hits shown.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

SIDE, MARGIN = 220, 46  # pixels
LARGEST = 12.0  # radius of a dot with half of the hits


def diagram(panels: dict[str, Sequence[Sequence[float]]]) -> str:
    """Return the SVG of panels: for each model, mean relevance, share that fits, share of hits."""
    width, height = len(panels) * (SIDE + MARGIN) + MARGIN, SIDE + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, (model, rows) in enumerate(panels.items()):
        left, bottom = MARGIN + number * (SIDE + MARGIN), MARGIN + SIDE
        lines += [
            f'<rect x="{left}" y="{MARGIN}" width="{SIDE}" height="{SIDE}" fill="none" '
            'stroke="#999"/>',
            f'<path d="M{left} {bottom}l{SIDE} -{SIDE}" stroke="#bbb" stroke-dasharray="4"/>',
            f'<text x="{left + SIDE / 2}" y="{MARGIN - 12}" text-anchor="middle">{model}</text>',
            f'<text x="{left + SIDE / 2}" y="{bottom + 32}" text-anchor="middle">relevance</text>',
        ]
        for mark in (0, 0.5, 1):
            x, y = left + mark * SIDE, bottom - mark * SIDE
            lines.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{mark:g}</text>')
            lines.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{mark:g}</text>')
        for relevance, fits, share in rows:
            radius = max(LARGEST * math.sqrt(2 * share), 2)
            x, y = left + relevance * SIDE, bottom - fits * SIDE
            lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="#1f77b4"/>')
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    """Read the tables and write the diagram."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tables", type=Path)
    parser.add_argument("svg", type=Path)
    arguments = parser.parse_args()
    arguments.svg.write_text(diagram(json.loads(arguments.tables.read_text())["reliability"]))


if __name__ == "__main__":
    main()
