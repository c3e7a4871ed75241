"""Tiny towers that draw random numbers as they run, and pairs of noise."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clipkit.models.towers import Towers
from clipkit.training.batch import Batch
from clipkit.training.config import RunConfig
from clipkit.training.trained_towers import TrainedTowers
from tests.models.conftest import TINY_BERT, TINY_TEXT, make_open_clip, tiny_config
from tests.one_thread import one_thread as one_thread

PATCHES_DROPPED = {
    "image_size": 32,
    "layers": 2,
    "width": 64,
    "patch_size": 8,
    "patch_dropout": 0.5,
}
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
TINY_DIM = 24
SMALLEST_RUN = """
[model]
base = "starter"
[data]
train = "photos"
"""
ReadRun = Callable[..., RunConfig]


@pytest.fixture(scope="session")
def towers_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TrainedTowers]:
    """Return a function that makes towers of a kind: "vit", "bert" or "resnet"."""
    directory = tmp_path_factory.mktemp("bert")

    def make(kind: str, **options: Any) -> TrainedTowers:
        return make_towers(kind, directory, **options)

    return make


def make_towers(
    kind: str, directory: Path, *, has_bias: bool = False, teacher_dim: int | None = None
) -> TrainedTowers:
    """Return towers in float64 and in training mode, the same at every call.

    Args:
        kind: "vit" drops patches, "bert" also neurons, "resnet" has batch norm.
        directory: Where the config of a BERT may be written.
        has_bias: Whether there is a logit bias.
        teacher_dim: Size of a teacher's space, or None.
    """
    config = tiny_config(vision_cfg=RESNET if kind == "resnet" else PATCHES_DROPPED)
    config["text_cfg"] = dict(TINY_TEXT)
    if kind == "bert":
        dropout = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2}
        (directory / "config.json").write_text(json.dumps(TINY_BERT | dropout))
        config["text_cfg"] = {
            "hf_model_name": str(directory),
            "hf_model_pretrained": False,
            "hf_proj_type": "linear",
            "hf_pooler_type": "mean_pooler",
            "context_length": 16,
        }
    if has_bias:
        config["init_logit_bias"] = -10.0
    towers = Towers(
        make_open_clip(config),
        model_cfg=config,
        preprocess_cfg={"size": 32},
        tokenizer_source=Path(),
    )
    torch.manual_seed(1)  # of the maps to a teacher's space
    return TrainedTowers(towers, teacher_dim=teacher_dim).double().train()


def make_batch(num: int, **parts: Any) -> Batch:
    """Return so many pairs of noise, with captions of 3 to 12 tokens.

    The last caption is the first's, and the last image but one the second's.
    """
    generator = torch.Generator().manual_seed(3)
    token_ids = torch.randint(1, 98, (num, 16), generator=generator)
    for row, end in enumerate(torch.randint(2, 12, (num,), generator=generator).tolist()):
        token_ids[row, end] = 98
        token_ids[row, end + 1 :] = 0
    images = torch.randint(0, 256, (num, 3, 32, 32), generator=generator, dtype=torch.uint8)
    caption_keys, image_keys = torch.arange(num), torch.arange(num)
    if num > 3:
        token_ids[-1], caption_keys[-1] = token_ids[0], caption_keys[0]
        images[-2], image_keys[-2] = images[1], image_keys[1]
    whole = {
        "caption_keys": caption_keys,
        "image_keys": image_keys,
        "token_ids": token_ids,
        "images": images,
    }
    return Batch(**(whole | parts))


@pytest.fixture
def read_run(tmp_path: Path) -> ReadRun:
    """Return a function that reads a text as run.toml, with overrides."""

    def read_text(text: str, *overrides: str) -> RunConfig:
        path = tmp_path / "run.toml"
        path.write_text(text)
        return RunConfig.from_toml(path, overrides)

    return read_text
