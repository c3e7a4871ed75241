"""Two machines, played by two network namespaces with a cable between them, one of them killed.

Each sees its own address and the other's, and nothing of this machine's network.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.runs.conftest import WriteRun, final_weights
from tests.runs.test_torchrun import DIES, EACH_STEP

pytestmark = pytest.mark.slow

TRAINS = ("-m", "clipkit", "train")
Node = subprocess.Popen[str]


class Network:
    """Two namespaces with an address each, and the programs in them."""

    addresses = ("10.77.0.1", "10.77.0.2")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = [f"clipkit{number}-{os.getpid()}" for number in (1, 2)]
        self._num_started = 0

    def build(self, stack: ExitStack) -> None:
        """Make both namespaces; what cannot be made raises CalledProcessError."""
        for name in self._names:
            _ip("netns", "add", name)
            stack.callback(self._remove, name)
        one, two = self._names
        _ip(
            "-n", one, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", two
        )
        for name, address in zip(self._names, self.addresses, strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            for device in ("lo", "cable"):
                _ip("-n", name, "link", "set", device, "up")

    def start(self, number: int, *words: object, dies: bool = False) -> Node:
        """Start torchrun on a node, 0 or 1, as docs/cluster.md has it for two machines."""
        program = [
            *("ip", "netns", "exec", self._names[number]),
            *(sys.executable, "-m", "torch.distributed.run"),
            *("--nnodes=2", "--nproc-per-node=1", "--max-restarts=1", "--rdzv-id=test"),
            *("--rdzv-backend=c10d", f"--rdzv-endpoint={self.addresses[0]}:29500"),
            f"--local-addr={self.addresses[number]}",
            # A machine knows this by its host name, which the namespaces share.
            f"--rdzv-conf=is_host={number == 0}".lower(),
        ]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "cable"}
        if dies:
            environment["DIES_WITH_ITS_NODE"] = "1"
        self._num_started += 1
        with (self._folder / f"output{self._num_started}").open("w") as file:
            return subprocess.Popen(
                [*program, *map(str, words)],
                cwd=ROOT,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def outputs(self) -> str:
        """Return what all programs have printed."""
        return "".join(
            (self._folder / f"output{number + 1}").read_text()
            for number in range(self._num_started)
        )

    def _remove(self, name: str) -> None:
        found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
        for pid in found.stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "delete", name], check=False)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """Two nodes, or a skipped test where this user may not make them."""
    network = Network(tmp_path)
    with ExitStack() as stack:
        try:
            network.build(stack)
        except FileNotFoundError:
            pytest.skip("there is no program ip")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made: {error.stderr.strip()}")
        yield network


@pytest.mark.parametrize("number", [1, 0])  # the others join node 0, where rank 0 is
def test_a_node_is_killed_and_both_are_started_again(
    write_run: WriteRun, network: Network, number: int
) -> None:
    """A batch system ends the node that is left (srun --kill-on-bad-exit) and starts the job."""
    whole, killed = write_run("whole"), write_run("killed")
    assert statuses(network, whole) == [0, 0], network.outputs()

    other = network.start(1 - number, *TRAINS, killed, *EACH_STEP)
    died = network.start(number, *DIES, number, 7, "train", killed, *EACH_STEP, dies=True)
    assert died.wait(200) == -signal.SIGKILL, network.outputs()
    other.terminate()
    assert other.wait(200) != 0

    assert statuses(network, killed) == [0, 0], network.outputs()
    assert network.outputs().count("resuming after step 6 of 10") == 1
    assert final_weights(killed) == final_weights(whole)


def statuses(network: Network, run: Path) -> list[int]:
    """Train on both nodes; return how they ended."""
    nodes = [network.start(number, *TRAINS, run, *EACH_STEP) for number in (0, 1)]
    return [node.wait(200) for node in nodes]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
