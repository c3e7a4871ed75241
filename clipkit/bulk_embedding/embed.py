"""clipkit.embed_source: a collection of images to files of embeddings, where it stopped before."""

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from clipkit.arguments import ENCODER_RULE, check_kind, check_whole
from clipkit.bulk_embedding.done_work import DoneWork, read_done_work
from clipkit.bulk_embedding.local_engine import embed_here
from clipkit.bulk_embedding.manifest import Manifest, settle_manifest
from clipkit.bulk_embedding.output_folder import OutputFolder
from clipkit.bulk_embedding.part_files import Layout
from clipkit.bulk_embedding.part_worker import PartResult, PartWorker, clear_marks
from clipkit.bulk_embedding.parts import FileImages, Part, numbered
from clipkit.bulk_embedding.ray_engine import RayWorkers, check_is_installed, embed_with_ray
from clipkit.bulk_embedding.source import BulkSource, open_bulk_source
from clipkit.encoder.encoder import Encoder
from clipkit.errors import ImageReadError, InputError
from clipkit.progress import Callbacks, Progress

BulkEngine = Literal["local", "ray"]
_NAMED = 1000  # unreadable images that a report names


@dataclass(frozen=True)
class EmbedOptions:
    """How :func:`clipkit.embed_source` works; None means what suits, or what was chosen before."""

    engine: BulkEngine = "local"  # this process, or Ray's workers
    workers: int | None = None  # of Ray's; None: by the processors of the cluster
    gpus_per_worker: float = 0.0  # of Ray's: 1, or a share of one as .5
    ray_address: str | None = None  # of a cluster, as "auto"; None: one is started here
    part_size: int | None = None  # images a file; None: 4096
    layout: Layout | None = None  # None: "parquet"
    image_column: str = ""  # of a table; empty: the first with a usual name
    allow_urls: bool = False  # whether addresses that a list names are fetched
    retry_errors: bool = False  # whether files that could not be read are tried again

    def __post_init__(self) -> None:
        """Refuse values that are none."""
        if self.engine not in get_args(BulkEngine):
            known = " or ".join(get_args(BulkEngine))
            raise InputError(f"engine must be {known}, got {self.engine!r}")
        for name in ("workers", "part_size"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_whole(getattr(self, name), name))
        if not self.gpus_per_worker >= 0:
            raise InputError(f"gpus_per_worker must be 0 or more, got {self.gpus_per_worker!r}")
        is_for_ray = self.workers or self.gpus_per_worker or self.ray_address
        if self.engine == "local" and is_for_ray:
            raise InputError(
                "workers, gpus_per_worker and ray_address are of Ray's workers: choose the engine "
                "ray, or leave them out"
            )


@dataclass(frozen=True)
class EmbedReport:
    """What embedding a collection did: all its images are in the folder now, or listed here."""

    folder: str
    engine: BulkEngine
    model: str
    space_id: str
    num_embedded: int  # by this run
    num_before: int  # vectors that were in the folder before
    num_unread: int  # images that this run could not read; the folder's errors/ has their reasons
    num_changed: int  # of those to embed, files that had changed since they were embedded
    num_parts: int  # that this run wrote
    num_retried: int  # parts that a worker was lost at
    num_failed: int  # shards and pieces of tables that could not be got at; they are in skipped
    unread: list[ImageReadError] = field(default_factory=list)  # the first 1000
    # What could not be listed, and shards that could not be got at: the next run tries them again.
    skipped: list[ImageReadError] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        return asdict(self) | {
            "unread": [error.to_dict() for error in self.unread],
            "skipped": [error.to_dict() for error in self.skipped],
        }


def embed_source(
    source: str | os.PathLike[str] | Sequence[str | Path],
    out: str | os.PathLike[str],
    encoder: Encoder,
    *,
    options: EmbedOptions | None = None,
    callbacks: Callbacks | None = None,
) -> EmbedReport:
    """Embed a collection of images into files of vectors in half precision.

    The work is cut into parts, each of which appears in the folder whole or not at all. What is
    there is not done again: after a kill, Ctrl-C, or new images, the same call resumes. Whatever
    the engine and the number of workers, the files are the same bytes.

    Args:
        source: A folder, a list (.txt, a path a line), a table (.csv, .tsv, .jsonl, .parquet) of
            paths or, in Parquet, of the files themselves, or webdataset shards
            ("data-{000..099}.tar"); each may be an fsspec URL. Or a list of paths.
        out: A new or empty folder, or one that this was called with before; or its URL.
        encoder: The model, made by :func:`clipkit.load`.
        options: How; None: in this process, as Parquet.
        callbacks: Told how far it is, and what is odd.

    Returns:
        What was done.

    Raises:
        InputError: If there is nothing to embed, or options do not fit.
        SpaceMismatchError: If the folder holds embeddings of another model.
        LibraryError: If the folder holds something else, another run is writing to it, or it
            cannot be written.
        MissingExtraError: If Ray, pyarrow or the reader of a source is not installed.
    """
    check_kind(encoder, "encode_images", ENCODER_RULE)
    options, callbacks = options or EmbedOptions(), callbacks or Callbacks()
    if options.engine == "ray":
        check_is_installed()
    found = open_bulk_source(
        source if not isinstance(source, os.PathLike) else os.fspath(source),
        image_column=options.image_column,
        allow_urls=options.allow_urls,
    )
    folder = OutputFolder(os.fspath(out))
    Manifest.read(folder)  # refuses what is not ours before anything is written there
    folder.make()
    with folder.lock():
        name = os.fspath(source) if isinstance(source, str | os.PathLike) else "a list of paths"
        manifest = settle_manifest(
            folder,
            encoder,
            name,
            layout=options.layout,
            part_size=options.part_size,
            callbacks=callbacks,
        )
        done = read_done_work(folder, manifest.layout, with_errors=not options.retry_errors)
        left = _left_to_do(found, done, manifest.part_size)
        if left.is_again:
            manifest = replace(manifest, has_changed=True)
        manifest.write(folder)
        worker = PartWorker(encoder, folder, manifest.layout, manifest.about())
        totals = _Totals(left.parts)
        with callbacks.progress_for("embedding") as progress:
            try:
                _run(worker, left.parts, totals, options, progress)
            except KeyboardInterrupt:
                clear_marks(folder)  # nobody is at them any more, and none of them is to blame
                raise
    return EmbedReport(
        folder=str(folder),
        engine=options.engine,
        model=encoder.name,
        space_id=encoder.space_id,
        num_embedded=totals.num_embedded,
        num_before=done.num_vectors,
        num_unread=totals.num_unread,
        num_changed=left.num_changed,
        num_parts=totals.num_parts,
        num_retried=totals.num_retried,
        num_failed=len(totals.failed),
        unread=totals.unread,
        skipped=[*found.skipped, *totals.failed],
    )


class _Left(NamedTuple):
    """What is to be done."""

    parts: list[Part]
    num_changed: int  # files that have changed since they were embedded
    is_again: bool  # whether ids may come that are there, of changed files, shards or tables


@dataclass
class _Totals:
    """What became of the parts so far."""

    parts: Sequence[Part]
    num_embedded: int = 0
    num_unread: int = 0
    num_parts: int = 0
    num_retried: int = 0
    unread: list[ImageReadError] = field(default_factory=list)
    failed: list[ImageReadError] = field(default_factory=list)

    def add(self, result: PartResult) -> None:
        """Count a part."""
        self.num_retried += result.is_retried
        if result.failure:
            (images,) = (part.images for part in self.parts if part.number == result.number)
            name = "" if isinstance(images, FileImages) else images.name
            self.failed.append(ImageReadError(name, result.failure))
            return
        self.num_parts += 1
        self.num_embedded += result.num_embedded
        self.num_unread += result.num_unread
        room = _NAMED - len(self.unread)
        self.unread += [ImageReadError(*each) for each in result.unread[:room]]


def _left_to_do(source: BulkSource, done: DoneWork, part_size: int) -> _Left:
    told = [(image.id, image.size, image.mtime_ns) for image in source.images]
    is_done, has_changed = done.split(told)
    images = [source.images[place] for place in np.flatnonzero(~is_done)]
    pieces = list(source.pieces(images, done.containers, part_size))
    keys = (piece.key for piece in pieces if piece.key)
    is_again = bool(has_changed.any()) or done.has_other_state(keys)
    # Of one id the last part counts: then gaps of an interrupted run stay.
    taken = frozenset(range(max(done.numbers) + 1)) if is_again else done.numbers
    num_changed = int(np.count_nonzero(has_changed))
    return _Left(list(numbered(pieces, taken)), num_changed, is_again)


def _run(
    worker: PartWorker,
    parts: Sequence[Part],
    totals: _Totals,
    options: EmbedOptions,
    progress: Progress,
) -> None:
    """Do the parts, and count what became of them."""
    counts = [part.images.count for part in parts]
    total = None if None in counts else sum(filter(None, counts))
    num_done = 0

    def tick(number: int) -> None:
        nonlocal num_done
        num_done += number
        progress(num_done, total)

    if not parts:
        return
    tick(0)
    if options.engine == "ray":
        results = embed_with_ray(
            worker,
            parts,
            tick,
            RayWorkers(options.workers, options.gpus_per_worker, options.ray_address),
        )
    else:
        results = embed_here(worker, parts, tick)
    with closing(results):
        for result in results:
            totals.add(result)
