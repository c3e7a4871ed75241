"""Checks of a run's settings against its data: what cannot work, and what recipes warn against.

Warnings compare with published recipes, and name the one that they come from.
"""

import math
import re
from collections.abc import Iterator

from clipkit.errors import InputError
from clipkit.models.building import SIGMOID_BIAS
from clipkit.runs.trackers import check_trackers
from clipkit.training.config import RunConfig

# Fine-tunings of both towers that kept what the base model could do: FLYP (arXiv 2212.00638) at
# 1e-5, WiSE-FT (arXiv 2109.01903) at 3e-5. At 1e-3, users of open_clip saw their validation loss
# rise.
_GOOD_RATE, _ALSO_GOOD_RATE, _MOST_TUNING_RATE = 1e-5, 3e-5, 1e-4
# CLIP-LoRA (arXiv 2405.18541) trains adapters at 2e-4 on all of its eleven datasets. B starts at
# zero and AdamW moves a weight by about the rate a step, so a low rate leaves the model as it was.
_LORA_RATE, _MOST_LORA_RATE, _LEAST_LORA_RATE = 2e-4, 2e-3, 2e-5
# Recipes from scratch: 1e-4 (DataComp debug) to 1e-3 (DataComp xlarge at batch 90 112, MobileCLIP).
_MOST_RATE = 1e-3
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
        *_rate_warnings(config),
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
    for tower, is_fixed, factor in (
        ("image", config.model.is_image_fixed, config.optimizer.image_lr_factor),
        ("text", config.model.is_text_fixed, config.optimizer.text_lr_factor),
    ):
        if is_fixed and factor != 1:
            raise InputError(
                f"optimizer.{tower}_lr_factor = {factor:g} is for an encoder that is trained, and "
                f"nothing of the {tower} encoder is: set it to 1, or unlock the encoder"
            )


def _rate_warnings(config: RunConfig) -> Iterator[str]:
    rate = config.optimizer.lr or 0.0
    if config.model.lora_rank:
        yield from _lora_rate_warnings(rate)
        return
    is_tuning = not config.is_from_scratch and not config.model.lock_image
    if is_tuning and rate > _MOST_TUNING_RATE:
        yield (
            f"optimizer.lr {rate:g} is {rate / _GOOD_RATE:.0f} times the {_GOOD_RATE:g} at which "
            f"both towers are fine-tuned (FLYP {_GOOD_RATE:g}, WiSE-FT {_ALSO_GOOD_RATE:g}): what "
            "the base model has learnt is overwritten before the new pairs are learnt; set lr = "
            f"{_GOOD_RATE:g}, or train less with lock_image = true"
        )
    elif rate > _MOST_RATE:
        yield (
            f"optimizer.lr {rate:g} is above {_MOST_RATE:g}, the highest of the published recipes, "
            "which goes with batches of 8 192 and more: the loss may jump or stay where it is; "
            f"set lr = {5e-4 if config.is_from_scratch else _GOOD_RATE:g}"
        )


def _lora_rate_warnings(rate: float) -> Iterator[str]:
    if rate > _MOST_LORA_RATE:
        yield (
            f"optimizer.lr {rate:g} is {rate / _LORA_RATE:.0f} times the {_LORA_RATE:g} at which "
            "CLIP-LoRA trains adapters: what they add soon outweighs what the base model has "
            f"learnt; set lr = {_LORA_RATE:g}"
        )
    elif rate < _LEAST_LORA_RATE:
        yield (
            f"optimizer.lr {rate:g} suits the weights of a whole model; adapters begin at zero and "
            f"move by about that a step, so they will hardly change the model (CLIP-LoRA takes "
            f"{_LORA_RATE:g}); set lr = {_LORA_RATE:g}"
        )


def _step_warnings(config: RunConfig, num_steps: int) -> Iterator[str]:
    optimizer = config.optimizer
    memory = round(1 / (1 - optimizer.beta2))
    if num_steps < memory:
        yield (
            f"the run has {num_steps} steps, and AdamW sizes a step by the gradients of the last "
            f"{memory} (1 / (1 - beta2)): it ends before that has settled; more epochs or a "
            "smaller batch_size give more steps"
        )
    name, share, usual = "warmup_fraction", optimizer.warmup_fraction, 0.1
    if optimizer.warmup_steps:
        name, share = "warmup_steps", optimizer.warmup_steps / num_steps
        usual = max(1, num_steps // 10)
    if share > 1:
        reached = (optimizer.lr or 0.0) / share
        yield (
            f"optimizer.warmup_steps {optimizer.warmup_steps} is more than the {num_steps} steps "
            f"of the run: the learning rate rises to its end, where it is {reached:.2g}, and never "
            f"reaches lr {optimizer.lr:g}; {usual:g} would be usual"
        )
    elif share > 0.5:
        yield (
            f"optimizer.{name} {getattr(optimizer, name):g} makes the run end soon after "
            "the learning rate has reached its height, so that it hardly falls again; "
            f"{usual:g} would be usual"
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
    steps_per_epoch = num_pairs // batch_size
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
