"""Indexed images that are not in their folder any more: removed, or on a disk that is away."""

from collections import Counter
from collections.abc import Collection, Iterable, Set
from dataclasses import dataclass

from clipkit.search.changes import is_at_or_in, steps_of

_HANDFUL = 10  # what somebody deletes by hand, looking at each, is less
_WHOLE_FOLDER = 100  # what a person thinks of as one folder to delete is less


@dataclass(frozen=True)
class Disks:
    """What is known of the disks an indexed folder lies on."""

    is_empty: bool  # nothing that is an image was found at all
    is_another: bool  # the folder is on another disk than before, and less than half is as it was
    lost: frozenset[str]  # folders in it on disks of their own, without an image that was there


def find_missing(gone: Collection[str], known: Iterable[str], disks: Disks) -> set[str]:
    """Return which of the images that are gone are to be kept, because their disk seems away.

    What a person deletes is removed without a word; what a pulled drive, a share that is not
    mounted or a failing network takes away comes back, and is kept. They look alike, so this is
    the rule. Gone images are missing, not removed,

    1. if nothing is left: a folder without a single image is what an unmounted disk looks like;
    2. in a folder inside the library that lies, or lay, on a disk of its own and has none of its
       images as they were;
    3. if another disk is in the place of the library: it has another number, and not half of
       the images are as they were;
    4. if they are more than half of all and at least 10: fewer are a handful that somebody
       deleted looking at them;
    5. in a folder that has lost all of its at least 100 images, with the folders in it: whoever
       deletes that many at once can be asked, whoever deletes an ordinary folder is not.

    A mistake is cheap either way: missing images are forgotten by one command, and those removed
    keep their embeddings for a while.

    Args:
        gone: Paths that are indexed and were not found, no moved ones among them.
        known: Paths of all images that were there at the last sync, the gone ones among them.
        disks: What is known of the disks.

    Returns:
        The missing ones; the others were removed.
    """
    everything = set(known)
    is_most = 2 * len(gone) > len(everything)
    if disks.is_empty or disks.is_another or (is_most and len(gone) >= _HANDFUL):
        return set(gone)
    missing = {path for path in gone if is_at_or_in(path, disks.lost)}
    if len(gone) >= _WHOLE_FOLDER:
        emptied = _emptied_folders(set(gone), everything)
        missing |= {path for path in gone if is_at_or_in(path, emptied)}
    return missing


def _emptied_folders(gone: Set[str], known: Set[str]) -> set[str]:
    """Return the folders that have lost all of their images, if these were many."""
    lost = Counter(folder for path in gone for folder in steps_of(path))
    large = {folder for folder, number in lost.items() if number >= _WHOLE_FOLDER}
    left = {folder for path in known - gone for folder in steps_of(path)} if large else set()
    return large - left
