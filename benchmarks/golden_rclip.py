"""rclip's expected results of its own queries: what they say of each other, and beside a model's.

rclip adds the unit vectors of a query's words and images, times their weights, and does not bring
the sum to norm 1: a score is the sum of the parts' cosines times their weights. Each file lists
the ten images with the highest scores, with three digits behind the point.

Shapes: N images, P parts of a query, D dimensions.
"""

from pathlib import Path

import numpy as np
from golden_line import Line
from golden_numbers import RCLIP_MODEL, RCLIP_QUERIES, RCLIP_SOURCE

from clipkit.encoder.encoder import Encoder

ATOL = 0.002  # of a cosine, in rclip's own tests
_ROUNDING = 0.0005  # of three digits
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tiff", ".jp2"}
_SUFFIXES |= {".pbm", ".pgm", ".ppm", ".pnm"}
_BEE = ("bee", "bee.jpg", 0.274)  # a query of one word, an image, and its score


def read_results(folder: Path) -> dict[str, dict[str, float]]:
    """Return the scores of the images of each query, the highest first, by the names of files."""
    found = {}
    for name in RCLIP_QUERIES:
        lines = (folder / "rclip" / "expected" / f"{name}.txt").read_text(encoding="utf-8")
        rows = (line.split("\t") for line in lines.splitlines()[1:] if line)
        found[name] = {
            path.strip('"').removeprefix("<test_images_dir>"): float(score) for score, path in rows
        }
    return found


def check_sums(results: dict[str, dict[str, float]]) -> list[Line]:
    """Return what the results say of each other, if scores are plain sums.

    All words added and all but the first subtracted make twice the first:
    (kitty + rest) + (kitty - rest) = 2 kitty. An image that a list lacks scores at most what the
    last one of the list does. The rounding of three digits is all that is allowed for.
    """
    added, subtracted = results["add_queries"], results["subtract_queries"]
    kitty, mixed = results["search"], results["combine_image_query_with_text_query"]
    lines = []
    for image in kitty:
        if image in added and image in subtracted:
            what = f"rclip: kitty + rest and kitty - rest sum to 2 kitty, {image}"
            total = added[image] + subtracted[image]
            lines.append(Line(what, [2 * kitty[image]], [total], atol=4.001 * _ROUNDING))
        elif image in added:
            what = f"rclip: kitty - rest is below its list's last (got: over it by), {image}"
            over = 2 * kitty[image] - added[image] - min(subtracted.values())
            lines.append(Line(what, [0], [max(over, 0.0)], atol=4.001 * _ROUNDING))
    for image in sorted(set(added) & set(subtracted) - set(kitty)):
        what = f"rclip: kitty is below its list's last (got: over it by), {image}"
        over = (added[image] + subtracted[image]) / 2 - min(kitty.values())
        lines.append(Line(what, [0], [max(over, 0.0)], atol=2.001 * _ROUNDING))
    _, image, bee = _BEE
    like_cat = results["search_by_image"][image]
    over = mixed[image] + like_cat - 1.5 * bee - min(kitty.values())
    what = f"rclip: kitty - cat.jpg + 1.5 bee leaves kitty below its list's last, {image}"
    lines.append(Line(what, [0], [max(over, 0.0)], atol=4.501 * _ROUNDING))
    for name, scores in results.items():
        falls = np.maximum(np.diff(list(scores.values())), 0)
        lines.append(Line(f"rclip: {name} falls from line to line", [0], [float(falls.max())]))
    return lines


def compare_results(
    results: dict[str, dict[str, float]], encoder: Encoder, folder: Path
) -> list[Line]:
    """Return rclip's results beside a model's, each query's in two lines.

    Args:
        results: Of `read_results`.
        encoder: rclip's model, of `load_exact`.
        folder: The folder with rclip/images.

    Returns:
        Of each query the scores of the images that rclip lists, and the highest of all: none that
        rclip does not list has a higher one.
    """
    paths = image_paths(folder)
    names = [path.name for path in paths]
    images = np.asarray(encoder.encode_images(paths))
    words = sorted({part for parts in RCLIP_QUERIES.values() for part in parts} - set(names))
    texts = np.asarray(encoder.encode_texts(words))
    vectors = dict(zip(words, texts, strict=True)) | dict(zip(names, images, strict=True))
    lines = []
    for name, expected in results.items():
        parts = RCLIP_QUERIES[name]
        query = sum(weight * vectors[part] for part, weight in parts.items())
        scores = dict(zip(names, (images @ query).tolist(), strict=True))
        for part in set(parts) & set(names):
            if part not in expected:
                scores.pop(part)
        atol = tolerance(name)
        first = sorted(scores.values(), reverse=True)[: len(expected)]
        what = title(name)
        lines.append(
            Line(what, list(expected.values()), [scores[image] for image in expected], atol)
        )
        lines.append(Line(f"{what}, the highest", list(expected.values()), first, atol))
    word, image, score = _BEE
    lines.append(Line(title(word), [score], [float(vectors[image] @ vectors[word])], ATOL))
    return lines


def tolerance(query: str) -> float:
    """Return how far scores may be off: what one cosine may, times the weights of the parts."""
    return ATOL * sum(map(abs, RCLIP_QUERIES[query].values()))


def title(query: str) -> str:
    """Return the model, a query and the source."""
    return f"{RCLIP_MODEL}: {query} ({RCLIP_SOURCE})"


def without_scores(results: dict[str, dict[str, float]], reason: str) -> list[Line]:
    """Return rclip's results beside the reason why the model gives none."""
    lines = [
        Line(title(name), list(one.values()), reason, tolerance(name))
        for name, one in results.items()
    ]
    return [*lines, Line(title(_BEE[0]), [_BEE[2]], reason, ATOL)]


def image_paths(folder: Path) -> list[Path]:
    """Return rclip's images."""
    paths = (folder / "rclip" / "images").iterdir()
    return sorted(path for path in paths if path.suffix.lower() in _SUFFIXES)
