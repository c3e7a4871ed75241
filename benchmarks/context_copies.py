"""How many of the images that become context are copies of one another, with and without the rule.

Makes a folder of the sample photographs, each with three altered copies (saved anew, halved,
cropped), and asks for the label of each photograph. Run as

    python benchmarks/context_copies.py
"""

import json
import shutil
import tempfile
from pathlib import Path

import clipkit
from clipkit.inputs.augmented_copies import make_copies

SAMPLES = Path(__file__).parents[1] / "demo" / "samples"
WAYS: dict[str, clipkit.ContextOptions] = {
    "as it is (each motif once)": clipkit.ContextOptions(),
    "with copies": clipkit.ContextOptions(has_copies=True),
    "with copies, diversity 0.3": clipkit.ContextOptions(has_copies=True, diversity=0.3),
    "with copies, diversity 0.6": clipkit.ContextOptions(has_copies=True, diversity=0.6),
}


def main() -> None:
    """Print a table: places taken, by copies of another, and how many motifs are listed."""
    labels: dict[str, str] = json.loads((SAMPLES / "labels.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        for name in labels:
            shutil.copy(SAMPLES / name, folder)
            for kind, copy in make_copies(SAMPLES / name).items():
                file = Path(folder) / f"{Path(name).stem}@{kind.replace(' ', '_')}.jpg"
                file.write_bytes(copy)
        library = clipkit.PhotoLibrary.open(folder, clipkit.load(), location=f"{folder}/.clipkit")
        library.sync()
        print("| way | images listed | of them copies of another | different photographs |")
        print("|---|--:|--:|--:|")
        for way, options in WAYS.items():
            listed, copies = _count(library, sorted({*labels.values()}), options)
            print(f"| {way} | {listed} | {copies} | {listed - copies} |")


def _motif(path: str) -> str:
    return Path(path).stem.partition("@")[0]


def _count(
    library: clipkit.PhotoLibrary, queries: list[str], options: clipkit.ContextOptions
) -> tuple[int, int]:
    """Return how many images are listed over all queries, and how many repeat another's motif."""
    listed = copies = 0
    for query in queries:
        images = clipkit.retrieve_context(library, query, options).images
        listed += len(images)
        copies += len(images) - len({_motif(image.path) for image in images})
    return listed, copies


if __name__ == "__main__":
    main()
