"""``clipkit WORDS…`` on one of several processes, one of which is killed after a step.

Started by torchrun as  -m tests.runs.dying_rank RANK STEP WORDS…  and killed only the first time:
when torchrun starts the processes again, it lives. With LEAVES_SLOWLY in the environment the others
are still leaving their group when torchrun asks them to end, as on a busy machine. With
DIES_WITH_ITS_NODE the torchrun that started the process is killed as well, as by a power cut.
"""

import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist

from clipkit.cli.main import main
from clipkit.training.loop import TrainingLoop


def die_after(step: int) -> None:
    """Let this process be killed when it has taken a step, before anything is written of it."""
    take_step = TrainingLoop._take_step

    def step_and_die(loop: TrainingLoop[Any], *arguments: Any) -> Mapping[str, float]:
        metrics = take_step(loop, *arguments)
        if arguments[-1].step + 1 == step:
            if "DIES_WITH_ITS_NODE" in os.environ:
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        return metrics

    TrainingLoop._take_step = step_and_die  # type: ignore[assignment, method-assign]


def leave_slowly() -> None:
    """Let this process leave its group only once it has had a signal."""
    leave = dist.destroy_process_group
    arrived, written = os.pipe()
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written)

    def wait_and_leave(group: object = None) -> None:
        while os.read(arrived, 1) != bytes([signal.SIGTERM]):
            pass
        leave()

    dist.destroy_process_group = wait_and_leave


if __name__ == "__main__":
    rank, step, *words = sys.argv[1:]
    torch.set_num_threads(1)
    if os.environ["RANK"] == rank and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        die_after(int(step))
    elif "LEAVES_SLOWLY" in os.environ:
        leave_slowly()
    sys.argv = ["clipkit", *words]
    sys.exit(main(words))
