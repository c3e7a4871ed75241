"""Parity: how close an engine's embeddings are to those of torch in float32, on reference inputs.

The reference inputs are the sample photographs, their queries and their labels. A bundle's golden
vectors are the embeddings of these that torch computed in float32 when it was compiled: they let a
machine without torch check what it computes.

Shapes: P images, T texts, D dimensions of the shared space.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.errors import CheckpointError
from clipkit.runtime.base import Runtime
from clipkit.runtime.bundle import Parity

_BATCH = 16  # images a call, as for an index
_LEAST_SPREAD = 0.01  # of a text's scores, as of real CLIP; with less, images are hardly told apart
_TOP = 5  # closest images of a text that are compared


@dataclass(frozen=True)
class ReferenceEmbeddings:
    """Embeddings of images and texts, rows of norm 1."""

    images: Embeddings  # (P, D)
    texts: Embeddings  # (T, D)

    def save(self, path: Path) -> None:
        """Write them in half precision, which moves a cosine by less than 1e-6."""
        np.savez(path, images=self.images.astype(np.float16), texts=self.texts.astype(np.float16))

    @classmethod
    def read(cls, path: Path) -> "ReferenceEmbeddings":
        """Read them from a file.

        Args:
            path: What :meth:`save` wrote.

        Returns:
            The embeddings.

        Raises:
            CheckpointError: If the file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as content:
                images, texts = (content[key].astype(np.float32) for key in ("images", "texts"))
        except Exception as error:  # zipfile, NumPy and zlib each have their own
            raise CheckpointError(f"{path} cannot be read as golden vectors: {error}") from error
        return cls(normalize_rows(images), normalize_rows(texts))


def embed(
    runtime: Runtime, pixel_values: NDArray[np.float32], token_ids: NDArray[np.int64]
) -> ReferenceEmbeddings:
    """Return the embeddings of inputs: images in batches, as for an index, texts alone."""
    return ReferenceEmbeddings(embed_images(runtime, pixel_values), embed_texts(runtime, token_ids))


def embed_images(runtime: Runtime, pixel_values: NDArray[np.float32]) -> Embeddings:
    """Return the embeddings of pixel values (P, 3, S, S), in batches as for an index."""
    starts = range(0, len(pixel_values), _BATCH)
    images = [runtime.image_features(pixel_values[start : start + _BATCH]) for start in starts]
    return normalize_rows(np.concatenate(images))


def embed_texts(runtime: Runtime, token_ids: NDArray[np.int64]) -> Embeddings:
    """Return the embeddings of token ids (T, L), one by one as for a query."""
    return normalize_rows(np.concatenate([runtime.text_features(one[None]) for one in token_ids]))


def compare(original: ReferenceEmbeddings, other: ReferenceEmbeddings) -> Parity:
    """Return how close embeddings come to others of the same inputs."""
    images = _cosines(original.images, other.images)
    texts = _cosines(original.texts, other.texts)
    scores = [each.texts @ each.images.T for each in (original, other)]
    before, after = (np.argsort(-each, axis=1, kind="stable") for each in scores)
    top = min(_TOP, before.shape[1])
    overlaps = [
        len(np.intersect1d(first[:top], second[:top])) / top
        for first, second in zip(before, after, strict=True)
    ]
    return Parity(
        num_images=len(images),
        num_texts=len(texts),
        mean_image_cosine=float(images.mean()),
        p1_image_cosine=float(np.percentile(images, 1)),
        mean_text_cosine=float(texts.mean()),
        p1_text_cosine=float(np.percentile(texts, 1)),
        same_first_image=float((before[:, 0] == after[:, 0]).mean()),
        top5_overlap=float(np.mean(overlaps)),
        score_shift=_shift(*scores),
    )


def _shift(original: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return how far scores (T, P) of texts on images move, in their spreads: what changes orders.

    What moves all of a text's scores alike changes nothing that is seen, and is taken off.
    """
    centred, moved = (each - each.mean(axis=1, keepdims=True) for each in (original, other))
    spread = np.maximum(centred.std(axis=1), _LEAST_SPREAD)
    return float(np.sqrt(np.mean(((moved - centred).std(axis=1) / spread) ** 2)))


def reference_directory() -> Path:
    """Return the directory of the sample photographs, in a package or in a checkout.

    Returns:
        A directory that exists.

    Raises:
        CheckpointError: If clipkit was installed without them.
    """
    package = Path(__file__).parents[1]
    for directory in (package / "samples", package.parent / "demo" / "samples"):
        if directory.is_dir():
            return directory
    raise CheckpointError(
        f"the sample photographs are missing from {package}: install clipkit again"
    )


def reference_images() -> list[Path]:
    """Return the photographs, in the order of their names."""
    return sorted(reference_directory().glob("*.jpg"))


def reference_texts() -> list[str]:
    """Return the queries for the photographs, then their labels."""
    directory = reference_directory()
    entries = json.loads((directory / "queries.json").read_text(encoding="utf-8"))
    labels = (directory / "labels.txt").read_text(encoding="utf-8").split("\n")
    return [*(entry["query"] for entry in entries), *labels]


def reference_digest() -> str:
    """Return what identifies the reference inputs, as 64 hex digits."""
    digest = hashlib.sha256("\n".join(reference_texts()).encode())
    for path in reference_images():
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _cosines(first: Embeddings, second: Embeddings) -> NDArray[np.float64]:
    """Return the cosine of each row of one matrix to the same row of the other, shape (N,)."""
    cosines: NDArray[np.float64] = np.einsum("nd,nd->n", first, second, dtype=np.float64)
    return cosines
