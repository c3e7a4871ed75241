"""Check an installed wheel without torch on the sample images. Run by .ci/run."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

SAMPLES = Path(__file__).parents[1] / "demo" / "samples"


def run(*words: str) -> str:
    """Return what a clipkit command prints."""
    # From an empty folder, so that the checkout's own clipkit is not the one that is imported.
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "clipkit", *words]
        return subprocess.run(
            command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True
        ).stdout


assert importlib.util.find_spec("torch") is None, "this check is for an environment without torch"
first = json.loads(run("search", "a cat", str(SAMPLES), "--json").splitlines()[0])
assert Path(first["path"]).name == "cat.jpg", first
labels = json.loads(
    run("classify", str(SAMPLES / "owl.jpg"), "--labels", "cat,owl,castle,boat", "--json")
)
assert labels["labels"][0]["label"] == "owl", labels
health = json.loads(run("doctor", "starter", "--json"))  # the golden vectors came along
assert health["is_healthy"], health["problems"]
assert health["golden"]["num_images"] == 45, health["golden"]
print(f"core without torch works on Python {sys.version.split()[0]}")
