"""Which weights are trained and how: freezing (LiT), patch dropout, gradient checkpointing.

Locking never unlocks: what is fixed already, such as sine positions, stays so. What the groups of a
tower are says :mod:`.layer_groups`.

open_clip's own functions are not used, because they leave the head of a timm tower and the
projection of a Hugging Face one unlocked, take any number of groups without a word, cannot lock
part of a ResNet, and freeze a batch norm by a class that drops timm's activation.
"""

from collections.abc import Iterable
from types import MethodType
from typing import Any

from clipkit.errors import InputError, MissingExtraError
from clipkit.models.layer_groups import image_groups, text_groups
from clipkit.models.towers import Towers

try:
    import torch
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm
except ImportError as error:
    raise MissingExtraError("torch", "Training towers") from error


def lock_image_tower(towers: Towers, *, unlocked_groups: int = 0) -> None:
    """Freeze (lock) the image tower, or all of it but its last groups.

    Batch norms of locked groups keep their running statistics. A tower that is locked as a whole
    stays in eval mode: its features are the same in every epoch.

    Args:
        towers: The towers.
        unlocked_groups: How many groups, counted from the output, are trained all the same.

    Raises:
        InputError: If the tower has no more groups than that.
    """
    _lock(towers, image_groups(towers.model.visual), unlocked_groups, "unlocked_image_groups")
    if not unlocked_groups:
        _keep_in_eval(towers.model.visual)


def lock_text_tower(towers: Towers, *, unlocked_layers: int = 0) -> None:
    """Freeze (lock) the text tower, or all of it but its last groups.

    A tower that is locked as a whole stays in eval mode: its features are the same in every epoch.

    Args:
        towers: The towers.
        unlocked_layers: How many groups, counted from the output, are trained all the same.

    Raises:
        InputError: If the tower has no more groups than that.
    """
    _lock(towers, text_groups(towers.model), unlocked_layers, "unlocked_text_layers")
    if not unlocked_layers and hasattr(towers.model, "text"):
        _keep_in_eval(towers.model.text)  # the parts of open_clip's CLIP class have no dropout


def freeze_batch_norm(module: nn.Module) -> int:
    """Freeze gains, biases and running statistics of all batch norms, also after ``.train()``.

    Args:
        module: Where to look for them.

    Returns:
        How many there are.
    """
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    for norm in norms:
        norm.requires_grad_(False)  # noqa: FBT003
        _keep_in_eval(norm)
    return len(norms)


def freeze_unreached(towers: Towers) -> list[str]:
    """Freeze weights that no feature depends on, such as CoCa's decoder: they get no gradient.

    DistributedDataParallel waits for a gradient of every weight that asks for one. This computes
    the features of one image and one text, in eval mode.

    Args:
        towers: The towers, locked as they are to be.

    Returns:
        Names of the parameters that were frozen here.
    """
    asking = {name: item for name, item in towers.named_parameters() if item.requires_grad}
    height, width = towers.image_size
    device = towers.model.logit_scale.device
    modes = {module: module.training for module in towers.modules()}
    towers.eval()
    image = towers.image_features(torch.zeros(1, 3, height, width, device=device))
    token_ids = torch.ones(1, towers.context_length, dtype=torch.long, device=device)
    text = towers.text_features(token_ids)
    total = image.sum() + text.sum()
    found: Iterable[torch.Tensor | None] = [None] * len(asking)
    if total.requires_grad:
        found = torch.autograd.grad(total, list(asking.values()), allow_unused=True)
    for module, is_training in modes.items():
        module.training = is_training
    unreached = [
        name
        for name, gradient in zip(asking, found, strict=True)
        if gradient is None and name not in ("model.logit_scale", "model.logit_bias")
    ]
    for name in unreached:
        asking[name].requires_grad_(False)  # noqa: FBT003
    return unreached


def set_patch_dropout(towers: Towers, share: float) -> None:
    """Leave out a random share of each image's patches in training (FLIP, arXiv 2212.00794).

    Args:
        towers: The towers.
        share: In [0, 1); 0 switches it off, also where the checkpoint's config has it on.

    Raises:
        InputError: If the share is out of range, or the image tower cannot do without patches.
    """
    from open_clip.transformer import PatchDropout
    from timm.layers.patch_dropout import PatchDropout as TimmPatchDropout
    from timm.layers.patch_dropout import PatchDropoutWithIndices

    if not 0 <= share < 1:
        raise InputError(f"patch dropout must be 0 or more and below 1, got {share:g}")
    visual = towers.model.visual
    trunk: Any = getattr(visual, "trunk", visual)
    if hasattr(visual, "patch_dropout"):
        visual.patch_dropout = PatchDropout(share) if share else nn.Identity()
    elif hasattr(trunk, "patch_drop"):
        # Rotary positions have to be dropped with their patches.
        has_rotary = isinstance(trunk.patch_drop, PatchDropoutWithIndices | None)
        kind = PatchDropoutWithIndices if has_rotary else TimmPatchDropout
        off = None if has_rotary else nn.Identity()
        trunk.patch_drop = kind(share, num_prefix_tokens=trunk.num_prefix_tokens) if share else off
    elif share:
        raise InputError(
            f"patch dropout needs a tower that takes patches one by one, and "
            f"{type(trunk).__name__} does not: set model.patch_dropout = 0"
        )


def set_gradient_checkpointing(towers: Towers, *, is_on: bool) -> None:
    """Turn gradient checkpointing on (activations are computed again in the backward pass) or off.

    Args:
        towers: The towers.
        is_on: Whether to compute them again.

    Raises:
        InputError: If the image tower cannot do that.
    """
    model = towers.model
    image_tower = getattr(model.visual, "trunk", model.visual)
    try:
        if is_on and hasattr(image_tower, "layer4") and image_tower is model.visual:
            raise AssertionError  # open_clip's ResNet says nothing and does nothing
        image_tower.set_grad_checkpointing(is_on)
    except (AssertionError, AttributeError) as error:
        if is_on:
            raise InputError(
                f"{type(image_tower).__name__} cannot compute its activations again: "
                "set model.gradient_checkpointing = false"
            ) from error
    text = getattr(model, "text", model)
    if not hasattr(text, "pooler"):
        text.transformer.grad_checkpointing = is_on
        return
    # open_clip's own function only ever switches it on. transformers 5 has renamed both of its.
    tower = text.transformer
    kind = "activation" if hasattr(tower, "activation_checkpointing_enable") else "gradient"
    if is_on:
        getattr(tower, f"{kind}_checkpointing_enable")({"use_reentrant": False})
    else:
        getattr(tower, f"{kind}_checkpointing_disable")()


def count_weights(towers: Towers) -> tuple[int, int]:
    """Return how many numbers are trained, and how many there are with those that are frozen."""
    sizes = [(item.numel(), item.requires_grad) for item in towers.parameters()]
    return sum(size for size, is_trained in sizes if is_trained), sum(size for size, _ in sizes)


def no_decay_names(towers: Towers) -> set[str]:
    """Return the parameters that get no weight decay.

    These are gains, biases, and the scale and bias of logits, which have one axis at most (axes
    of size 1 do not count), and what the towers name themselves: embeddings of positions and of
    the class token. open_clip asks no timm or Hugging Face tower, so they are asked here. Adapters
    (LoRA) have it whatever their rank: it draws the model back to its base.

    Args:
        towers: The towers.

    Returns:
        Names as in ``towers.named_parameters()``, frozen ones included.
    """
    model = towers.model
    named = {f"model.{name}" for name in getattr(model, "no_weight_decay", set)()}
    trunk: Any = getattr(model.visual, "trunk", None)
    if hasattr(trunk, "no_weight_decay"):
        named |= {f"model.visual.trunk.{name}" for name in trunk.no_weight_decay()}
    return {
        name
        for name, parameter in towers.named_parameters()
        if not name.endswith((".lora_A", ".lora_B"))
        and (
            parameter.squeeze().ndim <= 1
            or name in named
            or name.endswith("position_embeddings.weight")
        )
    }


def _lock(towers: Towers, groups: list[list[nn.Parameter]], num_unlocked: int, name: str) -> None:
    if not 0 <= num_unlocked < len(groups):
        raise InputError(
            f"model.{name} must be 0 to {len(groups) - 1}, got {num_unlocked}: "
            f"this tower has {len(groups)} groups, and with all of them it would not be locked"
        )
    locked = {id(item) for group in groups[: len(groups) - num_unlocked] for item in group}
    for module in towers.modules():
        own = module.parameters(recurse=False)
        if isinstance(module, _BatchNorm) and all(id(item) in locked for item in own):
            _keep_in_eval(module)
    for parameter in towers.parameters():
        if id(parameter) in locked:
            parameter.requires_grad_(False)  # noqa: FBT003


def _keep_in_eval(module: nn.Module) -> None:
    """Put a module in eval mode for good: its parents' ``.train()`` passes it by."""
    module.eval()
    module.train = MethodType(_stay, module)  # type: ignore[method-assign]


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:  # noqa: FBT001, FBT002
    """Return the module as it is; the signature is torch's, and a method copies well."""
    return module
