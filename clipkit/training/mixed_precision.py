"""Mixed precision: the number format of training by autocast, and the loss scale of float16.

Weights, their gradients and the optimizer are float32 in each of them.
"""

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
_TIMED = ("fp32", "bf16")  # on a CPU, where float16 has no use
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_training_precision(
    config: RunConfig, module: TrainedTowers, first_batch: Callable[[], Batch]
) -> Precision:
    """Return the precision of a run: the one in its config, or the faster one here.

    On CUDA that is bf16 where the device has it, else fp16. On a CPU one step of a few pairs is
    timed in fp32 and in bf16, on a copy of the towers.

    Args:
        config: The run; its precision decides unless it is "auto".
        module: What is trained, which stays as it is.
        first_batch: Returns a batch to try with.

    Returns:
        "fp32", "bf16" or "fp16".
    """
    if config.compute.precision != "auto":
        return config.compute.precision
    device = choose_device(config.compute.device)
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type != "cpu":
        return "fp32"
    batch = first_batch().chunks(_NUM_PAIRS)[0]
    with torch.random.fork_rng(devices=[]):
        seconds = {name: _step_seconds(module, batch, name) for name in _TIMED}
    return "bf16" if seconds["bf16"] * _MIN_SPEEDUP < seconds["fp32"] else "fp32"


def loss_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Return what multiplies the loss so that its gradients do not vanish in float16.

    Args:
        precision: Of the run, chosen; with another than "fp16" nothing is multiplied.
        device: Where the towers compute.

    Returns:
        A scale that starts at 2^16, halves when gradients overflow, and doubles after 2000 steps
        without.

    Source:
        Micikevicius et al. 2018, "Mixed Precision Training" (arXiv 1710.03740), section 3.2.
    """
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


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
