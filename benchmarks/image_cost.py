"""Where the processor time of an indexed photograph goes: one thread, one stage after another.

Run as  python benchmarks/image_cost.py  with clipkit[torch], and clipkit[openvino] for its engine.
The model is ViT-B-32-256 with random weights, on every engine and precision that it has here. A
stage alone is called on each photograph in turn, pinned to one core; "the whole" is `clipkit index`
as it comes, all its threads together.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from made_models import compiled_model
from made_photos import LARGE, SMALL, link_photos, make_photos
from measured import run
from PIL import Image
from rclip_peer import ARCHITECTURE
from report import Figure, Report, system_load
from workplace import Workplace, apart

ROUNDS = 3


def main() -> None:
    """Make what is missing, measure, report."""
    workplace = Workplace.from_command_line(__doc__)
    rounds = workplace.num_rounds(ROUNDS)
    model = compiled_model(workplace, ARCHITECTURE)
    load, figures = system_load(), []
    for photo in (LARGE, SMALL):
        num = workplace.size(48, 6)
        paths = make_photos(photo, num, workplace.directory / "photos" / f"{photo.name}-cost-{num}")
        stages = apart(stage_costs, model, paths, rounds)
        if photo is LARGE:
            stages |= apart(torch_costs, model, paths, rounds)
        for stage, found in stages.items():
            figures.append(Figure(f"{photo.name}: {stage}", found, " ms"))
        figures.append(Figure(f"{photo.name}: the whole", whole_costs(model, paths, rounds), " ms"))
    Report("image_cost", {}, figures, {"architecture": ARCHITECTURE}, {}).save(workplace, load)


def stage_costs(model: str, paths: list[Path], rounds: int) -> dict[str, list[float]]:
    """Return milliseconds an image of each stage, a round each."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    os.environ["OMP_NUM_THREADS"] = "1"
    from clipkit.files import sha256_of
    from clipkit.inputs.images import borrow_image
    from clipkit.inputs.preprocess import Preprocess
    from clipkit.models.locate import locate
    from clipkit.models.sources import DirectorySource, resolve_source
    from clipkit.runtime.bundle import Bundle
    from clipkit.runtime.cache import find_compiled
    from clipkit.runtime.compiled_autotune import automatic_choices, open_compiled

    directory = find_compiled(resolve_source(model))
    assert directory is not None
    bundle = Bundle.read(directory)
    files = locate(DirectorySource(model, directory))
    preprocess = Preprocess.from_config(files.preprocess_cfg, bundle.image_size)

    def hash_file(path: Path) -> bytes:
        with path.open("rb") as file:
            return sha256_of(file)

    def decode(path: Path) -> None:
        with borrow_image(path, target=preprocess.resized_size) as image:
            image.pixels.load()

    def decode_least(path: Path) -> None:
        with Image.open(path) as image:
            image.draft("L", (image.width // 8, image.height // 8))
            image.load()

    def decode_whole(path: Path) -> None:
        with Image.open(path) as image:
            image.convert("RGB").resize(bundle.image_size)

    stages: dict[str, Callable[[Path], object]] = {
        "read and hash the file": hash_file,
        "decode, every pixel, and resize (for comparison)": decode_whole,
        "decode, scaled": decode,
        "the same at 1/8 in grey: hardly more than reading what is entropy-coded": decode_least,
        "decode, resize and standardise": preprocess.pixel_values,
    }
    found = {name: [_each(stage, paths) for _ in range(rounds)] for name, stage in stages.items()}
    pixels = np.stack([preprocess.pixel_values(path) for path in paths[:8]])
    for choice in automatic_choices(bundle):
        runtime = open_compiled(directory, choice)
        runtime.image_features(pixels)
        seconds = []
        for _ in range(rounds):
            start = time.process_time()
            runtime.image_features(pixels)
            seconds.append(1000 * (time.process_time() - start) / len(pixels))
        found[f"image encoder, {choice}"] = seconds
    return found


def torch_costs(model: str, paths: list[Path], rounds: int) -> dict[str, list[float]]:
    """Return milliseconds an image in bf16 on torch, and those until that is ready.

    Compiled models are not tried on it: it is about as fast as OpenVINO in bf16, but a process that
    embeds a few new images would wait for torch and for a model's weights every time.
    """
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    os.environ["OMP_NUM_THREADS"] = "1"
    start = time.process_time()
    from clipkit.inputs.preprocess import Preprocess
    from clipkit.models.checkpoint import load_towers
    from clipkit.models.sources import resolve_source
    from clipkit.runtime.torch_runtime import TorchRuntime

    towers = load_towers(resolve_source(model))
    runtime = TorchRuntime(towers, device="cpu", precision="bf16", space_id="")
    preprocess = Preprocess.from_config(towers.preprocess_cfg, towers.image_size)
    pixels = np.stack([preprocess.pixel_values(path) for path in paths[:8]])
    runtime.image_features(pixels[:1])
    found = {"bf16 on torch, until it is ready": [1000 * (time.process_time() - start)]}
    found["image encoder, bf16 on torch"] = []
    for _ in range(rounds):
        start = time.process_time()
        runtime.image_features(pixels)
        seconds = time.process_time() - start
        found["image encoder, bf16 on torch"].append(1000 * seconds / len(pixels))
    return found


def whole_costs(model: str, paths: list[Path], rounds: int) -> list[float]:
    """Return milliseconds of processor time an image of indexing, less what a few images take."""
    folder = paths[0].parent
    few = folder.with_name(f"{folder.name}-few")
    num_few = len(paths) // 3  # more than one: so that the engine is loaded whole
    link_photos(paths[:num_few], few)

    def index(where: Path) -> float:
        command = [sys.executable, "-m", "clipkit", "index", str(where)]
        subprocess.run([*command, "--forget"], check=True, capture_output=True)
        return run([*command, "--model", model], cwd=where, variables={}).processor_seconds

    num_more = len(paths) - num_few
    return [1000 * (index(folder) - index(few)) / num_more for _ in range(rounds)]


def _each(stage: Callable[[Path], object], paths: list[Path]) -> float:
    """Return the median milliseconds of processor time of a stage."""
    seconds = []
    for path in paths:
        start = time.process_time()
        stage(path)
        seconds.append(time.process_time() - start)
    return 1000 * statistics.median(seconds)


if __name__ == "__main__":
    main()
