"""Memory of a training step as the global batch grows eightfold, its pairs computed 32 at a time.

Run as  python benchmarks/gradient_cache_memory.py  with clipkit[torch] installed, on Linux. Every
step is a process of its own, whose peak the system counts: torch, weights, AdamW's moments and the
batch's images included. On CUDA it is the peak that torch allocated. For comparison, the same
without chunks, where memory grows with the batch.
"""

import json
import sys
from pathlib import Path

from measured import run
from report import Figure, Report, ratios, system_load
from workplace import Workplace

BAR = 1.15
CHUNK = 32
SMALL, LARGE = 64, 512
WHOLE_LARGE = 128  # without chunks, 512 pairs would not fit into many a machine
ROUNDS = 3  # a peak varies by 4 % with how the threads happen to meet
MODEL = "ViT-S-32"
IMAGE_BYTES = 3 * 224 * 224
MEAN_TOKENS = 12


def main() -> None:
    """Measure and report."""
    if sys.argv[1:2] == ["step"]:
        print(json.dumps(step_memory(sys.argv[2], *(int(word) for word in sys.argv[3:]))))
        return
    workplace = Workplace.from_command_line(__doc__)
    load = system_load()
    cases = {
        f"{SMALL} in chunks": (SMALL, CHUNK),
        f"{LARGE} in chunks": (LARGE, CHUNK),
        f"{SMALL} at once": (SMALL, 0),
        f"{WHOLE_LARGE} at once": (WHOLE_LARGE, 0),
    }
    peaks: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(workplace.num_rounds(ROUNDS)):
        for name, (batch_size, chunk_size) in cases.items():
            peaks[name].append(_peak(workplace, batch_size, chunk_size))
            print(f"{name}: {peaks[name][-1] / 1e6:.0f} MB", flush=True)
    images = {size: size * IMAGE_BYTES for size in (SMALL, LARGE)}
    chunked, whole = (
        ratios(peaks[f"{large} {how}"], peaks[f"{SMALL} {how}"])
        for large, how in ((LARGE, "in chunks"), (WHOLE_LARGE, "at once"))
    )
    figures = [
        Figure(f"memory, {LARGE} pairs beside {SMALL}, in chunks", chunked, "x", at_most=BAR),
        Figure(
            "the same without the images themselves",
            ratios(
                (peak - images[LARGE] for peak in peaks[f"{LARGE} in chunks"]),
                (peak - images[SMALL] for peak in peaks[f"{SMALL} in chunks"]),
            ),
            "x",
        ),
        Figure(f"memory, {WHOLE_LARGE} pairs beside {SMALL}, at once", whole, "x"),
    ]
    settings = {"model": MODEL, "chunk": CHUNK, "mean_tokens": MEAN_TOKENS}
    Report("gradient_cache_memory", {"peaks": peaks}, figures, settings).save(workplace, load)


def step_memory(model: str, batch_size: int, chunk_size: int) -> dict[str, float]:
    """Take a step and return what it took.

    Args:
        model: Of open_clip's.
        batch_size: Pairs.
        chunk_size: How many at once; 0: all.

    Returns:
        "cuda": bytes at the peak on the device, 0 without one.
    """
    import numpy as np
    import open_clip
    import torch

    from clipkit.models.towers import Towers
    from clipkit.training.batch import Batch
    from clipkit.training.config import LossConfig
    from clipkit.training.distributed import Ranks
    from clipkit.training.losses import ContrastiveLoss
    from clipkit.training.step import ContrastiveStep
    from clipkit.training.trained_towers import TrainedTowers

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = open_clip.get_model_config(model)
    towers = Towers(
        open_clip.create_model(model),
        model_cfg=config,
        preprocess_cfg={"size": config["vision_cfg"]["image_size"]},
        tokenizer_source=Path(),
    )
    module = TrainedTowers(towers).to(device).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)
    lengths = np.random.default_rng(0).poisson(MEAN_TOKENS - 4, batch_size) + 4
    token_ids = torch.randint(1, 49000, (batch_size, int(lengths.max())))
    for row, length in enumerate(lengths):
        token_ids[row, length - 1] = 49407
        token_ids[row, length:] = 0
    batch = Batch(
        caption_keys=torch.arange(batch_size),
        image_keys=torch.arange(batch_size),
        token_ids=token_ids,
        images=torch.randint(0, 256, (batch_size, 3, *towers.image_size), dtype=torch.uint8),
    ).to(device)
    step = ContrastiveStep(module, ContrastiveLoss(LossConfig(), Ranks()), chunk_size=chunk_size)
    step.backward(batch)
    optimizer.step()
    return {"cuda": torch.cuda.max_memory_allocated() if device.type == "cuda" else 0}


def _peak(workplace: Workplace, batch_size: int, chunk_size: int) -> float:
    words = [MODEL, str(batch_size), str(chunk_size)]
    measured = run(
        [sys.executable, __file__, "step", *words], cwd=workplace.directory, variables={}
    )
    return json.loads(measured.output[-1])["cuda"] or measured.peak


if __name__ == "__main__":
    main()
