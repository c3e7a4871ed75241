"""Teaching a concept: images, and perhaps images of other things, in; a named embedding out.

Shapes: N readable images, D dimensions.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.concept import Concept, check_concept_name
from clipkit.adaptation.concept_embedding import embed_concept
from clipkit.arguments import ENCODER_RULE, check_kind, check_progress
from clipkit.embeddings import EmbeddingArray, Embeddings, common_space
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.image_embedding import EncodedBatch
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.folders import FolderEntry
from clipkit.inputs.image_input import ImageInput, check_image_list, image_name
from clipkit.progress import Progress
from clipkit.search.library import PhotoLibrary
from clipkit.search.ranking import library_center
from clipkit.search.relevance import make_background

_FEWEST_OTHERS = 30  # images whose mean is more than what these few show
_SAME = 1 - 1e-5  # the cosine of an image and itself, read from an index in half precision


@dataclass(frozen=True)
class TeachingReport:
    """A concept that was taught, and what became of the images."""

    concept: Concept
    skipped: tuple[ImageReadError, ...]  # images that could not be read
    num_looked_up: int  # images that were not embedded again

    def to_dict(self) -> dict[str, object]:
        """Return all of it as what JSON takes, without the embedding."""
        return {
            **self.concept.to_dict(),
            "num_looked_up": self.num_looked_up,
            "skipped": [error.to_dict() for error in self.skipped],
        }


def teach(  # noqa: PLR0913 - what a concept is made of, and what it is made with
    encoder: Encoder,
    name: str,
    images: Iterable[ImageInput],
    *,
    negatives: Iterable[ImageInput] = (),
    kind: str | None = None,
    library: PhotoLibrary | None = None,
    progress: Progress | None = None,
) -> TeachingReport:
    """Return a concept: what some images have in common, to be used like a word.

    Args:
        encoder: The model that it is for.
        name: What to call it.
        images: What shows it; a string is a path. Some five say much more than one.
        negatives: Images of other things that it is mistaken for.
        kind: What kind of thing it is, in words, such as "a dog". It makes up for few images.
        library: An indexed folder with other images too, by the same encoder: what is indexed there
            is looked up, and the concept is told from what its images have in common anyway.
            Without one it is made of everyday words alone, and details that they do not name are
            lost.
        progress: Called after every batch with (done, total).

    Returns:
        The concept, and the images that could not be read.

    Raises:
        InputError: If the name cannot be one, no image can be read, an image is given as a
            negative too, or the images have nothing in common.
        LibraryError: If the library has not been indexed, or its index is damaged.
        SpaceMismatchError: If the library is of another model.
    """
    check_kind(encoder, "scoring", ENCODER_RULE)
    check_progress(progress)
    name = check_concept_name(name)
    if kind is not None and not (isinstance(kind, str) and kind.strip()):
        raise InputError(f'kind must say in words what it is, such as "a dog", got {kind!r}')
    for given in (images, negatives):
        check_image_list(given)
    shown, hidden = list(images), list(negatives)
    if not shown:
        raise InputError(f"{name} needs at least one image that shows it, got none")
    found = _embed(encoder, [*shown, *hidden], library, progress)
    is_shown = found.positions < len(shown)
    if not is_shown.any():
        raise InputError(
            f"none of the {len(shown)} images of {name} can be read: {found.skipped[0]}"
        )
    positives, others = found.rows[is_shown], found.rows[~is_shown]
    _check_apart(positives, others, [shown[place] for place in found.positions[is_shown]])
    center = None if library is None else _center(library, encoder, positives)
    row = embed_concept(
        positives,
        make_background(encoder),
        others=others,
        image_center=center,
        kind=None if kind is None else encoder.encode_texts([kind])[0],
    )
    return TeachingReport(
        Concept(
            name=name,
            embedding=EmbeddingArray(row, encoder.space_id),
            model=encoder.name,
            space_id=encoder.space_id,
            kind=None if kind is None else kind.strip(),
            num_images=len(positives),
            num_negatives=len(others),
            has_center=center is not None,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            clipkit_version=_version(),
        ),
        tuple(found.skipped),
        found.num_looked_up,
    )


@dataclass(frozen=True)
class _Embedded:
    """The readable ones of some images."""

    positions: NDArray[np.intp]  # (N,), ascending
    rows: Embeddings  # (N, D)
    skipped: list[ImageReadError]
    num_looked_up: int


def _embed(
    encoder: Encoder,
    images: Sequence[ImageInput],
    library: PhotoLibrary | None,
    progress: Progress | None,
) -> _Embedded:
    """Return embeddings of images, looked up in a library as far as it has them."""
    entries = {} if library is None else _entries(images, library.folder)
    other = [place for place in range(len(images)) if place not in entries]
    positions: list[int] = []
    rows: list[Embeddings] = []
    skipped: list[tuple[int, ImageReadError]] = []
    num_looked_up = 0

    def keep(batch: EncodedBatch, places: Sequence[int]) -> None:
        positions.extend(places[position] for position in batch.positions)
        rows.append(np.asarray(batch.embeddings))
        skipped.extend((places[position], error) for position, error in batch.skipped)
        if progress is not None:
            progress(len(positions) + len(skipped), len(images))

    if library is not None and entries:
        known = library.look_up([*entries.values()])
        num_looked_up = known.num_known
        for batch in known.stream(encoder):
            keep(batch, [*entries])
    if other:
        for batch in encoder.stream_images([images[place] for place in other]):
            keep(batch, other)
    found = np.concatenate(rows) if rows else np.empty((0, encoder.embed_dim), np.float32)
    order = np.argsort(np.array(positions, dtype=np.intp), kind="stable")
    errors = [error for _, error in sorted(skipped, key=lambda item: item[0])]
    return _Embedded(np.sort(np.array(positions, np.intp)), found[order], errors, num_looked_up)


def _entries(images: Sequence[ImageInput], folder: Path) -> dict[int, FolderEntry]:
    """Return the image files that lie in a folder, by their place among the images."""
    root = folder.resolve()
    found = {}
    for place, image in enumerate(images):
        if not isinstance(image, str | os.PathLike) or "://" in os.fspath(image):
            continue
        try:
            path = Path(image).resolve()
            status = path.stat()
        except (OSError, RuntimeError, ValueError):
            continue  # reading it says what is wrong
        if path.is_file() and path.is_relative_to(root):
            inner = path.relative_to(root).as_posix()
            found[place] = FolderEntry(inner, status.st_size, status.st_mtime_ns)
    return found


def _center(
    library: PhotoLibrary, encoder: Encoder, shown: Embeddings
) -> NDArray[np.float32] | None:
    """Return the centre of a library's other images; None if they are too few to have one."""
    sample = library.sample_embeddings()
    common_space(sample, EmbeddingArray(shown, encoder.space_id))
    rows = np.asarray(sample)
    others = rows[(rows @ shown.T).max(axis=1, initial=-1.0) < _SAME]
    return library_center(others) if len(others) >= _FEWEST_OTHERS else None


def _check_apart(shown: Embeddings, hidden: Embeddings, images: Sequence[ImageInput]) -> None:
    """Refuse an image that is given as one of the concept and as a negative."""
    if not len(hidden):
        return
    is_both = (shown @ hidden.T).max(axis=1) > _SAME
    if is_both.any():
        names = [image_name(images[place]) for place in np.flatnonzero(is_both).tolist()]
        raise InputError(
            f"{names[0]} is given as an image of the concept and as a negative one"
            f"{f', and {len(names) - 1} more are' if len(names) > 1 else ''}: an image is one or "
            "the other"
        )


def _version() -> str:
    from clipkit.version import __version__  # reading it takes 15 ms

    return __version__
