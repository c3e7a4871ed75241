"""The labelled images that a model is adapted with and measured on, read and embedded.

Shapes: N images, C classes, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.options import AdaptationOptions
from clipkit.adaptation.split_files import read_split_file
from clipkit.adaptation.splits import Split, draw_splits
from clipkit.data.labelled_images import LabelledImages, open_labelled, same_classes
from clipkit.data.pair import Pair, list_some
from clipkit.embeddings import Embeddings, check_embeddings
from clipkit.encoder.embedded_images import embed_images
from clipkit.encoder.encoder import Encoder
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.image_input import ImageInput, image_name
from clipkit.inputs.thumbnails import read_square_thumbnail
from clipkit.near_duplicates import mark_near_duplicates
from clipkit.paths import expand_home
from clipkit.progress import Callbacks

# Images whose cosine is above 1 less this may be one: the same file, or saved again. To a model
# that knows little of such images different ones are as close, so pixels have to agree too.
COPY = 1e-3
_SIDE = 16  # pixels of a side, of which colours are compared
_MOST_DIFFERENT = 6.0  # levels of 255, mean: saving again and scaling move colours by one or two


class NamedImages(Protocol):
    """Where images come from: a `PairDataset`, or a list that was given."""

    def __getitem__(self, row: int) -> Pair:
        """Return the image of a row, with whatever texts it has."""

    def local_name(self, row: int) -> str:
        """Return the name of an image within them."""


@dataclass(frozen=True)
class GivenImages:
    """Images in a list."""

    images: Sequence[ImageInput]

    def __getitem__(self, row: int) -> Pair:
        """Return the image of a row, without texts."""
        return Pair(self.images[row], (), self.local_name(row))

    def local_name(self, row: int) -> str:
        """Return the name of an image: its path, or what kind of thing it is."""
        return image_name(self.images[row])


@dataclass(frozen=True)
class AdaptationImages:
    """Labelled images that can be read, each once."""

    sources: tuple[tuple[NamedImages, int], ...]  # where each image comes from, and its row there
    embeddings: Embeddings  # shape (N, D)
    labels: NDArray[np.intp]  # shape (N,), in 0..C-1
    class_names: tuple[str, ...]  # C
    num_given: int  # images to adapt with come first; the others are the test images given
    skipped: tuple[ImageReadError, ...]

    def image(self, place: int) -> ImageInput:
        """Return an image as its dataset has it: a path, or the bytes of a file."""
        dataset, row = self.sources[place]
        return dataset[row].image

    def name(self, place: int) -> str:
        """Return the name of an image within its dataset: a path, relative where it can be."""
        dataset, row = self.sources[place]
        return dataset.local_name(row)

    def splits(self, options: AdaptationOptions) -> list[Split]:
        """Return what is adapted with and what is measured on, a split a seed.

        Args:
            options: Seeds and shots.

        Returns:
            The splits; only the first where no seed makes a difference.

        Raises:
            InputError: If a class has too few images.
        """
        if self.num_given == len(self.labels):
            splits = draw_splits(self.labels, self.class_names, options.seeds)
        else:
            test = np.arange(self.num_given, len(self.labels))
            seeds = options.seeds[:1] if options.shots is None else options.seeds
            splits = [Split(seed, np.arange(self.num_given), test) for seed in seeds]
        if options.shots is None:
            return splits
        return [split.few(self.labels, options.shots) for split in splits]


def read_images(
    encoder: Encoder, data: str, options: AdaptationOptions, callbacks: Callbacks
) -> AdaptationImages:
    """Return labelled images and, if they are given, other ones to measure on.

    Of images that are copies of each other the first counts, those to adapt with before those to
    measure on: in both they would make every figure too good.

    Args:
        encoder: The model.
        data: Class folders, or a table.
        options: With the layout, and with the test images if there are any.
        callbacks: For messages, warnings and progress.

    Returns:
        The images, those to adapt with first.

    Raises:
        InputError: If there are not two classes or more, one has no image that can be read, or
            the test images have other classes.
    """
    given, test = _open_both(data, options, callbacks)
    if len(given.class_names) < 2:
        raise InputError(
            f"a classifier needs two classes or more, and {data} has one "
            f'("{given.class_names[0]}"): add a folder of other images'
        )
    sets = [(given, np.arange(len(given.class_names)))]
    if test is not None:
        # The number in test of each class of given; sorted, that in given of each of test.
        sets.append((test, np.argsort(same_classes(given.class_names, test.class_names))))
    embeddings, labels, sources, sizes = [], [], [], []
    skipped: list[ImageReadError] = []
    for images, number_of in sets:
        found = embed_images(encoder, images.dataset, "embedding images", callbacks)
        embeddings.append(found.embeddings)
        labels.append(number_of[images.labels[found.rows]])
        sources += [(images.dataset, row) for row in found.rows.tolist()]
        skipped += found.skipped
        sizes.append(len(found.rows))
    everything = AdaptationImages(
        tuple(sources),
        np.concatenate(embeddings),
        np.concatenate(labels),
        given.class_names,
        sizes[0],
        tuple(skipped),
    )
    return _checked(_without_copies(everything, callbacks), has_test=test is not None)


def given_images(
    encoder: Encoder,
    images: Sequence[ImageInput],
    labels: Sequence[str],
    embeddings: Embeddings | None,
    callbacks: Callbacks,
) -> AdaptationImages:
    """Return labelled images that are given one by one; of copies the first counts.

    Args:
        encoder: The model.
        images: N images.
        labels: The name of each one's class.
        embeddings: Of the images, shape (N, D), if they are there already; None: they are embedded.
        callbacks: For messages, warnings and progress.

    Returns:
        The images, all of them to adapt with.

    Raises:
        InputError: If there are not as many labels, or embeddings, as images, there are not two
            classes or more, or one has no image that can be read.
    """
    if len(labels) != len(images):
        raise InputError(f"each image needs a label, got {len(labels)} for {len(images)} images")
    names = sorted(set(labels))
    if len(names) < 2:
        raise InputError(f"a classifier needs two classes or more, got {len(names)}")
    skipped: list[ImageReadError] = []
    rows = np.arange(len(images))
    if embeddings is None:
        rows, embeddings, skipped = _embedded(encoder, images, callbacks)
    elif len(embeddings) != len(images):
        raise InputError(f"there are {len(embeddings)} embeddings for {len(images)} images")
    number = {name: place for place, name in enumerate(names)}
    given = GivenImages(images)
    everything = AdaptationImages(
        tuple((given, row) for row in rows.tolist()),
        np.asarray(check_embeddings(embeddings)),
        np.array([number[labels[row]] for row in rows.tolist()], dtype=np.intp),
        tuple(names),
        len(rows),
        tuple(skipped),
    )
    return _checked(_without_copies(everything, callbacks), has_test=False)


def _embedded(
    encoder: Encoder, images: Sequence[ImageInput], callbacks: Callbacks
) -> tuple[NDArray[np.intp], Embeddings, list[ImageReadError]]:
    """Return the rows that can be read, their embeddings, and what is wrong with the others."""
    with callbacks.progress_for("embedding images") as progress:
        report = encoder.encode_readable_images(images, progress=progress)
    return report.positions, report.embeddings, [error for _, error in report.skipped]


def _open_both(
    data: str, options: AdaptationOptions, callbacks: Callbacks
) -> tuple[LabelledImages, LabelledImages | None]:
    """Return the images to adapt with, and those to measure on if they are given."""
    if options.split_file:
        return read_split_file(expand_home(str(options.split_file)), expand_home(data))
    test = _open(str(options.test), options, callbacks) if options.test else None
    return _open(data, options, callbacks), test


def _open(path: str, options: AdaptationOptions, callbacks: Callbacks) -> LabelledImages:
    return open_labelled(
        path,
        options.layout,
        benchmark=None,
        label_column=options.label_column,
        callbacks=callbacks,
    )


def _without_copies(images: AdaptationImages, callbacks: Callbacks) -> AdaptationImages:
    with callbacks.progress_for("looking for copies") as progress:
        found = mark_near_duplicates(images.embeddings, epsilon=COPY, progress=progress)
    original = _confirmed(images, found.original)
    copies = np.flatnonzero(original >= 0)
    if not len(copies):
        return images
    differing = images.labels[copies] != images.labels[original[copies]]
    names = [images.name(place) for place in copies[differing].tolist()]
    if names:
        callbacks.warn(
            f"copies of an image of another class, so that one picture has two labels: "
            f"{len(names)}, {list_some(names)}"
        )
    callbacks.warn(
        f"copies of other images (cosine above {1 - COPY:g}, and the same colours): {len(copies)} "
        f"of {len(images.labels)}, left out so that none is both adapted with and measured on"
    )
    kept = np.flatnonzero(original < 0)
    return replace(
        images,
        sources=tuple(images.sources[place] for place in kept.tolist()),
        embeddings=images.embeddings[kept],
        labels=images.labels[kept],
        num_given=int(np.count_nonzero(kept < images.num_given)),
    )


def _confirmed(images: AdaptationImages, original: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return of which image each one is a copy by its pixels too.

    Args:
        images: N images.
        original: The image that each is like to the model, shape (N,); -1: none before it.

    Returns:
        Shape (N,); -1: of none.
    """
    confirmed = np.full(len(original), -1, dtype=np.intp)
    for first in np.unique(original[original >= 0]).tolist():
        kept, pictures = [first], [_colours(images.image(first))]
        for place in np.flatnonzero(original == first).tolist():
            picture = _colours(images.image(place))
            differences = np.abs(np.stack(pictures) - picture).mean(axis=1)  # NaN: not to be read
            if (differences > _MOST_DIFFERENT).all():
                kept.append(place)
                pictures.append(picture)
            else:
                confirmed[place] = kept[int(differences.argmin())]
    return confirmed


def _colours(image: ImageInput) -> NDArray[np.float32]:
    """Return the colours of an image on a coarse grid, one row; NaN if it is gone meanwhile."""
    try:
        return read_square_thumbnail(image, side=_SIDE).astype(np.float32).ravel()
    except ImageReadError:
        return np.full(3 * _SIDE**2, np.nan, dtype=np.float32)


def _checked(images: AdaptationImages, *, has_test: bool) -> AdaptationImages:
    """Return the images; raise if none is left to measure on, or a class has none to adapt with."""
    if has_test and images.num_given == len(images.labels):
        raise InputError(
            "no image to measure on is left: none can be read and is no copy of one to adapt with; "
            "give other test images, or none, so that a third of each class is measured on"
        )
    given = images.labels[: images.num_given]
    counts = np.bincount(given, minlength=len(images.class_names))
    empty: Sequence[str] = [images.class_names[label] for label in np.flatnonzero(counts == 0)]
    if empty:
        raise InputError(
            f"{len(empty)} of {len(counts)} classes have no image to adapt with that can be read "
            f"and is no copy of another: {list_some(empty)}; add images, or leave these classes out"
        )
    return images
