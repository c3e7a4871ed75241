"""The contrastive loss of validation pairs, computed from their embeddings.

Shapes: N pairs, D dimensions of the shared space.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from clipkit.embeddings import Embeddings
from clipkit.runtime.base import Scoring
from clipkit.training.batch import Batch
from clipkit.training.config import LossConfig, LossKind
from clipkit.training.distributed import Ranks
from clipkit.training.losses import ContrastiveLoss
from clipkit.training.trained_towers import Representations

# What a scale is multiplied by to find the one of the least loss: 1/16 to 16, in steps of 19 %.
_FACTORS = 2.0 ** np.arange(-4, 4.25, 0.25)


def least_loss(
    images: Embeddings,
    texts: Embeddings,
    keys: Tensor,
    *,
    kind: LossKind,
    scoring: Scoring,
    batch_size: int,
) -> float:
    """Return the mean loss at the logit scale where it is least, within 1/16 to 16 of its own.

    It compares what two models know of pairs, however sure they are.

    Args:
        images: As for :func:`mean_loss`.
        texts: Likewise.
        keys: Likewise.
        kind: Likewise.
        scoring: Likewise; a bias stays as it is.
        batch_size: Likewise.

    Returns:
        The least of the mean losses at scales in steps of 19 %.
    """
    losses = (
        mean_loss(
            images,
            texts,
            keys,
            kind=kind,
            scoring=replace(scoring, log_scale=scoring.log_scale + math.log(factor)),
            batch_size=batch_size,
        )
        for factor in _FACTORS
    )
    return min(losses)


def mean_loss(
    images: Embeddings,
    texts: Embeddings,
    keys: Tensor,
    *,
    kind: LossKind,
    scoring: Scoring,
    batch_size: int,
) -> float:
    """Return the mean loss over batches of pairs, always the same batches.

    Args:
        images: Shape (N, D).
        texts: Of each image's caption, shape (N, D).
        keys: Of the captions, int64, shape (N,); pairs of equal ones are no negatives.
        kind: Which loss.
        scoring: The towers' logit scale and bias.
        batch_size: Pairs in a batch; the loss of fewer is lower.

    Returns:
        The mean, each pair counted once.
    """
    loss = ContrastiveLoss(LossConfig(kind=kind), Ranks())
    scale = torch.tensor(scoring.log_scale)
    bias = None if scoring.logit_bias is None else torch.tensor(scoring.logit_bias)
    # Shuffled, as training batches are: neighbours in a listing are often alike.
    order = np.random.default_rng(0).permutation(len(images))
    shuffled = keys[torch.from_numpy(order)]
    total = 0.0
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = Batch(
            caption_keys=shuffled[start : start + batch_size],
            image_keys=torch.from_numpy(rows),
            image_features=torch.from_numpy(images[rows]),
            text_features=torch.from_numpy(texts[rows]),
        )
        assert batch.image_features is not None and batch.text_features is not None
        found = Representations(batch.image_features, batch.text_features, scale, bias)
        total += len(rows) * float(loss(found, batch)["loss"])
    return total / len(order)
