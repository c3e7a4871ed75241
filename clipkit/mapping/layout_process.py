"""A layout of embeddings in a process of its own, so that the threads of this one go on.

UMAP holds Python's lock for seconds at a time: a page that is served meanwhile would stand still.
"""

import contextlib
import signal
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import ClipkitError
from clipkit.mapping.projection import find_places, lay_out

_BEAT = 0.1  # seconds between two calls
_END = 5.0  # seconds that a process that is done may take to end


def lay_out_apart(embeddings: NDArray[np.float32], beat: Callable[[], None]) -> NDArray[np.float32]:
    """Return a place on a map for each embedding, laid out by another process.

    Args:
        embeddings: As for `lay_out`.
        beat: Called ten times a second meanwhile; what it raises ends the other process.

    Returns:
        The places of `lay_out`, shape (N, 2).

    Raises:
        ClipkitError: If the other process ends before it is done.
    """
    if (places := find_places(embeddings)) is not None:
        return places
    context = get_context("spawn")  # not forked: threads do not survive that
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_send_places, args=(theirs, embeddings), name="clipkit map", daemon=True
    )
    process.start()
    theirs.close()
    try:
        while not ours.poll(_BEAT):
            beat()
        received: NDArray[np.float32] = ours.recv()
        process.join(_END)  # what it has to put away it puts away itself
        return received
    except (EOFError, OSError) as error:
        raise ClipkitError(
            f"the process that lays out the map of {len(embeddings):,} images ended early, often "
            "because memory was short: close other programs and make the map again"
        ) from error
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()


def _send_places(pipe: Connection, embeddings: NDArray[np.float32]) -> None:
    """Lay out embeddings, keep the places, and send them to the process that asked."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for that one, which ends this one
    places = lay_out(embeddings)
    with contextlib.suppress(OSError):  # nobody waits any more
        pipe.send(places)
