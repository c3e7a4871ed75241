"""Which pairs an epoch draws and how often: mixtures of datasets, and classes drawn evenly.

Shapes: N pairs, G groups of pairs that are drawn equally often.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import InputError

# Parts of seeds, so that these random numbers differ from others that the run's seed gives.
_TURNS, _SHUFFLE = 0x706C, 0x6570
# Multiples of it are spread evenly between whole numbers, however many there are.
_GOLDEN = (5**0.5 - 1) / 2
_ROUNDING = 1e-9  # of sums of amounts, which may end just below a whole number
_MAX_DRAWN = 1 << 31  # pairs: 16 GiB of their numbers alone


@dataclass(frozen=True, eq=False)
class EpochDraws:
    """How often an epoch draws each pair: groups of pairs, each with a weight."""

    sizes: tuple[int, ...]  # (G,), pairs of each group
    weights: tuple[float, ...]  # (G,), how often an epoch draws each pair of a group
    rows: NDArray[np.int64] | None = None  # (N,), of the groups one after the other; None: 0..N-1

    @property
    def fingerprint(self) -> str:
        """What identifies the draws."""
        if self.rows is None:
            return str(self.weights)
        return f"{self.weights} {hashlib.sha256(self.rows.tobytes()).hexdigest()}"

    @property
    def num_drawn(self) -> int:
        """How many pairs an epoch draws."""
        return len(self.order(seed=0, epoch=0))

    def order(self, *, seed: int, epoch: int) -> NDArray[np.int64]:
        """Return the rows that an epoch trains on, shuffled.

        Args:
            seed: Of the run.
            epoch: Counted from 0.

        Returns:
            Of datasets as :func:`epoch_order` returns them, of balanced classes as
            :func:`balanced_order` does.
        """
        if self.rows is None:
            return epoch_order(self.sizes, self.weights, seed=seed, epoch=epoch)
        return self.rows[balanced_order(self.sizes, self.weights, seed=seed, epoch=epoch)]

    def balanced(self, classes: Sequence[str], strength: float) -> "EpochDraws":
        """Return draws of as many pairs in which rare classes come more often.

        Args:
            classes: The class of each pair, shape (N,).
            strength: 0: a class of n pairs is drawn in proportion to n, as before; 1: all classes
                equally often; between: to n ** (1 - strength), .5 being the square-root sampling
                of Mahajan et al. 2018 (arXiv 1805.00932). n counts the pairs as these draws weigh
                them.

        Returns:
            Draws with a group for each class of each group.
        """
        members: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
        amounts: defaultdict[str, float] = defaultdict(float)
        for group, rows in enumerate(self._rows_of_groups()):
            for row in rows.tolist():
                members[group, classes[row]].append(row)
                amounts[classes[row]] += self.weights[group]
        wanted = {name: amount ** (1 - strength) for name, amount in amounts.items()}
        factor = sum(amounts.values()) / sum(wanted.values())
        return EpochDraws(
            tuple(map(len, members.values())),
            tuple(
                self.weights[group] * factor * wanted[name] / amounts[name]
                for group, name in members
            ),
            np.concatenate([np.array(rows, dtype=np.int64) for rows in members.values()]),
        )

    def mixed(self, lengths: Iterable[float] | None = None) -> "EpochDraws":
        """Return draws of N pairs to which each group contributes the share that its weight is.

        Args:
            lengths: Mean length of each group's captions in tokens, shape (G,): shares are then of
                tokens; None: of pairs.

        Returns:
            Draws of the same groups with other weights.
        """
        parts = np.array(self.weights, dtype=np.float64)
        if lengths is not None:
            parts /= np.array(list(lengths), dtype=np.float64)
        drawn = sum(self.sizes) * parts / parts.sum()
        return replace(self, weights=tuple((drawn / np.maximum(self.sizes, 1)).tolist()))

    def _rows_of_groups(self) -> list[NDArray[np.int64]]:
        rows = np.arange(sum(self.sizes)) if self.rows is None else self.rows
        return np.split(rows, np.cumsum(self.sizes)[:-1])


def epoch_order(
    sizes: Sequence[int], weights: Sequence[float], *, seed: int, epoch: int
) -> NDArray[np.int64]:
    """Return the rows that an epoch trains on, shuffled.

    Args:
        sizes: How many pairs each dataset has.
        weights: How often each dataset's pairs are drawn, above 0: 2 draws each of them twice, 1.3
            each once and three in ten again. The next epoch draws others, until all were drawn
            equally often: 0.5 draws one half and then the other. At least one pair of each dataset
            is drawn, or a small one would never be.
        seed: Of the run.
        epoch: Counted from 0.

    Returns:
        Rows of the datasets one after the other, shape (about the sum of sizes x weights,), int64;
        equal arguments give equal orders, and each epoch has as many.

    Raises:
        InputError: If their row numbers would not fit in memory.
    """
    _check_number(sum(size * weight for size, weight in zip(sizes, weights, strict=True)))
    drawn, start = [np.empty(0, dtype=np.int64)], 0
    for number, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
        whole = int(weight)
        rest = max(round((weight - whole) * size), 0 if whole else min(size, 1))
        turns = np.random.default_rng([seed, 0, number, _TURNS]).permutation(size)
        turn = np.arange(epoch * rest, (epoch + 1) * rest) % max(size, 1)
        drawn += [start + np.tile(np.arange(size), whole), start + turns[turn]]
        start += size
    return np.random.default_rng([seed, epoch, 0, _SHUFFLE]).permutation(np.concatenate(drawn))


def balanced_order(
    sizes: Sequence[int], weights: Sequence[float], *, seed: int, epoch: int
) -> NDArray[np.int64]:
    """Return the rows that an epoch trains on where groups are many and may be small.

    What a group is drawn beyond a whole number goes to it in that share of the epochs, so that
    rounding adds up to nothing: systematic sampling, from another start in each epoch.

    Args:
        sizes: How many pairs each group has, 1 or more.
        weights: How often each pair of a group is drawn, on average over the epochs.
        seed: Of the run.
        epoch: Counted from 0.

    Returns:
        Rows of the groups one after the other, shape (sum of sizes x weights, rounded,), int64,
        shuffled. The pairs of a group take turns, also from one epoch to the next.

    Raises:
        InputError: If their row numbers would not fit in memory.
    """
    amounts = np.multiply(sizes, weights)
    _check_number(amounts.sum())
    # In any order but that of the classes, whose sizes may rise or fall.
    places = np.random.default_rng([seed, 0, len(sizes), _TURNS]).permutation(len(sizes))
    edges = np.cumsum(amounts[places])
    edges *= round(edges[-1]) / edges[-1]

    def counts(epoch: int) -> NDArray[np.int64]:
        ends = np.floor(edges + epoch * _GOLDEN % 1 + _ROUNDING).astype(np.int64)
        of_groups = np.empty(len(sizes), np.int64)
        of_groups[places] = np.diff(ends, prepend=0)
        return of_groups

    before = sum(map(counts, range(epoch)), np.zeros(len(sizes), np.int64))
    drawn, start = [], 0
    for number, (size, first, count) in enumerate(
        zip(sizes, before.tolist(), counts(epoch).tolist(), strict=True)
    ):
        turns = np.random.default_rng([seed, 0, number, _TURNS]).permutation(size)
        drawn.append(start + turns[np.arange(first, first + count) % size])
        start += size
    return np.random.default_rng([seed, epoch, 0, _SHUFFLE]).permutation(np.concatenate(drawn))


def _check_number(expected: float) -> None:
    if expected > _MAX_DRAWN:
        raise InputError(
            f"an epoch may draw up to {_MAX_DRAWN:,} pairs, with these weights it were "
            f"{expected:.3g}: lower the weights of the largest datasets"
        )
