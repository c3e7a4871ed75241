"""Processes meet in a store that has been used before. Threads with a connection each play them."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from torch._C._distributed_c10d import TCPStore

from clipkit.training import rendezvous
from clipkit.training.rendezvous import meet

TIMEOUT = timedelta(seconds=60)


@pytest.fixture
def server() -> Any:
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


@pytest.fixture
def start(server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that lets ranks meet; each gets the stores of all, by rank."""
    ranks: list[int] = []

    def connect(url: str, timeout: timedelta) -> Any:
        rank, world_size = ranks.pop(0), 3
        store = TCPStore("127.0.0.1", server.port, is_master=False, timeout=timeout)
        return iter([(store, rank, world_size)])

    monkeypatch.setattr(rendezvous, "rendezvous", connect)

    def start(order: list[int]) -> dict[int, Any]:
        ranks[:] = order
        with ThreadPoolExecutor(3) as pool:
            met = [found.result() for found in [pool.submit(meet, TIMEOUT) for _ in order]]
        return {rank: store for store, rank, _ in met}

    return start


def test_all_ranks_get_one_store(start: Any) -> None:
    stores = start([2, 0, 1])

    stores[0].set("address", "here")

    assert [stores[rank].get("address") for rank in (1, 2)] == [b"here", b"here"]


def test_a_second_start_sees_nothing_of_the_first(start: Any) -> None:
    for rank, store in start([0, 1, 2]).items():
        store.set(f"address of {rank}", "of a process that has ended")

    stores = start([1, 2, 0])  # rank 0 comes last: the others find the old name first

    assert not any(store.check(["address of 0"]) for store in stores.values())
    stores[2].set("address of 2", "new")
    assert stores[0].get("address of 2") == b"new"


def test_a_start_that_ended_before_all_had_met_is_forgotten(start: Any, server: Any) -> None:
    server.set("clipkit/start", "unmet")
    server.set("clipkit/unmet/answer/1", "of a process that has ended")

    stores = start([1, 2, 0])

    stores[1].set("address of 1", "new")
    assert stores[0].get("address of 1") == b"new"


def test_a_single_process_meets_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    for name, value in variables.items():
        monkeypatch.setitem(os.environ, name, value)

    store, rank, world_size = meet(TIMEOUT)

    assert (rank, world_size) == (0, 1)
    store.set("address", "here")
    assert store.get("address") == b"here"
