"""A process of a pool that dies, and one whose parent dies."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import clipkit
from clipkit.encoder.pool_worker import EncoderOrder, GivenUpError, PoolWorker
from clipkit.errors import ClipkitError
from tests.conftest import SAMPLES

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
    order, worker = EncoderOrder(starter.spec, None, None, "scaled"), PoolWorker([0])
    try:
        assert worker.run(order, DiesOnce(tmp_path / "mark")).result == starter.embed_dim
        with pytest.raises(ClipkitError, match="died twice of the same work, on cpu"):
            worker.run(order, DiesOnce(tmp_path / "mark", always=True))
        assert worker.run(order, DiesOnce(tmp_path / "mark")).result == starter.embed_dim
        with pytest.raises(GivenUpError):
            worker.run(order, DiesOnce(tmp_path / "mark"), is_given_up=lambda: True)
    finally:
        worker.stop()


class Raises:
    """Raises an error of the system, as a task may."""

    def __call__(self, encoder: clipkit.Encoder) -> int:
        raise FileNotFoundError(2, "no such file", "somewhere")


def test_what_a_task_raises_is_raised_and_kills_nothing(starter: clipkit.Encoder) -> None:
    order, worker = EncoderOrder(starter.spec, None, None, "scaled"), PoolWorker([0])
    try:
        process = worker.run(order, process_id).result
        with pytest.raises(FileNotFoundError, match="somewhere"):
            worker.run(order, Raises())
        assert worker.run(order, process_id).result == process
    finally:
        worker.stop()


def process_id(encoder: clipkit.Encoder) -> int:
    return os.getpid()


# A shell that starts CI in the background has its commands ignore Ctrl-C.
POOL_AT_WORK = """
import signal, sys
from pathlib import Path
import clipkit
def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    paths = sorted(Path(sys.argv[1]).glob("*.jpg")) * 40
    with clipkit.EncoderPool(clipkit.load(cache_texts=False), ["cpu", "cpu"]) as pool:
        pool.encode_images(paths, progress=lambda *_: print("some", flush=True))
"""


@pytest.mark.skipif(os.name != "posix", reason="sends a signal to a process group")
def test_ctrl_c_ends_a_pool_without_a_word_of_its_processes(tmp_path: Path) -> None:
    script = tmp_path / "pool_at_work.py"
    script.write_text(POOL_AT_WORK + "if __name__ == '__main__':\n    main()\n")
    with subprocess.Popen(
        [sys.executable, str(script), str(SAMPLES)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        assert parent.stdout is not None and parent.stderr is not None
        assert parent.stdout.readline() == "some\n"
        os.killpg(parent.pid, signal.SIGINT)
        errors = parent.stderr.read()  # until the last process has ended
        assert parent.wait() != 0
    assert errors.count("Traceback") == 1  # of the script itself
    assert errors.strip().endswith("KeyboardInterrupt")


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(POOL_AT_WORK + "main()\n")
    done = subprocess.run(
        [sys.executable, str(script), str(SAMPLES)], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "stand below if __name__ == " in done.stderr.strip().splitlines()[-1]
    assert "memory" not in done.stderr


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
        "    order = EncoderOrder(spec, None, None, 'scaled')\n"
        "    print(PoolWorker([0]).run(order, tell).result, flush=True)\n"
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
