"""FakeEncoder, an encoder without a model whose vectors can be computed by hand, and what it needs.

An image's vector is its mean colour and a constant, (red, green, blue, 1) with colours 0..255,
scaled to norm 1. The words of `WORDS` point along the axes; other words along a direction of
their own. So the cosine of "red" and an image is r / sqrt(r² + g² + b² + 1).
"""

import functools
import hashlib
import itertools
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from clipkit.embeddings import EmbeddingArray, Embeddings, normalize_rows
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.image_embedding import EncodedBatch
from clipkit.errors import ImageReadError
from clipkit.inputs.crop_boxes import CropBox, pixel_box
from clipkit.inputs.image_input import ImageInput, image_name
from clipkit.inputs.images import read_image
from clipkit.inputs.tokenizer import TokenizedTexts
from clipkit.progress import Progress
from clipkit.runtime.base import Scoring

WORDS = {
    "red": (1.0, 0.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0, 0.0),
    "blue": (0.0, 0.0, 1.0, 0.0),
    "dark": (0.0, 0.0, 0.0, 1.0),
}

# A library waits for the disk at every commit; a disk in memory will do where there is one.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class FakeEncoder(Encoder):
    """Stands in for an encoder of any model and remembers what it was asked.

    Args:
        space_id: Identity of the space it pretends to have.
        name: The model it pretends to be.
        batch_size: Images a batch, whatever the caller asks for.
        before_image: Called before each image with how many came before.
    """

    embed_dim = 4
    engine = "fake"
    device = "cpu"
    precision = "fp32"
    scoring = Scoring(log_scale=0.0)

    may_weights_change = False
    space_id = "fake-space"  # like the others a plain attribute, so that a test can change it

    def __init__(
        self,
        *,
        space_id: str = "fake-space",
        name: str = "fake",
        batch_size: int = 2,
        before_image: Callable[[int], object] | None = None,
    ) -> None:
        self.name = name
        self.space_id = space_id
        self.max_pixels = None
        self.batch_size = batch_size
        self.before_image = before_image
        self.encoded_images: list[str] = []  # file names, one for each forward pass
        self.encoded_parts: list[tuple[str, int]] = []  # of images whose parts were, how many
        self.encoded_texts: list[str] = []

    def check_weights(self) -> None:
        """Do nothing: there are no weights."""

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as a fake of the same name and space, which has not been asked anything."""
        return partial(FakeEncoder, space_id=self.space_id, name=self.name), ()

    def encode_texts(
        self,
        texts: Iterable[str],
        *,
        prompt: str = "",
        batch_size: int = 1,
        progress: Progress | None = None,
    ) -> EmbeddingArray:
        """Return the vectors of words, shape (N, 4)."""
        words = [prompt + text for text in texts]
        self.encoded_texts += words
        rows = np.concatenate([np.empty((0, 4), np.float32), *map(word_embedding, words)])
        return EmbeddingArray(rows, self.space_id)

    def encode_prompts(
        self,
        ensembles: Iterable[Iterable[str]],
        *,
        batch_size: int = 1,
        progress: Progress | None = None,
    ) -> EmbeddingArray:
        """Return the mean vectors of words, of norm 1, shape (E, 4)."""
        means = [self.encode_texts(words).mean(axis=0) for words in ensembles]
        return EmbeddingArray(normalize_rows(np.reshape(means, (-1, 4))), self.space_id)

    def tokenize(self, texts: Iterable[str]) -> TokenizedTexts:
        """Return token ids that are equal for equal texts only, shape (N, 4)."""
        digests = [hashlib.sha256(text.encode()).digest() for text in texts]
        ids = np.frombuffer(b"".join(digests), dtype=np.int64).reshape(-1, 4)
        return TokenizedTexts(
            ids, np.zeros(len(ids), bool), np.zeros(len(ids), bool), np.zeros(len(ids), int)
        )

    def stream_images(
        self,
        images: Iterable[ImageInput],
        *,
        batch_size: int | None = None,
        progress: Progress | None = None,
        allow_urls: bool = False,
        boxes: Sequence[CropBox] | None = None,
    ) -> Generator[EncodedBatch]:
        """Yield batches of vectors, shape (K, 4); the methods that take images all use it."""
        items = enumerate(images)  # asked for one batch at a time
        while batch := list(itertools.islice(items, self.batch_size)):
            positions: list[int] = []
            rows = [np.empty((0, 4), np.float32)]
            skipped: list[tuple[int, ImageReadError]] = []
            for position, image in batch:
                try:
                    rows.append(
                        self._encode(image) if boxes is None else self._encode_parts(image, boxes)
                    )
                except ImageReadError as error:
                    skipped.append((position, error))
                else:
                    positions.append(position)
            embeddings = EmbeddingArray(np.concatenate(rows), self.space_id)
            yield EncodedBatch(positions, embeddings, skipped)

    def _encode_parts(self, image: ImageInput, boxes: Sequence[CropBox]) -> Embeddings:
        self._encode(image)
        self.encoded_parts.append((self.encoded_images[-1], len(boxes)))
        whole = read_image(image).pixels
        parts = [whole.crop(pixel_box(box, whole.size)) for box in boxes]
        return np.concatenate([image_embedding(part) for part in parts])

    def _encode(self, image: ImageInput) -> Embeddings:
        if self.before_image is not None:
            self.before_image(len(self.encoded_images))
        if isinstance(image, Image.Image):
            self.encoded_images.append("<PIL image>")
            return image_embedding(image)
        if not isinstance(image, str | Path):
            self.encoded_images.append(image_name(image))
            return image_embedding(read_image(image).pixels)
        self.encoded_images.append(Path(image).name)
        try:
            with Image.open(image) as photo:
                return image_embedding(photo)
        except (OSError, SyntaxError) as error:
            raise ImageReadError(image, "is not an image") from error


@functools.cache
def word_embedding(word: str) -> Embeddings:
    """Return the vector of a word, shape (1, 4), norm 1."""
    if word in WORDS:
        return np.array([WORDS[word]], dtype=np.float32)
    digest = hashlib.sha256(word.encode()).digest()
    return normalize_rows(np.frombuffer(digest, dtype=np.int16)[None, :4])


def image_embedding(image: Image.Image) -> Embeddings:
    """Return the vector of an image, shape (1, 4), norm 1."""
    red, green, blue = np.asarray(image.convert("RGB"), dtype=np.float64).mean(axis=(0, 1))
    return normalize_rows([[red, green, blue, 1.0]])


def save_image(path: Path, color: tuple[int, int, int], *, size: int = 2) -> Path:
    """Write an image of one colour, with its folders, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), color).save(path)
    return path


def age_files(folder: Path) -> None:
    """Make every file of a folder an hour older: a file that is just written is read twice."""
    for path in folder.rglob("*"):
        if path.is_file():
            change_time(path, -3600 * 10**9)


def change_time(path: Path, nanoseconds: int = 1) -> None:
    """Give a file another time of change, whatever the clock of the file system."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + nanoseconds))
