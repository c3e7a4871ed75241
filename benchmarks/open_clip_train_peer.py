"""The trainer of open_clip, on a small model; and one gradient of it.

Run by a Python with open_clip_torch, its tasks are

    python open_clip_train_peer.py train DIRECTORY CONFIG ARGUMENT...
    python open_clip_train_peer.py gradient DIRECTORY CONFIG SEED TABLE COUNT

CONFIG is a JSON file of open_clip's, whose name is the model's. DIRECTORY is what is made.
"""

import json
import random
import re
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoji_pairs import read_table

REQUIREMENTS = (
    "open_clip_torch==3.3.0",
    "braceexpand==0.1.7",
    "pandas==3.1.1",
    "webdataset==1.0.2",
)
LOG, CHECKPOINT, GRADIENT = "run/out.log", "checkpoint", "gradient.pt"
_STEP = re.compile(r"Train Epoch: .* Batch \(t\): ([\d.]+),.* Loss: ([\d.]+) ")


@dataclass(frozen=True)
class Steps:
    """What the trainer's log says of every step."""

    seconds: list[float]  # reading included
    losses: list[float]

    @property
    def median_seconds(self) -> float:
        """What a step takes."""
        return statistics.median(self.seconds)


def train_arguments(table: Path, config: Path, options: dict[str, object]) -> list[str]:
    """Return the trainer's arguments: every step in its log, one checkpoint at the end.

    Args:
        table: Pairs, with the columns filepath and title, separated by tabs.
        config: The model.
        options: More of its options, by name.
    """
    fixed = {
        "train-data": table,
        "dataset-type": "csv",
        "model": config.stem,
        "device": "cpu",
        "name": "run",
        "log-every-n-steps": 1,
        "save-frequency": 0,
        "zeroshot-frequency": 0,
    }
    return [f"--{name}={value}" for name, value in {**fixed, **options}.items()]


def read_log(text: str) -> Steps:
    """Return the steps of a log whose every step is in it."""
    found = [match.groups() for match in map(_STEP.search, text.splitlines()) if match]
    return Steps([float(seconds) for seconds, _ in found], [float(loss) for _, loss in found])


def train(directory: str, config: str, *arguments: str) -> None:
    """Train, then write the last weights as a checkpoint directory that others load."""
    import open_clip
    import torch
    from open_clip_train.main import main
    from safetensors.torch import save_file

    open_clip.add_model_config(config)
    main([*arguments, f"--logs={directory}"])
    (last,) = Path(directory).glob("run/checkpoints/epoch_*.pt")
    weights = torch.load(last, map_location="cpu", weights_only=True)["state_dict"]
    place = Path(directory) / CHECKPOINT
    place.mkdir()
    save_file(
        {name: tensor.contiguous() for name, tensor in weights.items()},
        place / "open_clip_model.safetensors",
    )
    model_cfg = json.loads(Path(config).read_text())
    content = {"model_cfg": model_cfg, "preprocess_cfg": {}}
    (place / "open_clip_config.json").write_text(json.dumps(content))


def gradient(directory: str, config: str, seed: str, table: str, count: str) -> None:
    """Write weights as the trainer starts from them, a batch, and its gradient in float64.

    The batch is of different images with different captions, without augmentation.
    """
    import open_clip
    import torch
    from open_clip.loss import ClipLoss
    from open_clip_train.main import random_seed
    from PIL import Image

    open_clip.add_model_config(config)
    random_seed(int(seed), 0)
    name = Path(config).stem
    model, _, preprocess = open_clip.create_model_and_transforms(name, output_dict=True)
    start = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    pairs = different_pairs(read_table(Path(table)), int(count))
    captions = [caption for _, caption in pairs]
    images = torch.stack([preprocess(Image.open(path)) for path, _ in pairs]).double()
    model.double().train()
    outputs: dict[str, Any] = model(images, open_clip.get_tokenizer(name)(captions))
    loss = ClipLoss()(**outputs)
    loss.backward()
    found = {key: parameter.grad for key, parameter in model.named_parameters()}
    Path(directory).mkdir(parents=True, exist_ok=True)
    torch.save(
        {
            "start": start,
            "captions": captions,
            "images": images,
            "loss": loss.detach(),
            "gradient": found,
        },
        Path(directory) / GRADIENT,
    )


def different_pairs(pairs: Sequence[tuple[Path, str]], count: int) -> list[tuple[Path, str]]:
    """Return some pairs, no two of which share an image or a caption."""
    chosen: dict[str, Path] = {}
    for path, caption in random.Random(0).sample(pairs, len(pairs)):
        if caption not in chosen and path not in chosen.values():
            chosen[caption] = path
        if len(chosen) == count:
            break
    return [(path, caption) for caption, path in chosen.items()]


if __name__ == "__main__":
    task, *words = sys.argv[1:]
    {"train": train, "gradient": gradient}[task](*words)
