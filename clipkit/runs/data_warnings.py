"""Warnings of a run's data: sets that cannot decide, and images both trained and measured on."""

import math
from collections.abc import Iterator

from clipkit.data.listed_pairs import ListedPairs
from clipkit.data.overlap import shared_images
from clipkit.data.pair import PairDataset, list_some
from clipkit.runs.data import RunData
from clipkit.runtime.parity import reference_directory
from clipkit.training.config import SAMPLES, RunConfig

FEW_VALIDATED = 50  # with fewer the true value of 50 % may be 14 points off


def data_warnings(config: RunConfig, data: RunData) -> list[str]:
    """Return warnings of what is measured on.

    Args:
        config: The run, resolved.
        data: Its pairs.

    Returns:
        Sentences; only images of equal size in bytes are read for them.
    """
    return [
        *_shared_warnings("to validate on", data.train, data.validation),
        *_shared_warnings("of the retention set", data.train, _retention_set(config, data)),
        *_few_warnings(data.validation),
    ]


def _retention_set(config: RunConfig, data: RunData) -> PairDataset | None:
    if config.watch.retention_set != SAMPLES:
        return data.retention_set
    folder = reference_directory()
    return ListedPairs(folder, [(path.name, ("",)) for path in sorted(folder.glob("*.jpg"))])


def _few_warnings(validation: PairDataset | None) -> Iterator[str]:
    if validation is None or len(validation) >= FEW_VALIDATED:
        return
    count = len(validation)
    # Half the width of a 95 % interval around one half.
    half = 0.98 / math.sqrt(count)
    yield (
        f"{count} pairs to validate on hardly tell weights apart: one image is {1 / count:.1%} of "
        f"the accuracy, and with 95 % the true value is up to {min(half, 0.5):.0%} away; give "
        f"{FEW_VALIDATED} or more"
    )


def _shared_warnings(what: str, train: PairDataset, held_out: PairDataset | None) -> Iterator[str]:
    shared = [] if held_out is None else shared_images(train, held_out)
    if shared:
        assert held_out is not None
        yield (
            f"{len(shared):,} of {len(held_out):,} images {what} are trained on too, so their "
            f"measurements would flatter ({list_some(shared)}): take them out of one of both"
        )
