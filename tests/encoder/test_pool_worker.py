"""A process of a pool that dies, and one whose parent dies."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import clipkit
from clipkit.encoder.pool_worker import EncoderOrder, PoolWorker
from clipkit.errors import ClipkitError

pytestmark = pytest.mark.slow


class DiesOnce:
    """Kills its process at the first call, and at all calls if it is told so."""

    def __init__(self, mark: Path, *, always: bool = False) -> None:
        self.mark, self.always = mark, always

    def __call__(self, encoder: clipkit.Encoder) -> int:
        if self.always or not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return encoder.embed_dim


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_process_that_dies_is_started_again_once(
    starter: clipkit.Encoder, tmp_path: Path
) -> None:
    worker = PoolWorker(EncoderOrder(starter.spec, None, None, "scaled"), [0])
    try:
        assert worker.run(DiesOnce(tmp_path / "mark")).result == starter.embed_dim
        with pytest.raises(ClipkitError, match="died twice of the same work, on cpu"):
            worker.run(DiesOnce(tmp_path / "mark", always=True))
        assert worker.run(DiesOnce(tmp_path / "mark")).result == starter.embed_dim
    finally:
        worker.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "pool_of_one.py"
    script.write_text(
        "import os, clipkit\n"
        "from clipkit.encoder.pool_worker import EncoderOrder, PoolWorker\n"
        "def tell(encoder):\n"
        "    return os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    spec = clipkit.load(cache_texts=False).spec\n"
        "    worker = PoolWorker(EncoderOrder(spec, None, None, 'scaled'), [0])\n"
        "    print(worker.run(tell).result, flush=True)\n"
        "    input()\n"
    )
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        # Opened before, so that it is that process and no later one of the same number.
        descriptor = os.pidfd_open(child)
        parent.kill()
        parent.wait()
        ended, _, _ = select.select([descriptor], [], [], 60)
        os.close(descriptor)
        assert ended
