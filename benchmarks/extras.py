"""What each extra of clipkit brings: packages, megabytes on disk, and the time to import them.

Run as  python benchmarks/extras.py  where clipkit[all,wandb,mlflow,trackio] is installed. Sizes are
those of the files that the installed packages list, less what the core or Python itself has;
packages that two extras bring count for both. An import is a new process with warm files, less one
that imports nothing.
"""

import argparse
import statistics
import subprocess
import sys
import time
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

# What clipkit imports of each; an extra is imported only by what needs it.
MODULES = {
    "torch": ("torch", "open_clip"),
    "openvino": ("openvino",),
    "evaluate": ("sklearn.linear_model", "matplotlib.pyplot"),
    "demo": ("gradio",),
    "mcp": ("mcp",),
    "server": ("fastapi", "mcp", "prometheus_client", "uvicorn"),
    "map": ("embedding_atlas",),
    "heif": ("pillow_heif",),
    "raw": ("rawpy",),
    "tiff": ("tifffile", "imagecodecs"),
    "jxl": ("imagecodecs",),
    "parquet": ("pyarrow.parquet",),
    "ray": ("ray.data",),
    "milvus": ("pymilvus",),
    "milvus-lite": ("pymilvus", "milvus_lite"),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
    "trackio": ("trackio",),
}
# OpenVINO would tell its makers of each import, were it not for this: clipkit does the same.
_NO_REPORTS = "import sys; sys.modules['openvino_telemetry'] = None; "
ROUNDS = 5


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    core = closure("clipkit", "")
    print("| extra | packages | MB | import, s |\n|---|--:|--:|---|")
    print(f"| none: the core | {len(core)} | {megabytes(core):.0f} | |")
    for extra, modules in MODULES.items():
        added = closure("clipkit", extra).keys() - core.keys()
        packages = {name: distribution(name) for name in added}
        times = ", ".join(f"{module} {import_seconds(module, rounds):.2f}" for module in modules)
        print(f"| {extra} | {len(packages)} | {megabytes(packages):.0f} | {times} |", flush=True)


def closure(name: str, extra: str) -> dict[str, Distribution]:
    """Return the installed packages that a package needs with one of its extras, itself too."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(name, extra)]
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        try:
            package = distribution(each[0])
        except PackageNotFoundError:
            continue  # for another system or Python
        found[each[0].lower().replace("_", "-")] = package
        for line in package.requires or ():
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate({"extra": each[1]}):
                waiting += [(wanted.name, one) for one in ("", *wanted.extras)]
    return found


def megabytes(packages: dict[str, Distribution]) -> float:
    """Return the size of the files that packages list."""
    paths = {
        Path(str(package.locate_file(file)))
        for package in packages.values()
        for file in package.files or ()
    }
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def import_seconds(module: str, rounds: int) -> float:
    """Return the median of how much longer a process takes that imports a module."""
    taken = []
    for number in range(rounds + 1):
        bare, importing = _run("pass"), _run(f"{_NO_REPORTS}import {module}")
        if number:  # the first one reads the files
            taken.append(importing - bare)
    return statistics.median(taken)


def _run(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
