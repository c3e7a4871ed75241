"""Indexing throughput on all cores, beside the throughput of each of its stages alone.

Run as  python benchmarks/pipeline.py  on Linux, with two cores or more and nothing else at work.
It makes its photographs (800 MB), and takes ten minutes.

Twice, over photographs of 12 megapixels and of 500 pixels, with the starter:

(a) Decoding and engine have one core each. Then the whole can be as fast as its slowest stage is
    alone, and efficiency is the whole's speed divided by that one's.
(b) As it comes, on all cores, which all stages share. No more than cores / (processor seconds a
    image, all stages together) is possible; efficiency is the speed divided by that.

A stage alone is one thread. The whole is ``PhotoLibrary.sync`` into a new index. The rounds take
turns; figures are medians.
"""

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from made_photos import LARGE, SMALL, PhotoFormat, make_photos
from numpy.typing import NDArray
from remarked import with_remark

import clipkit
from clipkit.embeddings import normalize_rows
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.image_embedding import EncodedBatch
from clipkit.inputs.preprocess import Preprocess
from clipkit.progress import usable_cores
from clipkit.runtime.base import Runtime

BAR = 0.9
DECODING_CORE, ENGINE_CORE = 0, 1
_DISTINCT = 24  # photographs that look different

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Speed:
    """How fast something went."""

    per_second: float  # images
    processor_seconds: float  # an image, of all threads


@dataclass(frozen=True)
class Outcome:
    """What was measured over one size of images."""

    images: str
    num: int
    alone: dict[str, Speed]  # each stage
    apart: Speed  # (a)
    shared: Speed  # (b)

    @property
    def efficiency_apart(self) -> float:
        """The whole's speed by that of its slowest stage."""
        return self.apart.per_second / min(speed.per_second for speed in self.alone.values())

    @property
    def bound(self) -> float:
        """Images a second that all cores can do of the work of all stages."""
        return usable_cores() / sum(speed.processor_seconds for speed in self.alone.values())

    @property
    def efficiency_shared(self) -> float:
        """The whole's speed by that bound."""
        return self.shared.per_second / self.bound


class PinnedPreprocess(Preprocess):
    """Decodes on a core of its own."""

    def pixel_values(self, source: Any, **options: Any) -> Pixels:
        """Return what the tower takes, shape (3, H, W)."""
        os.sched_setaffinity(0, {DECODING_CORE})  # of the calling thread
        return super().pixel_values(source, **options)


class PinnedRuntime:
    """Computes on a core of its own, in one thread."""

    image_batch = 8
    image_workers = 1

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def image_features(self, pixel_values: Pixels) -> Pixels:
        """Return features, shape (B, D)."""
        os.sched_setaffinity(0, {ENGINE_CORE})
        return self._runtime.image_features(pixel_values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)


class NoEncoder(Encoder):
    """Makes up embeddings without looking at the images: what is left is the writer's work."""

    def stream_images(self, images: Iterable[Any], **_: Any) -> Generator[EncodedBatch]:
        """Yield embeddings that mean nothing."""
        rng = np.random.default_rng(0)
        positions = enumerate(images)
        while batch := [
            position for position, _ in itertools.islice(positions, self._runtime.image_batch)
        ]:
            rows = rng.standard_normal((len(batch), self.embed_dim))
            yield EncodedBatch(batch, normalize_rows(rows), [])


def main() -> None:
    """Measure both sizes, print and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, help="keep the photographs in this directory")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", type=int, default=240, help="photographs of 12 megapixels")
    parser.add_argument("--small", type=int, default=480, help="photographs of 500 pixels")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    with _work_directory(arguments.work) as work:
        outcomes = [
            _measure(_make_folder(work, LARGE, arguments.large), LARGE.name, arguments.rounds),
            _measure(_make_folder(work, SMALL, arguments.small), SMALL.name, arguments.rounds),
        ]
    for outcome in outcomes:
        _print(outcome)
    print(f"(a) one core each: of the slowest stage alone; the bar is {BAR}")
    print("(b) all cores, shared by all stages: of what they can do together at most")
    if arguments.json:
        arguments.json.write_text(json.dumps([_figures(o) for o in outcomes], indent=2) + "\n")


@contextmanager
def _work_directory(kept: Path | None) -> Generator[Path]:
    with tempfile.TemporaryDirectory() as work:
        yield kept or Path(work)


def _make_folder(work: Path, photo_format: PhotoFormat, num: int) -> list[Path]:
    contents = [
        path.read_bytes() for path in make_photos(photo_format, _DISTINCT, work / photo_format.name)
    ]
    folder = work / f"{num} {photo_format.name}"
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:05}.jpg" for number in range(num)]
    for number, path in enumerate(paths):
        path.write_bytes(with_remark(contents[number % len(contents)], number))
    return paths


def _measure(paths: list[Path], name: str, rounds: int) -> Outcome:
    encoder = clipkit.load("starter", engine="onnx", precision="fp32", device="cpu")
    preprocess, runtime = encoder.preprocess, encoder._runtime
    apart = _remade(encoder, Encoder, PinnedPreprocess(**vars(preprocess)), PinnedRuntime(runtime))
    writer = _remade(encoder, NoEncoder, preprocess, runtime)
    some = [path.read_bytes() for path in paths[:_DISTINCT]]
    batch = np.stack([preprocess.pixel_values(content) for content in some[: runtime.image_batch]])
    runtime.image_features(batch)  # the engine is ready
    tasks: dict[str, Callable[[], Speed]] = {
        "decode": lambda: _repeat(lambda: _decode(preprocess, some), _DISTINCT, DECODING_CORE),
        "engine": lambda: _repeat(lambda: runtime.image_features(batch), len(batch), ENGINE_CORE),
        "writer": lambda: _sync(paths, writer),
        "apart": lambda: _sync(paths, apart),
        "shared": lambda: _sync(paths, encoder),
    }
    speeds: dict[str, list[Speed]] = {task: [] for task in tasks}
    for _ in range(rounds):
        for task, measure in tasks.items():
            speeds[task].append(measure())
    whole = {task: _median(measured) for task, measured in speeds.items()}
    alone = {stage: whole[stage] for stage in ("decode", "engine", "writer")}
    return Outcome(name, len(paths), alone, whole["apart"], whole["shared"])


def _remade(encoder: Encoder, kind: type[Encoder], preprocess: Preprocess, runtime: Any) -> Encoder:
    return kind(runtime, preprocess, encoder._tokenizer, name=encoder.name)


def _decode(preprocess: Preprocess, contents: list[bytes]) -> None:
    for content in contents:
        preprocess.pixel_values(content)


def _repeat(work: Callable[[], object], images: int, core: int) -> Speed:
    """Repeat some work in this thread on one core for a few seconds."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        start, processor, done = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - start < 3:
            work()
            done += images
    finally:
        os.sched_setaffinity(0, cores)
    processor_seconds = (time.process_time() - processor) / done
    return Speed(done / (time.perf_counter() - start), processor_seconds)


def _sync(paths: list[Path], encoder: Encoder) -> Speed:
    """Index all images anew."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["CLIPKIT_HOME"] = home
        library = clipkit.PhotoLibrary.open(paths[0].parent, encoder)
        # The first sync embeds some hundred words too: half a second, whatever follows.
        library.sync(exclude=["*"])
        start, processor = time.perf_counter(), time.process_time()
        report = library.sync(exclude=[])
        seconds = time.perf_counter() - start
        processor_seconds = time.process_time() - processor
    if report.added != len(paths):
        raise RuntimeError(f"of {len(paths)} images {report.added} were indexed")
    return Speed(len(paths) / seconds, processor_seconds / len(paths))


def _median(speeds: list[Speed]) -> Speed:
    return Speed(
        statistics.median(speed.per_second for speed in speeds),
        statistics.median(speed.processor_seconds for speed in speeds),
    )


def _print(outcome: Outcome) -> None:
    print(f"{outcome.num} {outcome.images} photographs, images/s (processor ms an image):")
    named = {**outcome.alone, "whole (a)": outcome.apart, "whole (b)": outcome.shared}
    for name, speed in named.items():
        print(f"  {name:9} {speed.per_second:8.1f} ({speed.processor_seconds * 1e3:.1f})")
    print(
        f"  efficiency (a) {outcome.efficiency_apart:.2f}; (b) {outcome.efficiency_shared:.2f}, "
        f"the bound is {outcome.bound:.1f} images/s on {usable_cores()} cores"
    )


def _figures(outcome: Outcome) -> dict[str, object]:
    return {
        **asdict(outcome),
        "efficiency_apart": outcome.efficiency_apart,
        "efficiency_shared": outcome.efficiency_shared,
        "bound_per_second": outcome.bound,
        "cores": usable_cores(),
        "bar": BAR,
    }


if __name__ == "__main__":
    main()
