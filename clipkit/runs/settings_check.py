"""Checks of a run's settings against its data: what cannot work, and what recipes warn against.

Warnings compare with published recipes, and name the one that they come from.
"""

import math
import re
from collections.abc import Iterator

from clipkit.errors import InputError
from clipkit.models.building import SIGMOID_BIAS
from clipkit.runs.rate_warnings import rate_warnings, tower_factors
from clipkit.runs.trackers import check_trackers
from clipkit.training.config import RunConfig

# DataComp small: a ViT-B/32 of 151 million parameters that has seen 12.8 million pairs.
_SMALL_SEEN, _LARGE_MODEL = 12_800_000, 100_000_000
# big_vision's small SigLIP config, at a batch of 512, initializes its bias to -2.71, not -10.
_SMALL_BATCH = 512
_MANY_SHOWINGS = 100
_FEW_NEGATIVES = 32


def check_settings(
    config: RunConfig,
    *,
    num_pairs: int,
    embed_dim: int,
    num_captions: int | None = None,
    num_classes: int = 0,
    is_validated: bool = False,
) -> None:
    """Raise if a run cannot learn anything, whatever its images show.

    Args:
        config: The run, resolved.
        num_pairs: Pairs that are trained on in an epoch.
        embed_dim: Dimensions of the towers' shared space.
        num_captions: Different captions among them; None if they were not read.
        num_classes: Of the images; 0: they have none.
        is_validated: Whether there are pairs to validate on, of files or given from Python.

    Raises:
        InputError: If there are too few pairs, captions or classes for a batch, nothing is
            trained, the loss is always zero, or a setting needs what is not there.
        MissingExtraError: If a tracker is not installed.
    """
    model, loss, watch = config.model, config.loss, config.watch
    check_trackers(watch.trackers)
    if num_pairs < 2:
        raise InputError(
            f"training needs at least 2 pairs, got {num_pairs}{_by_weights(config)}: a pair is "
            "learnt against others"
        )
    if num_captions == 1:
        raise InputError(
            f"all {num_pairs} pairs have the same caption: equal captions are no negatives, so "
            "there is nothing to tell apart; captions must differ"
        )
    if num_classes == 1:
        raise InputError(
            f"all {num_pairs} pairs are of one class, so there is nothing to tell apart: put the "
            "images into at least two class folders, or write captions beside them"
        )
    _check_batches(config, num_pairs)
    if model.is_image_fixed and model.is_text_fixed:
        raise InputError(
            "model.lock_image and model.lock_text leave nothing to train: unlock a tower, or some "
            "of its groups by unlocked_image_groups or unlocked_text_layers"
        )
    if model.is_image_fixed and model.patch_dropout:
        kept_by = f'lora_towers = "{model.lora_towers}"' if model.lora_rank else "lock_image"
        raise InputError(
            f"model.patch_dropout is for an image tower that is trained, and {kept_by} keeps it "
            "as it is: set patch_dropout = 0"
        )
    _check_factors(config)
    weights = (
        loss.contrastive_weight,
        *((loss.feature_weight, loss.logit_weight) if loss.teacher else ()),
    )
    if not any(weights):
        raise InputError(
            "every part of the loss has weight 0: set loss.contrastive_weight = 1, or name a "
            "loss.teacher"
        )
    if max(loss.matryoshka_dims, default=0) > embed_dim:
        raise InputError(
            f"loss.matryoshka_dims must be at most {embed_dim}, the size of the shared space, got "
            f"{max(loss.matryoshka_dims)}"
        )
    if watch.patience and not is_validated:
        raise InputError(
            "watch.patience ends a run by its validation pairs, and there are none: set "
            "data.validation or data.validation_fraction, from Python validation=, or patience = 0"
        )


def _check_batches(config: RunConfig, num_pairs: int) -> None:
    """Raise if an epoch has no whole batch, or too few for one step."""
    size, num_batches = config.compute.batch_size, config.compute.accumulate_batches
    if size > num_pairs:
        raise InputError(
            f"compute.batch_size {size} is more than the {num_pairs} pairs of an epoch"
            f"{_by_weights(config)}, which has no whole batch: set at most {num_pairs}"
        )
    share = config.data.hard_negatives
    if share and share * size < 1:
        raise InputError(
            f"data.hard_negatives {share:g} of a batch of {size} is less than one pair, so that "
            f"there would be none: set at least {math.ceil(100 / size) / 100:g}, or a larger "
            "compute.batch_size"
        )
    if num_batches > num_pairs // size:
        raise InputError(
            f"compute.accumulate_batches {num_batches} is more than the {num_pairs // size} whole "
            f"batches of an epoch of {num_pairs} pairs{_by_weights(config)}, so that no step is "
            f"taken: set at most {num_pairs // size}, or a smaller compute.batch_size"
        )


def settings_warnings(
    config: RunConfig,
    *,
    num_pairs: int,
    num_parameters: int,
    most_drawn: float = 1.0,
    num_directional: int = 0,
    logit_bias: float | None = None,
) -> list[str]:
    """Return warnings of settings that are known to spoil a model, with the reason and a remedy.

    Args:
        config: The run, resolved; one that passes :func:`check_settings`.
        num_pairs: Pairs that are trained on in an epoch.
        num_parameters: Weights of both towers, locked ones included.
        most_drawn: How often the pair that is drawn most often comes in an epoch.
        num_directional: How many captions name a side, as :func:`names_side` says.
        logit_bias: Of the towers; None: they have none.

    Returns:
        Sentences, the gravest first; empty if nothing is known against it.
    """
    compute = config.compute
    num_steps = compute.num_steps(num_pairs // compute.batch_size // compute.accumulate_batches)
    return [
        *rate_warnings(config),
        *_step_warnings(config, num_steps),
        *_bias_warnings(config, num_steps, logit_bias),
        *_data_warnings(config, num_pairs, num_parameters, most_drawn),
        *_image_warnings(config, num_directional),
    ]


def names_side(caption: str) -> bool:
    """Return whether a caption says left or right, which is wrong of the mirrored image."""
    return re.search(r"\b(left|right)\b", caption, flags=re.IGNORECASE) is not None


def _check_factors(config: RunConfig) -> None:
    """Raise InputError if a tower that is not trained has a learning rate of its own."""
    for tower, is_fixed, factor in tower_factors(config):
        if is_fixed and factor != 1:
            raise InputError(
                f"optimizer.{tower}_lr_factor = {factor:g} is for an encoder that is trained, and "
                f"nothing of the {tower} encoder is: set it to 1, or unlock the encoder"
            )


def _step_warnings(config: RunConfig, num_steps: int) -> Iterator[str]:
    memory = round(1 / (1 - config.optimizer.beta2))
    if num_steps < memory:
        yield (
            f"the run has {num_steps} steps, and AdamW sizes a step by the gradients of the last "
            f"{memory} (1 / (1 - beta2)): it ends before that has settled; more epochs or a "
            "smaller batch_size give more steps"
        )


def _by_weights(config: RunConfig) -> str:
    """Return why an epoch may have other than all pairs."""
    data = config.data
    is_weighed = data.mixture == "weights" and any(source.weight != 1 for source in data.train)
    return " (by data.train's weights)" if is_weighed else ""


def _bias_warnings(config: RunConfig, num_steps: int, logit_bias: float | None) -> Iterator[str]:
    """Warn of a logit bias that the loss leaves wrong, or that starts far from where it belongs."""
    if logit_bias is not None and config.loss.kind == "infonce" and not config.model.lora_rank:
        yield (
            f"the base model has a logit bias ({logit_bias:.1f}), which infonce leaves as it is "
            "while it moves the scale: ranking is as good, but what the model gives as the "
            'probability of a match will be wrong; set loss.kind = "sigmoid" to keep that'
        )
    if logit_bias != SIGMOID_BIAS:  # it was trained already
        return
    batch_size = config.compute.batch_size
    right = -math.log(batch_size - 1)
    reach = (config.optimizer.lr or 0.0) * num_steps  # AdamW moves a weight by about lr a step
    if config.loss.kind != "sigmoid" or batch_size > _SMALL_BATCH or reach >= right + 10:
        return
    yield (
        f"the sigmoid loss starts with a bias of -10, right for one match in 22 000, and a batch "
        f"of {batch_size} has one in {batch_size} (a bias of {right:.1f}): the run can move it by "
        f"{reach:.2g} at most, and until it fits, all images are only pulled towards all texts; "
        'set loss.kind = "infonce" or a larger batch_size (chunk_size keeps its memory small)'
        + (
            f', or "init_logit_bias": {right:.1f} in the JSON file of the architecture'
            if config.is_from_scratch
            else ""
        )
    )


def _data_warnings(
    config: RunConfig, num_pairs: int, num_parameters: int, most_drawn: float
) -> Iterator[str]:
    batch_size = config.compute.batch_size
    steps_per_epoch = num_pairs // batch_size // config.compute.accumulate_batches
    epochs = config.compute.num_steps(steps_per_epoch) / steps_per_epoch
    if config.is_from_scratch and num_parameters > _LARGE_MODEL:
        num_seen = num_pairs * epochs
        if num_seen < _SMALL_SEEN:
            yield (
                f"{num_parameters / 1e6:.0f} million weights from scratch see {num_seen / 1e6:.2g} "
                "million pairs: a ViT-B/32 (151 million) that saw 12.8 million (DataComp small) "
                "names 2.7 to 5.1 % of ImageNet; fine-tune a base model, or train a smaller "
                "architecture"
            )
    showings = epochs * most_drawn
    if showings >= _MANY_SHOWINGS and not config.watch.patience:
        yield (
            f"each pair is shown {showings:.0f} times: once it is known by heart the loss falls on "
            "while other images get worse (FLYP shows it 10 to 20 times, CLIP 32); set fewer "
            "compute.epochs, or watch.patience with validation pairs"
        )
    if batch_size < _FEW_NEGATIVES <= num_pairs:
        yield (
            f"in a batch of {batch_size} a pair is learnt against {batch_size - 1} others, most of "
            "which are easy to tell apart (FLYP takes 256 to 512); a larger batch_size needs no "
            f"more memory with compute.chunk_size = {batch_size}"
        )


def _image_warnings(config: RunConfig, num_directional: int) -> Iterator[str]:
    if config.data.horizontal_flip and num_directional:
        yield (
            f"data.horizontal_flip mirrors images, and {num_directional} captions say left or "
            "right, which is then wrong; set horizontal_flip = 0"
        )
    if config.model.patch_dropout and not config.is_from_scratch:
        yield (
            f"model.patch_dropout {config.model.patch_dropout:g} shows the base model images with "
            "holes, which it has not learnt from, and FLIP ends its own training with whole ones; "
            "set patch_dropout = 0 for a fine-tuning"
        )
