"""Checkpoint directories in open_clip's layout: loading towers from them, and saving towers.

A directory holds ``open_clip_config.json`` ("model_cfg", "preprocess_cfg", and "clipkit_cfg" for
what open_clip has no word for), ``open_clip_model.safetensors``, the tokenizer's files, and the
``config.json`` of a Hugging Face text tower. Plain open_clip opens it as "local-dir:DIRECTORY"
and computes equal embeddings, with zeros past ``kept_dims`` where that is set. For a Hugging Face
text tower its ``hf_model_name`` must then be given as the directory, or the working directory be
it, because open_clip looks for it from where the process runs.
"""

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

from clipkit.errors import CheckpointError, MissingExtraError
from clipkit.files import put_in_place
from clipkit.models.building import build_model, image_size, num_token_rows
from clipkit.models.hub import SAFE_WEIGHTS
from clipkit.models.locate import TOKENIZER_FILES, TOKENIZER_NAME, CheckpointFiles, locate
from clipkit.models.lora import merge_lora, write_lora
from clipkit.models.lora_info import LORA_NAME
from clipkit.models.low_rank import plain_state
from clipkit.models.open_clip_config import TEXT_CONFIG_NAME
from clipkit.models.own_settings import split_own
from clipkit.models.sources import CONFIG_NAME, DirectorySource, Source
from clipkit.models.towers import Towers
from clipkit.models.transformers_layout import MODEL_CONFIG, WEIGHTS, is_dual_encoder
from clipkit.models.transformers_saving import write_open_clip_train, write_transformers
from clipkit.models.transformers_tokenizer import check_settings
from clipkit.models.transformers_weights import to_open_clip
from clipkit.models.vocabulary_check import check_tokenizer, read_vocabulary
from clipkit.models.weights import StateDict, read_weights

try:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file
    from torch import Tensor, nn
    from torch.overrides import TorchFunctionMode
except ImportError as error:
    raise MissingExtraError("torch", "Loading a checkpoint") from error


Layout = Literal["open_clip", "transformers", "open_clip_train"]
"""Whose files a checkpoint is saved as."""
TRAIN_WEIGHTS = "epoch_0.pt"
_ADAPTER = "adapter_model.safetensors"  # as peft saves LoRA
_RANDOM_FILLS = frozenset(
    [Tensor.normal_, Tensor.uniform_, Tensor.erfinv_]
    + [getattr(nn.init, f"{name}_") for name in ("normal", "uniform", "trunc_normal")]
    + [
        getattr(nn.init, f"{kind}_{name}_")
        for kind in ("kaiming", "xavier")
        for name in ("normal", "uniform")
    ]
)


def load_towers(source: Source, *, cache_dir: Path | None = None) -> Towers:
    """Return the towers of a source, in float32 on the CPU, ready to compute features.

    Args:
        source: Where the weights come from.
        cache_dir: The hub cache to use; the usual one if None.

    Returns:
        Towers whose every weight comes from the checkpoint; those of an adapter (LoRA) are merged.

    Raises:
        OfflineError: If the name needs the network and it does not answer.
        CheckpointError: If weights or configuration are missing, damaged or do not fit together.
        SpaceMismatchError: If the source is an adapter of another base model.
        MissingExtraError: If open_clip is not installed.
    """
    files = locate(source, cache_dir=cache_dir)
    if files.weights is None:
        raise CheckpointError(_no_weights(files, source))
    state = read_weights(files.weights)
    if files.family is not None:
        state = to_open_clip(state, files.family, files.model_cfg)
    model_cfg = _with_bias(files.model_cfg, state)
    with torch.random.fork_rng(devices=[]), _NoRandomInit():
        model = build_model(model_cfg, files.name, files.text_config)
    _load_state(model, state, files)
    if files.family is not None:
        path = files.tokenizer / TOKENIZER_NAME
        vocabulary = read_vocabulary(path)
        check_tokenizer(model_cfg["text_cfg"], path, vocabulary, num_token_rows(model))
        check_settings(files.tokenizer, files.family, vocabulary)
    towers = Towers(
        model.float(),
        model_cfg=model_cfg,
        preprocess_cfg={"size": image_size(model), **files.preprocess_cfg},
        tokenizer_source=files.tokenizer,
        kept_dims=files.kept_dims,
    ).eval()
    _check_kept_dims(towers, files)
    if files.adapter is not None:
        merge_lora(towers, files.adapter)
    return towers


def save_towers(
    towers: Towers,
    directory: Path,
    *,
    tokenizer_json: str | None = None,
    space_id: str | None = None,
    layout: Layout = "open_clip",
) -> None:
    """Write towers as a checkpoint directory that appears whole or not at all.

    Adapters (LoRA) are merged and, in open_clip's layout, written to a file of their own as well.

    Args:
        towers: What to save; weights are written as float32.
        directory: Where to. A checkpoint that is there already is replaced once the new one is
            whole.
        tokenizer_json: The text of a tokenizer.json, for readers without open_clip; needed only
            for CLIP's own vocabulary.
        space_id: The identity of the space, written into the config for its readers.
        layout: Whose files: open_clip's, transformers', or the one epoch_0.pt of open_clip_train.

    Raises:
        CheckpointError: If something that is not a checkpoint lies there, writing fails, or the
            layout has no place for such a model.
    """
    target = directory.resolve()
    if target.exists() and not _is_checkpoint(target) and _holds_something(target):
        raise CheckpointError(
            f"{target} exists and is not a checkpoint directory: it would be overwritten; "
            "choose another directory"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.parent / f".{target.name}.{uuid.uuid4().hex}.part"
        draft.mkdir()
        try:
            if layout == "open_clip":
                _write(towers, draft, tokenizer_json, space_id)
            elif layout == "transformers":
                write_transformers(towers, _tensors(towers.model), draft, tokenizer_json)
            else:
                write_open_clip_train(_tensors(towers.model), draft / TRAIN_WEIGHTS)
            _sync(draft)
            put_in_place(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{target} cannot be written: {error}") from error


def _no_weights(files: CheckpointFiles, source: Source) -> str:
    """Return the error of a directory without weights, by the layout it has."""
    if files.family is None:
        return f"{files.name} holds no weights: it should have a {SAFE_WEIGHTS}"
    if isinstance(source, DirectorySource) and (source.directory / _ADAPTER).is_file():
        return (
            f"{files.name} holds no weights of a whole model, but a LoRA adapter, {_ADAPTER}: "
            "merge it into its model first, with peft's merge_and_unload(), and save that"
        )
    return f"{files.name} holds no weights: it should have one of {', '.join(WEIGHTS)}"


class _NoRandomInit(TorchFunctionMode):
    """Skips random initialisation: all weights are overwritten, and it would cost seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Skip the calls that fill a tensor with random numbers."""
        if func in _RANDOM_FILLS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def _with_bias(model_cfg: Mapping[str, Any], state: StateDict) -> dict[str, Any]:
    """Return the config with a logit bias if the weights have one, as after sigmoid training."""
    completed = deepcopy(dict(model_cfg))
    if "logit_bias" in state and completed.get("init_logit_bias") is None:
        completed["init_logit_bias"] = 0.0
    return completed


def _load_state(model: nn.Module, state: StateDict, files: CheckpointFiles) -> None:
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    state = convert_state_dict(model, state)  # Apple's original MobileCLIP names
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    wanted = model.state_dict()
    for name in ("logit_scale", "logit_bias"):
        if name in state and name in wanted and state[name].numel() == 1:
            state[name] = state[name].reshape(wanted[name].shape)
    for name in [name for name in state if name.endswith(".position_ids")]:
        if name not in wanted:  # transformers wrote it until 4.31; it only counts 0, 1, 2, …
            del state[name]
    problems = [f"{name} is missing" for name in wanted if name not in state]
    problems += [f"{name} is not in the architecture" for name in state if name not in wanted]
    problems += [
        f"{name} is {tuple(state[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(
            f"the weights in {files.weights} do not fit the architecture of {files.name}: "
            f"{'; '.join(problems[:3])}{more}"
        )
    model.load_state_dict(state)


def _check_kept_dims(towers: Towers, files: CheckpointFiles) -> None:
    """Refuse a kept_dims that cuts off coordinates which are not zero."""
    if towers.kept_dims is None:
        return
    generator = torch.Generator().manual_seed(0)
    height, width = towers.image_size
    pixel_values = torch.randn(2, 3, height, width, generator=generator)
    token_ids = torch.randint(1, 99, (2, towers.context_length), generator=generator)
    with torch.inference_mode():
        image = towers.model.encode_image(pixel_values, normalize=False)
        text = towers.model.encode_text(token_ids, normalize=False)
    for tower, features in (("image", image), ("text", text)):
        if features[:, towers.kept_dims :].any():
            raise CheckpointError(
                f"{files.name} keeps {towers.kept_dims} dimensions, "
                f"but its {tower} features are not zero past them"
            )


def _holds_something(target: Path) -> bool:
    return not target.is_dir() or any(target.iterdir())


def _write(towers: Towers, draft: Path, tokenizer_json: str | None, space_id: str | None) -> None:
    _write_tokenizer(towers.tokenizer_source, draft, tokenizer_json)
    _write_text_config(towers.model, draft)
    save_file(_tensors(towers.model), draft / SAFE_WEIGHTS, metadata={"format": "pt"})
    if towers.lora is not None:
        write_lora(towers, draft / LORA_NAME)
    config, own = split_own({**towers.config, "model_cfg": _portable(towers.model_cfg)})
    extras = {"kept_dims": towers.kept_dims, "space_id": space_id, **own}
    config["clipkit_cfg"] = {key: value for key, value in extras.items() if value is not None}
    text = json.dumps(config, indent=2, ensure_ascii=False)
    (draft / CONFIG_NAME).write_text(text + "\n", encoding="utf-8")
    # safetensors lets nobody else read what it writes; a checkpoint is as readable as its config.
    for path in draft.glob("*.safetensors"):
        shutil.copymode(draft / CONFIG_NAME, path)


def _sync(draft: Path) -> None:
    """Wait until the files of a draft are on the disk."""
    for path in draft.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _is_checkpoint(target: Path) -> bool:
    """Return whether a directory holds what this module writes."""
    has_config = (target / CONFIG_NAME).is_file() or is_dual_encoder(target / MODEL_CONFIG)
    return has_config or [path.name for path in target.glob("*")] == [TRAIN_WEIGHTS]


def _write_tokenizer(source: Path, draft: Path, tokenizer_json: str | None) -> None:
    for name in TOKENIZER_FILES if source.is_dir() else ():
        if (source / name).is_file():
            shutil.copyfile(source / name, draft / name)
    if tokenizer_json is not None:
        (draft / TOKENIZER_NAME).write_text(tokenizer_json, encoding="utf-8")


def _write_text_config(model: nn.Module, draft: Path) -> None:
    config = getattr(getattr(model, "text", None), "config", None)
    if config is None:
        return
    content = json.loads(config.to_json_string(use_diff=True))
    # Half precision named here would make open_clip build, and so round, the tower that way.
    content.pop("torch_dtype", None)
    content["dtype"] = "float32"
    (draft / TEXT_CONFIG_NAME).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _tensors(model: nn.Module) -> StateDict:
    tensors: StateDict = {}
    seen: set[int] = set()
    for name, tensor in plain_state(model).items():
        value = tensor.detach().cpu()
        value = value.float() if value.is_floating_point() else value
        if value.data_ptr() in seen or not value.is_contiguous():
            value = value.clone(memory_format=torch.contiguous_format)
        seen.add(value.data_ptr())
        tensors[name] = value
    return tensors


def _portable(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config without paths of this machine and without switches of loading."""
    config = deepcopy(dict(model_cfg))
    text_cfg = config["text_cfg"]
    for key in ("hf_model_name", "hf_tokenizer_name"):
        if key in text_cfg and Path(text_cfg[key] or "").is_absolute():
            text_cfg[key] = "."
    if "hf_model_name" in text_cfg:
        text_cfg["hf_model_pretrained"] = False
    return config
