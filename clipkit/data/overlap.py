"""Which images of one dataset are in another one too, by content."""

from collections import defaultdict
from contextlib import suppress

from clipkit.data.pair import PairDataset, image_digest
from clipkit.errors import ImageReadError


def shared_images(train: PairDataset, held_out: PairDataset) -> list[str]:
    """Return the images of a held-out dataset that are trained on as well.

    Two images are the same if their files have equal bytes. Only files of equal size are read.

    Args:
        train: The pairs that are trained on.
        held_out: Those that are measured on.

    Returns:
        The names of the held-out ones, in their order.
    """
    of_size: defaultdict[int, list[int]] = defaultdict(list)
    for row in range(len(held_out)):
        size = held_out.num_bytes(row)
        if size is not None:
            of_size[size].append(row)
    waiting: defaultdict[int, list[int]] = defaultdict(list)  # rows of train, by size
    for row in range(len(train)):
        size = train.num_bytes(row)
        if size is not None and size in of_size:
            waiting[size].append(row)
    shared: dict[int, str] = {}
    for size, rows in waiting.items():
        trained = {digest for row in rows if (digest := _digest(train, row)) is not None}
        for row in of_size[size]:
            digest = _digest(held_out, row)
            if digest is not None and digest in trained:
                shared[row] = held_out.local_name(row)
    return [shared[row] for row in sorted(shared)]


def _digest(dataset: PairDataset, row: int) -> bytes | None:
    with suppress(ImageReadError):  # it is reported when it is trained or measured on
        return image_digest(dataset[row].image)
    return None
