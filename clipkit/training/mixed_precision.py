"""Mixed precision: choosing float32 or bfloat16 autocast for training by a timed step."""

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import torch

from clipkit.runtime.torch_device import choose_device
from clipkit.training.batch import Batch
from clipkit.training.config import LossConfig, Precision, RunConfig
from clipkit.training.distributed import Ranks
from clipkit.training.losses import ContrastiveLoss
from clipkit.training.step import ContrastiveStep
from clipkit.training.trained_towers import TrainedTowers

# Autocast must be this much faster before the last bits of float32 are given up.
_MIN_SPEEDUP = 1.2
_NUM_PAIRS = 8  # enough to show the difference, few enough for a large tower
_NUM_RUNS = 2
DTYPES = {"fp32": None, "bf16": torch.bfloat16}


def choose_training_precision(
    config: RunConfig, module: TrainedTowers, first_batch: Callable[[], Batch]
) -> Precision:
    """Return the precision of a run: the one in its config, or the faster one here.

    On CUDA that is bf16 where the device has it. On a CPU one step of a few pairs is timed with
    each, on a copy of the towers.

    Args:
        config: The run; its precision decides unless it is "auto".
        module: What is trained, which stays as it is.
        first_batch: Returns a batch to try with.

    Returns:
        "fp32" or "bf16".
    """
    if config.compute.precision != "auto":
        return config.compute.precision
    device = choose_device(config.compute.device)
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type != "cpu":
        return "fp32"
    batch = first_batch().chunks(_NUM_PAIRS)[0]
    with torch.random.fork_rng(devices=[]):
        seconds = {name: _step_seconds(module, batch, name) for name in DTYPES}
    return "bf16" if seconds["bf16"] * _MIN_SPEEDUP < seconds["fp32"] else "fp32"


def _step_seconds(module: TrainedTowers, batch: Batch, precision: str) -> float:
    """Return the shortest processor time of a step; that of other programs does not count."""
    tried = deepcopy(module).train()
    loss = ContrastiveLoss(LossConfig(), Ranks())
    step = ContrastiveStep(tried, loss, autocast_dtype=DTYPES[precision])
    seconds = []
    for _ in range(_NUM_RUNS):
        begun = time.process_time()
        step.backward(replace(batch, teacher=None))
        seconds.append(time.process_time() - begun)
    return min(seconds)
