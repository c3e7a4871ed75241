"""Image files that are hard to read: what clipkit makes of each, beside its right pixels.

Run as  python benchmarks/cases.py FOLDER --expect FILE=RIGHT ... . Nothing is copied.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import ImageReadError
from clipkit.inputs.folders import find_images
from clipkit.inputs.images import read_image

LEVELS = 1.0  # mean difference, of 255, up to which pixels are right


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--expect",
        action="append",
        default=[],
        metavar="FILE=RIGHT",
        help="the right pixels of a file: a path, with :grey behind it to compare without\n"
        "colours, and :LEVELS behind that for another mean difference that is right",
    )
    arguments = parser.parse_args()
    rights = dict(word.split("=", 1) for word in arguments.expect)
    print("| file | seen | right |\n|---|---|---|")
    scan = find_images(arguments.folder)
    for entry in scan.entries:
        print(f"| {entry.path} | {row(arguments.folder / entry.path, rights.get(entry.path))} |")
    for error in scan.skipped:
        print(f"| {error.path} | {error.reason} | |")
    for left in scan.left_out:
        print(f"| {left.path} | left out: {left.reason} | |")


def row(path: Path, right: str | None) -> str:
    """Return what is seen of a file, and whether that is right."""
    try:
        pixels = np.asarray(read_image(path).pixels)
    except ImageReadError as error:
        return f"refused: {error.reason} | "
    seen = f"{pixels.shape[1]} x {pixels.shape[0]}, mean {pixels.mean():.1f}"
    if right is None:
        return f"{seen} | "
    name, *options = right.split(":")
    expected = np.asarray(read_image(Path(name)).pixels)
    if "grey" in options:
        pixels, expected = grey(pixels), grey(expected)
    if pixels.shape != expected.shape:
        return f"{seen} | wrong size: {expected.shape[1]} x {expected.shape[0]}"
    levels = next((float(word) for word in options if word != "grey"), LEVELS)
    error = float(np.abs(pixels.astype(int) - expected).mean())
    return f"{seen} | {'yes' if error <= levels else 'NO'}: mean error {error:.2f} levels"


def grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luma of RGB, as Pillow reckons it."""
    return np.rint(pixels @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)


if __name__ == "__main__":
    main()
