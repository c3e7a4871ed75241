"""Models with random weights, for clipkit and its peers, to measure speed and not quality.

The one place that knows how a compiled model is had.
"""

import subprocess
import sys
from pathlib import Path

from workplace import Workplace, apart


def random_weights(workplace: Workplace, architecture: str) -> Path:
    """Return the weights of an open_clip model as a state dict, written unless they are there."""
    path = workplace.directory / "models" / f"{architecture}.pt"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        apart(_write_weights, architecture, path)
    return path


def compiled_model(workplace: Workplace, architecture: str) -> str:
    """Compile the model with random weights into the workplace's CLIPKIT_HOME, unless it is there.

    What follows is as for a user: where the compiled model lies, and in which precision it runs,
    is clipkit's choice.

    Args:
        workplace: Where everything is.
        architecture: One of open_clip's.

    Returns:
        What clipkit calls the model.
    """
    name = f"{architecture}={random_weights(workplace, architecture)}"
    subprocess.run([sys.executable, "-m", "clipkit", "compile", name], check=True)
    return name


def compiled_files(name: str) -> list[Path]:
    """Return the files of a model that was compiled, or that came compiled."""
    return list(apart(_find_compiled, name).iterdir())


def space_of(name: str) -> str:
    """Return the space_id of a compiled model."""
    return apart(_read_space, name)


def _find_compiled(name: str) -> Path:
    from clipkit.models.sources import resolve_source
    from clipkit.runtime.cache import find_compiled

    directory = find_compiled(resolve_source(name))
    assert directory is not None, f"{name} is not compiled"
    return directory


def _read_space(name: str) -> str:
    from clipkit.runtime.bundle import Bundle

    return Bundle.read(_find_compiled(name)).space_id


def _write_weights(architecture: str, path: Path) -> None:
    """Write random weights, the same ones every time."""
    import open_clip
    import torch

    torch.manual_seed(0)
    unfinished = path.with_suffix(".part")
    torch.save(open_clip.create_model(architecture).state_dict(), unfinished)
    unfinished.rename(path)
