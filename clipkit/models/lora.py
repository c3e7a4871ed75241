"""LoRA on the two towers: adding adapters to train, merging them, and their file.

A small share of a model is trained, its attention as a rule, while all its own weights stay as they
are. What comes out is a file of some hundred kilobytes that belongs to one base model.

peft was weighed and is not used. Of open_clip's fused attention it adapts queries, keys and values
by one shared A, and the output always; it has no adapter for a part of a fused weight; its names of
layers end up in every state dict.

Source:
    Zanella and Ben Ayed 2024, "Low-Rank Few-Shot Adaptation of Vision-Language Models" (CLIP-LoRA,
    arXiv 2405.18541): rank 2 and alpha 1 for queries, keys and values of both towers.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from clipkit.errors import CheckpointError, InputError, MissingExtraError, SpaceMismatchError
from clipkit.models.freezing import freeze_batch_norm
from clipkit.models.lora_info import LoraInfo, LoraTarget, LoraTowers, read_info
from clipkit.models.lora_targets import (
    AdaptableWeight,
    Tower,
    adaptable_weights,
    chosen_weights,
)
from clipkit.models.low_rank import LowRank, adapters, attach
from clipkit.models.public_name import public_name
from clipkit.models.sources import HubSource, PretrainedSource, Source
from clipkit.models.towers import Towers
from clipkit.models.weights import StateDict, read_weights

try:
    import torch
    from safetensors.torch import save_file
except ImportError as error:
    raise MissingExtraError("torch", "Adapting towers") from error


@dataclass(frozen=True)
class LoraSettings:
    """Which adapters are trained."""

    rank: int = 2
    alpha: float = 1.0  # adapters are multiplied by alpha / sqrt(rank)
    towers: LoraTowers = "both"
    targets: tuple[LoraTarget, ...] = ()  # empty: as chosen_weights says


def add_lora(
    towers: Towers,
    settings: LoraSettings,
    *,
    base: Source,
    tokenizer_digest: str,
    seed: int,
) -> None:
    """Give towers adapters that change nothing yet, and freeze everything else.

    Args:
        towers: The base model, changed in place. Its logit scale and batch norms are frozen too.
        settings: Which adapters.
        base: Where the base model comes from.
        tokenizer_digest: What identifies its vocabulary.
        seed: Equal seeds make equal adapters.

    Raises:
        InputError: If a tower has none of the targets, or the rank is more than a weight's own.
    """
    names: tuple[Tower, ...] = ("image", "text")
    if settings.towers != "both":
        names = (settings.towers,)
    chosen = chosen_weights(towers.model, names, settings.targets)
    smallest = min((weight for weight, _ in chosen), key=lambda weight: weight.most_rank)
    if settings.rank > smallest.most_rank:
        raise InputError(
            f"model.lora_rank must be at most {smallest.most_rank}, got {settings.rank}: "
            f"{smallest.name} has no more rows or columns"
        )
    is_public = isinstance(base, HubSource | PretrainedSource) or base.name == "starter"
    info = LoraInfo(
        base=public_name(base.name),
        is_base_local=not is_public,
        base_space_id=towers.space_id(tokenizer_digest),
        base_tokenizer=tokenizer_digest,
        rank=settings.rank,
        alpha=settings.alpha,
    )
    towers.requires_grad_(False)  # noqa: FBT003
    freeze_batch_norm(towers)
    generator = torch.Generator().manual_seed(seed)
    for weight, parts in chosen:
        adapter = _adapter(weight, parts, info)
        adapter.initialize(generator)
        attach(weight.module, weight.parameter, adapter)
    towers.lora = info


def scale_lora(towers: Towers, share: float) -> None:
    """Multiply what the adapters change by a share: 0 is the base model, 1 as they were trained.

    Between the two lies WiSE-FT's interpolation of the weights, (1 - share) W + share (W + BA).

    Args:
        towers: With adapters, changed in place.
        share: 0 to 1; 0 gives the numbers of the base model bit for bit.
    """
    assert towers.lora is not None
    for _, adapter in adapters(towers.model):
        adapter.alpha = share * towers.lora.alpha


def write_lora(towers: Towers, path: Path) -> None:
    """Write the adapters of towers, as they are scaled now.

    Args:
        towers: With adapters.
        path: Of a safetensors file; names are those of weights, with the part that is adapted.

    Raises:
        OSError: If it cannot be written.
    """
    assert towers.lora is not None
    tensors: StateDict = {}
    alpha = towers.lora.alpha
    for name, adapter in adapters(towers.model):
        alpha = adapter.alpha  # the same of all
        for row, part in enumerate(adapter.adapted):
            for key in ("lora_A", "lora_B"):
                matrix = getattr(adapter, key)[row].detach().cpu()
                tensors[f"{name}.{part}.{key}"] = matrix.float().clone()
    save_file(tensors, path, metadata=replace(towers.lora, alpha=alpha).to_metadata())


def read_lora(towers: Towers, path: Path) -> None:
    """Read the adapters of a file into towers that have such adapters.

    Args:
        towers: With adapters of the same weights and rank.
        path: As :func:`write_lora` wrote it.

    Raises:
        CheckpointError: If the file is damaged or holds other adapters.
    """
    state = _read_finite(path)
    with torch.no_grad():
        for name, adapter in adapters(towers.model):
            _fill(adapter, state, name, path)
    _refuse_rest(state, path)


def merge_lora(towers: Towers, path: Path) -> None:
    """Add the adapters of a file to the weights of their base model.

    Args:
        towers: The base model, without adapters; changed in place.
        path: As :func:`write_lora` wrote it.

    Raises:
        SpaceMismatchError: If the towers are not the base model of the adapters.
        CheckpointError: If the file is damaged.
    """
    info = read_info(path)
    space_id = towers.space_id(info.base_tokenizer)
    if space_id != info.base_space_id:
        raise SpaceMismatchError(
            f"{path} belongs to {info.base} of space {info.base_space_id}, and the base model that "
            f"was found is of space {space_id}: adapters change the weights that they were trained "
            f"on and no others. Put that base model, or a link to it, at {path.parent / 'base'}"
        )
    state = _read_finite(path)
    with torch.no_grad():
        for weight in adaptable_weights(towers.model):
            parts = tuple(part for part in weight.parts if f"{weight.name}.{part}.lora_A" in state)
            if parts:
                adapter = _adapter(weight, parts, info)
                _fill(adapter, state, weight.name, path)
                weight.tensor.copy_(adapter(weight.tensor))
    _refuse_rest(state, path)


def _adapter(weight: AdaptableWeight, parts: tuple[LoraTarget, ...], info: LoraInfo) -> LowRank:
    return LowRank(
        weight.tensor, parts=weight.parts, adapted=parts, rank=info.rank, alpha=info.alpha
    )


def _fill(adapter: LowRank, state: StateDict, name: str, path: Path) -> None:
    """Copy the matrices of an adapter out of a file's tensors, which lose them."""
    for row, part in enumerate(adapter.adapted):
        for key in ("lora_A", "lora_B"):
            place, matrix = f"{name}.{part}.{key}", getattr(adapter, key)[row]
            found = state.pop(place, None)
            if found is None or found.shape != matrix.shape:
                got = "is missing" if found is None else f"is {tuple(found.shape)}"
                raise CheckpointError(
                    f"{path} does not fit its base model or these settings: {place} {got}, and "
                    f"should be {tuple(matrix.shape)}"
                )
            matrix.copy_(found)


def _refuse_rest(state: StateDict, path: Path) -> None:
    if state:
        raise CheckpointError(
            f"{path} does not fit its base model or these settings: it adapts "
            f"{min(state).rpartition('.')[0]}, which is not adapted there"
        )


def _read_finite(path: Path) -> StateDict:
    state = read_weights(path)
    wrong = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if wrong:
        raise CheckpointError(
            f"{path} holds numbers that are not finite, in {wrong[0]}"
            f"{f' and {len(wrong) - 1} more' if len(wrong) > 1 else ''}: it is damaged, or its "
            "training diverged"
        )
    return state
