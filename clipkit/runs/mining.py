"""Finding the near misses of a run's pairs by the model that it trains."""

import numpy as np
import torch
from numpy.typing import NDArray

from clipkit.data.pair import PairDataset
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.pairs import stream_pairs
from clipkit.progress import Progress
from clipkit.training.batch import class_key, text_keys
from clipkit.training.near_misses import find_near_misses


def mine_near_misses(
    encoder: Encoder, dataset: PairDataset, *, seed: int, progress: Progress | None = None
) -> NDArray[np.int32]:
    """Return the near misses of all pairs, as :func:`.near_misses.find_near_misses` does.

    Args:
        encoder: The model as it is.
        dataset: N pairs; of several captions the first stands for a pair.
        seed: Of what is compared where there are very many pairs.
        progress: Called with (done, total) of the images.

    Returns:
        Rows of the dataset, shape (N, K).
    """
    images = np.zeros((len(dataset), encoder.embed_dim), dtype=np.float32)
    captions = ["an image that cannot be read"] * len(dataset)  # which counts for nothing
    for batch in stream_pairs(encoder, dataset, progress=progress):
        for pair, row in zip(batch.pairs, batch.embeddings, strict=True):
            images[pair.row] = row
            captions[pair.row] = pair.captions[0]
    different = list(dict.fromkeys(captions))
    places = {caption: place for place, caption in enumerate(different)}
    order = np.array([places[caption] for caption in captions])
    texts = encoder.encode_texts(different)[order]
    keys = text_keys(encoder.tokenize(different).token_ids)[torch.from_numpy(order)]
    names = [dataset.class_name(row) for row in range(len(dataset))]
    image_keys = [row if name is None else class_key(name) for row, name in enumerate(names)]
    return find_near_misses(
        torch.from_numpy(images),
        torch.from_numpy(np.ascontiguousarray(texts)),
        keys,
        torch.tensor(image_keys, dtype=torch.int64),
        seed=seed,
    )
