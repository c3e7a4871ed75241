"""Embeddings that are the same bits however the work is shared out among threads and processes.

The features of an image are sums of products, and a sum of floating point numbers depends on the
order of its terms: an engine may take another one for another number of images at once, or where a
batch is cut up among other cores. Here items are embedded in groups that follow from their order
alone, so that two machines of one kind, with whatever number of workers, write equal files.

Shapes: D dimensions of the shared space, K readable images of a group.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import normalize_rows
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.image_embedding import DecodeOutcome
from clipkit.errors import ImageReadError
from clipkit.inputs.image_input import ImageInput
from clipkit.progress import map_ahead, usable_cores
from clipkit.runtime.base import OneThreadRuntime, Runtime
from clipkit.runtime.truncated import TruncatedRuntime

EmbedOutcome = NDArray[np.float32] | ImageReadError
"""The embedding of an image, shape (D,), of norm 1; or the reason why there is none."""

_Item = TypeVar("_Item")
_Decoded = tuple[_Item, DecodeOutcome]
_Features = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def images_a_call(encoder: Encoder) -> int:
    """Return how many items a group has: the images of one go through the image encoder at once."""
    whole = _whole(encoder._runtime)
    if isinstance(whole, OneThreadRuntime):
        return whole.images_a_thread
    return encoder._image_batch_size()


def embed_repeatably(
    encoder: Encoder,
    items: Iterable[_Item],
    read: Callable[[_Item], ImageInput],
    *,
    threads: int | None = None,
) -> Generator[tuple[_Item, EmbedOutcome]]:
    """Yield items with the embeddings of their images.

    An embedding depends on the image, the other ones of its group, the model and the kind of
    processor. Groups are of :func:`images_a_call` items, counted from the first.

    Args:
        encoder: The model.
        items: What stands for images.
        read: Returns the image of an item, called in threads; ImageReadError says why there is
            none.
        threads: How many threads read and decode, and on the engines of CPUs compute; None: one for
            each core.

    Yields:
        Each item, in their order. No thread is left behind once the generator is closed.
    """
    embedder = encoder._image_embedder(allow_urls=False)
    runtime, whole = embedder.runtime, _whole(embedder.runtime)
    count = threads or usable_cores()

    def decode(item: _Item) -> _Decoded[_Item]:
        try:
            return item, embedder.decode_one(read(item))
        except ImageReadError as error:
            return item, error

    if isinstance(whole, OneThreadRuntime):
        one_thread = whole.features_in_one_thread
        size, dim = whole.images_a_thread, runtime.embed_dim

        def embed(group: list[_Item]) -> list[tuple[_Item, EmbedOutcome]]:
            # A thread reads, decodes and computes the whole of a group, and none waits for another.
            return _embedded(list(map(decode, group)), lambda values: one_thread(values)[:, :dim])

        done = map_ahead(embed, _in_groups(items, size), ahead=2 * count, workers=count)
        with closing(done):
            for embedded in done:
                yield from embedded
        return
    size, workers = encoder._image_batch_size(), runtime.image_workers

    def compute(group: list[_Decoded[_Item]]) -> list[tuple[_Item, EmbedOutcome]]:
        return _embedded(group, runtime.image_features)

    decoded = map_ahead(decode, items, ahead=size + 2 * count, workers=count)
    groups = _in_groups(decoded, size)
    computed = map_ahead(compute, groups, ahead=workers + 1, workers=workers)
    with closing(decoded), closing(computed):
        for embedded in computed:
            yield from embedded


def _embedded(
    group: list[_Decoded[_Item]], features: _Features
) -> list[tuple[_Item, EmbedOutcome]]:
    """Return the items of a group with their embeddings, computed at once."""
    values = [outcome for _, outcome in group if not isinstance(outcome, ImageReadError)]
    rows = iter(normalize_rows(features(np.stack(values))) if values else ())  # (K, D)
    return [
        (item, outcome if isinstance(outcome, ImageReadError) else next(rows))
        for item, outcome in group
    ]


def _in_groups(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group


def _whole(runtime: Runtime) -> Runtime:
    """Return the runtime that computes, where another one keeps the first dimensions only."""
    return runtime.whole if isinstance(runtime, TruncatedRuntime) else runtime
