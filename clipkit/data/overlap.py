"""Which images of one dataset are in another one too, by content."""

import numpy as np

from clipkit.data.equal_images import digest_of
from clipkit.data.image_ends import NO_HASH, NO_SIZE
from clipkit.data.pair import PairDataset


def shared_images(train: PairDataset, held_out: PairDataset) -> list[str]:
    """Return the images of a held-out dataset that are trained on as well.

    Two images are the same if their files have equal bytes. Only files of equal size, and with
    equal first and last bytes, are read.

    Args:
        train: The pairs that are trained on.
        held_out: Those that are measured on.

    Returns:
        The names of the held-out ones, in their order.
    """
    sizes = train.image_sizes(), held_out.image_sizes()
    common = np.setdiff1d(np.intersect1d(*sizes), NO_SIZE)
    trained, held = (np.flatnonzero(np.isin(each, common)) for each in sizes)
    hashes = train.ends_hashes(trained), held_out.ends_hashes(held)
    common = np.setdiff1d(np.intersect1d(*hashes), NO_HASH)
    trained, held = (
        rows[np.isin(each, common)] for rows, each in zip((trained, held), hashes, strict=True)
    )
    digests = {digest_of(train, row) for row in trained.tolist()} - {None}
    return [
        held_out.local_name(row) for row in held.tolist() if digest_of(held_out, row) in digests
    ]
