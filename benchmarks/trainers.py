"""The two trainers that training.py compares, each with the same settings."""

import json
import math
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emoji_pairs import read_table
from open_clip_train_peer import (
    CHECKPOINT,
    GRADIENT,
    LOG,
    REQUIREMENTS,
    read_log,
    train_arguments,
)
from report import take_turns
from workplace import Workplace

CLIPKIT, PEER = "clipkit", "open_clip_train"
_PEER_SCRIPT = Path(__file__).with_name("open_clip_train_peer.py")
_PEER_PRECISION = {"fp32": "fp32", "bf16": "amp_bf16"}

# Training it is a matter of minutes on two cores. Context and vocabulary are those of CLIP.
MODEL = {
    "embed_dim": 192,
    "vision_cfg": {
        "image_size": 64,
        "layers": 6,
        "width": 192,
        "head_width": 48,
        "patch_size": 16,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 128,
        "heads": 4,
        "layers": 2,
    },
}


@dataclass(frozen=True)
class Recipe:
    """What both trainers are told."""

    table: str
    epochs: int = 24
    precision: str = "bf16"
    batch_size: int = 256
    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-6
    weight_decay: float = 0.2
    clip_norm: float = 1.0
    warmup_fraction: float = 0.1
    workers: int = 1
    seed: int = 0

    @property
    def num_steps(self) -> int:
        """Steps of a run: the rest of an epoch that fills no batch is left out by both."""
        return self.epochs * (len(read_table(Path(self.table))) // self.batch_size)


@dataclass(frozen=True)
class Run:
    """What one trainer did."""

    model: str  # directory of the trained model
    seconds: float  # of the whole program, from its start to its end
    step_seconds: list[float]  # of every step, reading included
    losses: list[float]

    @property
    def median_step(self) -> float:
        """What a step takes."""
        return statistics.median(self.step_seconds)


@dataclass(frozen=True)
class Trainers:
    """Both trainers, and where they work."""

    directory: Path
    python: Path  # of the peer
    config: Path  # of the model

    @classmethod
    def prepare(cls, workplace: Workplace) -> "Trainers":
        """Make the peer's environment and the model's config."""
        directory = workplace.directory / "training"
        directory.mkdir(exist_ok=True)
        config = directory / "small-vit.json"
        config.write_text(json.dumps(MODEL, indent=1))
        python = workplace.environment("open_clip_train", REQUIREMENTS, borrows_torch=True)
        return cls(directory, python, config)

    def clipkit(self, recipe: Recipe, name: str) -> Run:
        """Train with clipkit."""
        place = self._empty(f"{CLIPKIT}-{name}")
        run_file = place.with_suffix(".toml")
        run_file.write_text(run_toml(recipe, self.config, place))
        seconds = _seconds_of([sys.executable, "-m", "clipkit", "train", str(run_file)])
        lines = (place / "metrics.jsonl").read_text().splitlines()
        steps = [entry for entry in map(json.loads, lines) if "step_seconds" in entry]
        run = Run(
            str(place / "final"),
            seconds,
            [entry["step_seconds"] for entry in steps],
            [entry["loss"] for entry in steps],
        )
        return _checked(run, recipe)

    def peer(self, recipe: Recipe, name: str) -> Run:
        """Train with open_clip_train."""
        place = self._empty(f"{PEER}-{name}")
        arguments = train_arguments(Path(recipe.table), self.config, peer_options(recipe))
        command = [str(self.python), str(_PEER_SCRIPT), "train", str(place), str(self.config)]
        seconds = _seconds_of([*command, *arguments])
        steps = read_log((place / LOG).read_text())
        run = Run(str(place / CHECKPOINT), seconds, steps.seconds, steps.losses)
        return _checked(run, recipe)

    def race(self, recipe: Recipe, rounds: int) -> dict[str, list[Run]]:
        """Let both train shortly, in turns."""
        name = f"short-{recipe.precision}"
        works = {
            CLIPKIT: lambda: self.clipkit(recipe, name),
            PEER: lambda: self.peer(recipe, name),
        }
        return take_turns(works, rounds)

    def peer_gradient(self, table: Path, seed: int, count: int) -> Path:
        """Return a file with the peer's first weights, a batch, and its gradient."""
        place = self._empty("gradient")
        words = ["gradient", str(place), str(self.config), str(seed), str(table), str(count)]
        subprocess.run([str(self.python), str(_PEER_SCRIPT), *words], check=True)
        return place / GRADIENT

    def _empty(self, name: str) -> Path:
        place = self.directory / name
        shutil.rmtree(place, ignore_errors=True)
        return place


def run_toml(recipe: Recipe, config: Path, output: Path) -> str:
    """Return the recipe as clipkit's RUN.toml, every step in its metrics.

    The peer goes through the rows of the table. For clipkit the rows of an image are one pair with
    several captions, so each pair is drawn as often as an image has rows on average.
    """
    rows = read_table(Path(recipe.table))
    weight = len(rows) / len({path for path, _ in rows})
    return f"""output = {json.dumps(str(output))}
seed = {recipe.seed}

[model]
architecture = {json.dumps(str(config))}

[data]
train = {{ path = {json.dumps(recipe.table)}, weight = {weight!r} }}
workers = {recipe.workers}

[optimizer]
lr = {recipe.lr}
beta1 = {recipe.beta1}
beta2 = {recipe.beta2}
eps = {recipe.eps}
weight_decay = {recipe.weight_decay}
clip_norm = {recipe.clip_norm}
warmup_fraction = {recipe.warmup_fraction}

[compute]
batch_size = {recipe.batch_size}
epochs = {recipe.epochs}
device = "cpu"
precision = "{recipe.precision}"

[watch]
retention_set = ""
log_steps = 1
"""


def peer_options(recipe: Recipe) -> dict[str, object]:
    """Return the recipe as options of open_clip_train."""
    return {
        "precision": _PEER_PRECISION[recipe.precision],
        "batch-size": recipe.batch_size,
        "epochs": recipe.epochs,
        "lr": recipe.lr,
        "beta1": recipe.beta1,
        "beta2": recipe.beta2,
        "eps": recipe.eps,
        "wd": recipe.weight_decay,
        "grad-clip-norm": recipe.clip_norm,
        "warmup": math.ceil(recipe.warmup_fraction * recipe.num_steps - 1e-9),  # as clipkit
        "workers": recipe.workers,
        "seed": recipe.seed,
    }


def _checked(run: Run, recipe: Recipe) -> Run:
    """Return a run that took all the steps: with fewer, nothing compares."""
    if len(run.step_seconds) != recipe.num_steps:
        raise RuntimeError(
            f"{run.model} was trained in {len(run.step_seconds)} steps instead of "
            f"{recipe.num_steps}: the trainers do not learn from the same pairs"
        )
    return run


def _seconds_of(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start
