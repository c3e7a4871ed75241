"""Training on one GPU, loader included, beside open_clip_train on the same card.

Run as  python benchmarks/gpu_training.py  on a machine with CUDA and clipkit[torch] installed. Both
train ViT-B-32 and ViT-B-16 from scratch on the same JPEGs, at the same batch size and in bf16, with
the loss of the whole batch, each in a process of its own, in turns. Reported are images a second
(the median step, reading included), the most memory that tensors took, and of clipkit the model
FLOP utilisation: the floating-point operations of a forward and two backward passes of the two
encoders over what the card can do by its data sheet. --compile adds both with torch.compile.

--device cpu with --architecture FILE and a small batch shows that it runs; its figures say nothing.
"""

import argparse
import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import open_clip
import open_clip_train_peer as peer
import torch
from made_photos import SMALL, make_photos
from made_texts import made_captions
from report import Figure, Report, ratios, system_load, take_turns
from torch.utils.flop_counter import FlopCounterMode
from workplace import Workplace, add_work_options, apart

import clipkit

MODELS = ("ViT-B-32", "ViT-B-16")
NUM_PHOTOS = 512  # each is in the table several times, under another caption
ROUNDS = 3
BAR = 1.0
# Dense bf16 operations a second by NVIDIA's data sheets, by a part of the card's name.
PEAKS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
}


@dataclass(frozen=True)
class Task:
    """What both train, and how."""

    architecture: str  # by open_clip's name, or a JSON file
    table: str
    device: str
    batch_size: int
    workers: int
    is_compiled: bool


@dataclass(frozen=True)
class Speed:
    """What one training showed."""

    images_per_second: float
    peak_bytes: int  # of tensors on the device; 0: no GPU

    @classmethod
    def of(cls, task: Task, seconds: list[float]) -> "Speed":
        """Return the speed of the later half of the steps: the first ones warm up."""
        step = statistics.median(seconds[len(seconds) // 2 :])
        peak = torch.cuda.max_memory_allocated() if task.device.startswith("cuda") else 0
        return cls(task.batch_size / step, peak)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_work_options(parser)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--architecture", nargs="+", default=MODELS, help="names or JSON files")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=40, help="of one epoch")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--compile", action="store_true", help="measure torch.compile as well")
    arguments = parser.parse_args()
    workplace = Workplace.from_options(arguments)
    load = system_load()
    is_cuda = arguments.device.startswith("cuda")
    card = torch.cuda.get_device_name(arguments.device) if is_cuda else arguments.device
    table = _write_table(workplace, arguments.batch_size * arguments.steps)
    figures, measurements = [], {}
    for architecture in arguments.architecture:
        for is_compiled in (False, True) if arguments.compile else (False,):
            task = Task(
                architecture,
                str(table),
                arguments.device,
                arguments.batch_size,
                arguments.workers,
                is_compiled,
            )
            found = take_turns(
                {
                    "clipkit": lambda task=task: apart(train_clipkit, task),
                    "open_clip_train": lambda task=task: apart(train_open_clip, task),
                },
                workplace.num_rounds(ROUNDS),
            )
            compiled = ", compiled" if is_compiled else ""
            what = f"{Path(architecture).stem}, batch {task.batch_size}, bf16{compiled}, {card}"
            measurements[what] = found
            figures += _figures(what, found, _flops(architecture), card)
    Report("gpu_training", measurements, figures, {"card": card}).save(workplace, load)


def train_clipkit(task: Task) -> Speed:
    """Train with clipkit; return its speed."""
    with tempfile.TemporaryDirectory() as folder:
        config = clipkit.RunConfig.from_dict(
            {
                "output": f"{folder}/run",
                "model": {"architecture": task.architecture},
                "data": {"train": task.table, "workers": task.workers},
                "compute": {
                    "batch_size": task.batch_size,
                    "epochs": 1,
                    "device": task.device,
                    "precision": "bf16",
                    "compile": task.is_compiled,
                },
                "watch": {"log_steps": 1, "checkpoint_minutes": 1e6},
            }
        )
        clipkit.train(config)
        lines = Path(folder, "run", "metrics.jsonl").read_text().splitlines()
    steps = [line for line in map(json.loads, lines) if line["kind"] == "training"]
    return Speed.of(task, [line["step_seconds"] for line in steps])


def train_open_clip(task: Task) -> Speed:
    """Train with open_clip_train; return its speed."""
    from open_clip_train.main import main as train

    name = task.architecture
    if name.endswith(".json"):
        open_clip.add_model_config(name)
        name = Path(name).stem
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, object] = {
            "batch-size": task.batch_size,
            "epochs": 1,
            "workers": task.workers,
            "precision": "amp_bf16",
            "device": task.device,
            "logs": folder,
            "grad-clip-norm": 1.0,
        }
        words = peer.train_arguments(Path(task.table), Path(f"{name}.json"), options)
        train([*words, "--local-loss", "--gather-with-grad", *_compiled(task)])
        log = Path(folder, peer.LOG).read_text()
    return Speed.of(task, peer.read_log(log).seconds)


def _compiled(task: Task) -> list[str]:
    return ["--torchcompile"] if task.is_compiled else []


def _figures(what: str, found: dict[str, list[Speed]], flops: float, card: str) -> list[Figure]:
    own, other = found["clipkit"], found["open_clip_train"]
    speeds = [[speed.images_per_second for speed in several] for several in (own, other)]
    figures = [
        Figure(f"{what}: beside open_clip_train", ratios(*speeds), "x", at_least=BAR),
        Figure(f"{what}: images a second", speeds[0]),
        Figure(f"{what}: open_clip_train's", speeds[1]),
    ]
    peaks = [[speed.peak_bytes / 2**30 for speed in several] for several in (own, other)]
    if any(peaks[0]):
        figures.append(Figure(f"{what}: memory of tensors", peaks[0], " GiB"))
        figures.append(Figure(f"{what}: open_clip_train's memory", peaks[1], " GiB"))
    for name, peak in PEAKS.items():
        if name in card:
            used = [100 * flops * speed / peak for speed in speeds[0]]
            figures.append(Figure(f"{what}: model FLOP utilisation", used, " %"))
            break
    return figures


def _flops(architecture: str) -> float:
    """Return the floating-point operations that training takes for one pair."""
    if architecture.endswith(".json"):
        open_clip.add_model_config(architecture)
        architecture = Path(architecture).stem
    model = open_clip.create_model(architecture)
    size = model.visual.image_size
    height, width = size if isinstance(size, tuple) else (size, size)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        token_ids = open_clip.get_tokenizer(architecture)(["a photo"])
        model(torch.zeros(1, 3, height, width), token_ids)
    return 3.0 * counter.get_total_flops()  # the backward pass takes twice the forward one


def _write_table(workplace: Workplace, num_pairs: int) -> Path:
    """Write a table of so many pairs, tab-separated as both read it; return its path."""
    photos = make_photos(
        SMALL, NUM_PHOTOS if not workplace.is_quick else 16, workplace.directory / "gpu"
    )
    captions = made_captions(num_pairs, seed=1)
    table = workplace.directory / f"gpu-{num_pairs}.csv"
    rows = [f"{photos[at % len(photos)]}\t{caption}" for at, caption in enumerate(captions)]
    table.write_text("\n".join(["filepath\ttitle", *rows]) + "\n", encoding="utf-8")
    return table


if __name__ == "__main__":
    main()
