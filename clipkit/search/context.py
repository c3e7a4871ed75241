"""Retrieval as context for other programs: the most relevant images and what is known of them.

The retrieval half of RAG over one's own images: what `PhotoLibrary.search` finds relevant, without
near-duplicates, with captions, labels and metadata, for a prompt of a language model.
"""

import base64
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Unpack, cast

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import check_share, check_whole
from clipkit.data.image_texts import ImageTexts
from clipkit.errors import ImageReadError
from clipkit.inputs.image_input import ImageInput, image_name
from clipkit.inputs.perceptual_hash import read_grey_thumbnail
from clipkit.inputs.thumbnails import render_thumbnail
from clipkit.progress import Callbacks, Progress
from clipkit.search.context_report import ContextImage, ContextReport
from clipkit.search.duplicates.perceptual_similarity import perceptual_similarity
from clipkit.search.filters import FilterOptions
from clipkit.search.library import PhotoLibrary
from clipkit.search.query import Query, QueryPart, SearchQuery, is_embedding, read_query
from clipkit.search.relevance import DEFAULT_MIN_RELEVANCE, NOTHING_BELOW, Verdict
from clipkit.search.search import NUM_CANDIDATES, SearchHit

# Images that are so similar show the same details in the same places. It came out at .817 to .819
# in the 19 folders that docs/duplicates.md calibrates it on.
COPY_SIMILARITY = 0.82

_MOST_CAPTIONS, _MOST_LETTERS = 5, 500  # of an image, and of a caption
_CUT = "…"  # ends a caption that is longer


@dataclass(frozen=True)
class ContextOptions:
    """Which images become context, and what is told of them.

    Raises:
        InputError: If a number is out of range.
    """

    k: int = 8  # how many images at most
    # What they have at least, 0..1; None: .4 if a search says "found", .05 if it is "not sure", and
    # none at all if there is probably nothing.
    min_relevance: float | None = None
    diversity: float = 0.0  # how much they should differ, 0..1, as for `PhotoLibrary.search`
    has_copies: bool = False  # whether near-duplicates are listed too
    thumbnail_size: int | None = None  # pixels of the longer side, at least 1; None: no thumbnails
    texts: ImageTexts | None = None  # captions and labels; None: caption files beside the images
    max_pixels: int | None = None  # that may be decoded of an image; None: default_max_pixels()

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        object.__setattr__(self, "k", check_whole(self.k, "k"))
        if self.min_relevance is not None:
            check_share(self.min_relevance, "min_relevance")
        if self.thumbnail_size is not None:
            check_whole(self.thumbnail_size, "thumbnail_size")


def retrieve_context(
    library: PhotoLibrary,
    query: SearchQuery | None,
    options: ContextOptions | None = None,
    *,
    more_like: Iterable[ImageInput] = (),
    less_like: Iterable[ImageInput] = (),
    callbacks: Callbacks | None = None,
    **filters: Unpack[FilterOptions],
) -> ContextReport:
    """Return the most relevant images of a library, as context for another program.

    Args:
        library: Indexed; call its `sync` before.
        query: As for `PhotoLibrary.search`.
        options: How many images, and what is told of them.
        more_like: As for `PhotoLibrary.search`.
        less_like: Likewise.
        callbacks: Told what of captions cannot be used, and how far reading images is.
        **filters: As for `PhotoLibrary.search`.

    Returns:
        The images, most relevant first; none where there is probably nothing. An image that cannot
        be read any more is listed, without a thumbnail.

    Raises:
        InputError: As `PhotoLibrary.search` does.
        ImageReadError: If an image of the query cannot be read.
        LibraryError: If the folder has not been indexed, or the index is damaged.
        SpaceMismatchError: If the index was rebuilt with another model meanwhile.
    """
    options, callbacks = options or ContextOptions(), callbacks or Callbacks()
    liked, disliked = [*more_like], [*less_like]
    search = partial(library.search, query, more_like=liked, less_like=disliked, **filters)
    hits = search(k=_num_hits(options), min_relevance=options.min_relevance or 0.0)
    bound = _bound(hits.verdict) if options.min_relevance is None else options.min_relevance
    if options.diversity:  # among those that are relevant
        hits = search(k=_num_hits(options), min_relevance=bound, diversity=options.diversity)
    relevant = [hit for hit in hits if hit.relevance >= bound]
    with callbacks.progress_for("reading images") as progress:
        images = list(_context_images(relevant, library.folder, options, progress))
    texts = options.texts or ImageTexts(library.folder, callbacks=callbacks)
    known = texts.look_up([image.path for image in images])
    return ContextReport(
        query=query_text(query, liked, disliked),
        folder=str(_absolute(library.folder)),
        model=library.model,
        verdict=hits.verdict,
        num_searched=hits.num_searched,
        num_found=hits.num_found,
        may_be_more=hits.may_be_more,
        min_relevance=bound,
        images=tuple(
            replace(image, captions=_short(said.captions), label=said.label)
            for image, said in zip(images, known, strict=True)
        ),
    )


def query_text(
    query: SearchQuery | None,
    more_like: Sequence[ImageInput] = (),
    less_like: Sequence[ImageInput] = (),
) -> str:
    """Return a query as people write it.

    Args:
        query: As for `PhotoLibrary.search`.
        more_like: Likewise.
        less_like: Likewise.

    Returns:
        For example "horse + stripes - 0.5:night"; images by `image_name`, embeddings by the name
        of their part.

    Example:
        >>> query_text("a cat", less_like=["dog.jpg"])
        'a cat, less like dog.jpg'
    """
    said = [] if query is None else [_words_of(query)]
    for how, images in (("more like", more_like), ("less like", less_like)):
        said += [f"{how} {image_name(image)}" for image in images]
    return ", ".join(said)


def _words_of(query: SearchQuery) -> str:
    read = read_query(query)
    if not isinstance(read, Query):
        return "<embedding>"
    first, *others = read.parts
    signed = [f"{'+' if part.weight > 0 else '-'} {_part_text(part)}" for part in others]
    return " ".join([f"{'- ' * (first.weight < 0)}{_part_text(first)}", *signed])


def _part_text(part: QueryPart) -> str:
    content = part.content
    if isinstance(content, str):
        text = content
    else:
        is_row = is_embedding(content)
        text = part.name or ("<embedding>" if is_row else image_name(cast("ImageInput", content)))
    weight = abs(part.weight)
    return text if weight == 1 else f"{weight:g}:{text}"


def _num_hits(options: ContextOptions) -> int:
    """Return how many hits to ask for: copies among them make room for others."""
    # Four times as many are candidates: with these the relevance is that of any search.
    return options.k if options.has_copies else max(NUM_CANDIDATES // 4, 2 * options.k)


def _bound(verdict: Verdict) -> float:
    """Return what is relevant enough to be context, by what a search says as a whole."""
    return DEFAULT_MIN_RELEVANCE if verdict == "found" else NOTHING_BELOW


def _context_images(
    hits: Sequence[SearchHit], folder: Path, options: ContextOptions, progress: Progress
) -> Iterator[ContextImage]:
    """Yield what the index and the files say of the best k images, best first."""
    kept = [(hit, 0) for hit in hits[: options.k]]
    if not options.has_copies:
        kept = _without_copies(hits, options)
    for place, (hit, num_copies) in enumerate(kept):
        progress(place, len(kept))
        thumbnail, error = _thumbnail(hit.path, options)
        yield ContextImage(
            rank=place + 1,
            relevance=hit.relevance,
            similarity=hit.similarity,
            path=hit.path.relative_to(folder).as_posix(),
            uri=_absolute(hit.path).as_uri(),
            taken_at=hit.taken_at,
            width=hit.width,
            height=hit.height,
            camera=hit.camera,
            raw=None if hit.raw is None else hit.raw.relative_to(folder).as_posix(),
            num_copies=num_copies,
            thumbnail=thumbnail,
            thumbnail_error=error,
        )


def _without_copies(
    hits: Sequence[SearchHit], options: ContextOptions
) -> list[tuple[SearchHit, int]]:
    """Return the best k hits that are no copies of each other, each with how many were left out."""
    kept: list[SearchHit] = []
    greys: list[NDArray[np.uint8]] = []  # of those kept that can be read
    kept_of: list[int] = []  # the place of each grey thumbnail's hit among those kept
    num_copies: list[int] = []
    for hit in hits:
        if len(kept) == options.k:
            break
        try:
            grey = read_grey_thumbnail(hit.path, max_pixels=options.max_pixels)
        except ImageReadError:  # it cannot be compared, and is listed all the same
            kept.append(hit)
            num_copies.append(0)
            continue
        if greys:
            similarity = perceptual_similarity(grey[None], np.stack(greys))[0]
            if similarity.max() >= COPY_SIMILARITY:
                num_copies[kept_of[int(similarity.argmax())]] += 1
                continue
        greys.append(grey)
        kept_of.append(len(kept))
        kept.append(hit)
        num_copies.append(0)
    return list(zip(kept, num_copies, strict=True))


def _thumbnail(path: Path, options: ContextOptions) -> tuple[str | None, str | None]:
    """Return an image as a data URI, or why it cannot be one; neither if none is wanted."""
    if options.thumbnail_size is None:
        return None, None
    box = options.thumbnail_size, options.thumbnail_size
    try:
        file = render_thumbnail(path, box=box, max_pixels=options.max_pixels)
    except ImageReadError as error:
        return None, error.reason
    return f"data:image/jpeg;base64,{base64.b64encode(file).decode('ascii')}", None


def _short(captions: Sequence[str]) -> tuple[str, ...]:
    """Return captions as they go into a prompt: a few, none endless."""
    return tuple(
        text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1].rstrip() + _CUT
        for text in captions[:_MOST_CAPTIONS]
    )


def _absolute(path: Path) -> Path:
    """Return a path from the root, without "..", its links as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps what is ".."
