"""The starter on ONNX Runtime beside the same weights on torch: ratios, in one run.

Run as  python benchmarks/engines.py  with clipkit[torch] installed. Medians of alternating
rounds, because machines are shared.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import clipkit

SAMPLES = Path(__file__).parents[1] / "demo" / "samples"
ROUNDS = 7
TEXTS = ["a cat", "a red boat on a lake", "an old stone bridge", "musical instrument"] * 8
QUERY = "import clipkit; clipkit.load('starter', engine={engine!r}).encode_texts(['a cat'])"


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def medians(*works: Callable[[], object]) -> list[float]:
    """Return the median time of each piece of work, taking turns after one round to warm up."""
    times = [[seconds(work) for work in works] for _ in range(ROUNDS + 1)][1:]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def main() -> None:
    """Print one line a comparison."""
    encoders = [clipkit.load("starter", engine=engine) for engine in ("onnx", "torch")]
    images = sorted(SAMPLES.glob("*.jpg"))[:16]
    works = {
        f"{len(images)} images": lambda encoder: encoder.encode_images(images),
        f"{len(TEXTS)} texts": lambda encoder: encoder.encode_texts(TEXTS),
        "1 text": lambda encoder: encoder.encode_texts(TEXTS[:1]),
    }
    for name, work in works.items():
        onnx, torch = medians(*(lambda e=encoder, w=work: w(e) for encoder in encoders))
        line = f"{name:>12}: onnx {onnx * 1e3:7.1f} ms, torch {torch * 1e3:7.1f} ms"
        print(f"{line}, {torch / onnx:.2f}x")
    onnx, torch = (
        seconds(
            lambda e=engine: subprocess.run(
                [sys.executable, "-c", QUERY.format(engine=e)], check=True
            )
        )
        for engine in ("onnx", "torch")
    )
    print(f"{'cold query':>12}: onnx {onnx:7.2f} s,  torch {torch:7.2f} s,  {torch / onnx:.2f}x")


if __name__ == "__main__":
    main()
