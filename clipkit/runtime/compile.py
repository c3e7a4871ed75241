"""Compiling a model for ONNX Runtime, with a parity gate that refuses what differs.

ViT-B/32 of 256 pixels takes 53 s of processor time, some 80 s on two cores that are shared with
other work, and 2.2 GB of memory at most. Half of the time goes into embedding the reference inputs
with the original, a quarter into export.

Shapes: B inputs, D dimensions of the shared space.
"""

import dataclasses
import shutil
import time
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from clipkit.embeddings import normalize_rows
from clipkit.errors import CheckpointError
from clipkit.files import put_in_place
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.inputs.vocabulary_lookup import LOOKUP_FILE
from clipkit.models.checkpoint import load_towers, save_towers
from clipkit.models.hub import SAFE_WEIGHTS
from clipkit.models.locate import (
    SPECIAL_TOKENS,
    TOKENIZER_NAME,
    TOKENIZER_SETTINGS,
    CheckpointFiles,
    locate,
)
from clipkit.models.open_clip_config import TEXT_CONFIG_NAME
from clipkit.models.sources import CONFIG_NAME, AdapterSource, DirectorySource, Source
from clipkit.models.towers import Towers
from clipkit.progress import StepProgress
from clipkit.runtime.base import Scoring, trim_padding
from clipkit.runtime.bundle import (
    GOLDEN_VECTORS,
    MANIFEST,
    Bundle,
    Refusal,
    compiler_versions,
    graph_name,
    stored_file,
    write_manifest,
)
from clipkit.runtime.gate import admit
from clipkit.runtime.int8 import LEAST_SHARE, compile_int8
from clipkit.runtime.onnx_export import (
    ImageTower,
    TextTower,
    export_graph,
    fold_batch_norms,
    fuse_transposed_weights,
)
from clipkit.runtime.optimized_graph import optimize_graph
from clipkit.runtime.parity import (
    ReferenceEmbeddings,
    reference_digest,
    reference_images,
    reference_texts,
)

WEIGHTS = SAFE_WEIGHTS
_PREFIX = "towers.model."  # what parameters are called in a tower, before their names in the file
_TORCH_BATCH = 8
_ABANDONED_SECONDS = 3600  # after which a draft belongs to no process that still runs


class RefusedError(CheckpointError):
    """A model that cannot be compiled, however often it is tried.

    Args:
        reason: Why, as a sentence.
        origin: The files it was made from, as in a manifest.
    """

    def __init__(self, reason: str, origin: dict[str, tuple[int, int]]) -> None:
        super().__init__(reason)
        self.origin = origin


def compile_bundle(
    source: Source,
    directory: Path,
    *,
    progress: StepProgress | None = None,
    cache_dir: Path | None = None,
) -> Bundle:
    """Compile a model into a bundle of its own that appears whole or not at all.

    Args:
        source: Where its weights come from.
        directory: Where the bundle is written, the whole checkpoint with it; a bundle that is
            there is replaced.
        progress: Called with a word or two before each step.
        cache_dir: The hub cache to use; the usual one if None.

    Returns:
        The manifest, with what was measured.

    Raises:
        RefusedError: If the model cannot be exported, or its graphs are further from the original
            than the gate allows.
        CheckpointError: If the model cannot be loaded, or the directory cannot be written.
        OfflineError: If weights would have to be fetched and there is no network.
    """
    tell = progress or _tell_nobody
    target = directory.resolve()
    if target.exists() and not (target / MANIFEST).is_file():
        raise CheckpointError(
            f"{target} exists and is not a compiled model: choose another directory"
        )
    tell("loading the model")
    origin = _origin(source, locate(source, cache_dir=cache_dir))
    towers = load_towers(source, cache_dir=cache_dir)
    tokenizer = Tokenizer.from_config(towers.model_cfg["text_cfg"], towers.tokenizer_source)
    _remove_abandoned(target)
    draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    brings_vocabulary = towers.tokenizer_source.is_dir()
    try:
        tell("writing weights")
        save_towers(
            towers,
            draft,
            tokenizer_json=None if brings_vocabulary else tokenizer.to_json(),
            space_id=towers.space_id(tokenizer.digest()),
        )
        try:
            bundle = _compile_into(draft, towers, source.name, tell)
        except CheckpointError as error:
            raise RefusedError(str(error), origin) from error
        bundle = dataclasses.replace(bundle, origin=origin)
        write_manifest(bundle, draft)
        put_in_place(draft, target)
    except OSError as error:
        raise CheckpointError(f"{target} cannot be written: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return bundle


def compile_in_place(directory: Path, *, name: str, progress: StepProgress | None = None) -> Bundle:
    """Make a checkpoint directory a bundle, by writing the graphs beside its weights.

    Args:
        directory: A checkpoint in open_clip's layout, with its weights as safetensors.
        name: What the model is called.
        progress: Called with a word or two before each step.

    Returns:
        The manifest, with what was measured.

    Raises:
        CheckpointError: If the graphs are further from the original than the gate allows; the
            directory is then left as it was.
    """
    towers = load_towers(DirectorySource(name, directory))
    with TemporaryDirectory(prefix=".compile-", dir=directory) as temporary:
        draft = Path(temporary)
        # The graphs only find their weights in their own directory.
        (draft / WEIGHTS).hardlink_to(directory / WEIGHTS)
        bundle = _compile_into(draft, towers, name, progress or _tell_nobody)
        (draft / WEIGHTS).unlink()
        for path in sorted(draft.iterdir(), key=lambda path: path.name == MANIFEST):
            path.replace(directory / path.name)
    return bundle


def _compile_into(draft: Path, towers: Towers, name: str, tell: StepProgress) -> Bundle:
    """Write graphs, golden vectors and manifest beside the weights that lie in a directory."""
    text_cfg = towers.model_cfg["text_cfg"]
    preprocess = Preprocess.from_config(towers.preprocess_cfg, towers.image_size)
    tokenizer = Tokenizer.from_config(text_cfg, towers.tokenizer_source)
    pixel_values = np.stack([preprocess.pixel_values(path) for path in reference_images()])
    token_ids = tokenizer(reference_texts())
    tell("embedding the reference images")
    original = _embed_in_torch(towers, pixel_values, token_ids)
    original.save(draft / GOLDEN_VECTORS)

    bundle = Bundle(
        name=name,
        space_id=towers.space_id(tokenizer.digest()),
        embed_dim=towers.embed_dim,
        image_size=towers.image_size,
        scoring=Scoring(towers.logit_scale, towers.logit_bias),
        padding_id=towers.padding_id,
        weights=WEIGHTS,
        reference=reference_digest(),
        precisions={},
        versions=compiler_versions(),
    )
    graphs = {}
    for tower, module, inputs in _exports(towers, pixel_values, token_ids):
        tell(f"exporting the {tower} tower")
        graphs[tower] = _export(tower, module, inputs, bundle, draft)
        path = draft / graph_name(tower, "fp32")
        path.write_bytes(graphs[tower].SerializeToString())
        if tower == "text":  # OpenVINO reads the other, and knows no operation of ONNX Runtime's
            optimize_graph(path)
    tell("comparing with the original")
    bundle = admit(bundle, "fp32", draft, original, (pixel_values, token_ids))
    if "fp32" in bundle.refused:
        raise CheckpointError(
            f"the compiled towers of {name} do not match the original: "
            f"{bundle.refused['fp32'].parity}"
        )

    if reason := _why_not_in_8_bits(_exports(towers, pixel_values, token_ids)):
        bundle = dataclasses.replace(bundle, refused={"int8": Refusal(reason)})
    else:
        bundle = compile_int8(bundle, graphs, draft, original, (pixel_values, token_ids), tell)
    tell("writing the manifest")
    _write_lookup(draft, towers, tokenizer, token_ids)
    made = [path for path in draft.iterdir() if path.suffix in (".onnx", ".bin", ".npz", ".sqlite")]
    files = {path.name: stored_file(path) for path in sorted([*made, draft / WEIGHTS])}
    bundle = dataclasses.replace(bundle, files=files)
    write_manifest(bundle, draft)
    return bundle


def _write_lookup(
    draft: Path, towers: Towers, tokenizer: Tokenizer, token_ids: NDArray[np.int64]
) -> None:
    """Write the vocabulary as a database, unless it gives other ids for the reference texts."""
    path = draft / LOOKUP_FILE
    if tokenizer.write_lookup(path):
        text_cfg, source = towers.model_cfg["text_cfg"], towers.tokenizer_source
        looked_up = Tokenizer.from_config(text_cfg, source, lookup=path)
        texts = reference_texts()
        if any(
            not np.array_equal(looked_up([text])[0], row)
            for text, row in zip(texts, token_ids, strict=True)
        ):
            path.unlink()


def _exports(
    towers: Towers, pixel_values: NDArray[np.float32], token_ids: NDArray[np.int64]
) -> list[tuple[str, nn.Module, torch.Tensor]]:
    """Return each tower with a batch of two: a batch of one would be exported as a fixed size."""
    return [
        ("image", ImageTower(towers).eval(), torch.from_numpy(pixel_values[[0, -1]])),
        ("text", TextTower(towers).eval(), torch.from_numpy(token_ids[[0, -1]])),
    ]


def _export(
    tower: str, module: nn.Module, inputs: torch.Tensor, bundle: Bundle, draft: Path
) -> onnx.ModelProto:
    axes: dict[int, Any] = {0: torch.export.Dim("batch")}
    if tower == "text" and bundle.padding_id is not None:
        axes[1] = torch.export.Dim("length", min=2, max=inputs.shape[1])
    try:
        graph = export_graph(
            module,
            inputs,
            input_name="pixel_values" if tower == "image" else "token_ids",
            dynamic=axes,
            prefix=_PREFIX,
            weights=draft / WEIGHTS,
        )
    except Exception as error:  # torch and onnxscript raise whatever they meet
        cause: BaseException = error
        while cause.__cause__ is not None:  # the exporter wraps what happened in advice
            cause = cause.__cause__
        reason = str(cause).strip().partition("\n")[0]
        raise CheckpointError(
            f"torch cannot export the {tower} tower of {bundle.name}: {reason}"
        ) from error
    fold_batch_norms(graph.graph)
    fuse_transposed_weights(graph.graph)
    graph.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    return graph


def _embed_in_torch(
    towers: Towers, pixel_values: NDArray[np.float32], token_ids: NDArray[np.int64]
) -> ReferenceEmbeddings:
    """Return the embeddings of the original, the reference for everything else."""
    starts = range(0, len(token_ids), _TORCH_BATCH)
    rows = [token_ids[start : start + _TORCH_BATCH] for start in starts]
    # The first texts stay whole, so that a cut which is not exact shows; all would take 10 s.
    rows[1:] = [trim_padding(part, towers.padding_id) for part in rows[1:]]
    with torch.inference_mode():
        images = [
            towers.image_features(part).numpy()
            for part in torch.split(torch.from_numpy(pixel_values), _TORCH_BATCH)
        ]
        texts = [towers.text_features(torch.from_numpy(part)).numpy() for part in rows]
    return ReferenceEmbeddings(
        normalize_rows(np.concatenate(images)), normalize_rows(np.concatenate(texts))
    )


def _why_not_in_8_bits(exports: list[tuple[str, nn.Module, torch.Tensor]]) -> str | None:
    """Return why 8 bits would make a model no faster; None if they may."""
    for tower, module, inputs in exports:
        counter = FlopCounterMode(display=False)
        with counter:
            module(inputs)
        counts = counter.get_flop_counts()["Global"]
        products = counts.get(torch.ops.aten.addmm, 0) + counts.get(torch.ops.aten.mm, 0)
        if products < LEAST_SHARE * sum(counts.values()):
            return f"most of the {tower} tower is convolutions, which 8 bits make no faster"
    return None


def _origin(source: Source, files: CheckpointFiles) -> dict[str, tuple[int, int]]:
    """Return size and modification time of the files that a user may change."""
    paths = [path for path in (files.weights, files.adapter) if path]
    whole = source.base if isinstance(source, AdapterSource) else source
    if isinstance(whole, DirectorySource):
        paths += [
            whole.directory / name
            for name in (
                CONFIG_NAME,
                TEXT_CONFIG_NAME,
                TOKENIZER_NAME,
                TOKENIZER_SETTINGS,
                SPECIAL_TOKENS,
            )
        ]
    found = {str(path): path.stat() for path in paths if path.is_file()}
    return {path: (status.st_size, status.st_mtime_ns) for path, status in found.items()}


def _remove_abandoned(target: Path) -> None:
    """Remove the drafts of compilations of the same model that were killed."""
    for draft in target.parent.glob(f".{target.name}.*.part"):
        if time.time() - draft.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(draft, ignore_errors=True)


def _tell_nobody(step: str) -> None:
    pass
