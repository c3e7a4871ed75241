"""Near misses of pairs, mined from the model itself, and batches that hold them together.

Shapes: N pairs, K near misses of each, D dimensions of the shared space, R rows at once.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NUM_MISSES = 8
"""K: some of a pair's near misses are taken already when its turn comes."""

NO_MISS = -1

# A text that fits an image nearly as well as its own may be true of it, so it is no negative:
# the guard "TopK-PercPos" of Moreira et al. 2024 (arXiv 2407.15831), which found .95 best.
_MOST_OF_POSITIVE = 0.95
_ROWS_AT_ONCE = 1024
_MOST_CANDIDATES = 100_000  # pairs that a near miss is looked for among


@dataclass(frozen=True, eq=False)
class NearMisses:
    """The near misses of an epoch, by the model at its beginning."""

    epoch: int
    rows: NDArray[np.int32]  # (N, K), nearest first; NO_MISS where there are fewer

    def arrange(
        self, order: NDArray[np.int64], *, batch_size: int, share: float
    ) -> NDArray[np.int64]:
        """Return an epoch's rows in an order in which batches hold near misses of each other.

        Each row comes as often as before. A batch takes rows in their order, and behind one of
        them its nearest miss that the epoch has still to come, until near misses are the share.

        Args:
            order: The rows that the epoch draws, shuffled.
            batch_size: Of the global batch.
            share: Of near misses in a batch, 0..1; each needs a pair that it is one of, so above
                .5 there are no more.

        Returns:
            The same rows, rearranged.
        """
        left = np.bincount(order, minlength=len(self.rows))
        arranged: list[int] = []
        in_batch: set[int] = set()
        misses_left = 0
        for row in order.tolist():
            if not left[row]:
                continue  # it came before, as a near miss
            if len(arranged) % batch_size == 0:
                in_batch, misses_left = set(), int(share * batch_size)
            arranged.append(row)
            in_batch.add(row)
            left[row] -= 1
            if not misses_left or len(arranged) % batch_size == 0:
                continue
            for miss in self.rows[row].tolist():
                if miss != NO_MISS and left[miss] and miss not in in_batch:
                    arranged.append(miss)
                    in_batch.add(miss)
                    left[miss] -= 1
                    misses_left -= 1
                    break
        return np.array(arranged, dtype=np.int64)


def find_near_misses(
    images: Tensor, texts: Tensor, caption_keys: Tensor, image_keys: Tensor, *, seed: int
) -> NDArray[np.int32]:
    """Return the pairs that each pair is most easily taken for, without those that may be right.

    A pair is as near a miss as its text fits the other's image, or its image the other's text,
    whichever fits better. Left out are pairs of an equal caption or image, and those that fit in
    one of both ways more than .95 times as well as the two of the pair itself fit each other: they
    are as likely unmarked matches. A pair whose image and text do not fit at all has none.

    Args:
        images: Embeddings of norm 1, zero where an image cannot be read, shape (N, D).
        texts: Likewise, shape (N, D).
        caption_keys: Equal where captions are, int64, shape (N,).
        image_keys: Equal where images or classes are, int64, shape (N,).
        seed: Draws the 100,000 pairs that are compared with, where there are more.

    Returns:
        Rows, shape (N, K), nearest first; NO_MISS where there are fewer.
    """
    num_pairs = len(images)
    candidates = torch.arange(num_pairs)
    if num_pairs > _MOST_CANDIDATES:
        generator = torch.Generator().manual_seed(seed)
        candidates = torch.randperm(num_pairs, generator=generator)[:_MOST_CANDIDATES].sort()[0]
    found = np.full((num_pairs, NUM_MISSES), NO_MISS, dtype=np.int32)
    own = (images * texts).sum(dim=1)
    other_images, other_texts = images[candidates], texts[candidates]
    for start in range(0, num_pairs, _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        fits = torch.maximum(images[rows] @ other_texts.T, texts[rows] @ other_images.T)  # (R, N)
        is_out = fits > _MOST_OF_POSITIVE * own[rows, None]
        is_out |= own[rows, None] <= 0
        is_out |= caption_keys[rows, None] == caption_keys[candidates]
        is_out |= image_keys[rows, None] == image_keys[candidates]
        # What cannot be read is no miss of others, and has none.
        is_out |= ~other_images.any(dim=1) | ~images[rows].any(dim=1)[:, None]
        count = min(NUM_MISSES, len(candidates))
        best, places = fits.masked_fill(is_out, -torch.inf).topk(count, dim=1)
        nearest = candidates[places].masked_fill(best.isinf(), NO_MISS)
        found[rows, :count] = nearest.cpu().numpy()
    return found
