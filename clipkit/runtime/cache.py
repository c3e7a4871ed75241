"""Compiled models in the user's cache: found without torch, and compiled once per model.

Each lies in a directory named after the model. Where a model could not be compiled, the reason is
kept beside that directory, so that it is tried again only when the weights or the compiler changed.
"""

import hashlib
import json
import os
from pathlib import Path

from clipkit.errors import CheckpointError
from clipkit.files import read_json_object, write_text
from clipkit.models.locate import newest_epoch
from clipkit.models.sources import DirectorySource, Source
from clipkit.paths import cache_directory, readable_name
from clipkit.progress import StepProgress
from clipkit.runtime.bundle import FORMAT, Bundle, compiler_versions, is_bundle


def compiled_directory(source: Source) -> Path:
    """Return where the compiled bundle of a model belongs, whether it is there or not."""
    digest = hashlib.sha256(source.name.encode()).hexdigest()[:12]
    name = f"{readable_name(source.name, fallback='model')}-{digest}"
    return cache_directory() / "compiled" / name


def find_compiled(source: Source) -> Path | None:
    """Return the compiled bundle of a model, if there is one that may be used.

    Cheap: it reads a manifest and looks at files without opening them.

    Args:
        source: Where the model's weights come from.

    Returns:
        The directory of a whole bundle; None if there is none, it was compiled in another
        format, or what it was compiled from has changed since. A checkpoint directory that is
        itself a bundle is its own.
    """
    if (
        isinstance(source, DirectorySource)
        and source.weights is None
        and is_bundle(source.directory)
    ):
        return source.directory
    directory = compiled_directory(source)
    if not is_bundle(directory):
        return None
    try:
        bundle = Bundle.read(directory)
    except CheckpointError:
        return None
    is_current = bundle.format == FORMAT
    return directory if is_current and _is_unchanged(source, bundle.origin) else None


def compile_into_cache(
    source: Source,
    *,
    progress: StepProgress | None = None,
    cache_dir: Path | None = None,
) -> Path:
    """Compile a model into the user's cache.

    What a model was refused for is remembered, see :func:`remembered_refusal`.

    Args:
        source: Where the model's weights come from.
        progress: Called with a word or two before each step.
        cache_dir: The hub cache to use; the usual one if None.

    Returns:
        The directory of the bundle; one that was there is replaced.

    Raises:
        CheckpointError: If the model cannot be loaded, exported or written, or if the graphs
            compute something else.
        OfflineError: If weights would have to be fetched and there is no network.
        MissingExtraError: If torch or onnx is not installed.
    """
    from clipkit.runtime.compile import RefusedError, compile_bundle

    directory = compiled_directory(source)
    note = _note(directory)
    try:
        compile_bundle(source, directory, progress=progress, cache_dir=cache_dir)
    except RefusedError as error:
        directory.parent.mkdir(parents=True, exist_ok=True)
        content = {"reason": str(error), "versions": compiler_versions(), "origin": error.origin}
        write_text(note, json.dumps(content, indent=2) + "\n")
        raise
    note.unlink(missing_ok=True)
    return directory


def remembered_refusal(source: Source) -> str | None:
    """Return why a model cannot be compiled, as far as that is known and still holds.

    Args:
        source: Where the model's weights come from.

    Returns:
        The reason; None if it was never tried, or if the weights or the versions of what compiles
        them have changed since.
    """
    try:
        content = read_json_object(_note(compiled_directory(source)), CheckpointError)
        reason, versions, origin = (content[key] for key in ("reason", "versions", "origin"))
    except (CheckpointError, KeyError):
        return None
    holds = versions == compiler_versions() and _is_unchanged(source, origin)
    return str(reason) if holds else None


def _note(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.refused.json")


def _is_unchanged(source: Source, origin: dict[str, tuple[int, int]]) -> bool:
    """Return whether every file a model was made from is as it was, or gone, and none is newer."""
    if isinstance(source, DirectorySource) and source.weights is None:
        newest = newest_epoch(source.directory)
        is_of_epoch = any(Path(path).match("epoch_*.pt") for path in origin)
        if newest is not None and is_of_epoch and str(newest) not in origin:
            return False
    for path, (size, mtime_ns) in origin.items():
        try:
            found = os.stat(path)  # noqa: PTH116 - the path is text
        except OSError:
            continue
        if (found.st_size, found.st_mtime_ns) != (size, mtime_ns):
            return False
    return True
