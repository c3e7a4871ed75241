"""How much work a kill -9 costs: 2 000 images, the embedded model, the real clock.

Run as  python benchmarks/killed_sync.py . It prints what had been done at the kill, what of that
was committed, and how many images the next sync had to do.
"""

import argparse
import random
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

import clipkit

SYNC = """
import sys
import clipkit
def tell(done, total):
    print(done, total, flush=True)
library = clipkit.PhotoLibrary.open(sys.argv[1], clipkit.load(), location=sys.argv[2])
library.sync(progress=tell)
"""


def main() -> None:
    """Index, kill, and index again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=3, help="how many kills on the way")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = random.Random(options.seed)
    with TemporaryDirectory() as scratch:
        folder, index = Path(scratch) / "images", Path(scratch) / "index"
        make_images(folder, options.images, options.seed)
        for number in range(options.kills):
            left = options.images - count(folder, index)
            kill_sync(folder, index, kill_at=generator.randint(1, max(1, left // 2)), number=number)
        before = count(folder, index)
        report = clipkit.PhotoLibrary.open(folder, clipkit.load(), location=index).sync()
        print(
            f"last sync: {report.added} done, {report.unchanged} of {before} committed ones kept, "
            f"{before - report.unchanged} redone"
        )


def make_images(folder: Path, num_images: int, seed: int) -> None:
    """Write images that differ, of the size of small photographs."""
    folder.mkdir()
    generator = np.random.default_rng(seed)
    for number in range(num_images):
        colors = generator.integers(0, 256, size=(6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(colors).resize((800, 600), Image.Resampling.BICUBIC)
        image.save(folder / f"{number:04}.jpg")


def kill_sync(folder: Path, index: Path, *, kill_at: int, number: int) -> None:
    """Sync in another process and kill it when so many images are done; print what is left."""
    before = count(folder, index)
    moments: list[tuple[float, int]] = []
    process = subprocess.Popen(
        [sys.executable, "-c", SYNC, str(folder), str(index)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            moments.append((time.monotonic(), int(line.split()[0])))
            if moments[-1][1] >= kill_at:
                process.kill()
                break
    killed_at, done = moments[-1]
    committed = count(folder, index) - before
    # The moment at which exactly as much had been done as is committed now.
    since = next((moment for moment, seen in moments if seen >= committed), killed_at)
    print(
        f"kill {number + 1}: {done} done in {killed_at - moments[0][0]:.1f} s, {committed} "
        f"committed, the last {killed_at - since:.1f} s lost"
    )


def count(folder: Path, index: Path) -> int:
    """Return how many images are committed."""
    return len(clipkit.PhotoLibrary.open(folder, location=index))


if __name__ == "__main__":
    main()
