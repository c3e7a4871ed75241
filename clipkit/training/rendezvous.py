"""The store in which the processes of a run meet, kept apart from what an earlier start left in it.

torchrun starts all processes again when one has failed, and may give them the store of the start
before (https://github.com/pytorch/pytorch/issues/135712): they would then look for each other at
addresses of processes that have ended, and wait. Its count of restarts is of one machine, so it
does not name a start either. Here rank 0 names each start, and continues only with processes that
have answered to that name.
"""

import json
import time
from datetime import timedelta
from uuid import uuid4

from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

_NAME = "clipkit/start"
_PAUSE = 0.02  # seconds between two looks


def meet(timeout: timedelta) -> tuple[Store, int, int]:
    """Return a store that only the processes of this start use; all of them call it.

    Args:
        timeout: How long they wait for each other.

    Returns:
        The store, this process's rank, and how many processes there are, as the environment says.

    Raises:
        torch.distributed.DistError: If the store cannot be reached, or a process does not come.
    """
    store, rank, world_size = next(rendezvous("env://", timeout=timeout))
    name = _name_start(store, world_size) if rank == 0 else _learn_start(store, rank)
    return PrefixStore(f"clipkit/{name}/group", store), rank, world_size


def _name_start(store: Store, world_size: int) -> str:
    """Name this start, as rank 0; return the name once all others have answered."""
    name = uuid4().hex
    store.set(_NAME, name)
    answers = [store.get(_answer(name, rank)).decode() for rank in range(1, world_size)]
    store.set(_met(name), json.dumps(answers))
    return name


def _learn_start(store: Store, rank: int) -> str:
    """Return the name of this start, as another rank.

    It answers every name that it sees, for the first may be of an earlier start, until rank 0 has
    its own answer: one of this process and no other.
    """
    own, answered = uuid4().hex, ""
    while True:
        name: str = store.get(_NAME).decode()
        if name != answered:
            store.set(_answer(name, rank), own)
            answered = name
        if store.check([_met(name)]) and json.loads(store.get(_met(name)))[rank - 1] == own:
            return name
        time.sleep(_PAUSE)


def _answer(name: str, rank: int) -> str:
    return f"clipkit/{name}/answer/{rank}"


def _met(name: str) -> str:
    return f"clipkit/{name}/met"
