"""The report of which images to label next, and the table to write their labels into."""

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from clipkit.adaptation.next_labels import MOST_COMPARED
from clipkit.arguments import quoted
from clipkit.errors import ImageReadError

LABEL_COLUMN = "label"  # of the table, for --label-column
# Mean probability of the likeliest class from which on no choice was better than a random one, on
# published CLIP embeddings (docs/adaptation.md).
_SURE = 0.8

# What docs/adaptation.md has in a table.
LIMITS = (
    "On ten labelled sets this choice was worth from 4 points of accuracy less to 11 points more "
    "than images drawn at random, and on average no more on those that it was not tuned on"
)


class ImageToLabel(NamedTuple):
    """An image whose label would help."""

    path: str  # begins with the folder, as that was given
    likely: tuple[tuple[str, float], ...]  # the most likely classes with their probabilities
    num_like: int  # unlabelled images that are most like it, itself among them

    @property
    def reason(self) -> str:
        """Why it was chosen, in a few words: ``cat 41%, dog 38%; like 12 others``."""
        shares = [(name, f"{share:.0%}") for name, share in self.likely]
        classes = ", ".join(f"{name} {share}" for name, share in shares if share != "0%")
        others = self.num_like - 1
        if others < 1:
            return f"{classes}; like no other"
        return f"{classes}; like {others} other{'s' if others > 1 else ''}"


@dataclass(frozen=True)
class LabellingReport:
    """Which unlabelled images to label next, best first."""

    model: str  # the model's name
    folder: str  # of the unlabelled images
    data: str  # where the labelled ones came from; empty: there are none yet
    images: tuple[ImageToLabel, ...]
    class_names: tuple[str, ...]  # that an image may get
    without_labels: tuple[str, ...]  # classes that have no labelled image yet
    num_asked: int  # images that were asked for
    num_labelled: int  # labelled images that could be read
    num_without_file: int  # labelled images that lie in shards, or in a table itself
    num_unlabelled: int  # images of the folder that could be read and have no label
    num_already_labelled: int  # images of the folder that are labelled, or copies of such
    confidence: float  # mean probability of the most likely class, of the unlabelled images
    labelled_files: tuple[tuple[Path, str], ...] = ()  # with the name of the class
    warnings: tuple[str, ...] = ()
    skipped: tuple[ImageReadError, ...] = ()

    def sentences(self) -> Iterator[str]:
        """Yield what a person should know of the choice, without full stops."""
        if len(self.images) < self.num_asked:
            why = (
                "there are no more"
                if len(self.images) == self.num_unlabelled
                else "to the model the others are the same as these"
            )
            yield f"{len(self.images)} images and not {self.num_asked}: {why}"
        if self.num_already_labelled:
            yield (
                f"{self.num_already_labelled} images of {self.folder} are labelled already, or to "
                "the model the same as labelled ones"
            )
        if self.confidence >= _SURE:
            yield (
                f"the model is sure of most of the images ({self.confidence:.0%} on average): "
                "images drawn at random would do about as well"
            )
        if self.num_unlabelled > MOST_COMPARED:
            yield (
                f"chosen from {MOST_COMPARED:,} of {self.num_unlabelled:,} unlabelled images, "
                "drawn at random"
            )
        if self.without_labels and self.num_labelled:
            yield f"no image is labelled yet as {quoted(self.without_labels)}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, as JSON can hold them, without the labelled files."""
        values = {name: value for name, value in self.__dict__.items() if name != "labelled_files"}
        return {
            **values,
            "images": [
                {
                    "path": image.path,
                    "likely": [{"label": name, "score": score} for name, score in image.likely],
                    "num_like": image.num_like,
                }
                for image in self.images
            ],
            "skipped": [error.to_dict() for error in self.skipped],
        }

    def table(self, place: str | Path) -> str:
        """Return a table of all labelled images and, without labels, of those to label next.

        Filled in, it is what :func:`clipkit.adapt` takes with the label column "label": rows whose
        label is still empty are left out there.

        Args:
            place: The path it will be written to. Images in its folder and below are named
                relative to that, others by their whole path.

        Returns:
            CSV with the columns filepath, label and likely, which is for the person.
        """
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("filepath", LABEL_COLUMN, "likely"))
        start = os.path.join(os.path.abspath(Path(place).parent), "")  # noqa: PTH100, PTH118 - links kept
        for file, name in self.labelled_files:
            rows.writerow((_path_from(start, file), name, ""))
        for image in self.images:
            rows.writerow((_path_from(start, Path(image.path)), "", image.reason))
        return text.getvalue()


def _path_from(start: str, file: Path) -> str:
    return os.path.abspath(file).removeprefix(start)  # noqa: PTH100 - links kept
