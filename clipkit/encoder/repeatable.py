"""Embeddings that are the same bits however the work is shared out among threads and processes.

The features of an image are sums of products, and a sum of floating point numbers depends on the
order of its terms: an engine takes another one for another number of images at once, or where a
batch is cut up among other cores. Here neither plays a part, so that two machines of one kind, with
whatever number of workers, write equal files.

Shapes: D dimensions of the shared space.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import normalize_rows
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.engines import COMPILED_ENGINES
from clipkit.encoder.image_embedding import DecodedBefore, DecodeOutcome, ImageEmbedder
from clipkit.errors import ImageReadError
from clipkit.inputs.image_input import ImageInput
from clipkit.progress import map_ahead, usable_cores

EmbedOutcome = NDArray[np.float32] | ImageReadError
"""The embedding of an image, shape (D,), of norm 1; or the reason why there is none."""

_Item = TypeVar("_Item")
_Decode = Callable[[_Item], tuple[_Item, DecodeOutcome]]


def images_a_call(encoder: Encoder) -> int:
    """Return how many images go through the image encoder at once, of which all depend.

    One on the engines of CPUs, each on one core: 6 % slower than several in ViT-B/32. torch gets
    whole batches: on a GPU one image takes nearly as long as many.
    """
    return 1 if encoder.engine in COMPILED_ENGINES else encoder._image_batch_size()


def embed_repeatably(
    encoder: Encoder,
    items: Iterable[_Item],
    read: Callable[[_Item], ImageInput],
    *,
    threads: int | None = None,
) -> Generator[tuple[_Item, EmbedOutcome]]:
    """Yield items with the embeddings of their images.

    On the engines of CPUs an embedding depends on nothing but the image, the model and the kind of
    processor. On torch it depends on the other images of its batch too: on the items before it.

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
    count = threads or usable_cores()

    def decode(item: _Item) -> tuple[_Item, DecodeOutcome]:
        try:
            return item, embedder.decode_one(read(item))
        except ImageReadError as error:
            return item, error

    if encoder.engine in COMPILED_ENGINES:
        stream = _each_alone(embedder, items, decode, count)
    else:
        stream = _in_batches(embedder, items, decode, count, encoder._image_batch_size())
    with closing(stream):
        yield from stream


def _each_alone(
    embedder: ImageEmbedder, items: Iterable[_Item], decode: _Decode[_Item], threads: int
) -> Generator[tuple[_Item, EmbedOutcome]]:
    """Embed images one by one: a thread reads, decodes and computes the whole of one."""
    runtime = embedder.runtime
    # A runtime that has seen one image only has a session for such calls, whose sums are others and
    # take all cores. Two bring the one for many calls at once, which then takes single ones too.
    runtime.image_features(np.zeros((2, 3, *embedder.preprocess.size), dtype=np.float32))

    def embed(item: _Item) -> tuple[_Item, EmbedOutcome]:
        same, outcome = decode(item)
        if isinstance(outcome, ImageReadError):
            return same, outcome
        return same, normalize_rows(runtime.image_features(outcome[None]))[0]

    with closing(map_ahead(embed, items, ahead=2 * threads, workers=threads)) as embedded:
        yield from embedded


def _in_batches(
    embedder: ImageEmbedder,
    items: Iterable[_Item],
    decode: _Decode[_Item],
    threads: int,
    batch_size: int,
) -> Generator[tuple[_Item, EmbedOutcome]]:
    """Embed images in batches of as many readable ones, the last one of what is left."""
    waiting: deque[_Item] = deque()
    decoded = map_ahead(decode, items, ahead=batch_size + 2 * threads, workers=threads)

    def images() -> Iterator[DecodedBefore]:
        for item, outcome in decoded:
            waiting.append(item)
            yield DecodedBefore(outcome)

    batches = embedder.stream(images(), batch_size=batch_size, progress=None)
    with closing(decoded), closing(batches):
        for batch in batches:
            outcomes: dict[int, EmbedOutcome] = dict(batch.skipped)
            outcomes |= dict(zip(batch.positions, np.asarray(batch.embeddings), strict=True))
            for position in sorted(outcomes):  # a batch is of positions that follow each other
                yield waiting.popleft(), outcomes[position]
