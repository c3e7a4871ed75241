"""clip-retrieval, a peer of the folder index: installed on its own, with the same random weights.

Its ``inference`` embeds the images of a folder and writes the embeddings as arrays; to search them
takes an index and a server besides, which are not measured. It runs as its README has it, but for
no reports to wandb and no metadata; two workers read images, one a core.
"""

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from measured import Run, run
from workplace import Workplace

# 2.45.0 asks for the pkg_resources of setuptools, which left it with version 81.
REQUIREMENTS = ("clip-retrieval==2.45.0", "setuptools==80.9.0")
_WORKERS = 2


@dataclass(frozen=True)
class ClipRetrievalPeer:
    """clip-retrieval with a folder for what it writes."""

    workplace: Workplace
    architecture: str
    checkpoint: Path  # the weights of an open_clip model of it, as a state dict

    @cached_property
    def python(self) -> Path:
        """The Python of its environment, which is made unless it is there."""
        return self.workplace.environment("clip-retrieval", REQUIREMENTS)

    def embed(self, folder: Path) -> Run:
        """Embed the images of a folder and write the embeddings."""
        shutil.rmtree(self._output, ignore_errors=True)
        command = [str(self.python.with_name("clip-retrieval")), "inference"]
        options = {
            "input_dataset": folder,
            "output_folder": self._output,
            "clip_model": f"open_clip:{self.architecture}/{self.checkpoint}",
            "enable_text": False,
            "enable_metadata": False,
            "enable_wandb": False,
            "num_prepro_workers": _WORKERS,
            "use_jit": False,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        measured = run([*command, *words], cwd=folder, variables={})
        written = sum(len(np.load(path)) for path in self._output.glob("img_emb/*.npy"))
        if written != len(list(folder.iterdir())):
            raise RuntimeError(f"clip-retrieval has embedded {written} images of {folder}")
        return measured

    @property
    def _output(self) -> Path:
        return self.workplace.directory / "peers" / "clip-retrieval" / "output"
