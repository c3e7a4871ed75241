"""The layers of both towers as groups of parameters, from the input to the output.

The first group is the embedding of patches or tokens; then come the layers one by one (the last
with the norm and the pooling that follow it), then the projection. What has no parameters is no
group.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from clipkit.errors import MissingExtraError

try:
    from torch import nn
except ImportError as error:
    raise MissingExtraError("torch", "Training towers") from error

_Part = nn.Module | nn.Parameter | None


def image_groups(visual: Any) -> list[list[nn.Parameter]]:
    """Return the groups of an image tower, of which a timm trunk names its own.

    Args:
        visual: The image tower of an open_clip model.

    Returns:
        The parameters of each group, frozen ones included.
    """
    trunk = getattr(visual, "trunk", None)
    if trunk is not None:
        from timm.models import group_parameters

        matcher = trunk.group_matcher() if hasattr(trunk, "group_matcher") else (lambda name: 0)
        named = group_parameters(trunk, matcher)
        groups = [[trunk.get_parameter(name) for name in named[key]] for key in sorted(named)]
        return [group for group in (*groups, list(visual.head.parameters())) if group]
    if hasattr(visual, "layer4"):
        stages = [[visual.layer1], [visual.layer2], [visual.layer3], [visual.layer4]]
        return _grouped(visual.parameters(), [*stages, [visual.attnpool]])
    pools = [visual.attn_pool, getattr(visual, "attn_pool_contrastive", None), visual.ln_post]
    return _grouped(visual.parameters(), _layers(visual.transformer.resblocks, pools, visual.proj))


def text_groups(model: Any) -> list[list[nn.Parameter]]:
    """Return the groups of a text tower.

    Args:
        model: The open_clip model that has it, or is it.

    Returns:
        The parameters of each group, frozen ones included.
    """
    text = getattr(model, "text", model)  # open_clip's CLIP class holds the parts itself
    others = ("visual.", "text_decoder.", "logit_scale", "logit_bias")
    own = [item for name, item in model.named_parameters() if not name.startswith(others)]
    if not hasattr(text, "pooler"):
        blocks, after, projection = (
            text.transformer.resblocks,
            [text.ln_final],
            text.text_projection,
        )
    else:
        tower, projection = text.transformer, text.proj
        encoder = getattr(tower, "encoder", tower)
        names = [name for name in ("layer", "block", "layers") if hasattr(encoder, name)]
        blocks = getattr(encoder, names[0])
        after = [
            getattr(tower, name, None) for name in ("pooler", "final_layer_norm", "layer_norm")
        ]
    return _grouped(own, _layers(blocks, after, projection))


def _layers(
    blocks: Sequence[nn.Module], after: Sequence[_Part], projection: _Part
) -> list[list[_Part]]:
    earlier: list[list[_Part]] = [[block] for block in blocks[:-1]]
    return [*earlier, [blocks[-1], *after], [projection]]


def _grouped(
    parameters: Iterable[nn.Parameter], later: Iterable[Sequence[_Part]]
) -> list[list[nn.Parameter]]:
    """Return the parameters of each group; the first is whatever no later one holds."""
    groups = [[item for part in group for item in _parameters(part)] for group in later]
    taken = {id(item) for group in groups for item in group}
    first = [item for item in parameters if id(item) not in taken]
    return [group for group in (first, *groups) if group]


def _parameters(part: _Part) -> list[nn.Parameter]:
    if isinstance(part, nn.Parameter):
        return [part]
    return [] if part is None else list(part.parameters())
