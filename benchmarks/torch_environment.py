"""The Python environment of the torch-based peers, and their worker processes."""

import subprocess
from pathlib import Path

from made_models import random_weights
from worker import Worker
from workplace import Workplace

ARCHITECTURE = "ViT-B-32"
REQUIREMENTS = ("open_clip_torch==3.3.0", "sentence-transformers==6.2.0", "transformers==5.23.0")
_HERE = Path(__file__).parent


def peer_python(workplace: Workplace) -> Path:
    """Return the Python of the peers' environment, made unless it is there."""
    return workplace.environment("torch", REQUIREMENTS, borrows_torch=True)


def start_peer(workplace: Workplace, peer: str) -> Worker:
    """Start one of `torch_peers.PEERS` with the random weights that clipkit has.

    Args:
        workplace: Where everything is.
        peer: Its name.

    Returns:
        The worker; it loads its model before it answers.
    """
    python = peer_python(workplace)
    checkpoint = random_weights(workplace, ARCHITECTURE)
    directory = checkpoint.with_name(f"{ARCHITECTURE}-transformers")
    if not directory.exists():
        script = _HERE / "clip_directory.py"
        command = [str(python), str(script), ARCHITECTURE, str(checkpoint), str(directory)]
        subprocess.run(command, check=True)
    script = _HERE / "torch_peers.py"
    return Worker(
        [str(python), str(script), peer, ARCHITECTURE, str(checkpoint), str(directory)],
        log=workplace.directory / f"{peer}.log",
    )
