"""The program in docs/training.md, with its own dataset, loss and callback, resumes."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

_MOST_LINES = 30


def test_the_program_on_the_page_ends_the_same_when_it_was_killed(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    part = page.split("### Datasets, losses and callbacks of your own")[1]
    program = re.findall(r"```python\n(.*?)```", part, re.DOTALL)[0]
    assert len([line for line in program.splitlines() if line.strip()]) <= _MOST_LINES
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    first = _run(program, whole)
    assert first == list(range(1, 10))
    assert _run(program, killed, kill_at=5) == [1, 2, 3, 4, 5]
    assert _run(program, killed) == [5, 6, 7, 8, 9]

    name = "final/open_clip_model.safetensors"
    assert (killed / name).read_bytes() == (whole / name).read_bytes()


def _run(program: str, output: Path, *, kill_at: int = 0) -> list[int]:
    """Run the program and return the steps it told; kill it at one of them."""
    file = output.with_suffix(".py")
    file.write_text(program.replace("/tmp/own-run", str(output)), encoding="utf-8")
    steps = []
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", str(file)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            steps.append(int(line.split()[0]))
            if steps[-1] == kill_at:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == (-signal.SIGKILL if kill_at else 0)
    return steps
