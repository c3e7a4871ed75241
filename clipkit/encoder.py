"""The one way in: pictures and text to embeddings.

Shapes: N inputs, K readable ones, L context length, D dimensions of the shared space, P patches,
W width of a tower.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.images import ImageInput, check_is_several
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer, tokenizer_digest
from clipkit.models.locate import locate
from clipkit.models.sources import DirectorySource, resolve_source
from clipkit.progress import Progress, map_ahead
from clipkit.runtime.base import FineRuntime, Runtime, Scoring
from clipkit.runtime.bundle import is_bundle

IMAGE_BATCH = 16  # beyond it a small CPU gains nothing (METHODS: 16 to 32 saturate)
TEXT_BATCH = 64


@dataclass(frozen=True)
class EncodedBatch:
    """Some pictures of a stream, in order."""

    positions: list[int]  # of the rows, counted in the stream from 0
    embeddings: Embeddings  # (K, D)
    skipped: list[tuple[int, ImageReadError]]  # position and reason of each unreadable picture


@dataclass(frozen=True)
class EncodingReport:
    """Embeddings of the readable pictures, and why the others are missing."""

    positions: NDArray[np.intp]  # (K,), of the rows in the input
    embeddings: Embeddings  # (K, D)
    skipped: list[tuple[int, ImageReadError]] = field(default_factory=list)


class Encoder:
    """Turns pictures and text into embeddings of one space.

    Args:
        runtime: The two towers on an engine.
        preprocess: Pictures to pixel values, as the checkpoint says.
        tokenizer: Text to token ids, as the checkpoint says.
        name: What the model was asked for by.
        max_pixels: Pictures that decode to more are refused; None takes a share of the memory.
    """

    def __init__(
        self,
        runtime: Runtime,
        preprocess: Preprocess,
        tokenizer: Tokenizer,
        *,
        name: str,
        max_pixels: int | None = None,
    ) -> None:
        self.name = name
        self.preprocess = preprocess
        self.max_pixels = max_pixels
        self._runtime = runtime
        self._tokenizer = tokenizer

    def __repr__(self) -> str:
        return (
            f"Encoder({self.name!r}, embed_dim={self.embed_dim}, engine={self.engine!r}, "
            f"device={self.device!r}, precision={self.precision!r}, space_id={self.space_id!r})"
        )

    @property
    def space_id(self) -> str:
        """Identity of the space; embeddings compare only with those of the same space."""
        return self._runtime.space_id

    @property
    def embed_dim(self) -> int:
        """D, the size of the shared space."""
        return self._runtime.embed_dim

    @property
    def scoring(self) -> Scoring:
        """How the checkpoint turns cosines into logits."""
        return self._runtime.scoring

    @property
    def engine(self) -> str:
        """Name of the engine: "onnx" or "torch"."""
        return self._runtime.engine

    @property
    def device(self) -> str:
        """Where it computes, as torch spells it."""
        return self._runtime.device

    @property
    def precision(self) -> str:
        """Number format of the computation: "fp32", "bf16" or "fp16"."""
        return self._runtime.precision

    def encode_texts(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = TEXT_BATCH,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Return the embeddings of texts.

        Args:
            texts: N texts. One that is longer than the model reads is cut, with a TextCutWarning.
            batch_size: Texts that go through the tower at once; it changes speed and memory only.
            progress: Called after every batch.

        Returns:
            float32, shape (N, D), rows of norm 1; (0, D) for no texts.

        Raises:
            InputError: If texts is one string or holds something else than strings.
        """
        token_ids = self._tokenizer(texts)
        rows = [np.empty((0, self.embed_dim), dtype=np.float32)]
        for start in range(0, len(token_ids), _checked(batch_size)):
            features = self._runtime.text_features(token_ids[start : start + batch_size])
            rows.append(normalize_rows(features))
            if progress:
                progress(min(start + batch_size, len(token_ids)), len(token_ids))
        return np.concatenate(rows)

    def encode_images(
        self,
        images: Iterable[ImageInput],
        *,
        batch_size: int = IMAGE_BATCH,
        progress: Progress | None = None,
        allow_urls: bool = False,
    ) -> Embeddings:
        """Return the embeddings of pictures, all of which must be readable.

        Args:
            images: N pictures: paths, bytes, file objects, PIL images or uint8 arrays.
            batch_size: Pictures that go through the tower at once; changes speed and memory only.
            progress: Called after every batch.
            allow_urls: Whether strings that begin with http:// or https:// are fetched.

        Returns:
            float32, shape (N, D), rows of norm 1; (0, D) for no pictures.

        Raises:
            ImageReadError: At the first picture that cannot be read. To go on without such
                pictures, use :meth:`encode_readable_images`.
            InputError: If an item is no picture at all.
        """
        rows = [np.empty((0, self.embed_dim), dtype=np.float32)]
        for batch in self.stream_images(
            images, batch_size=batch_size, progress=progress, allow_urls=allow_urls
        ):
            if batch.skipped:
                raise batch.skipped[0][1]
            rows.append(batch.embeddings)
        return np.concatenate(rows)

    def encode_readable_images(
        self,
        images: Iterable[ImageInput],
        *,
        batch_size: int = IMAGE_BATCH,
        progress: Progress | None = None,
        allow_urls: bool = False,
    ) -> EncodingReport:
        """Return the embeddings of the readable pictures, with a reason for every other one.

        Args:
            images: N pictures, as for :meth:`encode_images`.
            batch_size: Pictures that go through the tower at once.
            progress: Called after every batch.
            allow_urls: Whether strings that begin with http:// or https:// are fetched.

        Returns:
            A report over all N pictures.

        Raises:
            InputError: If an item is no picture at all.
        """
        positions: list[int] = []
        rows = [np.empty((0, self.embed_dim), dtype=np.float32)]
        skipped: list[tuple[int, ImageReadError]] = []
        for batch in self.stream_images(
            images, batch_size=batch_size, progress=progress, allow_urls=allow_urls
        ):
            positions += batch.positions
            rows.append(batch.embeddings)
            skipped += batch.skipped
        return EncodingReport(np.array(positions, dtype=np.intp), np.concatenate(rows), skipped)

    def stream_images(
        self,
        images: Iterable[ImageInput],
        *,
        batch_size: int = IMAGE_BATCH,
        progress: Progress | None = None,
        allow_urls: bool = False,
    ) -> Iterator[EncodedBatch]:
        """Yield embeddings batch by batch, in memory that does not grow with their number.

        Pictures are decoded in threads, at most two batches ahead, while the tower computes.

        Args:
            images: Any number of pictures, as for :meth:`encode_images`.
            batch_size: Readable pictures a batch.
            progress: Called after every batch.
            allow_urls: Whether strings that begin with http:// or https:// are fetched.

        Yields:
            Batches in the order of the pictures. Each position is in exactly one batch, with its
            row or with its reason.

        Raises:
            InputError: If an item is no picture at all.
        """
        check_is_several(images)
        total = len(images) if isinstance(images, Sequence) else None
        batch_size = _checked(batch_size)
        positions: list[int] = []
        pixel_values: list[NDArray[np.float32]] = []
        skipped: list[tuple[int, ImageReadError]] = []
        done = 0
        for done, outcome in enumerate(self._decode(images, 2 * batch_size, allow_urls), start=1):
            if isinstance(outcome, ImageReadError):
                skipped.append((done - 1, outcome))
            else:
                positions.append(done - 1)
                pixel_values.append(outcome)
            if len(positions) == batch_size or len(skipped) == batch_size:
                yield self._embed(positions, pixel_values, skipped)
                positions, pixel_values, skipped = [], [], []
                if progress:
                    progress(done, total)
        if positions or skipped:
            yield self._embed(positions, pixel_values, skipped)
            if progress:
                progress(done, total)

    def token_features(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one feature a token: what the text tower sees before it pools.

        Args:
            texts: N texts.

        Returns:
            float32, shape (N, L, W), of any norm.

        Raises:
            InputError: If the encoder runs on an engine that gives pooled features only.
        """
        return self._fine_runtime("token features").token_features(self._tokenizer(texts))

    def patch_features(self, images: Iterable[ImageInput]) -> NDArray[np.float32]:
        """Return one feature a patch: what the image tower sees before it pools.

        Args:
            images: N pictures, as for :meth:`encode_images`.

        Returns:
            float32, shape (N, P, W), of any norm, patches row by row from the top left.

        Raises:
            InputError: If the encoder runs on an engine that gives pooled features only, or there
                are no pictures.
            ImageReadError: At the first picture that cannot be read.
        """
        runtime = self._fine_runtime("patch features")
        check_is_several(images)
        outcomes = list(self._decode(images, 2 * IMAGE_BATCH, allow_urls=False))
        for outcome in outcomes:
            if isinstance(outcome, ImageReadError):
                raise outcome
        if not outcomes:
            raise InputError("patch features need at least one picture, got none")
        return runtime.patch_features(np.stack([o for o in outcomes if isinstance(o, np.ndarray)]))

    def save(self, directory: str | Path) -> None:
        """Write the model as a checkpoint directory in open_clip's layout, whole or not at all.

        Plain open_clip opens it as "local-dir:directory" with equal embeddings, and so does
        :func:`load`, with the same space_id.

        Args:
            directory: Where to. A checkpoint that is there is replaced; anything else is not.

        Raises:
            InputError: If the encoder runs on an engine that does not hold the weights, or they
                were rounded when they were loaded.
            CheckpointError: If something that is no checkpoint lies there, or writing fails.
        """
        runtime = self._fine_runtime("weights to save")
        runtime.save(Path(directory), tokenizer_json=self._tokenizer.to_json())

    def _fine_runtime(self, what: str) -> FineRuntime:
        if not isinstance(self._runtime, FineRuntime):
            raise InputError(
                f"{what} are not available on the {self.engine} engine; "
                f'load the model with engine="torch"'
            )
        return self._runtime

    def _embed(
        self,
        positions: list[int],
        pixel_values: list[NDArray[np.float32]],
        skipped: list[tuple[int, ImageReadError]],
    ) -> EncodedBatch:
        if not positions:
            return EncodedBatch([], np.empty((0, self.embed_dim), dtype=np.float32), skipped)
        features = self._runtime.image_features(np.stack(pixel_values))
        return EncodedBatch(positions, normalize_rows(features), skipped)

    def _decode(
        self,
        images: Iterable[ImageInput],
        ahead: int,
        allow_urls: bool,  # noqa: FBT001 - private, and every caller names it
    ) -> Iterator[NDArray[np.float32] | ImageReadError]:
        """Return pixel values or the reason why there are none, in order, decoding ahead."""

        def decode(image: ImageInput) -> NDArray[np.float32] | ImageReadError:
            try:
                return self.preprocess.pixel_values(
                    image, max_pixels=self.max_pixels, allow_urls=allow_urls
                )
            except ImageReadError as error:
                return error

        return map_ahead(decode, images, ahead=ahead)


def load(
    name: str | Path = "starter",
    *,
    device: str = "auto",
    precision: str = "auto",
    engine: Literal["auto", "onnx", "torch"] = "auto",
    cache_dir: str | Path | None = None,
) -> Encoder:
    """Return the encoder of a model.

    Nothing is fetched unless the name asks for it: "starter", directories and files never do.

    Args:
        name: "starter" (embedded, works without torch); an open_clip name with its tag, as in
            "ViT-B-32/laion2b_s34b_b79k"; "hf-hub:org/repo"; "local-dir:path" or the path of a
            checkpoint directory; or a weights file with its architecture, as
            :func:`clipkit.models.sources.resolve_source` describes.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        precision: "auto", "fp32", "bf16" or "fp16".
        engine: "onnx" needs a compiled model and runs on the CPU in float32; "torch" runs
            anything; "auto" takes the first that can.
        cache_dir: Where weights from a hub are kept, if not in the hub's own cache.

    Returns:
        The encoder, ready to encode.

    Raises:
        InputError: If device, precision or engine is not one of the above, or they do not fit.
        CheckpointError: If the name is unknown or the weights are missing or damaged.
        OfflineError: If weights would have to be fetched and there is no network.
        MissingExtraError: If the model needs torch and torch is not installed.
    """
    if engine not in ("auto", "onnx", "torch"):
        raise InputError(f'engine must be "auto", "onnx" or "torch", got {engine!r}')
    source = resolve_source(name)
    fits_onnx = device in ("auto", "cpu") and precision in ("auto", "fp32")
    if engine == "onnx" and not fits_onnx:
        raise InputError(
            f"the onnx engine runs on the CPU in fp32, got device {device!r} and precision "
            f'{precision!r}; use engine="torch" for others'
        )
    bundle = source if isinstance(source, DirectorySource) and is_bundle(source.directory) else None
    if bundle is not None and fits_onnx and engine != "torch":
        return _load_bundle(bundle)
    if engine == "onnx":
        raise InputError(f'{name} is not compiled for the onnx engine; use engine="torch"')

    from clipkit.models.checkpoint import load_towers
    from clipkit.runtime.torch_runtime import TorchRuntime

    towers = load_towers(source, cache_dir=None if cache_dir is None else Path(cache_dir))
    text_cfg = towers.model_cfg["text_cfg"]
    space_id = towers.space_id(tokenizer_digest(text_cfg, towers.tokenizer_source))
    return Encoder(
        TorchRuntime(towers, device=device, precision=precision, space_id=space_id),
        Preprocess.from_config(towers.preprocess_cfg, towers.image_size),
        Tokenizer.from_config(text_cfg, towers.tokenizer_source),
        name=source.name,
    )


def _load_bundle(source: DirectorySource) -> Encoder:
    from clipkit.runtime.onnx_runtime import OnnxRuntime

    files = locate(source)
    return Encoder(
        OnnxRuntime(source.directory),
        Preprocess.from_config(files.preprocess_cfg, files.model_cfg["vision_cfg"]["image_size"]),
        Tokenizer.from_config(files.model_cfg["text_cfg"], files.tokenizer),
        name=source.name,
    )


def _checked(batch_size: int) -> int:
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    return batch_size
