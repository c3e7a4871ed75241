"""Real images in small, tiny towers, and a way to write a RUN.toml."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from PIL import Image

from tests.conftest import SAMPLES
from tests.data.conftest import write_shard
from tests.models.conftest import tiny_config
from tests.one_thread import one_thread as one_thread
from tests.runs.clipkit_process import ClipkitProcess, Outcome

# CLIP's own vocabulary; what is left of the tower trains in milliseconds.
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
_VISION = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8}

WriteRun = Callable[..., Path]
Train = Callable[..., Outcome]


@pytest.fixture(scope="session")
def captions_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 sample photographs in small, each with two captions in a file beside it."""
    return save_captions_folder(tmp_path_factory.mktemp("pairs") / "photos")


@pytest.fixture(scope="session")
def class_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six classes of five images each: cuts of one photograph."""
    folder = tmp_path_factory.mktemp("classes") / "things"
    for name in ("castle", "clownfish", "dandelion", "fig", "koala", "lightning"):
        (folder / name).mkdir(parents=True)
        image = _shrunk(SAMPLES / f"{name}.jpg")
        width, height = image.size
        for number in range(5):
            left, top = number * width // 20, number * height // 20
            cut = image.crop((left, top, left + width * 3 // 4, top + height * 3 // 4))
            cut.save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def architecture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ViT and text transformer, as a JSON file."""
    return save_architecture(tmp_path_factory.mktemp("architecture") / "tiny.json")


@pytest.fixture
def write_run(tmp_path: Path, architecture: Path, captions_folder: Path) -> WriteRun:
    """Return a function that writes a RUN.toml, see :func:`save_run`."""

    def write(name: str = "run", **changes: Any) -> Path:
        return save_run(tmp_path / f"{name}.toml", architecture, captions_folder, **changes)

    return write


@pytest.fixture
def fine_tune(
    write_run: WriteRun, tiny_checkpoint: Path, class_folder: Path
) -> Callable[..., Path]:
    """Return a function that writes a RUN.toml of a fine-tuning on class folders."""

    def write(name: str = "tuned", **changes: Any) -> Path:
        changes["model"] = {"base": str(tiny_checkpoint), **changes.get("model", {})}
        data = {"train": str(class_folder), "validation_fraction": 0.4}
        changes["data"] = data | changes.get("data", {})
        changes["watch"] = {"retention_set": str(class_folder), **changes.get("watch", {})}
        return write_run(name, **changes)

    return write


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Return a function that runs ``clipkit train WORDS…`` in a process to its end."""

    def train(*words: object, **options: Any) -> Outcome:
        environment = {name: os.environ[name] for name in ("CLIPKIT_HOME", "HF_HUB_OFFLINE")}
        process = ClipkitProcess(["train", *words], tmp_path, environment=environment, **options)
        return process.outcome()

    return train


def save_captions_folder(folder: Path, num_images: int = 40) -> Path:
    """Write sample photographs in small, each with two captions; return their folder."""
    folder.mkdir()
    labels = json.loads((SAMPLES / "labels.json").read_text())
    for name, label in sorted(labels.items())[:num_images]:
        _shrunk(SAMPLES / name).save(folder / f"{Path(name).stem}.png")
        (folder / f"{Path(name).stem}.txt").write_text(f"a photo of a {label}\nthe {label}\n")
    return folder


def save_shards(folder: Path, captions_folder: Path, size: int) -> None:
    """Write the pairs of a folder as shards 0.tar, 1.tar, ... of so many pairs."""
    samples = [
        {
            "__key__": path.stem,
            "png": path.read_bytes(),
            "txt": path.with_suffix(".txt").read_bytes(),
        }
        for path in sorted(captions_folder.glob("*.png"))
    ]
    for number, first in enumerate(range(0, len(samples), size)):
        write_shard(folder / f"{number}.tar", samples[first : first + size])


def save_architecture(path: Path) -> Path:
    """Write the config of tiny towers; return its path."""
    path.write_text(json.dumps(tiny_config(vision_cfg=_VISION, text_cfg=TEXT)))
    return path


def save_run(path: Path, architecture: Path, train: Path, **changes: Any) -> Path:
    """Write a RUN.toml: tiny towers, two epochs of batches of 8; return its path.

    Args:
        path: Where to.
        architecture: Of the towers; left out where the changes name a base model.
        train: The place with pairs.
        changes: Sections with other settings, and seed or output.
    """
    config: dict[str, Any] = {
        "model": {"architecture": str(architecture)},
        "data": {"train": str(train), "workers": 0},
        "optimizer": {"lr": 0.001},
        "compute": {"batch_size": 8, "epochs": 2, "precision": "fp32", "device": "cpu"},
        "watch": {"log_steps": 1, "retention_set": ""},
    }
    for section, values in changes.items():
        if isinstance(values, dict):
            values = config.get(section, {}) | values
            if values.get("base"):
                values.pop("architecture", None)
        config[section] = values
    path.write_text(tomli_w.dumps(config))
    return path


def final_weights(run: Path) -> bytes:
    """Return the file of the final weights of a run, whose RUN.toml is given."""
    return (run.with_suffix("") / "final" / "open_clip_model.safetensors").read_bytes()


def _shrunk(path: Path) -> Image.Image:
    image = Image.open(path).convert("RGB")
    image.thumbnail((64, 64))
    return image
