"""Choosing the engine of a model: compiled on ONNX Runtime where that can run it, else torch.

A compiled model starts in a fraction of a second and imports no torch; torch runs any weights on
any device.
"""

from pathlib import Path
from typing import Literal, get_args

from clipkit.encoder.encoder import Encoder
from clipkit.encoder.text_cache import MemoryTextCache, TextCache
from clipkit.errors import InputError
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.inputs.vocabulary_lookup import LOOKUP_FILE
from clipkit.models.locate import locate
from clipkit.models.sources import DirectorySource, Source, starter_directory
from clipkit.runtime.bundle import PRECISIONS, verify_once
from clipkit.runtime.cache import find_compiled
from clipkit.runtime.compiled_autotune import CompiledChoice, autotune_compiled, open_compiled
from clipkit.runtime.openvino_runtime import OPENVINO_PRECISIONS

Engine = Literal["auto", "onnx", "openvino", "torch"]
COMPILED_ENGINES = ("onnx", "openvino")  # which run compiled models, on the CPU


def open_encoder(
    source: Source,
    *,
    engine: Engine,
    device: str,
    precision: str,
    cache_dir: Path | None,
    text_cache: TextCache | MemoryTextCache | None,
) -> Encoder:
    """Return the encoder of a model; :func:`verify_compiled` checks the files it is opened from.

    Args:
        source: Where the model's weights come from.
        engine: As for :func:`clipkit.load`.
        device: As for :func:`clipkit.load`.
        precision: As for :func:`clipkit.load`.
        cache_dir: As for :func:`clipkit.load`.
        text_cache: Where embeddings of texts are kept; None keeps none.

    Returns:
        The encoder, without a spec.

    Raises:
        InputError: If device, precision or engine do not fit.
    """
    if engine not in get_args(Engine):
        raise InputError(f"engine must be one of {', '.join(get_args(Engine))}, got {engine!r}")
    may_be_compiled = fits_compiled(engine, device, precision)
    if engine in COMPILED_ENGINES and not may_be_compiled:
        raise InputError(
            f"the {engine} engine runs on the CPU in {' or '.join(_precisions(engine))}, "
            f"got device {device!r} and precision {precision!r}; "
            'use engine="torch" for others'
        )
    compiled = find_compiled(source) if may_be_compiled else None
    if compiled is not None:
        return _open_compiled(compiled, source.name, engine, precision, text_cache)
    if engine in COMPILED_ENGINES or precision == "int8":
        what = f"engine {engine}" if engine in COMPILED_ENGINES else "int8"
        raise InputError(
            f"{source.name} is not compiled, which {what} needs: "
            f'run  clipkit compile "{source.name}"'
        )
    return _open_on_torch(source, device, precision, cache_dir, text_cache)


def verify_compiled(encoder: Encoder, source: Source) -> None:
    """Check that the files of a compiled model in a user's own directory are still the same.

    Anyone may put other weights there. Those in clipkit's own directories are trusted.

    Args:
        encoder: What was opened; on torch there is nothing to check.
        source: What it was opened from.

    Raises:
        CheckpointError: If a file is damaged, or not the one that was compiled.
    """
    if encoder.engine not in COMPILED_ENGINES or not isinstance(source, DirectorySource):
        return
    directory = source.directory
    if directory != starter_directory() and find_compiled(source) == directory:
        verify_once(directory)


def fits_compiled(engine: str, device: str, precision: str) -> bool:
    """Return whether a compiled model can run as requested.

    Args:
        engine: As for :func:`clipkit.load`.
        device: As for :func:`clipkit.load`.
        precision: As for :func:`clipkit.load`.

    Returns:
        True if it is on the CPU, in one of its precisions, and the engine is not torch.
    """
    is_on_cpu = engine != "torch" and device in ("auto", "cpu")
    return is_on_cpu and precision in ("auto", "fastest", *_precisions(engine))


def _precisions(engine: str) -> tuple[str, ...]:
    return OPENVINO_PRECISIONS if engine == "openvino" else PRECISIONS


def _open_compiled(
    directory: Path,
    name: str,
    engine: str,
    precision: str,
    text_cache: TextCache | MemoryTextCache | None,
) -> Encoder:
    files = locate(DirectorySource(name, directory))
    runtime = open_compiled(directory, _choose(directory, engine, precision))
    lookup = directory / LOOKUP_FILE if LOOKUP_FILE in runtime.bundle.files else None
    return Encoder(
        runtime,
        Preprocess.from_config(files.preprocess_cfg, runtime.bundle.image_size),
        Tokenizer.from_config(files.model_cfg["text_cfg"], files.tokenizer, lookup=lookup),
        name=name,
        text_cache=text_cache,
    )


def _choose(directory: Path, engine: str, precision: str) -> CompiledChoice:
    """Return what a compiled model is to run on."""
    if precision not in ("auto", "fastest"):
        return CompiledChoice("onnx" if engine == "auto" else engine, precision)
    # Nobody compiled the starter here, with a trial at the end. One of OpenVINO takes longer than a
    # first search, so that it waits for  clipkit index  or  clipkit compile starter.
    is_left_alone = engine == precision == "auto" and directory == starter_directory()
    return autotune_compiled(directory, engine, may_measure=not is_left_alone)


def _open_on_torch(
    source: Source,
    device: str,
    precision: str,
    cache_dir: Path | None,
    text_cache: TextCache | MemoryTextCache | None,
) -> Encoder:
    from clipkit.models.checkpoint import load_towers
    from clipkit.runtime.torch_autotune import autotune_torch_precision
    from clipkit.runtime.torch_device import choose_device
    from clipkit.runtime.torch_runtime import TorchRuntime

    towers = load_towers(source, cache_dir=cache_dir)
    preprocess = Preprocess.from_config(towers.preprocess_cfg, towers.image_size)
    tokenizer = Tokenizer.from_config(towers.model_cfg["text_cfg"], towers.tokenizer_source)
    space_id = towers.space_id(tokenizer.digest())
    if precision == "fastest":
        precision = "auto"  # on a GPU that is the fastest
        if choose_device(device).type == "cpu":
            trial = autotune_torch_precision(towers, preprocess, tokenizer, space_id=space_id)
            precision = trial.chosen
    runtime = TorchRuntime(towers, device=device, precision=precision, space_id=space_id)
    return Encoder(runtime, preprocess, tokenizer, name=source.name, text_cache=text_cache)
