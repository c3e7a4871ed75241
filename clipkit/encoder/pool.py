"""A pool of processes with an encoder each, for several GPUs.

Shapes: N images or texts, D dimensions of the shared space.
"""

import multiprocessing
import os
import queue
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np

from clipkit.arguments import ENCODER_RULE, check_kind, check_progress, items_of
from clipkit.embeddings import EmbeddingArray
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.engines import COMPILED_ENGINES
from clipkit.encoder.image_embedding import (
    DecodedBefore,
    EncodedBatch,
    EncodingReport,
    ImageEmbedder,
    report_of,
    rows_of_all,
)
from clipkit.encoder.pool_worker import EncoderOrder, Outcome, PoolWorker, shares_of_cores
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.image_input import ImageInput, check_image_list, check_is_image, image_name
from clipkit.inputs.tokenizer import check_texts
from clipkit.progress import Progress, map_ahead

# So many that a worker decodes some while it computes others, so few that none waits long for the
# last one, and progress is seen.
_BATCHES_A_TASK, _TEXTS_A_TASK = 4, 256

_Result = TypeVar("_Result")


class EncoderPool(AbstractContextManager["EncoderPool"]):
    """Encoders in processes of their own, one a device, that share the work on long lists.

    A ``with`` block starts and ends them; :class:`Encoder`'s own calls do the same work in one
    process. On a CPU, one encoder uses all cores already, and a pool gains little: it is for
    machines with several GPUs. As in every program that starts processes, what uses a pool stands
    below ``if __name__ == "__main__":``.

    A process that dies (of memory, say) is started again once for what it was at.

    Args:
        encoder: As :func:`clipkit.load` returns it; each process loads the same, in the same
            precision, on its device.
        devices: One process each, as torch spells them: ["cuda:0", "cuda:1"]. Those that are "cpu"
            share the cores.

    Raises:
        InputError: If there is no device, the encoder was not made by load(), or it runs on the
            onnx engine, which has the CPU only, and a device is another.

    Example:
        >>> with EncoderPool(encoder, ["cuda:0", "cuda:1"]) as pool:  # doctest: +SKIP
        ...     embeddings = pool.encode_images(paths)
    """

    def __init__(self, encoder: Encoder, devices: Sequence[str]) -> None:
        check_kind(encoder, "encode_images", ENCODER_RULE)
        names = [str(device) for device in items_of(devices, "devices must be a list of strings")]
        if not names:
            raise InputError('devices must name at least one, as ["cuda:0", "cuda:1"], got none')
        spec = encoder.spec
        other = next((name for name in names if name != "cpu"), None)
        if spec.engine in COMPILED_ENGINES and other is not None:
            raise InputError(
                f"{encoder.name} was loaded on the {spec.engine} engine, which computes on the "
                f'CPU, and cannot be put on {other}: load it with device="{other}" first'
            )
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise InputError(
                "a process of a pool imports the script that made it, and here that makes another "
                'pool: what the script does must stand below if __name__ == "__main__":'
            )
        self._encoder = encoder
        self._specs = [replace(spec, device=name) for name in names]
        self._workers = [PoolWorker(cores) for cores in shares_of_cores(len(names))]
        self._idle: queue.SimpleQueue[int] = queue.SimpleQueue()  # numbers of workers
        for number in range(len(names)):
            self._idle.put(number)
        self._is_closed = False

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        self._is_closed = True
        for worker in self._workers:
            worker.stop()

    def __reduce__(self) -> tuple[object, ...]:
        """Refuse to be copied: processes have one owner.

        Returns:
            Nothing.

        Raises:
            InputError: Always.
        """
        raise InputError("a pool cannot be copied or sent to another process: make another one")

    def encode_images(
        self,
        images: Iterable[ImageInput],
        *,
        batch_size: int | None = None,
        progress: Progress | None = None,
        allow_urls: bool = False,
    ) -> EmbeddingArray:
        """Return the embeddings of images, all of which must be readable.

        Args:
            images: As for :meth:`Encoder.encode_images`. What is no file is decoded here.
            batch_size: Images that go through an image encoder at once; None: what suits.
            progress: Called as batches are done.
            allow_urls: Whether strings that begin with http:// or https:// are fetched.

        Returns:
            float32, shape (N, D), rows of norm 1, in the order of the images.

        Raises:
            ImageReadError: At the first image that cannot be read.
            InputError: If an item is no image at all.
            ClipkitError: If a process dies twice of the same images.
        """
        batches = self.stream_images(
            images, batch_size=batch_size, progress=progress, allow_urls=allow_urls
        )
        with closing(batches):
            return rows_of_all(batches, self._encoder.embed_dim, self._encoder.space_id)

    def encode_readable_images(
        self,
        images: Iterable[ImageInput],
        *,
        batch_size: int | None = None,
        progress: Progress | None = None,
        allow_urls: bool = False,
    ) -> EncodingReport:
        """Return the embeddings of the readable images, with a reason for every other one.

        Args:
            images: As for :meth:`encode_images`, and so are the others.
            batch_size: Images that go through an image encoder at once.
            progress: Called as batches are done.
            allow_urls: Whether URLs are fetched.

        Returns:
            A report over all N images.

        Raises:
            InputError: As :meth:`encode_images` does.
            ClipkitError: As :meth:`encode_images` does.
        """
        batches = self.stream_images(
            images, batch_size=batch_size, progress=progress, allow_urls=allow_urls
        )
        with closing(batches):
            return report_of(batches, self._encoder.embed_dim, self._encoder.space_id)

    def stream_images(
        self,
        images: Iterable[ImageInput],
        *,
        batch_size: int | None = None,
        progress: Progress | None = None,
        allow_urls: bool = False,
    ) -> Generator[EncodedBatch]:
        """Yield embeddings batch by batch, in the order of the images.

        Args:
            images: As for :meth:`encode_images`, and so are the others.
            batch_size: Images that go through an image encoder at once.
            progress: Called after every batch.
            allow_urls: Whether URLs are fetched.

        Yields:
            Batches. Each position is in exactly one, with its row or with its reason.

        Raises:
            InputError: As :meth:`encode_images` does.
            ClipkitError: As :meth:`encode_images` does.
        """
        check_progress(progress)
        check_image_list(images)
        encoder = self._encoder
        size = encoder._image_batch_size(batch_size)
        total = len(images) if isinstance(images, Sized) else None
        share = self._share(total, _BATCHES_A_TASK * size)
        waiting: deque[tuple[int, list[ImageInput]]] = deque()  # of tasks without a result
        embedder = encoder._image_embedder(allow_urls=allow_urls)

        def movable(image: ImageInput) -> tuple[ImageInput, str | bytes | DecodedBefore]:
            return image, _movable(embedder, image)

        tasks = _image_tasks(
            map_ahead(movable, images, ahead=share),
            share,
            partial(_ImageTask, batch_size=size, allow_urls=allow_urls),
            waiting,
        )
        done = 0
        with closing(self._map(tasks)) as results:
            for batches in results:
                start, given = waiting.popleft()
                for batch in batches:
                    yield _placed(batch, start, given)
                    done += len(batch.positions) + len(batch.skipped)
                    if progress:
                        progress(done, total)

    def encode_texts(
        self,
        texts: Iterable[str],
        *,
        prompt: str = "",
        progress: Progress | None = None,
    ) -> EmbeddingArray:
        """Return the embeddings of texts.

        Args:
            texts: As for :meth:`Encoder.encode_texts`.
            prompt: As for :meth:`Encoder.encode_texts`.
            progress: Called as texts are done.

        Returns:
            float32, shape (N, D), rows of norm 1, in the order of the texts.

        Raises:
            InputError: As :meth:`Encoder.encode_texts` does.
            ClipkitError: If a process dies twice of the same texts.
        """
        check_progress(progress)
        rows = [self._encoder.encode_texts([], prompt=prompt)]
        words = list(check_texts(texts))
        size = self._share(len(words), _TEXTS_A_TASK)
        starts = range(0, len(words), size)
        tasks = (_TextTask(words[start : start + size], prompt) for start in starts)
        with closing(self._map(tasks)) as results:
            for start, some in zip(starts, results, strict=True):
                rows.append(some)
                if progress:
                    progress(start + len(some), len(words))
        return EmbeddingArray(np.concatenate(rows), self._encoder.space_id)

    def _share(self, total: int | None, most: int) -> int:
        """Return how many items a task has, so that each worker has one where there are few."""
        share = most if total is None else -(-total // len(self._workers))
        return max(1, min(share, most))

    def _map(self, tasks: Iterable[Callable[[Encoder], _Result]]) -> Generator[_Result]:
        """Yield the results of tasks, in order, each computed by the first worker that is idle."""
        if self._is_closed:
            raise InputError("this pool has ended with its with block: make another one")
        encoder = self._encoder
        limits = encoder.max_pixels, encoder.batch_size, encoder.decode
        busy: set[int] = set()  # workers that do something of this call
        given_up = threading.Event()

        def run(task: Callable[[Encoder], _Result]) -> Outcome[_Result]:
            number = self._idle.get()
            busy.add(number)
            try:
                order = EncoderOrder(self._specs[number], *limits)
                return self._workers[number].run(order, task, is_given_up=given_up.is_set)
            finally:
                busy.discard(number)
                self._idle.put(number)

        count = len(self._workers)
        with closing(map_ahead(run, tasks, ahead=2 * count, workers=count)) as outcomes:
            try:
                for outcome in outcomes:
                    for message, category in outcome.warnings:
                        warnings.warn(message, category, stacklevel=4)
                    yield outcome.result
            finally:  # after a failure, Ctrl-C or when the caller has enough: nobody waits for them
                given_up.set()
                for number in list(busy):
                    self._workers[number].stop()


@dataclass(frozen=True)
class _ImageTask:
    """Some images of a list."""

    images: list[str | bytes | DecodedBefore]
    batch_size: int
    allow_urls: bool

    def __call__(self, encoder: Encoder) -> list[EncodedBatch]:
        embedder = encoder._image_embedder(allow_urls=self.allow_urls)
        return list(embedder.stream(self.images, batch_size=self.batch_size, progress=None))


@dataclass(frozen=True)
class _TextTask:
    """Some texts of a list."""

    texts: list[str]
    prompt: str

    def __call__(self, encoder: Encoder) -> EmbeddingArray:
        return encoder.encode_texts(self.texts, prompt=self.prompt)


def _image_tasks(
    images: Generator[tuple[ImageInput, str | bytes | DecodedBefore]],
    size: int,
    task_of: Callable[[list[str | bytes | DecodedBefore]], _ImageTask],
    waiting: deque[tuple[int, list[ImageInput]]],
) -> Iterator[_ImageTask]:
    """Yield tasks of so many images, and note where each begins and what its images are."""
    start = 0
    with closing(images):
        while part := list(islice(images, size)):
            waiting.append((start, [image for image, _ in part]))
            yield task_of([sent for _, sent in part])
            start += len(part)


def _movable(embedder: ImageEmbedder, image: ImageInput) -> str | bytes | DecodedBefore:
    """Return an image as it can go to another process: a whole path, bytes, or pixel values.

    What is no file there is decoded here: Pillow's images do not all survive the way.
    """
    check_is_image(image)
    if isinstance(image, bytes) or (
        isinstance(image, str) and embedder.allow_urls and "://" in image
    ):
        return image
    if isinstance(image, str | os.PathLike):
        return os.path.abspath(image)  # noqa: PTH100 - of any kind of path, and as it is written
    return DecodedBefore(embedder.decode_one(image))


def _placed(batch: EncodedBatch, start: int, given: Sequence[ImageInput]) -> EncodedBatch:
    """Return a batch with positions in the whole list, and images named as they were given."""
    skipped = [
        (start + position, ImageReadError(image_name(given[position]), error.reason))
        for position, error in batch.skipped
    ]
    positions = [start + position for position in batch.positions]
    return EncodedBatch(positions, batch.embeddings, skipped)
