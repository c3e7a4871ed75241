"""A compiled bundle: a checkpoint directory with its two towers as ONNX graphs.

Beside the checkpoint's own files lie ``image_tower.onnx``, ``text_tower.onnx`` and, written last,
the manifest ``onnx_bundle.json``. Without a manifest there is no bundle.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from clipkit.errors import CheckpointError
from clipkit.runtime.base import Scoring

MANIFEST = "onnx_bundle.json"
IMAGE_TOWER = "image_tower.onnx"
TEXT_TOWER = "text_tower.onnx"
FORMAT = 1


@dataclass(frozen=True)
class Parity:
    """How close the graphs come to the float32 towers in torch, measured on real inputs."""

    num_pictures: int
    num_texts: int
    mean_image_cosine: float
    lowest_image_cosine: float
    mean_text_cosine: float
    lowest_text_cosine: float


@dataclass(frozen=True)
class Bundle:
    """What a manifest says."""

    space_id: str
    embed_dim: int
    scoring: Scoring
    weights: str  # name of the file that the graphs borrow their weights from
    weights_sha256: str  # of that file when the graphs were made
    parity: Parity
    padding_id: int | None = (
        None  # token that the text tower masks out, so that rows may be shorter
    )

    @classmethod
    def read(cls, directory: Path) -> "Bundle":
        """Read the manifest of a bundle and check that its files belong together.

        Args:
            directory: The bundle.

        Returns:
            The manifest.

        Raises:
            CheckpointError: If the directory is no bundle, is damaged, or its weights have changed.
        """
        path = directory / MANIFEST
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
            if entries.pop("format") != FORMAT:
                raise CheckpointError(f"{path} was written by a newer clipkit; update clipkit")
            entries["scoring"] = Scoring(**entries["scoring"])
            entries["parity"] = Parity(**entries["parity"])
            bundle = cls(**entries)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path} cannot be read as a manifest: {error}") from error
        for name in (IMAGE_TOWER, TEXT_TOWER, bundle.weights):
            if not (directory / name).is_file():
                raise CheckpointError(f"the compiled model in {directory} has no {name}")
        if sha256_of(directory / bundle.weights) != bundle.weights_sha256:
            raise CheckpointError(
                f"{directory / bundle.weights} is not the file this bundle was compiled from: "
                "it is damaged or was replaced; fetch or compile it again"
            )
        return bundle

    def to_json(self) -> str:
        """Return the manifest as the text of its file."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=2) + "\n"


def is_bundle(directory: Path) -> bool:
    """Return whether a directory holds a compiled bundle."""
    return (directory / MANIFEST).is_file()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, as 64 hex digits."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
