"""Damaged weights of the right length: they are noticed, and whole ones are read once."""

import json
import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from clipkit.errors import CheckpointError
from clipkit.files import file_sha256
from clipkit.models import hub_integrity
from clipkit.models.hub_integrity import verify_weights, verify_weights_once
from clipkit.models.locate import fetch_source, locate
from clipkit.models.sources import resolve_source
from tests.models.hub_server import Hub

LAION = "ViT-B-32/laion2b_s34b_b79k"
WEIGHTS = "open_clip_model.safetensors"
COMMAND = f'run  clipkit fetch --force "{LAION}"'


@pytest.fixture
def weights(hub_server: Hub, tmp_path: Path) -> Path:
    """Weights that were fetched."""
    (tmp_path / WEIGHTS).write_bytes(os.urandom(100_000))
    hub_server.files = {WEIGHTS: tmp_path / WEIGHTS}
    (path,) = fetch_source(resolve_source(LAION))
    return path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Count what is read to be hashed."""
    mock = Mock(side_effect=file_sha256)
    monkeypatch.setattr(hub_integrity, "file_sha256", mock)
    return mock


def damage(path: Path) -> None:
    """Put zeros into a file, which stays as long as it was."""
    with path.open("rb+") as file:
        file.seek(50_000)
        file.write(bytes(1000))
    os.utime(path, ns=(1, 1))  # a change in the same tick of the clock is a change


def test_zeros_in_weights_are_noticed_by_a_load_and_by_a_fetch(
    hub_server: Hub, weights: Path
) -> None:
    damage(weights)
    for get in (locate, fetch_source, locate):
        with pytest.raises(CheckpointError, match=COMMAND) as caught:
            get(resolve_source(LAION))
        assert str(caught.value).startswith(f"{weights} is damaged: its SHA-256 is ")
        assert f"and that of the file on the hub {hub_server.etag(WEIGHTS)[:12]}…" in str(
            caught.value
        )

    fetch_source(resolve_source(LAION), again=True)

    assert locate(resolve_source(LAION)).weights == weights


def test_weights_are_read_once(weights: Path, hashed: Mock) -> None:
    locate(resolve_source(LAION))
    assert hashed.call_count == 0, "the download has hashed them"
    os.utime(weights, ns=(1, 1))
    locate(resolve_source(LAION))
    locate(resolve_source(LAION))
    assert hashed.call_count == 1


def test_what_cannot_be_noted_is_read_every_time(
    weights: Path, hashed: Mock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "file"))
    locate(resolve_source(LAION))
    locate(resolve_source(LAION))
    assert hashed.call_count == 2


def test_a_damage_that_kept_the_time_is_found_when_all_is_read(weights: Path) -> None:
    status = weights.stat()
    damage(weights)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    verify_weights_once(weights)
    with pytest.raises(CheckpointError, match="is damaged"):
        verify_weights(weights)


def test_a_path_into_the_cache_is_called_by_its_repository(weights: Path) -> None:
    damage(weights)
    repo = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    with pytest.raises(CheckpointError, match=f'fetch --force "hf-hub:{repo}@{"0123456789abcdef"}'):
        locate(resolve_source(f"ViT-B-32={weights}"))


def test_every_shard_is_checked(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--org--tiny/blobs", tmp_path / "models--org--tiny/x/y"
    for folder in (blobs, snapshot):
        folder.mkdir(parents=True)
    (blobs / ("0" * 64)).write_bytes(b"not what it was")
    (snapshot / "two.safetensors").symlink_to(blobs / ("0" * 64))
    (snapshot / "one.safetensors").write_bytes(b"with no hash to compare")
    index = snapshot / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"two\.safetensors is damaged: .*hf-hub:org/tiny\"$"):
        verify_weights_once(index)


def test_files_outside_of_the_cache_are_not_read(tmp_path: Path, hashed: Mock) -> None:
    (tmp_path / ("0" * 64)).write_bytes(b"any")
    verify_weights(tmp_path / ("0" * 64))
    assert hashed.call_count == 0
