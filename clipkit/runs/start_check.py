"""What a run refuses before its first step, and what it says and warns of."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch

from clipkit.data.pair import PairDataset, count_pairs, list_some
from clipkit.errors import ImageReadError
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.models.batch_norm import has_trained_batch_norm
from clipkit.models.freezing import count_weights
from clipkit.models.towers import Towers
from clipkit.progress import Callbacks
from clipkit.runs.data import RunData
from clipkit.runs.data_warnings import data_warnings
from clipkit.runs.directory import lone_tasks
from clipkit.runs.settings_check import check_settings, settings_warnings
from clipkit.training.config import RunConfig
from clipkit.training.distributed import Ranks


def check_start(
    config: RunConfig,
    data: RunData,
    towers: Towers,
    tokenizer: Tokenizer,
    *,
    callbacks: Callbacks | None,
) -> None:
    """Raise if a run cannot learn anything; say what it trains on, and warn.

    Args:
        config: The run, resolved.
        data: Its pairs.
        towers: The base model, nothing of it frozen yet.
        tokenizer: Of the towers.
        callbacks: Told of the data and of what is odd; None: nobody is, as on all ranks but one,
            and no file is read for it.

    Raises:
        InputError: If it cannot.
    """
    check_settings(
        config,
        num_pairs=data.num_drawn,
        embed_dim=towers.embed_dim,
        # The first pairs of a stream may well be of one class.
        num_captions=1 if not data.stream and _has_one_caption(data.train, tokenizer) else None,
        num_classes=0 if data.stream else len(data.train.class_names),
        is_validated=data.validation is not None,
    )
    if callbacks is None:
        return
    for line in data.lines(config.data):
        callbacks.say(line)
    warnings = settings_warnings(
        config,
        num_pairs=data.num_drawn,
        num_parameters=count_weights(towers)[1],
        most_drawn=max(data.draws.weights),
        logit_bias=towers.logit_bias,
    )
    own = architecture_warnings(config, towers.model_cfg)
    for line in (*lone_tasks(), *own, *warnings, *data_warnings(config, data)):
        callbacks.warn(line)
    if data.skipped:
        callbacks.say(f"{count_pairs(data.skipped)} pairs are left out: {list_some(data.skipped)}")


def architecture_warnings(config: RunConfig, model_cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield warnings of what an architecture does not bring to a run from scratch.

    Args:
        config: The run.
        model_cfg: The config of its towers, in open_clip's words.

    Yields:
        A sentence for each encoder that is locked with random weights, or that open_clip_train
        would begin with weights of the hub, and of a patch dropout that is not used; none with a
        base model.
    """
    if not config.is_from_scratch:
        return
    for tower, is_locked in (("image", config.model.lock_image), ("text", config.model.lock_text)):
        if is_locked:
            yield (
                f"model.lock_{tower} keeps an encoder that has random weights as it is, for "
                "training from scratch loads none: the other encoder learns to follow noise; begin "
                f"with a model.base that has trained weights, or set lock_{tower} = false"
            )
    text, vision = model_cfg["text_cfg"], model_cfg["vision_cfg"]
    if vision.get("patch_dropout") and not config.model.patch_dropout:
        share = vision["patch_dropout"]
        yield (
            f"the architecture's patch_dropout {share:g} is not used: set model.patch_dropout = "
            f"{share:g}, which is what counts here"
        )
    for tower, is_trained in (
        ("image", vision.get("timm_model_pretrained")),
        ("text", text.get("hf_model_name") and text.get("hf_model_pretrained", True)),
    ):
        if is_trained:
            yield (
                f"the {tower} encoder begins with random weights, and in open_clip_train this "
                "architecture begins with trained ones of the hub: for these make a model.base of "
                'open_clip\'s model (docs/coming_from.md, "Encoders with weights of their own")'
            )


def batch_norm_warnings(towers: Towers, ranks: Ranks, device: torch.device) -> Iterator[str]:
    """Yield a warning if several processes would normalize by other numbers than one does.

    Args:
        towers: As they are trained, frozen where they are to be.
        ranks: The processes.
        device: Where this one computes.

    Yields:
        One sentence at most.
    """
    if ranks.world_size == 1 or ranks.syncs_batch_norms(device):
        return
    if has_trained_batch_norm(towers):
        yield (
            f"batch norm is trained, and on {device.type} each of the {ranks.world_size} processes "
            "normalizes by its own share of a batch, so that the model will be another than that "
            "of one process: set model.freeze_batch_norm = true, or train in one process or on "
            "CUDA, where the processes share these statistics"
        )


def _has_one_caption(source: PairDataset, tokenizer: Tokenizer) -> bool:
    """Return whether all captions are the same to the model; mostly the second pair shows it."""
    known: set[str] = set()
    token_ids: set[bytes] = set()
    for row in range(len(source)):
        with suppress(ImageReadError):  # reported when a step reads it
            new = set(source[row].captions) - known
            known |= new
            token_ids.update(ids.tobytes() for ids in tokenizer.tokenize_quietly(new).token_ids)
        if len(token_ids) > 1:
            return False
    return len(token_ids) == 1
