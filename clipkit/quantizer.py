"""Embeddings in fewer bits: half precision, 8 bits or 1 bit a dimension, with measured recall.

Shapes: N rows, M queries, D dimensions.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipkit.arguments import check_path, check_whole
from clipkit.embeddings import Embeddings, as_floats, check_embeddings, common_space
from clipkit.errors import InputError, SpaceMismatchError
from clipkit.files import atomic_write

QuantizedPrecision = Literal["float16", "int8", "binary"]
PRECISIONS: tuple[QuantizedPrecision, ...] = get_args(QuantizedPrecision)

LEAST_ROWS = 32
"""Fewer do not say how far the dimensions spread: 8 lose .02 of recall@10 in 8 bits, 32 nothing."""

# Fitted on COCO's photographs and captions by ViT-B/16, looked at on LVIS and CIFAR-10 by ViT-B/32
# (docs/embeddings.md): wider than 4 deviations the steps are too coarse, narrower too much is cut
# off. One bit as the deviation to the power .75: texts find more than with all bits alike, and
# images more than with 1, the least squared error.
_DEVIATIONS = 4.0
_BINARY_POWER = 0.75
# No dimension is taken to spread less than this share of the usual: of a constant one nothing is
# known, and its next value would be far outside.
_LEAST_SPREAD = 1 / 8

_BLOCK_ROWS = 8192  # decoded at a time: 16 MB at 512 dimensions


@dataclass(frozen=True, eq=False)
class EmbeddingQuantizer:
    """Rounds embeddings to fewer bits, each dimension by its own centre and step.

    A code stands for centre + step x code. Dimensions of CLIP's embeddings have very different
    centres and spreads, so one scale for all loses several times as much. Queries are not rounded.

    "float16" halves the memory and changes next to nothing; "int8" quarters it and keeps about 99
    of 100 nearest images; "binary" takes a 32nd and keeps about 60, which is enough to choose
    candidates whose embeddings are compared then: see :meth:`recall`, and docs/embeddings.md.

    :meth:`fit` makes one, :meth:`save` and :meth:`load` keep it beside the codes.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> rows = rng.normal(size=(64, 8)) + 1
        >>> rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        >>> quantizer = EmbeddingQuantizer.fit(rows, "int8")
        >>> codes = quantizer.quantize(rows)
        >>> (
        ...     codes.dtype,
        ...     float(np.abs(quantizer.similarity(rows, codes) - rows @ rows.T).max()) < 0.02,
        ... )
        (dtype('int8'), True)
    """

    precision: QuantizedPrecision
    center: NDArray[np.float32]  # (D,)
    step: NDArray[np.float32]  # (D,)
    space_id: str | None = None  # of the embeddings that it was fitted on; None: not known

    @classmethod
    def fit(cls, embeddings: ArrayLike, precision: QuantizedPrecision) -> "EmbeddingQuantizer":
        """Return a quantizer for embeddings like these.

        Args:
            embeddings: Shape (N, D), rows of norm 1: a sample of what will be quantized, of images
                if these are images; 32 at least, and a few hundred are plenty. For "float16" they
                give the size and the space alone.
            precision: "float16", "int8" or "binary".

        Returns:
            The quantizer.

        Raises:
            InputError: If there is no such precision, these are no embeddings, or too few.
        """
        if not isinstance(precision, str) or precision not in PRECISIONS:
            raise InputError(f'precision must be "float16", "int8" or "binary", got {precision!r}')
        rows = check_embeddings(embeddings)
        space_id = common_space(embeddings)
        if precision == "float16":
            width = rows.shape[1]
            return cls(precision, np.zeros(width, np.float32), np.ones(width, np.float32), space_id)
        if len(rows) < LEAST_ROWS:
            raise InputError(
                f"a quantizer of {precision} needs at least {LEAST_ROWS} embeddings to see how far "
                f"each dimension spreads, got {len(rows)}"
            )
        spread = rows.std(axis=0, ddof=1)
        spread = np.maximum(spread, max(_LEAST_SPREAD * float(np.median(spread)), 1e-6))
        if precision == "int8":
            step = _DEVIATIONS / 127 * spread
        else:
            step = spread**_BINARY_POWER
            step *= np.sqrt(np.mean(spread**2) / np.mean(step**2))  # as long as the rows
        return cls(precision, rows.mean(axis=0), step.astype(np.float32), space_id)

    def quantize(self, embeddings: ArrayLike) -> NDArray[Any]:
        """Return the codes of embeddings.

        Args:
            embeddings: Shape (N, D), rows of norm 1.

        Returns:
            float16 or int8, shape (N, D); for "binary" uint8, shape (N, D / 8 rounded up): one bit
            a dimension, as np.packbits packs them.

        Raises:
            InputError: If these are no embeddings, or of another size.
            SpaceMismatchError: If they are of another space than those it was fitted on.
        """
        rows = self._checked(embeddings, "the embeddings")
        if self.precision == "float16":
            return rows.astype(np.float16)
        if self.precision == "binary":
            return np.packbits(rows > self.center, axis=1)
        steps: NDArray[np.float32] = np.rint((rows - self.center) / self.step)
        return np.clip(steps, -127, 127).astype(np.int8)

    def dequantize(self, codes: ArrayLike) -> NDArray[np.float32]:
        """Return what codes stand for.

        Args:
            codes: As :meth:`quantize` returns them.

        Returns:
            float32, shape (N, D), of norm 1 give or take the rounding; of "binary" of any norm.

        Raises:
            InputError: If they are of another kind or size.
        """
        return self.center + self.step * self._numbers(self._checked_codes(codes))

    def similarity(self, queries: ArrayLike, codes: ArrayLike) -> NDArray[np.float32]:
        """Return about the cosine of every query to every coded row.

        Args:
            queries: Embeddings, shape (M, D), rows of norm 1.
            codes: Of N rows, as :meth:`quantize` returns them; they may be mapped from a file.

        Returns:
            float32, shape (M, N). Within .001 of the cosine for "float16", .01 for "int8"; for
            "binary" only the order means something.

        Raises:
            InputError: If these are no embeddings, or of another size or kind.
            SpaceMismatchError: If the queries are of another space.
        """
        rows = self._checked(queries, "the queries")
        values = self._checked_codes(codes)
        # The centre and the steps are put into the queries: a code is turned into a number only.
        scaled, offsets = rows * self.step, rows @ self.center
        scores = np.empty((len(rows), len(values)), dtype=np.float32)
        for start in range(0, len(values), _BLOCK_ROWS):
            block = self._numbers(values[start : start + _BLOCK_ROWS])
            np.matmul(scaled, block.T, out=scores[:, start : start + len(block)])
        scores += offsets[:, None]
        return scores

    def recall(
        self, queries: ArrayLike, embeddings: ArrayLike, *, k: int = 10, candidates: int = 1
    ) -> float:
        """Return how many of the nearest embeddings are still found by their codes: recall@k.

        To be measured on queries like those to come, not on those that fit() saw, and on as many
        embeddings as there will be: among more, more are nearly as near.

        Args:
            queries: Embeddings, shape (M, D), M >= 1.
            embeddings: Shape (N, D), N >= 1.
            k: How many nearest ones count.
            candidates: How many times k are taken by their codes, as candidates whose embeddings
                are then compared.

        Returns:
            0 to 1: the share of the k embeddings of the highest cosine that are among the
            k x candidates of the highest score, the mean over queries.

        Raises:
            InputError: If these are no embeddings, there are none, or k or candidates is no whole
                number of 1 or more.
            SpaceMismatchError: If they are of another space.
        """
        wanted = check_whole(k, "k")
        taken = wanted * check_whole(candidates, "candidates")
        rows, found = self._checked(embeddings, "the embeddings"), []
        asked = self._checked(queries, "the queries")
        if not len(rows) or not len(asked):
            raise InputError(
                f"recall needs at least one query and one embedding, got {len(asked)} and "
                f"{len(rows)}"
            )
        codes = self.quantize(rows)
        wanted, taken = min(wanted, len(rows)), min(taken, len(rows))
        for query in asked:  # one at a time: the scores of all may not fit into memory
            cosines = rows @ query
            scores = self.similarity(query[None], codes)[0]
            chosen = cosines[np.argpartition(-scores, taken - 1)[:taken]]
            # Of equal ones, as copies are, any will do.
            least = np.partition(cosines, len(rows) - wanted)[len(rows) - wanted]
            found.append(min(int(np.count_nonzero(chosen >= least)), wanted) / wanted)
        return float(np.mean(found))

    def save(self, path: str | Path) -> None:
        """Write the quantizer to a file, whole or not at all.

        Args:
            path: Where to; NumPy's .npz, which np.load reads too.

        Raises:
            InputError: If path is no path, does not end with .npz, or cannot be written.
        """
        target = check_path(path, "path")
        if target.suffix != ".npz":
            raise InputError(f"path must end with .npz, got {str(target)!r}")
        settings = json.dumps({"precision": self.precision, "space_id": self.space_id})
        try:
            with atomic_write(target) as draft:
                np.savez(draft, center=self.center, step=self.step, settings=np.array(settings))
        except (OSError, ValueError) as error:  # the latter of a path with a null character
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{target} cannot be written: {reason}") from error

    @classmethod
    def load(cls, path: str | Path) -> "EmbeddingQuantizer":
        """Return a quantizer that was saved.

        Args:
            path: The file.

        Returns:
            The same quantizer.

        Raises:
            InputError: If the file is missing, damaged, or something else.
        """
        source = check_path(path, "path")
        try:
            # Opened here: of a damaged file np.load leaves its own open.
            with source.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                center, step = stored["center"], stored["step"]
                settings = json.loads(str(stored["settings"]))
            quantizer = cls(settings["precision"], center, step, settings["space_id"])
        except Exception as error:  # zip files, npy headers and JSON raise nearly any
            raise InputError(
                f"{source} is no quantizer, as EmbeddingQuantizer.save writes it: {error}"
            ) from error
        quantizer._check_itself(source)
        return quantizer

    def _check_itself(self, source: Path) -> None:
        sizes = {array.shape for array in (self.center, self.step)}
        is_right = (
            self.precision in PRECISIONS
            and len(sizes) == 1
            and self.center.ndim == 1
            and {self.center.dtype, self.step.dtype} == {np.dtype(np.float32)}
            and bool(np.isfinite(self.center).all())
            and bool((np.isfinite(self.step) & (self.step > 0)).all())
            and isinstance(self.space_id, str | None)
        )
        if not is_right:
            raise InputError(
                f"{source} is no quantizer, as EmbeddingQuantizer.save writes it: its precision "
                f"is {self.precision!r}, its numbers are of shape {self.center.shape} and "
                f"{self.step.shape}"
            )

    def _checked(self, embeddings: ArrayLike, name: str) -> Embeddings:
        rows = check_embeddings(embeddings, name)
        if rows.shape[1] != len(self.center):
            raise InputError(
                f"{name} must have the {len(self.center)} dimensions that the quantizer was "
                f"fitted on, got {rows.shape[1]}"
            )
        space_id = common_space(embeddings)
        if None not in (space_id, self.space_id) and space_id != self.space_id:
            raise SpaceMismatchError(
                f"{name} are of the space {space_id}, and the quantizer was fitted on "
                f"{self.space_id}: fit one for this model"
            )
        return rows

    def _numbers(self, codes: NDArray[Any]) -> NDArray[np.float32]:
        """Return codes as numbers, bits as -1 and 1."""
        if self.precision == "binary":
            bits = np.unpackbits(codes, axis=1, count=len(self.center))
            codes = 2 * bits.view(np.int8) - 1
        return codes.astype(np.float32)

    def _checked_codes(self, codes: ArrayLike) -> NDArray[Any]:
        values = as_floats(codes, "codes", dtype=None)
        width = len(self.center)
        kinds = {"float16": (np.float16, width), "int8": (np.int8, width)}
        kind, columns = kinds.get(self.precision, (np.uint8, -(-width // 8)))
        if values.ndim != 2 or values.shape[1] != columns or values.dtype != kind:
            raise InputError(
                f"codes of {self.precision} must be {np.dtype(kind)} of shape (N, {columns}), as "
                f"quantize() returns them, got {values.dtype} of shape {values.shape}"
            )
        return values
