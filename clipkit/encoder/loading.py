"""clipkit.load and clipkit.compile_model: the encoder of a model, by the model's name."""

from pathlib import Path
from typing import Literal, cast

from clipkit.arguments import check_path, check_progress
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.engines import Engine, open_encoder, verify_compiled
from clipkit.encoder.spec import EncoderSpec
from clipkit.encoder.text_cache import MemoryTextCache, TextCache, user_text_cache
from clipkit.models.sources import resolve_source
from clipkit.progress import StepProgress
from clipkit.runtime.cache import compile_into_cache
from clipkit.runtime.compiled_autotune import autotune_compiled


def load(  # noqa: PLR0913 - one call for all that decides how a model is loaded
    name: str | Path = "starter",
    *,
    device: str = "auto",
    precision: str = "auto",
    engine: Engine = "auto",
    truncate_dim: int | None = None,
    cache_dir: str | Path | None = None,
    cache_texts: bool | Literal["memory"] = True,
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
        precision: "fp32", "bf16" or "fp16" on torch; "fp32" or "int8" of a compiled model on ONNX
            Runtime, and "bf16" on OpenVINO.
            "fastest" is the fastest, as measured once on this machine, that changes no embedding
            noticeably; "auto" is that too, but for torch on a CPU, where it is "fp32": measuring
            takes half a minute there.
        engine: "onnx" (ONNX Runtime) and "openvino" need a compiled model and run on the CPU, the
            latter its image encoder and with clipkit[openvino]; "torch" runs anything; "auto" takes
            a compiled model where there is one, on what is fastest.
        truncate_dim: How many dimensions of the embeddings are kept, from the first on, as
            :meth:`Encoder.truncated` does it; None: all.
        cache_dir: Where weights from a hub are kept, if not in the hub's own cache.
        cache_texts: Whether embeddings of texts are looked up and kept on disk; "memory": only as
            long as this encoder lives, and nothing of them on disk.

    Returns:
        The encoder, ready to encode.

    Raises:
        InputError: If device, precision, engine or truncate_dim is not one of the above, or they
            do not fit.
        CheckpointError: If the name is unknown or the weights are missing or damaged.
        OfflineError: If weights would have to be fetched and there is no network.
        MissingExtraError: If the model needs torch and torch is not installed.
    """
    hub_cache = None if cache_dir is None else check_path(cache_dir, "cache_dir").absolute()
    source = resolve_source(name, cache_dir=hub_cache)
    encoder = open_encoder(
        source,
        engine=engine,
        device=str(device),  # torch's own kind is as good as its name
        precision=precision,
        cache_dir=hub_cache,
        text_cache=_text_cache(kept=cache_texts),
    )
    verify_compiled(encoder, source)
    encoder.spec = EncoderSpec(
        encoder.name,
        engine=cast(Engine, encoder.engine),
        precision=encoder.precision,
        device=encoder.device,
        space_id=encoder.space_id,
        cache_dir=None if hub_cache is None else str(hub_cache),
        cache_texts=cache_texts is True,
    )
    return encoder if truncate_dim is None else encoder.truncated(truncate_dim)


def _text_cache(*, kept: bool | Literal["memory"]) -> TextCache | MemoryTextCache | None:
    if kept == "memory":
        return MemoryTextCache()
    return user_text_cache() if kept else None


def compile_model(
    name: str | Path,
    *,
    cache_dir: str | Path | None = None,
    progress: StepProgress | None = None,
) -> Path:
    """Compile a model for ONNX Runtime into the user's cache, where :func:`load` finds it.

    The compiled towers are compared with the original on real images and texts; what is too far
    from it is not used. Then engines and precisions that pass are timed on this machine.

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
    check_progress(progress, "the name of a step")
    hub_cache = None if cache_dir is None else check_path(cache_dir, "cache_dir")
    source = resolve_source(name, cache_dir=hub_cache)
    directory = compile_into_cache(source, progress=progress, cache_dir=hub_cache)
    if progress:
        progress("measuring what is fastest here")
    autotune_compiled(directory)
    return directory
