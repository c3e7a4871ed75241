"""Weights in the hub's cache checked against their SHA-256, which is the name of their blob.

A file of the right length may still be damaged, by a disk or by a program. Hashing reads all of it,
a second for some hundred megabytes: it is done when weights are fetched, by ``clipkit doctor``, and
once at the first load.
"""

import contextlib
import hashlib
import os
import re
from pathlib import Path

from clipkit.errors import CheckpointError
from clipkit.files import file_sha256
from clipkit.models.transformers_layout import INDEX_SUFFIX, shards
from clipkit.paths import cache_directory

_SHA256 = re.compile(r"[0-9a-f]{64}")


def known_sha256(etag: str) -> str | None:
    """Return the SHA-256 that a file's tag on the hub is; None: it is a hash of another kind."""
    return etag if _SHA256.fullmatch(etag) else None


def verify_weights(weights: Path, name: str | None = None) -> None:
    """Read a model's weights and compare them with the SHA-256 that the hub gives for them.

    Args:
        weights: A weights file, or an index of several. Only those in the hub's cache have a hash
            to compare with; others pass.
        name: What ``clipkit fetch`` calls the model; None: the repository that the file lies in.

    Raises:
        CheckpointError: If a file is damaged, or cannot be read.
    """
    for path in _weights_files(weights):
        _verify(path, name)


def verify_weights_once(weights: Path, name: str | None = None) -> None:
    """Verify weights, unless it was done and they have the same path, size and time as then.

    Args:
        weights: As for :func:`verify_weights`.
        name: Likewise.

    Raises:
        CheckpointError: Likewise.
    """
    for path in _weights_files(weights):
        if _blob_sha256(path) is not None and not _mark(path).exists():
            _verify(path, name)


def remember_verified(path: Path) -> None:
    """Note that a file in the hub's cache is whole, so that no load has to read all of it."""
    with contextlib.suppress(OSError):  # if it cannot be noted, it is read every time
        mark = _mark(path)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def _verify(path: Path, name: str | None) -> None:
    expected = _blob_sha256(path)
    if expected is None:
        return
    try:
        found = file_sha256(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    if found != expected:
        raise CheckpointError(
            f"{path} is damaged: its SHA-256 is {found[:12]}…, and that of the file on the hub "
            f'{expected[:12]}…; run  clipkit fetch --force "{name or _hub_name(path)}"'
        )
    remember_verified(path)


def _weights_files(weights: Path) -> list[Path]:
    paths = shards(weights) if weights.name.endswith(INDEX_SUFFIX) else [weights]
    return [path for path in paths if path.is_file()]


def _blob_sha256(path: Path) -> str | None:
    """Return the SHA-256 that a file should have; None: it is no large file of the hub's cache."""
    blob = path.resolve()
    return known_sha256(blob.name) if blob.parent.name == "blobs" else None


def _hub_name(path: Path) -> str:
    """Return the name of the repository in whose directory of the cache a file lies."""
    folder = path.resolve().parent.parent.name
    repo = folder.removeprefix("models--").replace("--", "/")
    is_snapshot = path.parent.parent.name == "snapshots"
    return f"hf-hub:{repo}{f'@{path.parent.name}' if is_snapshot else ''}"


def _mark(path: Path) -> Path:
    status = path.stat()
    facts = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
    digest = hashlib.sha256(os.fsencode(facts)).hexdigest()
    return cache_directory() / "verified" / digest[:32]
