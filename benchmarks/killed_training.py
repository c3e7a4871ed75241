"""A training run that is killed again and again, as on a machine that is taken away.

Run as  python benchmarks/killed_training.py . It trains the embedded model's text encoder (features
of the images are cached) on made images, once undisturbed and once in processes that are each
killed by SIGKILL at a random moment, from the start to the report. It prints how many that took,
where they resumed, and whether both runs left the same.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

RUN = """
[model]
base = "starter"
lock_image = true
[data]
train = {images}
validation_fraction = 0.2
crop_scale = [1.0, 1.0]
workers = 0
[compute]
batch_size = 16
epochs = {epochs}
device = "cpu"
precision = "fp32"
[watch]
log_steps = 1
retention_set = ""
checkpoint_steps = {checkpoint_steps}
"""
COLORS = ("red", "green", "blue", "black", "white", "grey", "yellow", "purple")


@dataclass
class Lives:
    """The processes that one run took."""

    seconds: float = 0.0  # of all of them
    num_killed: int = 0
    resumed_after: list[int] = field(default_factory=list)


def main() -> None:
    """Train undisturbed, train killed, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--checkpoint-steps", type=int, default=2)
    parser.add_argument("--share", type=float, default=0.7, help="a life's longest, of a whole run")
    parser.add_argument("--most", type=int, default=200, help="lives after which it is given up")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_pairs(folder / "images", options.images, options.seed)
        runs = [folder / name / "run.toml" for name in ("whole", "killed")]
        for path in runs:
            path.parent.mkdir()
            values = {"epochs": options.epochs, "checkpoint_steps": options.checkpoint_steps}
            path.write_text(RUN.format(images=json.dumps(str(folder / "images")), **values))
        whole = live(runs[0], None, Lives())
        print(f"undisturbed: {whole.seconds:.0f} s", flush=True)
        moments, lives = random.Random(options.seed), Lives()
        while not (runs[1].with_suffix("") / "report.json").is_file():
            if lives.num_killed == options.most:
                sys.exit(f"not at its end after {options.most} lives")
            live(runs[1], moments.uniform(0, options.share * whole.seconds), lives)
        print(
            f"killed {lives.num_killed} times: {lives.seconds:.0f} s, resumed after steps "
            f"{lives.resumed_after}"
        )
        expected, found = (left_by(path.with_suffix("")) for path in runs)
        different = sorted(name for name in expected if expected[name] != found.get(name))
        print(f"different: {different or 'nothing'}")
        sys.exit(bool(different))


def make_pairs(folder: Path, num_images: int, seed: int) -> None:
    """Write images that differ, each with a caption."""
    folder.mkdir()
    generator = np.random.default_rng(seed)
    for number in range(num_images):
        colors = generator.integers(0, 256, size=(6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(colors).resize((320, 240), Image.Resampling.BICUBIC)
        image.save(folder / f"{number:04}.png")
        words = " and ".join(generator.choice(COLORS, size=3))
        (folder / f"{number:04}.txt").write_text(f"a {words} pattern, number {number}\n")


def live(run: Path, seconds: float | None, lives: Lives) -> Lives:
    """Train in a process, kill it after so many seconds (None: never), and add what it did."""
    begun = time.monotonic()
    words = [sys.executable, "-m", "clipkit", "train", str(run)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        _, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        _, said = process.communicate()
        lives.num_killed += 1
    else:
        if process.returncode:
            sys.exit(f"it ended with status {process.returncode}: {said}")
    lives.seconds += time.monotonic() - begun
    lives.resumed_after += [
        int(line.split()[4]) for line in said.splitlines() if "resuming after step" in line
    ]
    return lives


def left_by(directory: Path) -> dict[str, Any]:
    """Return what a run left, but for how long things took and where it lies."""
    files: dict[str, Any] = {
        f"final/{path.name}": path.read_bytes() for path in (directory / "final").iterdir()
    }
    card = files["final/README.md"].splitlines()
    files["final/README.md"] = [line for line in card if not line.startswith(b"- hours: ")]
    report = json.loads((directory / "report.json").read_text())
    files["report.json"] = {
        name: value for name, value in report.items() if name not in ("seconds", "directory")
    }
    entries = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    files["metrics.jsonl"] = [
        {name: value for name, value in entry.items() if not name.endswith("_seconds")}
        for entry in entries
    ]
    return files


if __name__ == "__main__":
    main()
