"""Processes that certain bytes end at once when they are read, as a crash in a decoder does."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import ROOT

DEADLY = b"DEADLY"
"""An image whose bytes hold this kills whoever hashes it."""

_AT_START = """
import hashlib, os, signal
real = hashlib.sha256
def sha256(content=b"", **options):
    if b"DEADLY" in bytes(content):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(content, **options)
hashlib.sha256 = sha256
"""


def deadly_environment(folder: Path) -> dict[str, str]:
    """Return the environment of processes, and of those that they start, that die of such bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_AT_START)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


def start_embed(
    words: Sequence[object], environment: dict[str, str] | None = None
) -> "subprocess.Popen[str]":
    """Start ``clipkit embed WORDS… --json``."""
    return subprocess.Popen(
        [sys.executable, "-m", "clipkit", "embed", *map(str, words), "--json"],
        env=environment or dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
