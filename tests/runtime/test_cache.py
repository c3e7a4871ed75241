"""Compiled models in the cache: where they lie, when they may be used, what is remembered."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from clipkit.errors import CheckpointError
from clipkit.models.sources import FileSource, Source, resolve_source
from clipkit.paths import cache_directory
from clipkit.runtime import cache
from clipkit.runtime import compile as compiler
from clipkit.runtime.bundle import MANIFEST, Bundle, compiler_versions
from clipkit.runtime.cache import (
    compile_into_cache,
    compiled_directory,
    find_compiled,
    remembered_refusal,
)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "epoch.pt"
    path.write_bytes(b"12345678")
    return path


@pytest.fixture
def source(weights: Path) -> Source:
    return FileSource(f"ViT-B-32={weights}", "ViT-B-32", weights)


@pytest.fixture
def place(source: Source, weights: Path, bundle: Path) -> Path:
    """A whole bundle where that of the source belongs."""
    folder = Path(shutil.copytree(bundle, compiled_directory(source)))
    status = weights.stat()
    origin = {str(weights): (status.st_size, status.st_mtime_ns)}
    manifest = replace(Bundle.read(folder), origin=origin)
    (folder / MANIFEST).write_text(manifest.to_json())
    return folder


def test_every_model_has_a_readable_place_of_its_own(source: Source) -> None:
    first = compiled_directory(source)
    assert first.parent == cache_directory() / "compiled"
    assert first.name.startswith("ViT-B-32-")
    other = FileSource("ViT-B-32=/other/epoch.pt", "ViT-B-32", Path("/other/epoch.pt"))
    assert compiled_directory(other) != first
    one = compiled_directory(resolve_source("vit-b/32:LAION2B-s34b-b79k"))
    assert one == compiled_directory(resolve_source("ViT-B-32/laion2b_s34b_b79k"))


def test_a_bundle_is_found_while_its_origin_is_as_it_was(
    source: Source, place: Path, weights: Path
) -> None:
    assert find_compiled(source) == place
    status = weights.stat()
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert find_compiled(source) is None
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert find_compiled(source) == place
    weights.write_bytes(b"123456789")
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert find_compiled(source) is None
    weights.unlink()  # to save space; the bundle has weights of its own
    assert find_compiled(source) == place


@pytest.mark.parametrize("damage", ["manifest", "file", "format", "everything"])
def test_what_is_not_a_whole_bundle_is_not_found(source: Source, place: Path, damage: str) -> None:
    if damage == "manifest":
        (place / MANIFEST).write_text("{")
    elif damage == "file":
        (place / "text_tower.onnx").write_bytes(b"")
    elif damage == "format":
        text = (place / MANIFEST).read_text()
        (place / MANIFEST).write_text(text.replace('"format": 3', '"format": 1'))
    else:
        shutil.rmtree(place)
    assert find_compiled(source) is None


def test_a_bundle_given_as_a_directory_is_its_own(bundle: Path, small_checkpoint: Path) -> None:
    assert find_compiled(resolve_source(bundle)) == bundle
    assert find_compiled(resolve_source(small_checkpoint)) is None
    other_weights = resolve_source(bundle / "open_clip_model.safetensors")
    assert find_compiled(other_weights) is None


def test_finding_imports_nothing_large(source: Source, place: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from clipkit.models.sources import FileSource\n"
        "from clipkit.runtime.cache import find_compiled, remembered_refusal\n"
        f"source = FileSource({source.name!r}, 'ViT-B-32', Path('x'))\n"
        f"assert find_compiled(source) == Path({str(place)!r})\n"
        "assert remembered_refusal(source) is None\n"
        "large = {'torch', 'open_clip', 'onnx', 'onnxruntime', 'huggingface_hub', 'PIL'}\n"
        "assert not large & set(sys.modules), large & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch, weights: Path) -> Callable[[Exception | None], None]:
    """Return a function that says what compiling raises; None: it works."""

    def set_outcome(error: Exception | None) -> None:
        def compile_bundle(*_: Any, **__: Any) -> None:
            if error is not None:
                raise error

        monkeypatch.setattr(compiler, "compile_bundle", compile_bundle)

    return set_outcome


def test_a_refusal_holds_until_weights_or_versions_change(
    source: Source,
    weights: Path,
    refuse: Callable[[Exception | None], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert remembered_refusal(source) is None
    status = weights.stat()
    origin = {str(weights): (status.st_size, status.st_mtime_ns)}
    refuse(compiler.RefusedError("it computes something else", origin))
    with pytest.raises(CheckpointError, match="something else"):
        compile_into_cache(source)
    assert remembered_refusal(source) == "it computes something else"

    with monkeypatch.context() as patch:
        patch.setattr(cache, "compiler_versions", lambda: {"torch": "99"})
        assert remembered_refusal(source) is None
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert remembered_refusal(source) is None
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert remembered_refusal(source) is not None

    refuse(None)
    assert compile_into_cache(source) == compiled_directory(source)
    assert remembered_refusal(source) is None


def test_what_may_pass_is_not_remembered(
    source: Source, refuse: Callable[[Exception | None], None]
) -> None:
    refuse(CheckpointError("the disk is full"))
    with pytest.raises(CheckpointError, match="full"):
        compile_into_cache(source)
    assert remembered_refusal(source) is None


def test_a_damaged_note_is_no_refusal(source: Source) -> None:
    directory = compiled_directory(source)
    directory.parent.mkdir(parents=True)
    directory.with_name(f"{directory.name}.refused.json").write_text("[1]")
    assert remembered_refusal(source) is None


def test_a_bundle_of_an_epoch_is_found_until_a_newer_one_is_there(
    tmp_path: Path, bundle: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "open_clip_config.json").write_text("{}")
    old = run / "epoch_9.pt"
    old.write_bytes(b"12345678")
    source = resolve_source(run)
    folder = Path(shutil.copytree(bundle, compiled_directory(source)))
    status = old.stat()
    origin = {str(old): (status.st_size, status.st_mtime_ns)}
    (folder / MANIFEST).write_text(replace(Bundle.read(folder), origin=origin).to_json())
    note = {"reason": "no", "versions": compiler_versions(), "origin": origin}
    cache._note(folder).write_text(json.dumps(note))
    assert find_compiled(source) == folder
    assert remembered_refusal(source) == "no"

    (run / "epoch_10.pt").write_bytes(b"87654321")

    assert find_compiled(source) is None
    assert remembered_refusal(source) is None
    old.unlink()
    assert find_compiled(source) is None
    (run / "epoch_10.pt").unlink()
    assert find_compiled(source) == folder, "all weights are gone: it is what is left of them"
