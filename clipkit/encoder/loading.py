"""A name -> an encoder, on the fastest engine that computes the same; and compiling for that."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from clipkit.arguments import check_path
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.text_cache import TextCache, user_text_cache
from clipkit.errors import InputError, SpaceMismatchError
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer, tokenizer_digest
from clipkit.models.locate import locate
from clipkit.models.sources import DirectorySource, Source, resolve_source, starter_directory
from clipkit.progress import StepProgress
from clipkit.runtime.autotune import choose_compiled_precision
from clipkit.runtime.bundle import PRECISIONS, verify_once
from clipkit.runtime.cache import compile_source, find_compiled

Engine = Literal["auto", "onnx", "torch"]


@dataclass(frozen=True)
class EncoderSpec:
    """What :func:`load` was told and what it found: enough to load the same encoder elsewhere.

    An encoder is pickled as this, and loaded again where it is unpickled: in a process pool, or in
    a worker of torch's DataLoader. Weights and sessions do not cross process borders.
    """

    name: str  # as resolve_source spells it: paths are absolute
    engine: Engine  # what load() chose, and so with precision and device
    precision: str
    device: str
    space_id: str
    cache_dir: str | Path | None = None
    is_caching_texts: bool = True

    def load(self) -> Encoder:
        """Return such an encoder.

        Returns:
            An encoder on the same engine, in the same precision, of the same space.

        Raises:
            SpaceMismatchError: If the weights are no longer those that they were.
            InputError: If the device, or the compiled model, is not there.
            CheckpointError: If the weights are missing or damaged.
        """
        encoder = load(
            self.name,
            device=self.device,
            precision=self.precision,
            engine=self.engine,
            cache_dir=self.cache_dir,
            is_caching_texts=self.is_caching_texts,
        )
        if encoder.space_id != self.space_id:
            raise SpaceMismatchError(
                f"the encoder was made of {self.name} when it was of space {self.space_id}; what "
                f"lies there now is of space {encoder.space_id}: load it anew where it is needed"
            )
        return encoder


def load(
    name: str | Path = "starter",
    *,
    device: str = "auto",
    precision: str = "auto",
    engine: Engine = "auto",
    cache_dir: str | Path | None = None,
    is_caching_texts: bool = True,
) -> Encoder:
    """Return the encoder of a model.

    Nothing is fetched unless the name asks for it: "starter", directories and files never do.
    A compiled model starts in a fraction of a second and needs no torch; :func:`compile_model`
    compiles one, and the command line does so by itself.

    Embeddings of texts are kept in the user's cache directory under hashes of the texts, and
    looked up there, unless the environment variable CLIPKIT_NO_CACHE is set.

    Args:
        name: "starter" (embedded, works without torch); an open_clip name with its tag, as in
            "ViT-B-32/laion2b_s34b_b79k"; "hf-hub:org/repo"; "local-dir:path" or the path of a
            checkpoint directory; or a weights file with its architecture, as
            :func:`clipkit.models.sources.resolve_source` describes.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        precision: "fp32", "bf16" or "fp16" on torch; "fp32" or "int8" of a compiled model.
            "fastest" is the fastest, as measured once on this machine, that changes no embedding
            noticeably; "auto" is that too, but for torch on a CPU, where it is "fp32": measuring
            takes half a minute there.
        engine: "onnx" needs a compiled model and runs on the CPU; "torch" runs anything; "auto"
            takes the first that can.
        cache_dir: Where weights from a hub are kept, if not in the hub's own cache.
        is_caching_texts: Whether embeddings of texts are looked up and kept on disk.

    Returns:
        The encoder, ready to encode.

    Raises:
        InputError: If device, precision or engine is not one of the above, or they do not fit.
        CheckpointError: If the name is unknown or the weights are missing or damaged.
        OfflineError: If weights would have to be fetched and there is no network.
        MissingExtraError: If the model needs torch and torch is not installed.
    """
    source = resolve_source(name)
    encoder = load_unverified(
        source,
        engine=engine,
        device=str(device),  # torch's own kind is as good as its name
        precision=precision,
        cache_dir=None if cache_dir is None else check_path(cache_dir, "cache_dir").absolute(),
        text_cache=user_text_cache() if is_caching_texts else None,
    )
    if encoder.engine == "onnx":
        _verify(source)
    encoder.spec = EncoderSpec(
        encoder.name,
        engine=cast(Engine, encoder.engine),
        precision=encoder.precision,
        device=encoder.device,
        space_id=encoder.space_id,
        cache_dir=None if cache_dir is None else Path(cache_dir).absolute(),
        is_caching_texts=is_caching_texts,
    )
    return encoder


def _verify(source: Source) -> None:
    """Verify a compiled model outside clipkit's own places: anyone may put other weights there."""
    if not isinstance(source, DirectorySource) or source.directory == starter_directory():
        return
    if find_compiled(source) == source.directory:
        verify_once(source.directory)


def load_unverified(
    source: Source,
    *,
    engine: Engine,
    device: str,
    precision: str,
    cache_dir: Path | None,
    text_cache: TextCache | None,
) -> Encoder:
    """Return an encoder though files of its compiled model may have been replaced, to examine it.

    Args:
        source: Where the model's weights come from.
        engine: As for :func:`load`.
        device: As for :func:`load`.
        precision: As for :func:`load`.
        cache_dir: As for :func:`load`.
        text_cache: Where embeddings of texts are kept; None keeps none.

    Returns:
        The encoder, without a spec.

    Raises:
        InputError: If device, precision or engine do not fit.
    """
    if engine not in ("auto", "onnx", "torch"):
        raise InputError(f'engine must be "auto", "onnx" or "torch", got {engine!r}')
    may_be_compiled = fits_compiled(engine, device, precision)
    if engine == "onnx" and not may_be_compiled:
        raise InputError(
            f"the onnx engine runs on the CPU in {' or '.join(PRECISIONS)}, got device {device!r} "
            f'and precision {precision!r}; use engine="torch" for others'
        )
    compiled = find_compiled(source) if may_be_compiled else None
    if compiled is not None:
        return _load_compiled(compiled, source.name, precision, text_cache)
    if engine == "onnx" or precision == "int8":
        raise InputError(
            f"{source.name} is not compiled, which {'engine onnx' if engine == 'onnx' else 'int8'} "
            f'needs: run  clipkit compile "{source.name}"'
        )

    from clipkit.models.checkpoint import load_towers
    from clipkit.runtime.torch_autotune import fastest_precision
    from clipkit.runtime.torch_device import choose_device
    from clipkit.runtime.torch_runtime import TorchRuntime

    towers = load_towers(source, cache_dir=cache_dir)
    text_cfg = towers.model_cfg["text_cfg"]
    space_id = towers.space_id(tokenizer_digest(text_cfg, towers.tokenizer_source))
    preprocess = Preprocess.from_config(towers.preprocess_cfg, towers.image_size)
    tokenizer = Tokenizer.from_config(text_cfg, towers.tokenizer_source)
    if precision == "fastest":
        precision = "auto"  # on a GPU that is the fastest
        if choose_device(device).type == "cpu":
            trial = fastest_precision(towers, preprocess, tokenizer, space_id=space_id)
            precision = trial.chosen
    runtime = TorchRuntime(towers, device=device, precision=precision, space_id=space_id)
    return Encoder(runtime, preprocess, tokenizer, name=source.name, text_cache=text_cache)


def fits_compiled(engine: str, device: str, precision: str) -> bool:
    """Return whether a compiled model can do what is asked for.

    Args:
        engine: As for :func:`load`.
        device: As for :func:`load`.
        precision: As for :func:`load`.

    Returns:
        True if it is on the CPU, in one of its precisions, and torch is not insisted on.
    """
    is_on_cpu = engine != "torch" and device in ("auto", "cpu")
    return is_on_cpu and precision in ("auto", "fastest", *PRECISIONS)


def compile_model(
    name: str | Path,
    *,
    cache_dir: str | Path | None = None,
    progress: StepProgress | None = None,
) -> Path:
    """Compile a model for ONNX Runtime into the user's cache, where :func:`load` finds it.

    The compiled towers are compared with the original on real images and texts; what is too far
    from it is not used. Then the precisions that pass are timed on this machine.

    Args:
        name: A model, as for :func:`load`.
        cache_dir: The hub cache to use; the usual one if None.
        progress: Called with a word or two before each step.

    Returns:
        The directory of the compiled model, a whole checkpoint by itself.

    Raises:
        CheckpointError: If the model cannot be loaded, exported or written, or if the compiled
            towers compute something else.
        OfflineError: If weights would have to be fetched and there is no network.
        MissingExtraError: If torch is not installed.
    """
    hub_cache = None if cache_dir is None else Path(cache_dir)
    directory = compile_source(resolve_source(name), progress=progress, cache_dir=hub_cache)
    if progress:
        progress("measuring which precision is fastest here")
    choose_compiled_precision(directory)
    return directory


def _load_compiled(
    directory: Path, name: str, precision: str, text_cache: TextCache | None
) -> Encoder:
    from clipkit.runtime.onnx_runtime import OnnxRuntime

    files = locate(DirectorySource(name, directory))
    is_free = precision in ("auto", "fastest")
    chosen = choose_compiled_precision(directory) if is_free else precision
    runtime = OnnxRuntime(directory, chosen)
    return Encoder(
        runtime,
        Preprocess.from_config(files.preprocess_cfg, runtime.bundle.image_size),
        Tokenizer.from_config(files.model_cfg["text_cfg"], files.tokenizer),
        name=name,
        text_cache=text_cache,
    )
