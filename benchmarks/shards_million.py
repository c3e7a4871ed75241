"""Starts of a training run on a million pairs in webdataset shards: time, bytes read, memory.

Run as  python benchmarks/shards_million.py --folder DIRECTORY  on Linux, with clipkit[torch]
installed. It makes shards of tiny pictures (2 GB for a million pairs, kept in the folder; what is
there is not made again) and starts a run on them three times, each time until its first step is
done: cold (no shard was listed before), warm (another run on the same shards) and resumed (the
second run again). A hundredth of the pairs is kept for validation, by data.validation_fraction.

Where the time goes is told apart: until the pairs are listed and split, and until the first step.
Bytes read are those that the process asked the system for, from the disk or from its cache.
"""

import argparse
import io
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PER_SHARD = 10_000
RUN = """
[model]
architecture = {architecture}
[data]
train = {shards}
validation_fraction = {fraction}
workers = 0
[compute]
batch_size = 64
epochs = 1
device = "cpu"
precision = "fp32"
[watch]
log_steps = 1
retention_set = ""
"""
ARCHITECTURE = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
# What a start is: a process that trains until its first step is done.
START = """
import json, os, re, resource, signal, sys, time
from contextlib import contextmanager
import clipkit, open_clip, tensorboardX, webdataset
from clipkit.models.building import build_towers
from clipkit.progress import Callbacks
from clipkit.runs.run import train
imported = time.perf_counter()
found = {}
def look():
    counters = dict(re.findall(r"(\\w+): (\\d+)", open("/proc/self/io").read()))
    peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
    return {"seconds": time.perf_counter() - imported, "read": int(counters["rchar"]),
            "from_disk": int(counters["read_bytes"]), "peak": int(peak) * 1024}
def say(line):
    if line.endswith("to train on"):
        found["listed"] = look()
@contextmanager
def progress_for(label):
    def progress(done, total):
        if label == "training" and "step" not in found:
            found["step"] = look()
            os.kill(os.getpid(), signal.SIGTERM)  # a checkpoint, and the end
    yield progress
config = clipkit.RunConfig.from_toml(sys.argv[1])
at_start = look()
train(config, callbacks=Callbacks(say=say, progress_for=progress_for))
for each in found.values():
    for name in ("read", "from_disk"):
        each[name] -= at_start[name]  # without what Python reads of programs
found["before"] = at_start
found["peak_of_others"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
print(json.dumps(found))
"""


def main() -> None:
    """Make what is missing, start three times, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where the shards are kept")
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--kilobytes", type=int, default=0, help="of a picture, at least")
    parser.add_argument("--only", choices=("cold", "warm", "resumed"), nargs="+")
    options = parser.parse_args()
    folder = options.folder.absolute() / f"{options.pairs}-{options.kilobytes}"
    shards = make_shards(folder, options.pairs, options.kilobytes)
    total = sum(path.stat().st_size for path in shards)
    print(f"{options.pairs:,} pairs in {len(shards)} shards, {total / 1e6:,.0f} MB")
    home = folder / "home"
    for name in options.only or ("cold", "warm", "resumed"):
        if name == "cold":
            shutil.rmtree(home, ignore_errors=True)
        run = write_run(folder, "first" if name == "cold" else "second", shards)
        if name != "resumed":
            shutil.rmtree(run.with_suffix(""), ignore_errors=True)
        print_start(name, start(run, home))


def make_shards(folder: Path, num_pairs: int, kilobytes: int) -> list[Path]:
    """Return the shards, those that are missing made by all cores."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = range(0, num_pairs, PER_SHARD)
    wanted = [
        (folder / f"{at // PER_SHARD:06}.tar", at, min(PER_SHARD, num_pairs - at), kilobytes)
        for at in numbers
    ]
    missing = [shard for shard in wanted if not shard[0].is_file()]
    with multiprocessing.Pool() as pool:
        for done, _ in enumerate(pool.imap_unordered(make_shard, missing), 1):
            if done % 10 == 0:
                print(f"made {done} of {len(missing)} shards", file=sys.stderr)
    return [path for path, *_ in wanted]


def make_shard(shard: tuple[Path, int, int, int]) -> None:
    """Write a shard of pictures that all differ."""
    path, first, count, kilobytes = shard
    generator = np.random.default_rng(first)
    draft = path.with_suffix(".draft")
    with tarfile.open(draft, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(first, first + count):
            picture = io.BytesIO()
            colors = generator.integers(0, 256, size=(8, 8, 3), dtype=np.uint8)
            Image.fromarray(colors).save(picture, "PNG")
            # Bytes behind its end belong to the file, and readers of images ignore them.
            content = picture.getvalue() + generator.bytes(1024 * kilobytes)
            caption = f"a made pattern of 64 colours, number {number}".encode()
            for ending, some in (("png", content), ("txt", caption)):
                info = tarfile.TarInfo(f"{number:09}.{ending}")
                info.size = len(some)
                tar.addfile(info, io.BytesIO(some))
    draft.rename(path)


def write_run(folder: Path, name: str, shards: list[Path]) -> Path:
    """Write the settings of a run with small towers."""
    architecture = folder / "architecture.json"
    architecture.write_text(json.dumps(ARCHITECTURE))
    braces = f"{{{shards[0].stem}..{shards[-1].stem}}}" if len(shards) > 1 else shards[0].stem
    values = {
        "architecture": json.dumps(str(architecture)),
        "shards": json.dumps(str(folder / f"{braces}.tar")),
        "fraction": 0.01,
    }
    run = folder / f"{name}.toml"
    run.write_text(RUN.format(**values))
    return run


def start(run: Path, home: Path) -> dict[str, Any]:
    """Return what a start of a run took."""
    variables = {**os.environ, "CLIPKIT_HOME": str(home), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", START, str(run)]
    ended = subprocess.run(words, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def print_start(name: str, found: dict[str, Any]) -> None:
    """Print a line for each moment."""
    print(f"{name:8} before  {found['before']['peak'] / 1e6:8,.0f} MB of memory")
    for moment in ("listed", "step"):
        at = found[moment]
        print(
            f"{name:8} {moment:7} {at['seconds']:8.1f} s {at['read'] / 1e6:10,.1f} MB read "
            f"({at['from_disk'] / 1e6:,.1f} from the disk) {at['peak'] / 1e6:8,.0f} MB of memory",
            flush=True,
        )


if __name__ == "__main__":
    main()
