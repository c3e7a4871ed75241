"""One training step of ViT-B-32 on captions of ordinary length, beside open_clip_train's.

Run as  python benchmarks/training_step.py  with clipkit[torch] installed. Both start from the same
weights, get the same 32 pairs, and compute on one thread on the same device. The peer is
open_clip_train's own loop over one batch: forward, loss, backward, clipping, AdamW, clamp. What is
compared is processor time, which other programs on the machine hardly change.
"""

import logging
import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import open_clip
import torch
from made_texts import made_captions
from open_clip.loss import ClipLoss
from open_clip_train.train import train_one_epoch
from report import Figure, Report, ratios, system_load, take_turns
from torch import Tensor, nn
from workplace import Workplace

from clipkit.inputs.preprocess import Preprocess
from clipkit.models.towers import Towers
from clipkit.runtime.base import trim_padding
from clipkit.training.batch import Batch, standardize
from clipkit.training.config import LossConfig, OptimizerConfig
from clipkit.training.distributed import Ranks
from clipkit.training.losses import ContrastiveLoss
from clipkit.training.optimizer import build_optimizer, clamp_logit_scale
from clipkit.training.step import ContrastiveStep
from clipkit.training.trained_towers import TrainedTowers

MODEL, BATCH_SIZE = "ViT-B-32", 32
ROUNDS = 3
BAR = 1.3
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}
PEER_PRECISIONS = {"fp32": "fp32", "bf16": "amp_bf16"}
SETTINGS = {"lr": 1e-6, "betas": (0.9, 0.98), "eps": 1e-6}


def main() -> None:
    """Measure and report."""
    workplace = Workplace.from_command_line(__doc__)
    load = system_load()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    torch.manual_seed(0)
    model = open_clip.create_model(MODEL, output_dict=True)
    captions = made_captions(BATCH_SIZE, seed=1)
    token_ids = open_clip.get_tokenizer(MODEL)(captions)
    levels = torch.randint(0, 256, (BATCH_SIZE, 3, 224, 224), dtype=torch.uint8)
    own, peer = OwnStep(model), PeerStep(model)
    pixel_values = standardize(levels, Preprocess(size=(224, 224)))  # which the peer's loader does
    own_gradient = own.gradient(levels, token_ids)
    peer_gradient = peer.gradient(pixel_values, token_ids)
    difference = max(
        float((own_gradient[name] - gradient).norm() / gradient.norm().clamp(min=1e-12))
        for name, gradient in peer_gradient.items()
    )
    figures = [
        Figure("a gradient in float32: largest relative difference", [difference], at_most=1e-3)
    ]
    measurements: dict[str, object] = {}
    for precision in PRECISIONS:
        works: dict[str, Callable[[], float]] = {
            "clipkit": own.timed(precision, levels, token_ids),
            "open_clip_train": peer.timed(precision, pixel_values, token_ids),
        }
        found = take_turns(works, workplace.num_rounds(ROUNDS))
        measurements[precision] = found
        speed = ratios(found["open_clip_train"], found["clipkit"])
        what = f"a step of {MODEL}, {BATCH_SIZE} pairs, {precision}"
        figures.append(Figure(f"{what}: beside open_clip_train", speed, "x", at_least=BAR))
        figures.append(Figure(f"{what}: processor time", found["clipkit"], " s"))
    lengths = (token_ids != 0).sum(dim=1).tolist()
    settings = {"mean_tokens": statistics.mean(lengths), "most_tokens": max(lengths)}
    Report("training_step", measurements, figures, settings).save(workplace, load)


class OwnStep:
    """A step as clipkit takes it."""

    def __init__(self, model: nn.Module) -> None:
        towers = Towers(
            deepcopy(model),
            model_cfg=open_clip.get_model_config(MODEL),
            preprocess_cfg={"size": 224},
            tokenizer_source=Path(),
        )
        self.towers = towers
        self._module = TrainedTowers(towers).train()
        self._loss = ContrastiveLoss(LossConfig(), Ranks())
        config = OptimizerConfig(lr=SETTINGS["lr"])
        no_decay = {name for name, item in self._module.named_parameters() if item.ndim < 2}
        self._optimizer = build_optimizer(self._module, config, no_decay)

    def gradient(self, levels: Tensor, token_ids: Tensor) -> dict[str, Tensor]:
        """Return the gradient of the first step, not clipped."""
        ContrastiveStep(self._module, self._loss).backward(self._batch(levels, token_ids))
        return _gradients(self.towers.model)

    def timed(self, precision: str, levels: Tensor, token_ids: Tensor) -> Callable[[], float]:
        """Return a function that takes a step and returns its processor time, seconds."""
        step = ContrastiveStep(self._module, self._loss, autocast_dtype=PRECISIONS[precision])

        def take() -> float:
            begun = time.process_time()
            self._optimizer.zero_grad()
            step.backward(self._batch(levels, token_ids))
            nn.utils.clip_grad_norm_(self._module.parameters(), 1.0)
            self._optimizer.step()
            clamp_logit_scale(self.towers)
            return time.process_time() - begun

        return take

    def _batch(self, levels: Tensor, token_ids: Tensor) -> Batch:
        trimmed = trim_padding(token_ids.numpy(), self.towers.padding_id)
        keys = torch.arange(len(token_ids))
        return Batch(keys, keys, token_ids=torch.from_numpy(trimmed), images=levels)


class PeerStep:
    """A step as open_clip_train takes it."""

    def __init__(self, model: nn.Module) -> None:
        self._model = deepcopy(model)
        named = list(self._model.named_parameters())
        # As open_clip_train/main.py builds it.
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [item for _, item in named if item.ndim < 2], "weight_decay": 0.0},
                {"params": [item for _, item in named if item.ndim >= 2], "weight_decay": 0.2},
            ],
            **SETTINGS,
        )

    def gradient(self, pixel_values: Tensor, token_ids: Tensor) -> dict[str, Tensor]:
        """Return the gradient of the first step, not clipped; the weights stay."""
        weights = deepcopy(self._model.state_dict())
        self._epoch("fp32", None, pixel_values, token_ids)
        self._model.load_state_dict(weights)
        return _gradients(self._model)

    def timed(self, precision: str, pixel_values: Tensor, token_ids: Tensor) -> Callable[[], float]:
        """Return a function that takes a step and returns its processor time, seconds."""

        def take() -> float:
            begun = time.process_time()
            self._epoch(PEER_PRECISIONS[precision], 1.0, pixel_values, token_ids)
            return time.process_time() - begun

        return take

    def _epoch(
        self, precision: str, clip_norm: float | None, pixel_values: Tensor, token_ids: Tensor
    ) -> None:
        batches = _OneBatch([(pixel_values, token_ids)])
        data = {"train": SimpleNamespace(dataloader=batches, set_epoch=lambda epoch: None)}
        arguments = SimpleNamespace(
            device="cpu",
            precision=precision,
            distill=False,
            accum_freq=1,
            skip_scheduler=True,
            grad_clip_norm=clip_norm,
            horovod=False,
            rank=0,
            world_size=1,
            batch_size=len(token_ids),
            log_every_n_steps=1,
            wandb=False,
        )
        train_one_epoch(
            self._model, data, ClipLoss(), 0, self._optimizer, None, None, None, arguments
        )


class _OneBatch(list[Any]):
    """What the loop asks a loader for."""

    num_batches = 1
    num_samples = BATCH_SIZE


def _gradients(model: nn.Module) -> dict[str, Tensor]:
    found = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        found[name] = parameter.grad.clone()
    return found


if __name__ == "__main__":
    main()
