"""Embeddings (rows of L2 norm 1 that know their space): normalise, compare, rank and mix them.

Shapes: N and M rows, D dimensions. No model, no file, no image.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipkit.arguments import check_whole
from clipkit.errors import InputError, SpaceMismatchError

Embeddings = NDArray[np.float32]
"""float32, shape (N, D), every row of L2 norm 1."""

# A row that was normalised in bfloat16, and its norm, are rounded by up to .004 each; in half
# precision by .0005.
NORM_TOLERANCE = 1e-2


class EmbeddingArray(np.ndarray[Any, np.dtype[np.float32]]):
    """Embeddings that know their space: a NumPy array with a ``space_id``.

    What leaves rows whole keeps the space: indexing, slicing, copying, pickling, reshaping, another
    number format, and putting rows together with ``np.concatenate`` or ``np.stack``. Arithmetic
    drops it, for its result need not be an embedding, and so do ``np.asarray`` and files. Functions
    that take two sets raise SpaceMismatchError if both know their spaces and these differ. Engine
    and precision make no other space.

    Args:
        rows: Embeddings, shape (N, D), rows of norm 1.
        space_id: Their space, as :attr:`clipkit.Encoder.space_id` has it; None: not known.

    Example:
        >>> rows = EmbeddingArray([[1.0, 0.0], [0.6, 0.8]], "5fd1")
        >>> rows[1:].space_id, hasattr(rows * 2, "space_id")
        ('5fd1', False)
    """

    _space: tuple[str, int] | None  # its id, and D: an array of another width is of no space

    def __new__(cls, rows: ArrayLike, space_id: str | None) -> Self:
        """Return rows, which are not copied if they are float32 already, as those of a space."""
        array = as_floats(rows, "embeddings").view(cls)
        if space_id is not None and array.ndim:
            array._space = space_id, array.shape[-1]
        return array

    @property
    def space_id(self) -> str | None:
        """Identity of the space; None: not known."""
        if self._space is None or self.shape[-1:] != self._space[1:]:
            return None
        return self._space[0]

    def __array_finalize__(self, obj: object) -> None:
        """Take over the space of the array that this one is made from."""
        self._space = obj._space if isinstance(obj, EmbeddingArray) else None

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any
    ) -> Any:
        """Compute with plain arrays, and return a plain one."""
        if out is not None:
            options["out"] = tuple(map(_plain, out))
        return getattr(ufunc, method)(*map(_plain, inputs), **options)

    def __array_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Iterable[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Call a function of NumPy; what it returns is plain, unless it keeps rows whole."""
        args = tuple(args)
        if func not in _KEEP_ROWS:
            args = tuple(map(_plain, args))
            kwargs = {name: _plain(value) for name, value in kwargs.items()}
            return _plain(super().__array_function__(func, types, args, kwargs))
        result = super().__array_function__(func, types, args, kwargs)
        return _joined(result, args[0]) if func is np.concatenate else result

    if TYPE_CHECKING:  # what is taken out knows its space: type checkers know nothing of finalizing

        def __getitem__(self, key: Any) -> Self: ...

    def dot(self, *args: Any, **options: Any) -> Any:
        """Return the matrix product as a plain array."""
        return _plain(self).dot(*args, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the space cross process borders with its rows."""
        return EmbeddingArray, (_plain(self), self.space_id)


_KEEP_ROWS = {np.concatenate, np.stack, np.vstack, np.append, np.take, np.repeat, np.delete}
_KEEP_ROWS |= {np.compress, np.reshape, np.squeeze, np.expand_dims, np.atleast_2d}
_KEEP_ROWS |= {np.split, np.array_split, np.swapaxes}  # the last is a step of the others


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, EmbeddingArray) else value


def _joined(rows: NDArray[Any], parts: Sequence[object]) -> NDArray[Any]:
    """Return rows that were put together as those of the space of all parts, if all know it."""
    if any(np.shape(part)[-1:] != rows.shape[-1:] for part in parts):  # type: ignore[call-overload]
        return rows  # side by side: features of several models, and of no space
    space_id = common_space(*parts)
    if space_id is None:
        return rows
    joined = rows.view(EmbeddingArray)
    joined._space = space_id, rows.shape[-1]
    return joined


def as_floats(values: ArrayLike, name: str, dtype: Any = np.float32) -> NDArray[Any]:
    """Return numbers as a plain array, and refuse what is no array of numbers.

    Args:
        values: Lists, arrays, tensors of the CPU without a gradient.
        name: What to call them in a message.
        dtype: Of the array; None: as they come.

    Returns:
        The array, of any shape; what is such an array already is not copied.

    Raises:
        InputError: If they are no numbers, or rows differ in length.
    """
    try:
        array = np.asarray(values, dtype=dtype)
        if not np.issubdtype(array.dtype, np.number) and array.dtype != bool:
            array = array.astype(np.float32)
    except (TypeError, ValueError, RuntimeError) as error:  # the last by torch
        raise InputError(f"{name} must be an array of numbers: {error}") from error
    return array


def common_space(*sets: object) -> str | None:
    """Return the space of several sets of embeddings, and refuse two spaces.

    Args:
        *sets: Arrays, or lists of rows; those that do not know their space fit any.

    Returns:
        The space_id, if all know theirs; else None.

    Raises:
        SpaceMismatchError: If two of them are of two spaces.
    """
    parts = [part for rows in sets for part in (rows if isinstance(rows, list | tuple) else [rows])]
    spaces = dict.fromkeys(getattr(part, "space_id", None) for part in parts)
    known = [space_id for space_id in spaces if space_id is not None]
    if len(known) > 1:
        raise SpaceMismatchError(
            f"these embeddings are of two spaces, {known[0]} and {known[1]}, so their cosines mean "
            "nothing: encode both with one model (Encoder.space_id says which space it has)"
        )
    return known[0] if known and len(spaces) == 1 else None


def check_embeddings(rows: ArrayLike, name: str = "the embeddings") -> Embeddings:
    """Return embeddings as a plain array, and refuse what are none.

    Args:
        rows: What should be embeddings, of any number format.
        name: What to call them in a message.

    Returns:
        float32, shape (N, D).

    Raises:
        InputError: If the shape is not (N, D) or a row's norm is not 1, give or take
            NORM_TOLERANCE.
    """
    array = as_floats(rows, name)
    if array.ndim != 2:
        raise InputError(f"{name} must have shape (N, D), got {array.shape}")
    norms = np.sqrt(np.einsum("nd,nd->n", array, array))
    bad = np.flatnonzero(~(np.abs(norms - 1) < NORM_TOLERANCE))  # of what is no number, too
    if bad.size:
        raise InputError(
            f"{name} must have rows of norm 1, got norm {norms[bad[0]]:.6g} in row {bad[0]}; "
            f"{bad.size} of {len(array)} rows are not of norm 1: normalize_rows does that"
        )
    return array


def check_comparable(
    first: ArrayLike,
    second: ArrayLike,
    names: tuple[str, str] = ("the first embeddings", "the second embeddings"),
) -> tuple[Embeddings, Embeddings]:
    """Return two sets of embeddings as plain arrays, and refuse what has no cosines.

    Args:
        first: What should be embeddings, shape (N, D).
        second: The same, shape (M, D).
        names: What to call them in a message.

    Returns:
        Both, float32.

    Raises:
        InputError: If the shapes do not fit together, or rows are not of norm 1.
        SpaceMismatchError: If both know their spaces and these differ.
    """
    common_space(first, second)
    left, right = as_floats(first, names[0]), as_floats(second, names[1])
    shapes = left.shape, right.shape
    if len(shapes[0]) != 2 or len(shapes[1]) != 2 or shapes[0][1] != shapes[1][1]:
        raise InputError(
            f"embeddings must have shapes (N, D) and (M, D) with the same D, "
            f"got {shapes[0]} and {shapes[1]}"
        )
    return check_embeddings(left, names[0]), check_embeddings(right, names[1])


def normalize_rows(features: ArrayLike) -> Embeddings:
    """Return features scaled to rows of L2 norm 1.

    Args:
        features: Tower outputs of any norm, shape (N, D).

    Returns:
        Embeddings, float32, shape (N, D). They know their space if the features did: a row that
        is scaled is still of its space.

    Raises:
        InputError: If the shape is not (N, D), a value is not finite or a row is zero.

    Example:
        >>> normalize_rows([[3.0, 4.0]]).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """
    rows = as_floats(features, "features")
    if rows.ndim != 2:
        raise InputError(f"features must have shape (N, D), got {rows.shape}")
    # float64 keeps the norm finite for features as large as float32 allows.
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if bad.size:
        raise InputError(
            f"row {bad[0]} of the features is zero or not finite, so it has no direction; "
            f"{bad.size} of {len(rows)} rows are like this"
        )
    embeddings: Embeddings = (rows / norms[:, None]).astype(np.float32)
    return _in_space_of(features, embeddings)


def cosine_similarity(first: ArrayLike, second: ArrayLike) -> NDArray[np.float32]:
    """Return the cosine of every row of one set of embeddings to every row of another.

    Args:
        first: Embeddings, shape (N, D), rows of norm 1.
        second: Embeddings, shape (M, D), rows of norm 1.

    Returns:
        float32, shape (N, M), in [-1, 1]. Higher is closer.

    Raises:
        InputError: If the shapes do not fit together, or rows are not of norm 1.
        SpaceMismatchError: If both know their spaces (`EmbeddingArray`) and these differ.

    Example:
        >>> cosine_similarity([[1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]).tolist()
        [[1.0, 0.0]]
    """
    left, right = check_comparable(first, second)
    cosines: NDArray[np.float32] = np.clip(left @ right.T, -1.0, 1.0)
    return cosines


def top_k(scores: ArrayLike, k: int) -> NDArray[np.intp]:
    """Return the positions of the k highest scores, best first.

    Args:
        scores: One score an item, shape (M,). Higher is better; NaN comes last.
        k: How many, k >= 1. More than M gives all M.

    Returns:
        Positions, shape (min(k, M),). Equal scores keep the order of the items.

    Raises:
        InputError: If scores is not one-dimensional, or k no whole number of 1 or more.

    Example:
        >>> top_k([0.1, 0.9, 0.9, 0.3], k=3).tolist()
        [1, 2, 3]
    """
    values = as_floats(scores, "scores", dtype=None)
    if values.ndim != 1:
        raise InputError(f"scores must have shape (M,), got {values.shape}")
    k = check_whole(k, "k")
    values = np.where(np.isnan(values), -np.inf, values)
    if k < len(values):
        # Partition first: sorting everything costs ten times as much at a million items.
        threshold = np.partition(values, len(values) - k)[len(values) - k]
        above = np.flatnonzero(values > threshold)
        ties = np.flatnonzero(values == threshold)[: k - len(above)]
        candidates = np.concatenate([above, ties])
    else:
        candidates = np.arange(len(values))
    order: NDArray[np.intp] = candidates[np.argsort(-values[candidates], kind="stable")]
    return order


def mix_embeddings(embeddings: ArrayLike, weights: Sequence[float]) -> Embeddings:
    """Return the weighted sum of embeddings as one embedding.

    Args:
        embeddings: Shape (N, D), rows of norm 1, N >= 1.
        weights: One finite weight a row; negative ones subtract.

    Returns:
        One embedding, shape (1, D), norm 1, of the space that the others know, if they do.

    Raises:
        InputError: If the counts differ, or the parts cancel out but for their rounding errors.

    Example:
        >>> mix_embeddings([[1.0, 0.0], [0.0, 1.0]], [3.0, -4.0]).round(3).tolist()
        [[0.6000000238418579, -0.800000011920929]]
    """
    rows, factors = as_floats(embeddings, "embeddings"), as_floats(weights, "weights")
    if rows.ndim != 2 or factors.shape != (len(rows),) or not len(rows):
        raise InputError(
            "mixing needs one weight for each of 1 or more rows, "
            f"got {factors.size} weights for embeddings of shape {rows.shape}"
        )
    if not np.isfinite(factors).all():
        raise InputError(f"weights must be finite numbers, got {factors.tolist()}")
    mixed = factors @ rows
    # Below this it is what rounding left of the parts: half precision errs by about 5e-4 each.
    if np.linalg.norm(mixed) <= 0.01 * np.abs(factors).max():
        raise InputError("the parts of the query cancel out, so nothing is left to search for")
    return _in_space_of(embeddings, normalize_rows(mixed[None, :]))


def _in_space_of(source: object, rows: Embeddings) -> Embeddings:
    space_id = common_space(source)
    return rows if space_id is None else EmbeddingArray(rows, space_id)
