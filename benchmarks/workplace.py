"""The working directory of the benchmarks: files that are kept, and environments of peers."""

import argparse
import multiprocessing
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "demo" / "samples"

Result = TypeVar("Result")


@dataclass(frozen=True)
class Workplace:
    """A directory for inputs, models, peers and results; it can be deleted and is made again."""

    directory: Path
    is_quick: bool = False  # few rounds over small inputs: shows that it runs, not what is faster
    rounds: int | None = None  # as asked for; None: as many as the benchmark thinks right

    @classmethod
    def from_command_line(cls, description: str) -> "Workplace":
        """Read --work, --quick and --rounds.

        Args:
            description: The benchmark's own, of which the first line is shown.

        Returns:
            The workplace. Its directory exists, and its variables are set in this process, for
            whatever that starts.
        """
        parser = argparse.ArgumentParser(description=description.splitlines()[0])
        add_work_options(parser)
        return cls.from_options(parser.parse_args())

    @classmethod
    def from_options(cls, arguments: argparse.Namespace) -> "Workplace":
        """Return the workplace that the options of `add_work_options` say."""
        workplace = cls(arguments.work.resolve(), arguments.quick, arguments.rounds)
        workplace.directory.mkdir(parents=True, exist_ok=True)
        os.environ.update(workplace.variables)
        return workplace

    def num_rounds(self, usual: int) -> int:
        """Return how many rounds to measure, after one that is not counted."""
        return self.rounds or (1 if self.is_quick else usual)

    def size(self, usual: int, quick: int) -> int:
        """Return how many inputs to make."""
        return quick if self.is_quick else usual

    @property
    def home(self) -> Path:
        """The CLIPKIT_HOME of every clipkit that is measured: its indexes and compiled models."""
        return self.directory / "home"

    @property
    def variables(self) -> dict[str, str]:
        """What every program has in its environment.

        No hub is asked, Python keeps compiled modules even where the environment forbids it (what
        a user has installed is compiled), and clipkit takes no text from its cache: the queries of
        a benchmark come again and again.
        """
        return {
            "CLIPKIT_HOME": str(self.home),
            "CLIPKIT_NO_CACHE": "1",
            "HF_HUB_OFFLINE": "1",
            "PYTHONPYCACHEPREFIX": str(self.directory / "bytecode"),
            "PYTHONDONTWRITEBYTECODE": "",
        }

    def environment(
        self, name: str, requirements: Sequence[str], *, borrows_torch: bool = False
    ) -> Path:
        """Make the environment of a peer, unless it is there.

        Args:
            name: Of its directory.
            requirements: What to install, with exact versions.
            borrows_torch: Whether packages that are not installed there come from the environment
                that runs this: torch, several gigabytes, in the build that clipkit uses too.

        Returns:
            Its Python.
        """
        directory = self.directory / "peers" / name / "environment"
        python = directory / ("Scripts" if os.name == "nt" else "bin") / "python"
        installed = directory / "installed.txt"
        wanted = "\n".join(requirements) + "\n"
        if installed.is_file() and installed.read_text() == wanted:
            return python
        print(f"installing {', '.join(requirements)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(directory)], check=True)
        if borrows_torch:
            own = subprocess.run(
                [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                check=True,
                capture_output=True,
                text=True,
            ).stdout.strip()
            # A .pth file: its directory comes last on the path, after what is installed here.
            (Path(own) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *requirements], check=True)
        installed.write_text(wanted)
        return python


def add_work_options(parser: argparse.ArgumentParser) -> None:
    """Add --work, --quick and --rounds."""
    parser.add_argument(
        "--work",
        type=Path,
        default=ROOT / ".bench",
        help="where what is made is kept (default .bench in the checkout)",
    )
    parser.add_argument("--quick", action="store_true", help="does it run? The figures say nothing")
    parser.add_argument("--rounds", type=int, help="how often each program is measured")


def apart(task: Callable[..., Result], *arguments: object) -> Result:
    """Return the result of a task, done in a process of its own: this one stays small."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(task, *arguments).result()
