"""Weights in transformers' layout and in open_clip's: one table of names, read both ways.

Shapes: W width of an encoder, D dimensions of the shared space, P positions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from clipkit.errors import CheckpointError, MissingExtraError
from clipkit.models.transformers_layout import Family, siglip_layers
from clipkit.models.weights import StateDict

try:
    import torch
except ImportError as error:
    raise MissingExtraError("torch", "Opening weights") from error

# same: as it is. transposed: a matrix that multiplies from the other side. row: (P, W) is
# (1, P, W). single: a scalar is of shape (1,). stacked: several one below the other.
_Kind = Literal["same", "transposed", "row", "single", "stacked"]


@dataclass(frozen=True)
class Pair:
    """Tensors that are the same in both layouts."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    kind: _Kind = "same"


def to_open_clip(state: StateDict, family: Family, model_cfg: Mapping[str, Any]) -> StateDict:
    """Return transformers' tensors under open_clip's names.

    Args:
        state: Tensors by transformers' names.
        family: The kind of model.
        model_cfg: open_clip's config of it.

    Returns:
        Tensors by open_clip's names; what the table does not know keeps its name.

    Raises:
        CheckpointError: If a tensor is missing.
    """
    left = {
        name: tensor for name, tensor in state.items() if not name.endswith(".position_ids")
    }  # that one only counts 0, 1, 2, …
    found: StateDict = {}
    for pair in pairs(family, model_cfg):
        missing = [name for name in pair.theirs if name not in left]
        if missing:
            raise CheckpointError(
                f"the weights have no {missing[0]}, which a {family} model of transformers' has; "
                "they are of another architecture, or of one of its parts"
            )
        theirs = [left.pop(name) for name in pair.theirs]
        try:
            found |= zip(pair.ours, _ours(pair, theirs), strict=True)
        except (RuntimeError, IndexError) as error:
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in theirs)
            raise CheckpointError(
                f"the weights have {pair.theirs[0]} in a shape that no {family} model of "
                f"transformers' has: {shapes}"
            ) from error
    if family == "chinese_clip":
        for name in [name for name in left if name.startswith("text_model.")]:
            found[f"text.transformer.{name.removeprefix('text_model.')}"] = left.pop(name)
    return found | left


def to_transformers(state: StateDict, family: Family, model_cfg: Mapping[str, Any]) -> StateDict:
    """Return open_clip's tensors under transformers' names.

    Args:
        state: Tensors by open_clip's names.
        family: The kind of model.
        model_cfg: open_clip's config of it.

    Returns:
        Tensors by transformers' names.
    """
    found: StateDict = {}
    for pair in pairs(family, model_cfg):
        ours = [state[name] for name in pair.ours]
        found |= zip(pair.theirs, _theirs(pair, ours), strict=True)
    if family == "chinese_clip":
        start = "text.transformer."
        for name in [name for name in state if name.startswith(start)]:
            found[f"text_model.{name.removeprefix(start)}"] = state[name]
    return {name: tensor.contiguous() for name, tensor in found.items()}


def pairs(family: Family, model_cfg: Mapping[str, Any]) -> Iterator[Pair]:
    """Yield the tensors of a kind of model; of Chinese-CLIP without the text encoder.

    Args:
        family: The kind of model.
        model_cfg: open_clip's config of it.
    """
    if family == "siglip":
        for name in ("logit_scale", "logit_bias"):
            yield Pair((name,), (name,), "single")
        yield from _siglip_image_encoder(model_cfg)
        yield from _text_encoder("text.", int(model_cfg["text_cfg"]["layers"]))
        for part in ("weight", "bias"):
            yield Pair((f"text.text_projection.{part}",), (f"text_model.head.{part}",))
        return
    yield Pair(("logit_scale",), ("logit_scale",))
    yield from _clip_image_encoder(int(model_cfg["vision_cfg"]["layers"]))
    if family == "chinese_clip":
        yield Pair(("text.proj.weight",), ("text_projection.weight",))
        return
    prefix = "text." if model_cfg.get("custom_text") else ""
    yield from _text_encoder(prefix, int(model_cfg["text_cfg"]["layers"]))
    yield Pair((f"{prefix}text_projection",), ("text_projection.weight",), "transposed")


def _clip_image_encoder(num_layers: int) -> Iterator[Pair]:
    ours, theirs = "visual.", "vision_model."
    embeddings = f"{theirs}embeddings."
    yield Pair((f"{ours}class_embedding",), (f"{embeddings}class_embedding",))
    yield Pair((f"{ours}positional_embedding",), (f"{embeddings}position_embedding.weight",))
    yield Pair((f"{ours}conv1.weight",), (f"{embeddings}patch_embedding.weight",))
    yield from _layer(f"{ours}ln_pre", f"{theirs}pre_layrnorm")  # its name in transformers
    yield from _layer(f"{ours}ln_post", f"{theirs}post_layernorm")
    yield Pair((f"{ours}proj",), ("visual_projection.weight",), "transposed")
    yield from _blocks(f"{ours}transformer.resblocks.", f"{theirs}encoder.layers.", num_layers)


def _text_encoder(ours: str, num_layers: int) -> Iterator[Pair]:
    theirs = "text_model."
    for name, other in (
        ("token_embedding.weight", "token_embedding.weight"),
        ("positional_embedding", "position_embedding.weight"),
    ):
        yield Pair((f"{ours}{name}",), (f"{theirs}embeddings.{other}",))
    yield from _layer(f"{ours}ln_final", f"{theirs}final_layer_norm")
    yield from _blocks(f"{ours}transformer.resblocks.", f"{theirs}encoder.layers.", num_layers)


def _blocks(ours: str, theirs: str, num_layers: int) -> Iterator[Pair]:
    for number in range(num_layers):
        our, their = f"{ours}{number}.", f"{theirs}{number}."
        for name, other in (
            ("ln_1", "layer_norm1"),
            ("ln_2", "layer_norm2"),
            ("mlp.c_fc", "mlp.fc1"),
            ("mlp.c_proj", "mlp.fc2"),
            ("attn.out_proj", "self_attn.out_proj"),
        ):
            yield from _layer(our + name, their + other)
        for part in ("weight", "bias"):
            yield Pair((f"{our}attn.in_proj_{part}",), _query_key_value(their, part), "stacked")


def _siglip_image_encoder(model_cfg: Mapping[str, Any]) -> Iterator[Pair]:
    ours, theirs = "visual.trunk.", "vision_model."
    yield from _layer(f"{ours}patch_embed.proj", f"{theirs}embeddings.patch_embedding")
    yield Pair((f"{ours}pos_embed",), (f"{theirs}embeddings.position_embedding.weight",), "row")
    yield from _layer(f"{ours}norm", f"{theirs}post_layernorm")
    for number in range(siglip_layers(model_cfg)):
        our, their = f"{ours}blocks.{number}.", f"{theirs}encoder.layers.{number}."
        for name, other in (
            ("norm1", "layer_norm1"),
            ("norm2", "layer_norm2"),
            ("mlp.fc1", "mlp.fc1"),
            ("mlp.fc2", "mlp.fc2"),
            ("attn.proj", "self_attn.out_proj"),
        ):
            yield from _layer(our + name, their + other)
        for part in ("weight", "bias"):
            yield Pair((f"{our}attn.qkv.{part}",), _query_key_value(their, part), "stacked")
    our, their = f"{ours}attn_pool.", f"{theirs}head."
    yield Pair((f"{our}latent",), (f"{their}probe",))
    for part in ("weight", "bias"):
        yield Pair(
            (f"{our}q.{part}", f"{our}kv.{part}"), (f"{their}attention.in_proj_{part}",), "stacked"
        )
    for name, other in (
        ("proj", "attention.out_proj"),
        ("norm", "layernorm"),
        ("mlp.fc1", "mlp.fc1"),
        ("mlp.fc2", "mlp.fc2"),
    ):
        yield from _layer(our + name, their + other)


def _layer(ours: str, theirs: str) -> Iterator[Pair]:
    for part in ("weight", "bias"):
        yield Pair((f"{ours}.{part}",), (f"{theirs}.{part}",))


def _query_key_value(block: str, part: str) -> tuple[str, ...]:
    return tuple(f"{block}self_attn.{letter}_proj.{part}" for letter in "qkv")


def _ours(pair: Pair, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    if pair.kind == "stacked":
        whole = torch.cat(tensors)
        # Queries, keys and values are of equal height; keys and values may be one tensor.
        third = len(whole) // 3
        return [whole] if len(pair.ours) == 1 else [whole[:third], whole[third:]]
    return [_turned(pair.kind, tensor, to_ours=True) for tensor in tensors]


def _theirs(pair: Pair, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    if pair.kind == "stacked":
        return list(torch.cat(tensors).chunk(len(pair.theirs)))
    return [_turned(pair.kind, tensor, to_ours=False) for tensor in tensors]


def _turned(kind: _Kind, tensor: torch.Tensor, *, to_ours: bool) -> torch.Tensor:
    if kind == "transposed":
        return tensor.T
    if kind == "single":
        return tensor.reshape(()) if to_ours else tensor.reshape(1)
    if kind == "row":
        return tensor[None] if to_ours else tensor[0]
    return tensor
